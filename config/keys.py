"""Every key of the settings by its dotted name, derived from the model.

A table that has tables of its own by names that people choose, such as `alerts.notify`, stands in `TABLES`; the keys of
these are not in `KEYS`, for there is no end of them: `find_key` makes them.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from .settings import Settings

__all__ = [
    "KEYS",
    "NAME_RULE",
    "PREFIX",
    "SECTIONS",
    "TABLES",
    "Key",
    "all_keys",
    "find_key",
    "is_name",
    "table_of",
]

PREFIX = "HOSTPULSE_"
NAME_RULE = "a name is of small letters, digits and single underscores, such as ops"

# They have to be told from keys in the names of variables, where there are neither dots nor capital letters.
_NAME = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*", re.ASCII)
_LONGEST_NAME = 32


@dataclass(frozen=True, slots=True)
class Key:
    """One setting that holds a value.

    Attributes:
        name: dotted: `mqtt.host`.
        field: its field in the model.
    """

    name: str
    field: FieldInfo

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return PREFIX + self.name.upper().replace(".", "__")

    @property
    def is_secret(self) -> bool:
        """Whether nobody may see its value."""
        return SecretStr in self._types

    @property
    def is_optional(self) -> bool:
        """Whether it may have no value."""
        return type(None) in self._types

    @property
    def is_list(self) -> bool:
        """Whether its value is a list."""
        return get_origin(self.field.annotation) is tuple

    @property
    def _types(self) -> list[Any]:
        alternatives = get_args(self.field.annotation) or (self.field.annotation,)
        return [get_args(one)[0] if get_origin(one) is Annotated else one for one in alternatives]

    def value(self, settings: Settings) -> object:
        """Return its value in the settings."""
        value: object = settings
        for part in self.name.split("."):
            value = value[part] if isinstance(value, Mapping) else getattr(value, part)
        return value


def _section(field: FieldInfo) -> type[BaseModel] | None:
    annotation = field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _table(field: FieldInfo) -> type[BaseModel] | None:
    """Return the model of the tables in a table whose names people choose."""
    inner = get_args(field.annotation)
    if len(inner) == len(("name", "table")) and isinstance(inner[1], type) and issubclass(inner[1], BaseModel):
        return inner[1]
    return None


def _fields() -> Iterator[tuple[str, FieldInfo]]:
    for name, field in Settings.model_fields.items():
        section = _section(field)
        if section is None:
            yield name, field
        else:
            yield from ((f"{name}.{inner}", inner_field) for inner, inner_field in section.model_fields.items())


SECTIONS: MappingProxyType[str, type[BaseModel]] = MappingProxyType(
    {name: section for name, field in Settings.model_fields.items() if (section := _section(field)) is not None}
)
"""The model of every section by its name."""

TABLES: MappingProxyType[str, type[BaseModel]] = MappingProxyType(
    {name: table for name, field in _fields() if (table := _table(field)) is not None}
)
"""The model of the tables in a table whose names people choose, by the dotted name of that."""

KEYS: MappingProxyType[str, Key] = MappingProxyType(
    {name: Key(name, field) for name, field in _fields() if name not in TABLES}
)
"""Every key by its dotted name, in the order of the model; without those in `TABLES`."""


def is_name(text: str) -> bool:
    """Return whether a table may have this name."""
    return _NAME.fullmatch(text) is not None and len(text) <= _LONGEST_NAME


def table_of(name: str) -> tuple[str, str, str] | None:
    """Return the table, the chosen name and the rest of a dotted name: `alerts.notify`, `ops` and `level`.

    Args:
        name: dotted; the rest may be empty, and need not be a key.

    Returns:
        None if it is in none of `TABLES`.
    """
    for table in TABLES:
        if name.startswith(f"{table}."):
            chosen, _, rest = name.removeprefix(f"{table}.").partition(".")
            return table, chosen, rest
    return None


def find_key(name: str) -> Key | None:
    """Return the key of a dotted name, also of one in `TABLES`; None if there is none."""
    if name in KEYS:
        return KEYS[name]
    match table_of(name):
        case table, chosen, leaf if is_name(chosen) and leaf in TABLES[table].model_fields:
            return Key(name, TABLES[table].model_fields[leaf])
        case _:
            return None


def all_keys(settings: Settings) -> Iterator[Key]:
    """Yield every key that the settings have, those of chosen names behind the others of their section."""
    section = ""
    for name, key in KEYS.items():
        if (begun := name.rpartition(".")[0]) != section:
            yield from _chosen_keys(settings, section)
            section = begun
        yield key
    yield from _chosen_keys(settings, section)


def _chosen_keys(settings: Settings, section: str) -> Iterator[Key]:
    for table, model in TABLES.items():
        if table.rpartition(".")[0] == section:
            for chosen in _at(settings, table):
                yield from (Key(f"{table}.{chosen}.{leaf}", field) for leaf, field in model.model_fields.items())


def _at(settings: Settings, table: str) -> Mapping[str, BaseModel]:
    value: Any = settings
    for part in table.split("."):
        value = getattr(value, part)
    found: Mapping[str, BaseModel] = value
    return found
