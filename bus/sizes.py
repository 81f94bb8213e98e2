"""Amounts of bytes as text: `256 MiB`, `1 GiB`."""

import re

from .errors import UsageError

__all__ = ["format_size", "parse_size"]

_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_STEP = 1024.0
_SMALL = 100
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


def format_size(value: float) -> str:
    """Return bytes in the largest unit that leaves at least 1: `1.6 GiB`."""
    units = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
    step = 0
    while abs(value) >= _STEP and step < len(units) - 1:
        value /= _STEP
        step += 1
    return f"{value:.1f} {units[step]}" if step and abs(value) < _SMALL else f"{value:.0f} {units[step]}"
