"""Text for a terminal: sizes and rates for people, and what comes from the bus made harmless."""

import re
from typing import TextIO

from hostpulse.bus.sizes import format_size as size

__all__ = ["TerminalSink", "clean", "size", "value_text"]

_BETWEEN_LINES = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
_CONTROL = re.compile(rf"[\t\n{_BETWEEN_LINES}]")
_CONTROL_BUT_LINES = re.compile(f"[{_BETWEEN_LINES}]")


def clean(text: str) -> str:
    """Return text in one line, without characters that steer a terminal or turn the direction of writing."""
    return _CONTROL.sub("�", text)


class TerminalSink:
    """Writes data to a terminal: the lines of the text stay, what else could steer the terminal does not.

    Args:
        stream: the terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str, /) -> int:
        """Write a piece."""
        return self._stream.write(_CONTROL_BUT_LINES.sub("�", text))


def value_text(value: float | str | None, unit: str) -> str:
    """Return a value with its unit as people read it; bytes in the unit that fits."""
    if value is None:
        return ""
    if isinstance(value, str):
        return clean(value)
    if unit in {"B", "B/s"}:
        return size(value) + unit[1:]
    return f"{value:.6g}{f' {unit}' if unit else ''}"
