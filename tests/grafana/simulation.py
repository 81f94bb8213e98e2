"""What two simulated hosts say: one that is well, and one in trouble. Every table and every field of the contract."""

import itertools
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from hostpulse.bus.codec import NO_INTERVAL, Envelope, Sample
from hostpulse.bus.fields import Field, Fields, Unit
from hostpulse.bus.messages import EVENT, SUBSYSTEMS, TABLES, Event

__all__ = ["ODD_MOUNT", "TROUBLED", "WELL", "messages"]

WELL = "alpha"
TROUBLED = 'be"ta/1 (${x}).windowPeriod'
"""Has every character that means something to Flux, to a regular expression or to Grafana."""
ODD_MOUNT = '/mnt/a"b$|\\c'

KEYS = {
    "cpu_core": ["0", "1"],
    "disk_mount": ["/", ODD_MOUNT],
    "disk_device": ["nvme0n1", "sda"],
    "network_interface": ["enp1s0", "lo"],
    "gpu_device": ["GPU-8f6d8a0e-1c2b-4a57-9f0e-0123456789ab", "0000:03:00.0"],
    "sensors_temperature": ["cpu Package", "nvme Composite"],
    "sensors_fan": ["nct6775 fan1"],
    "battery_pack": ["BAT0"],
    "smart_drive": ["S5GXNX0T123456A", "WD-WX42A1234567"],
    "publisher_collector": ["cpu", "disk_mounts"],
    "consumer_member": ["store"],
}
USUAL = {
    Unit.NONE: 3,
    Unit.PERCENT: 40,
    Unit.BYTES: 8_000_000_000,
    Unit.BYTES_PER_SECOND: 1_000_000,
    Unit.BITS_PER_SECOND: 1_000_000_000,
    Unit.PER_SECOND: 20,
    Unit.CELSIUS: 50,
    Unit.HERTZ: 2_400_000_000,
    Unit.WATTS: 60,
    Unit.JOULES: 1_000_000,
    Unit.VOLTS: 12,
    Unit.SECONDS: 0.25,
    Unit.RPM: 900,
}
WORDS = {"state": "ok", "vendor": "nvidia", "link": "up", "file_system": "ext4"}
# What differs from the usual: for every host, and for the troubled one.
EVERY = {
    "sensors_temperature": {"high_celsius": 80.0, "critical_celsius": 100.0},
    "gpu_device": {"slowdown_celsius": 90.0, "throttled_percent": 0.0},
    "memory": {"oom_kills": 0},
    "publisher": {"dropped_messages": 0},
}
TROUBLE = {
    "memory": {"used_percent": 97.0},
    "disk_mount": {"used_percent": 98.0, "inodes_used_percent": 99.0, "state": "read_only"},
    "sensors_temperature": {"temperature_celsius": 85.0},
    "gpu_device": {"temperature_celsius": 89.0, "throttled_percent": 30.0, "state": "lost"},
    "battery": {"mains": False, "charge_percent": 9.0},
    "publisher_collector": {"state": "stalled"},
    "smart_drive": {"healthy": False, "pending_sectors": 8},
}
EVENT_EVERY = 20
"""Of so many messages of the troubled host one is followed by an event."""
GROWING = {("memory", "oom_kills"), ("publisher", "dropped_messages")}


def _value(table: str, field: Field, moment: float, *, troubled: bool, number: int) -> Any:
    if troubled and (table, field.name) in GROWING:
        return number // 10
    for special in (TROUBLE if troubled else {}, EVERY):
        if field.name in special.get(table, {}):
            return special[table][field.name]
    if field.type is str:
        return WORDS.get(field.name, f"the {field.name}")
    if field.type is bool:
        return True
    return field.type(USUAL[field.unit] * (1 + 0.1 * math.sin(moment / 600)))


def _entry(table: str, moment: float, *, troubled: bool, number: int) -> dict[str, Any]:
    return {
        field.name: _value(table, field, moment, troubled=troubled, number=number) for field in TABLES[table].fields
    }


def _fields(subsystem: str, moment: float, *, troubled: bool, number: int) -> Fields:
    made = _entry(subsystem, moment, troubled=troubled, number=number)
    for table in TABLES.values():
        if table.subsystem == subsystem and table.map is not None:
            made[table.map] = {
                key: _entry(table.name, moment, troubled=troubled, number=number) for key in KEYS[table.name]
            }
    return msgspec.convert(made, SUBSYSTEMS[subsystem])


def _event(number: int) -> Event:
    fires = number % 2 == 0
    event = Event(
        rule="disk_full",
        labels=f"mount={ODD_MOUNT}",
        kind="fired" if fires else "resolved",
        before="ok" if fires else "critical",
        level="critical" if fires else "ok",
        summary="98 % full" if fires else "40 % full",
        told=number % 4 != 3,
    )
    if not event.told:
        event.why = "nobody was told of it"
    return event


def messages(host: str, start: float, stop: float, *, interval: float, troubled: bool = False) -> Iterator[Sample]:
    """Yield what a host says from one moment to another, in seconds since the epoch.

    The troubled one loses a message of each subsystem in its last 20 minutes, and an alert of it fires and resolves by
    turns; it fires at last. Of every other end nobody is told.
    """
    for number in itertools.count():
        moment = start + number * interval
        if moment >= stop:
            return
        lost = troubled and moment > stop - 1200
        for subsystem in SUBSYSTEMS:
            if subsystem == EVENT and not (troubled and number % EVENT_EVERY == 0):
                continue
            envelope = Envelope(
                v=1,
                host=host,
                subsystem=subsystem,
                timestamp=datetime.fromtimestamp(math.floor(moment), UTC),
                sequence=(number // EVENT_EVERY if subsystem == EVENT else number) + 1 + lost,
                session=datetime(2026, 1, 1, tzinfo=UTC),
                interval=NO_INTERVAL if subsystem == EVENT else interval,
            )
            if subsystem == EVENT:
                yield Sample(envelope, _event(number // EVENT_EVERY))
            else:
                yield Sample(envelope, _fields(subsystem, moment, troubled=troubled, number=number))
