"""Temperatures and fans of the hardware monitoring chips and thermal zones."""

from typing import NamedTuple

from msgspec import UNSET, UnsetType

from hostpulse.bus.messages import Sensors, SensorsFan, SensorsTemperature

from ..files import list_directory, read_int, read_text
from ..machine import Machine
from .base import Collector, NoDataError
from .hwmon import Channel, Chip, chips, slug

__all__ = ["NvmeTemperatureCollector", "SensorsCollector"]

_MILLIDEGREES = 1000
# What lies outside is a channel that nothing is connected to, not a temperature.
_LOWEST_CELSIUS, _HIGHEST_CELSIUS = -40.0, 125.0
_HIGHEST_LIMIT_CELSIUS = 200.0


class _Temperature(NamedTuple):
    path: str
    high: float | UnsetType
    critical: float | UnsetType

    def read(self) -> SensorsTemperature | None:
        """Return the temperature now; None where there is none."""
        raw = read_int(self.path)
        if raw is None or not _LOWEST_CELSIUS < raw / _MILLIDEGREES <= _HIGHEST_CELSIUS:
            return None
        return SensorsTemperature(
            temperature_celsius=round(raw / _MILLIDEGREES, 1), high_celsius=self.high, critical_celsius=self.critical
        )


def _limit(path: str) -> float | UnsetType:
    """Return a limit in °C; drivers write 0, or something beyond reason, where they know none."""
    raw = read_int(path)
    if raw is None or not 0 < raw / _MILLIDEGREES <= _HIGHEST_LIMIT_CELSIUS:
        return UNSET
    return round(raw / _MILLIDEGREES, 1)


def _channel_name(chip: Chip, channel: Channel, kind: str) -> str:
    return f"{chip.name}_{slug(channel.label or '') or f'{kind}{channel.number}'}"


def _temperatures(found: list[Chip]) -> dict[str, _Temperature]:
    """Return the temperature channels of chips by name."""
    sensors: dict[str, _Temperature] = {}
    for chip in found:
        for channel in chip.channels("temp"):
            name = _channel_name(chip, channel, "temp")
            if name in sensors:  # two channels of a chip with the same label
                name = f"{name}_{channel.number}"
            sensors[name] = _Temperature(
                f"{channel.stem}_input", _limit(f"{channel.stem}_max"), _limit(f"{channel.stem}_crit")
            )
    return sensors


def _zones(sys: str) -> dict[str, _Temperature]:
    """Return the thermal zones that no chip of hwmon repeats."""
    root = f"{sys}/class/thermal"
    zones: dict[str, _Temperature] = {}
    for zone in list_directory(root):
        kind = read_text(f"{root}/{zone}/type")
        if zone.startswith("thermal_zone") and kind and not _has_hwmon(f"{root}/{zone}"):
            critical: float | UnsetType = UNSET
            for file in list_directory(f"{root}/{zone}"):
                if file.endswith("_type") and read_text(f"{root}/{zone}/{file}") == "critical":
                    critical = _limit(f"{root}/{zone}/{file.removesuffix('_type')}_temp")
            name = slug(kind)
            name = f"{name}_{zone.removeprefix('thermal_zone')}" if name in zones else name
            zones[name] = _Temperature(f"{root}/{zone}/temp", UNSET, critical)
    return zones


def _has_hwmon(zone: str) -> bool:
    return any(name.startswith("hwmon") for name in list_directory(zone))


class SensorsCollector(Collector):
    """Every temperature but NVMe's, with its own limits, and every fan.

    Sources: hwmon and thermal zones in sysfs.
    """

    name = "sensors"
    subsystem = "sensors"
    period_seconds = 15.0

    def __init__(self, machine: Machine) -> None:
        self._sys = machine.sys
        self._temperatures: dict[str, _Temperature] = {}
        self._fans: dict[str, str] = {}

    def probe(self) -> bool:
        """Find the chips; names and limits do not change while the machine runs."""
        found = [chip for chip in chips(self._sys) if chip.driver != "nvme"]
        names = {chip.driver for chip in found}
        zones = {name: zone for name, zone in _zones(self._sys).items() if name not in names}
        self._temperatures = zones | _temperatures(found)
        self._fans = {
            _channel_name(chip, channel, "fan"): channel.stem for chip in found for channel in chip.channels("fan")
        }
        return bool(self._temperatures or self._fans)

    def read(self) -> Sensors:
        """Return temperatures and fans now."""
        temperatures = {name: value for name, one in self._temperatures.items() if (value := one.read()) is not None}
        fans = {}
        for name, stem in self._fans.items():
            speed = read_int(f"{stem}_input")
            if speed is not None and speed >= 0:
                minimum = read_int(f"{stem}_min")
                fans[name] = SensorsFan(speed_rpm=speed, minimum_rpm=minimum or UNSET)
        if not temperatures and not fans:
            raise NoDataError("no sensor answers")
        return Sensors(temperature=temperatures or UNSET, fan=fans or UNSET)


class NvmeTemperatureCollector(Collector):
    """Temperatures of NVMe drives, once a minute: asked every second, the asking itself warms a drive by 20 °C.

    Source: hwmon in sysfs.
    """

    name = "nvme_temperature"
    subsystem = "sensors"
    period_seconds = 60.0

    def __init__(self, machine: Machine) -> None:
        self._sys = machine.sys
        self._temperatures: dict[str, _Temperature] = {}

    def probe(self) -> bool:
        """Find the drives."""
        self._temperatures = _temperatures([chip for chip in chips(self._sys) if chip.driver == "nvme"])
        return bool(self._temperatures)

    def read(self) -> Sensors:
        """Return the temperatures now."""
        temperatures = {name: value for name, one in self._temperatures.items() if (value := one.read()) is not None}
        if not temperatures:
            raise NoDataError("no NVMe drive answers")
        return Sensors(temperature=temperatures)
