"""How a field says what it is: unit, kind and meaning beside its type, and the tables that follow from them.

The structs of `messages` are the single source of names, types, units, kinds and meanings; JSON, schema, storage,
CSV and documentation are derived from the tables built here.

    class Cpu(SubsystemFields):
        utilization_percent: Annotated[Float, rate("Share of CPU time that was not idle.")] = UNSET
        core: Annotated[Map[CpuCore], table("Each logical CPU.")] = UNSET
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct, UnsetType

__all__ = [
    "LONGEST_TEXT",
    "MAXIMUM_ENTRIES",
    "Count",
    "Field",
    "Fields",
    "Flag",
    "Float",
    "Kind",
    "Map",
    "SubsystemFields",
    "Table",
    "Text",
    "Unit",
    "condition",
    "counter",
    "gauge",
    "happening",
    "rate",
    "table",
    "tables_of",
    "unit_of",
]

MAXIMUM_ENTRIES = 4096
"""Entries that a map may hold; also the devices that one table of the embedded store can tell apart."""

LONGEST_TEXT = 1024
"""Characters that a text may have."""


class Kind(StrEnum):
    """How a value behaves in time."""

    GAUGE = "gauge"  # a value at the moment of the sample
    RATE = "rate"  # derived from a counter over the time since the sample before
    COUNTER = "counter"  # only grows, until a restart
    STATE = "state"  # one of a few words, or text that rarely changes
    EVENT = "event"  # of something that happened once: it has no mean, and says nothing of the time until the next one


class Unit(StrEnum):
    """Unit of a value; the last words of a field's name say which."""

    NONE = ""
    PERCENT = "%"
    BYTES = "B"
    BYTES_PER_SECOND = "B/s"
    BITS_PER_SECOND = "bit/s"
    PER_SECOND = "1/s"
    CELSIUS = "°C"
    HERTZ = "Hz"
    WATTS = "W"
    JOULES = "J"
    VOLTS = "V"
    SECONDS = "s"
    RPM = "rpm"


# Longest first: `_bytes_per_second` also ends in `_per_second` and `_second`.
_SUFFIXES = (
    ("_bytes_per_second", Unit.BYTES_PER_SECOND),
    ("_bits_per_second", Unit.BITS_PER_SECOND),
    ("_per_second", Unit.PER_SECOND),
    ("_percent", Unit.PERCENT),
    ("_celsius", Unit.CELSIUS),
    ("_seconds", Unit.SECONDS),
    ("_joules", Unit.JOULES),
    ("_bytes", Unit.BYTES),
    ("_hertz", Unit.HERTZ),
    ("_watts", Unit.WATTS),
    ("_volts", Unit.VOLTS),
    ("_rpm", Unit.RPM),
)

_T = TypeVar("_T")

Float = float | UnsetType
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)] | UnsetType
Flag = bool | UnsetType
Text = Annotated[str, Meta(max_length=LONGEST_TEXT)] | UnsetType
_Key = Annotated[str, Meta(min_length=1, max_length=512)]
Map = Annotated[dict[_Key, _T], Meta(max_length=MAXIMUM_ENTRIES)] | UnsetType


class Fields(Struct, kw_only=True, gc=False):
    """Some of what a sample says. A field that is not known is UNSET and absent from the message."""


class SubsystemFields(Fields, forbid_unknown_fields=True):
    """What one sample of a subsystem says.

    Others may say more than we know, but that is for `codec` to allow: that nothing else stands in a text is worth
    knowing there.
    """


@dataclass(frozen=True, slots=True)
class Field:
    """One value of a table."""

    name: str
    type: type[float | str]
    unit: Unit
    kind: Kind
    meaning: str

    @property
    def has_mean(self) -> bool:
        """Whether values of several moments can be summed up: not text, and not what is said of single events."""
        return self.type is not str and self.kind is not Kind.EVENT


