"""Names against the patterns of the settings."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

__all__ = ["matches"]


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Return whether a name fits one of some patterns like those of a shell (`veth*`)."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)
