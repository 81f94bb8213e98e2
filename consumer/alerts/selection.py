"""Choosing hosts and devices by patterns."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

__all__ = ["EVERYTHING", "Globs"]


@dataclass(frozen=True, slots=True)
class Globs:
    """Patterns with `*`, `?` and `[…]`; one that begins with `!` excludes.

    Attributes:
        patterns: in any order. Without any that includes, everything is included that no other one excludes.
    """

    patterns: tuple[str, ...] = ()

    def match(self, text: str) -> bool:
        """Return whether the text is meant."""
        included = [pattern for pattern in self.patterns if not pattern.startswith("!")]
        excluded = [pattern[1:] for pattern in self.patterns if pattern.startswith("!")]
        return not any(fnmatchcase(text, pattern) for pattern in excluded) and (
            not included or any(fnmatchcase(text, pattern) for pattern in included)
        )


EVERYTHING = Globs()
"""Without patterns."""
