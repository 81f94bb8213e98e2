"""The effective settings as lines, for `hostpulse config show`."""

from pathlib import PurePath
from typing import NamedTuple

from pydantic import SecretStr

from .keys import KEYS
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
        Line(name, _value_text(key.value(loaded.settings)), printable(loaded.origins[name]))
        for name, key in KEYS.items()
    ]


def _value_text(value: object) -> str:
    match value:
        case None:
            return _NOT_SET
        case SecretStr():
            return MASK
        case str() | PurePath():
            return printable(str(value))
        case _:
            return printable(to_toml(value))
