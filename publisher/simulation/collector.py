"""A collector whose values are made up: every field that the contract has for a subsystem."""

import math
from collections.abc import Callable, Mapping, Sequence
from random import Random

import msgspec

from hostpulse.bus.fields import Field, Fields, Kind, Table, Unit
from hostpulse.bus.messages import FROM_CONSUMERS, SUBSYSTEMS, TABLES

from ..collectors.base import Collector

__all__ = ["SIMULATED", "SyntheticCollector"]

SIMULATED = tuple(name for name in SUBSYSTEMS if name not in {"publisher", *FROM_CONSUMERS})
"""Subsystems that can be made up; the publisher's own health is real in a simulation, too."""

_USUAL: Mapping[Unit, float] = {
    Unit.NONE: 3,
    Unit.PERCENT: 40,
    Unit.BYTES: 8e9,
    Unit.BYTES_PER_SECOND: 1e6,
    Unit.BITS_PER_SECOND: 1e9,
    Unit.PER_SECOND: 20,
    Unit.CELSIUS: 45,
    Unit.HERTZ: 2.4e9,
    Unit.WATTS: 60,
    Unit.JOULES: 1e6,
    Unit.VOLTS: 12,
    Unit.SECONDS: 0.05,
    Unit.RPM: 900,
}
_KEYS: Mapping[str, Sequence[str]] = {
    "cpu_core": ("0", "1", "2", "3"),
    "disk_mount": ("/", "/home"),
    "disk_device": ("nvme0n1", "sda"),
    "network_interface": ("enp1s0", "lo"),
    "gpu_device": ("GPU-00000000-0000-0000-0000-000000000000",),
    "sensors_temperature": ("cpu Package", "nvme Composite"),
    "sensors_fan": ("nct6775 fan1", "nct6775 fan2"),
    "battery_pack": ("BAT0",),
    "smart_drive": ("S5GXNX0T123456A", "WD-WX42A1234567"),
}
_WORDS = {
    "state": "ok",
    "vendor": "nvidia",
    "link": "up",
    "file_system": "ext4",
    "throttle_reasons": "none",
    "critical_warning": "none",
}
_FALSE = frozenset({"under_voltage"})

_STEADY = frozenset(
    {"total", "limit", "high", "critical", "slowdown", "minimum", "boot", "threshold"}
)  # words in a field's name
_BOUND = 4.0  # of a total, in terms of what is usual: nothing below it reaches that
_SWING = 0.4  # how far a value moves from its mean, in terms of it
_COUNTED = 0.01  # by how much a counter grows in a second, in terms of what is usual
_PERIODS = 60.0, 900.0  # between which each value has one of its own, seconds


class SyntheticCollector(Collector):
    """Makes values up that move like those of a machine that has something to do.

    Args:
        subsystem: one of `SIMULATED`.
        seed: the same one makes the same values at the same moments.
        seconds: the time that they move with.
    """

    inline = True

    def __init__(self, subsystem: str, *, seed: str, seconds: Callable[[], float]) -> None:
        self.name = self.subsystem = subsystem
        self._seconds = seconds
        random = Random(f"{seed} {subsystem}")  # noqa: S311  no secret; it has to be the same each time
        self._own = _row(TABLES[subsystem], random)
        self._maps = {
            table.map: {key: _row(table, random) for key in _KEYS[table.name]}
            for table in TABLES.values()
            if table.subsystem == subsystem and table.map is not None
        }

    def read(self) -> Fields:
        """Return the values of this moment."""
        now = self._seconds()
        fields: dict[str, object] = _at(self._own, now)
        for name, rows in self._maps.items():
            fields[name] = {key: _at(row, now) for key, row in rows.items()}
        return msgspec.convert(fields, SUBSYSTEMS[self.subsystem])


_Row = Sequence[tuple[str, Callable[[float], object]]]


def _at(row: _Row, now: float) -> dict[str, object]:
    return {name: value(now) for name, value in row}


def _row(table: Table, random: Random) -> _Row:
    return [(field.name, _value(field, random)) for field in table.fields]


def _value(field: Field, random: Random) -> Callable[[float], object]:
    """Return what gives a field's value at a moment."""
    if field.type is str:
        word = _WORDS.get(field.name, f"simulated {field.name}")
        return lambda _now: word
    if field.type is bool:
        return lambda _now: field.name not in _FALSE
    number = field.type
    level = _USUAL[field.unit] * random.uniform(0.5, 1.5)
    if not _STEADY.isdisjoint(field.name.split("_")):
        bound = number(_USUAL[field.unit] * (1 if field.unit is Unit.PERCENT else _BOUND))
        return lambda _now: bound
    if field.kind is Kind.COUNTER:
        return lambda now: number(level * _COUNTED * now)
    period, phase = random.uniform(*_PERIODS), random.uniform(0, math.tau)
    return lambda now: number(round(level * (1 + _SWING * math.sin(math.tau * now / period + phase)), 3))
