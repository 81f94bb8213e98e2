"""Values as text, for people and for TOML; every function gives one line that is safe to print."""

import json
from collections.abc import Iterable
from datetime import date, time
from difflib import get_close_matches
from pathlib import PurePath

__all__ = ["in_error", "nearest", "printable", "to_toml"]

_LONGEST_IN_ERROR = 60
_LARGEST_IN_ERROR = 2**64  # Python refuses to print a number of some thousand digits
_SHAPES = ((dict, "a table"), ((list, tuple), "a list"), ((date, time), "a date or time"))


def printable(text: str) -> str:
    """Return the text with what could move a terminal's cursor or begin a new line escaped."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def in_error(value: object) -> str:
    """Return a value as an error line shows it. Not for secrets."""
    if isinstance(value, str):
        return repr(value if len(value) <= _LONGEST_IN_ERROR else value[:_LONGEST_IN_ERROR] + "…")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) > _LARGEST_IN_ERROR:
        return "a huge number"
    if isinstance(value, (int, float)):
        return str(value)
    return next((words for kinds, words in _SHAPES if isinstance(value, kinds)), type(value).__name__)


def to_toml(value: object) -> str:
    """Return a value as TOML writes it.

    Raises:
        TypeError: the value is none that a setting can have in TOML.
    """
    match value:
        case bool():
            return str(value).lower()
        case float():
            return str(int(value)) if value.is_integer() else repr(value)
        case int():
            return str(value)
        case str() | PurePath():
            # JSON's strings are TOML's, but for the one control character that JSON lets stand.
            return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
        case list() | tuple():
            return f"[{', '.join(to_toml(entry) for entry in value)}]"
        case _:
            raise TypeError(f"{type(value).__name__} has no place in a settings file")


def nearest(wrong: str, known: Iterable[str]) -> str | None:
    """Return the known dotted name that was probably meant.

    Args:
        wrong: a name that is none of them.
        known: the right names.
    """
    names = sorted(known)
    flat = _flat(wrong)
    for name in names:
        if _flat(name) == flat:  # a wrong separator: mqtt_host, log-level
            return name
    last = wrong.rpartition(".")[2]
    same = [name for name in names if name.rpartition(".")[2] == last]
    if len(same) == 1:  # the right name in a wrong place
        return same[0]
    return next(iter(get_close_matches(wrong.lower(), names, n=1)), None)


def _flat(name: str) -> str:
    return name.lower().replace(".", "").replace("_", "").replace("-", "")
