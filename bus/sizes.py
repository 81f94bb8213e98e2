"""Amounts of bytes as text: `256 MiB`, `1 GiB`."""

import re

from .errors import UsageError

__all__ = ["parse_size"]

_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?) ?(B|KiB|MiB|GiB|TiB)", re.ASCII)


def parse_size(text: str) -> int:
    """Return the bytes of `65536 B`, `64 KiB`, `256 MiB`, `1.5 GiB`, `1 TiB`.

    Raises:
        UsageError: the text is none of these.
    """
    found = _SIZE.fullmatch(text)
    if found is None:
        raise UsageError(f"{text[:40]!r} is not a size; write for example 64 MiB, 256 MiB, 1 GiB")
    return round(float(found[1]) * _UNITS[found[2]])
