"""One line for each subsystem of a machine: the live view of `hostpulse up`."""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import UNSET

from hostpulse.bus.fields import MAXIMUM_ENTRIES, Fields
from hostpulse.bus.times import format_duration

from .terminal import clean, size

__all__ = ["LatestFields", "line_of"]

Values = Mapping[str, Any]
_GIGAHERTZ = 1e9


class LatestFields:
    """The last known value of each field of a subsystem; its messages bring different fields at different times."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def add(self, fields: Fields) -> None:
        """Take what a message brought."""
        _merge(self.values, fields)


def _merge(values: dict[str, Any], fields: Fields) -> None:
    for name in fields.__struct_fields__:
        value = getattr(fields, name)
        if isinstance(value, dict):
            known = values.setdefault(name, {})
            if len(known) + len(value) > MAXIMUM_ENTRIES:
                known.clear()  # most have gone long ago, such as the interfaces of containers
            for key, entry in value.items():
                _merge(known.setdefault(key, {}), entry)
        elif value is not UNSET:
            values[name] = value


def line_of(subsystem: str, values: Values) -> str:
    """Return a subsystem in one line."""
    parts = _LINES[subsystem](values) if subsystem in _LINES else []
    return clean(" · ".join(part for part in parts if part))


def _shown(values: Values, name: str, template: str, scale: float = 1) -> str:
    value = values.get(name)
    return "" if value is None else template.format(value * scale if isinstance(value, float | int) else value)


def _literal(text: str) -> str:
    """Return text as it stands in a template: a mount point may have braces."""
    return text.replace("{", "{{").replace("}", "}}")


def _sized(values: Values, name: str, template: str) -> str:
    value = values.get(name)
    return "" if value is None else template.format(size(value))


def _cpu(values: Values) -> list[str]:
    cores = len(values.get("core", {}))
    return [
        _shown(values, "utilization_percent", f"{{:.1f}} % of {cores} CPUs" if cores else "{:.1f} %"),
        _shown(values, "load_average_1m", "load {:.2f}"),
        _shown(values, "frequency_hertz", "{:.2f} GHz", 1 / _GIGAHERTZ),
        _shown(values, "temperature_celsius", "{:.0f} °C"),
    ]


def _memory(values: Values) -> list[str]:
    return [
        _sized(values, "used_bytes", "{}") + _sized(values, "total_bytes", " of {}"),
        _shown(values, "used_percent", "{:.1f} % used"),
        _shown(values, "swap_used_percent", "swap {:.0f} %"),
    ]


def _disk(values: Values) -> list[str]:
    mounts = values.get("mount", {})
    fullest = max(mounts, key=lambda point: mounts[point].get("used_percent", 0), default=None)
    return [
        "" if fullest is None else _shown(mounts[fullest], "used_percent", f"{_literal(fullest)} {{:.1f}} % used"),
        _sized(values, "read_bytes_per_second", "read {}/s"),
        _sized(values, "write_bytes_per_second", "write {}/s"),
    ]


def _network(values: Values) -> list[str]:
    up = [name for name, one in values.get("interface", {}).items() if one.get("link") == "up"]
    return [
        f"{', '.join(up)} up" if up else "",
        _sized(values, "received_bytes_per_second", "in {}/s"),
        _sized(values, "sent_bytes_per_second", "out {}/s"),
    ]


def _gpu(values: Values) -> list[str]:
    devices = values.get("device", {})
    busiest = max(devices, key=lambda gpu: devices[gpu].get("utilization_percent", -1), default=None)
    one = {} if busiest is None else devices[busiest]
    return [
        _shown(one, "name", "{}"),
        _shown(one, "utilization_percent", "{:.0f} %"),
        _sized(one, "memory_used_bytes", "{}") + _sized(one, "memory_total_bytes", " of {}"),
        _shown(one, "temperature_celsius", "{:.0f} °C"),
        _shown(values, "power_watts", "{:.0f} W"),
    ]


def _sensors(values: Values) -> list[str]:
    sensors, fans = values.get("temperature", {}), values.get("fan", {})
    hottest = max(sensors, key=lambda name: sensors[name].get("temperature_celsius", -1), default=None)
    turning = [fan["speed_rpm"] for fan in fans.values() if fan.get("speed_rpm")]
    celsius = {} if hottest is None else sensors[hottest]
    return [
        _shown(celsius, "temperature_celsius", f"hottest {_literal(hottest or '')} {{:.0f}} °C"),
        f"{len(turning)} of {len(fans)} fans turn, fastest {max(turning, default=0)} rpm" if fans else "",
    ]


def _battery(values: Values) -> list[str]:
    states = sorted({pack.get("state", "") for pack in values.get("pack", {}).values()})
    remaining = values.get("remaining_seconds")
    return [
        _shown(values, "charge_percent", "{:.0f} %"),
        ", ".join(states),
        "" if remaining is None else format_duration(remaining),
    ]


def _smart(values: Values) -> list[str]:
    drives = values.get("drive", {})
    asleep = sum(one.get("state") == "asleep" for one in drives.values())
    failing = values.get("failing_drives")
    most_worn = max((one["wear_percent"] for one in drives.values() if "wear_percent" in one), default=None)
    return [
        f"{len(drives)} drive{'' if len(drives) == 1 else 's'}" + (f", {asleep} asleep" if asleep else ""),
        f"{failing} failing" if failing else "",
        "" if most_worn is None else f"{most_worn:.0f} % worn",
    ]


def _system(values: Values) -> list[str]:
    uptime = values.get("uptime_seconds")
    return [
        values.get("platform", ""),
        "" if uptime is None else f"up {format_duration(uptime)}",
        _shown(values, "processes", "{:.0f} processes"),
    ]


def _publisher(values: Values) -> list[str]:
    return [
        _shown(values, "cpu_percent", "{:.1f} % CPU"),
        _sized(values, "memory_bytes", "{}"),
        # The first message is from before anything was sent, and the next one comes half a minute later.
        _shown(values, "sent_messages", "{:.0f} messages sent") if values.get("sent_messages") else "",
        _shown(values, "outbox_messages", "{:.0f} waiting") if values.get("outbox_messages") else "",
    ]


def _consumer(values: Values) -> list[str]:
    members = values.get("member", {}).values()
    rows = [one["stored_rows"] for one in members if "stored_rows" in one]
    firing = [one["firing_alerts"] for one in members if "firing_alerts" in one]
    memory = [one["memory_bytes"] for one in members if "memory_bytes" in one]
    return [
        size(max(memory)) if memory else "",  # its roles are one process
        f"{sum(rows)} rows stored" if rows else "",
        f"{sum(firing)} {'alert fires' if sum(firing) == 1 else 'alerts fire'}" if firing else "",
        _shown(values, "missing_messages", "{:.0f} missing") if values.get("missing_messages") else "",
    ]


_LINES: Mapping[str, Callable[[Values], list[str]]] = {
    "cpu": _cpu,
    "memory": _memory,
    "disk": _disk,
    "network": _network,
    "gpu": _gpu,
    "sensors": _sensors,
    "battery": _battery,
    "smart": _smart,
    "system": _system,
    "publisher": _publisher,
    "consumer": _consumer,
}