@dataclass(frozen=True, slots=True)
class Table:
    """The fields of a subsystem, or of one of its maps.

    Attributes:
        name: `cpu`, `cpu_core`: measurement, embedded table, and what `history` and `export` take.
        subsystem: whose message it comes from.
        map: field of the message that holds it; None for the subsystem's own fields.
        key: column that holds the map's key; None for the subsystem's own fields.
        fields: its values, in the order of the message.
        meaning: one sentence.
    """

    name: str
    subsystem: str
    map: str | None
    key: str | None
    fields: tuple[Field, ...]
    meaning: str

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column in order: timestamp, host, the key if there is one, the fields."""
        key = () if self.key is None else (self.key,)
        return ("timestamp", "host", *key, *(field.name for field in self.fields))

    def field(self, name: str) -> Field | None:
        """Return the field of that name."""
        return next((field for field in self.fields if field.name == name), None)


def gauge(meaning: str) -> Meta:
    """Mark a value at the moment of the sample."""
    return Meta(description=meaning, extra={"kind": Kind.GAUGE})


def rate(meaning: str) -> Meta:
    """Mark a value derived from a counter over the time since the sample before."""
    return Meta(description=meaning, extra={"kind": Kind.RATE})


def counter(meaning: str) -> Meta:
    """Mark a total that only grows until a restart."""
    return Meta(description=meaning, extra={"kind": Kind.COUNTER})


def condition(meaning: str) -> Meta:
    """Mark one of a few words, or text that rarely changes."""
    return Meta(description=meaning, extra={"kind": Kind.STATE})


def happening(meaning: str) -> Meta:
    """Mark what is said of something that happened once."""
    return Meta(description=meaning, extra={"kind": Kind.EVENT})


def table(meaning: str, *, key: str | None = None) -> Meta:
    """Mark a map of several of a kind. `key` names the column of its keys where the map's own name does not do."""
    return Meta(description=meaning, extra={"key": key})


def unit_of(name: str) -> Unit:
    """Return the unit that a field's name ends in."""
    return next((unit for suffix, unit in _SUFFIXES if name.endswith(suffix)), Unit.NONE)


_PYTHON_TYPES: Mapping[type[msgspec.inspect.Type], type[float | str]] = {
    msgspec.inspect.FloatType: float,
    msgspec.inspect.IntType: int,
    msgspec.inspect.BoolType: bool,
    msgspec.inspect.StrType: str,
}


def _split(annotation: msgspec.inspect.Type) -> tuple[Any, str, dict[str, Any]]:
    """Return an annotation's value type, its meaning and what our markers said."""
    meaning, extra = "", {}
    while isinstance(annotation, msgspec.inspect.Metadata):
        meaning = (annotation.extra_json_schema or {}).get("description", meaning)
        extra.update(annotation.extra or {})
        annotation = annotation.type
    return annotation, meaning, extra


def _struct_fields(struct: type[Struct]) -> Iterator[tuple[str, Any, str, dict[str, Any]]]:
    info: Any = msgspec.inspect.type_info(struct)
    for item in info.fields:
        yield (item.name, *_split(item.type))


def _values(struct: type[Struct]) -> tuple[Field, ...]:
    return tuple(
        Field(name, _PYTHON_TYPES[type(value)], unit_of(name), extra["kind"], meaning)
        for name, value, meaning, extra in _struct_fields(struct)
        if "kind" in extra
    )


def tables_of(subsystem: str, struct: type[Fields]) -> tuple[Table, ...]:
    """Return the tables of a subsystem: its own fields first, then each of its maps."""
    own = Table(subsystem, subsystem, None, None, _values(struct), (struct.__doc__ or "").partition("\n")[0])
    maps = [
        Table(f"{subsystem}_{name}", subsystem, name, extra["key"] or name, _values(value.value_type.cls), meaning)
        for name, value, meaning, extra in _struct_fields(struct)
        if "key" in extra
    ]
    return (own, *maps)
