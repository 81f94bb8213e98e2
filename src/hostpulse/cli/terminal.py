"""Text for a terminal: sizes and rates for people, and what comes from the bus made harmless."""

import re

__all__ = ["clean", "size", "value_text"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_STEP = 1024.0
_SMALL = 100


def clean(text: str) -> str:
    """Return text without characters that steer a terminal or turn the direction of writing."""
    return _CONTROL.sub("�", text)


def size(value: float) -> str:
    """Return bytes in the largest unit that leaves at least 1: `1.6 GiB`."""
    units = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
    step = 0
    while abs(value) >= _STEP and step < len(units) - 1:
        value /= _STEP
        step += 1
    return f"{value:.1f} {units[step]}" if step and abs(value) < _SMALL else f"{value:.0f} {units[step]}"


def value_text(value: float | str | None, unit: str) -> str:
    """Return a value with its unit as people read it; bytes in the unit that fits."""
    if value is None:
        return ""
    if isinstance(value, str):
        return clean(value)
    if unit in {"B", "B/s"}:
        return size(value) + unit[1:]
    return f"{value:.6g}{f' {unit}' if unit else ''}"
