"""The effective settings as lines, for `hostpulse config show`."""

from pathlib import PurePath
from typing import NamedTuple

from .keys import Key, all_keys
from .load import Loaded
from .text import printable, to_toml

__all__ = ["MASK", "Line", "describe"]

MASK = "********"
_NOT_SET = "not set"


class Line(NamedTuple):
    """One setting: its dotted key, its value as text, and where it came from."""

    key: str
    value: str
    origin: str


def describe(loaded: Loaded) -> list[Line]:
    """Return every setting in the order of the model, secrets masked."""
    return [
        Line(key.name, _value_text(key, key.value(loaded.settings)), printable(loaded.origins[key.name]))
        for key in all_keys(loaded.settings)
    ]


def _value_text(key: Key, value: object) -> str:
    if value is None or (key.is_secret and not value):
        return _NOT_SET
    if key.is_secret:
        return MASK
    return printable(str(value) if isinstance(value, str | PurePath) else to_toml(value))
