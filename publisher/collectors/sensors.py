"""Temperatures and fans of the hardware monitoring chips and thermal zones."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from msgspec import UNSET, UnsetType

from hostpulse.bus.messages import Sensors, SensorsFan, SensorsTemperature

from ..files import list_directory, read_int, read_text
from ..machine import Machine
from .base import Collector, NoDataError
from .hwmon import Channel, Chip, Watch, chips, read_celsius, slug, zones

__all__ = ["NvmeTemperatureCollector", "SensorsCollector"]

_MILLIDEGREES = 1000
_HIGHEST_LIMIT_CELSIUS = 200.0
_NO_SPEED_RPM = 65535  # what a fan controller says that could not measure
_NO_SENSOR = frozenset({"INT3400 Thermal"})  # a policy in the shape of a zone; it always says 20 °C
_ZONE_OF_CHIP = {"x86_pkg_temp": "coretemp"}  # zones that repeat a chip without being linked to it


class _Temperature(NamedTuple):
    path: str
    high: float | UnsetType
    critical: float | UnsetType

    def read(self) -> SensorsTemperature | None:
        """Return the temperature now; None where there is none."""
        celsius = read_celsius(self.path)
        if celsius is None:
            return None
        return SensorsTemperature(temperature_celsius=celsius, high_celsius=self.high, critical_celsius=self.critical)


def _limit(path: str) -> float | UnsetType:
    """Return a limit in °C; drivers write 0, or something beyond reason, where they know none."""
    raw = read_int(path)
    if raw is None or not 0 < raw / _MILLIDEGREES <= _HIGHEST_LIMIT_CELSIUS:
        return UNSET
    return round(raw / _MILLIDEGREES, 1)


def _named(found: Iterable[Chip], kind: str) -> Iterator[tuple[str, Channel]]:
    """Yield the channels of a kind with their names, each name once."""
    names = set()
    for chip in found:
        for channel in chip.channels(kind):
            name = f"{chip.name}_{slug(channel.label or '') or f'{kind}{channel.number}'}"
            if name in names:  # two channels of a chip with the same label
                name = f"{name}_{channel.number}"
            names.add(name)
            yield name, channel


def _temperatures(found: Iterable[Chip]) -> dict[str, _Temperature]:
    """Return the temperature channels of chips by name."""
    return {
        name: _Temperature(f"{one.stem}_input", _limit(f"{one.stem}_max"), _limit(f"{one.stem}_crit"))
        for name, one in _named(found, "temp")
    }


def _zones(sys: str, drivers: Iterable[str]) -> dict[str, _Temperature]:
    """Return the thermal zones that no chip of hwmon repeats."""
    known = {*drivers}
    sensors: dict[str, _Temperature] = {}
    for kind, directory in zones(sys):
        files = list_directory(directory)
        name = slug(kind)
        repeated = _ZONE_OF_CHIP.get(kind, name) in known or any(file.startswith("hwmon") for file in files)
        if repeated or not name or kind in _NO_SENSOR:
            continue
        trips = [file.removesuffix("_type") for file in files if file.endswith("_type")]
        critical = [trip for trip in trips if read_text(f"{directory}/{trip}_type") == "critical"]
        if name in sensors:
            name = f"{name}_{directory.rpartition('thermal_zone')[2]}"
        limit = _limit(f"{directory}/{critical[0]}_temp") if critical else UNSET
        sensors[name] = _Temperature(f"{directory}/temp", UNSET, limit)
    return sensors


def _read(temperatures: dict[str, _Temperature]) -> dict[str, SensorsTemperature]:
    return {name: value for name, one in temperatures.items() if (value := one.read()) is not None}


class SensorsCollector(Collector):
    """Every temperature but NVMe's, with its own limits, and every fan.

    Sources: hwmon and thermal zones in sysfs.
    """

    name = "sensors"
    subsystem = "sensors"
    period_seconds = 15.0

    def __init__(self, machine: Machine) -> None:
        self._sys = machine.sys
        self._watch = Watch(machine.sys)
        self._temperatures: dict[str, _Temperature] = {}
        self._fans: dict[str, str] = {}

    def probe(self) -> bool:
        """Find the chips."""
        self._find()
        return bool(self._temperatures or self._fans)

    def _find(self) -> None:
        """Find the chips where some have come or gone; names and limits of one do not change while it is there."""
        if self._watch.changed():
            found = [chip for chip in chips(self._sys) if chip.driver != "nvme"]
            self._temperatures = _zones(self._sys, (chip.driver for chip in found)) | _temperatures(found)
            self._fans = {name: channel.stem for name, channel in _named(found, "fan")}

    def read(self) -> Sensors:
        """Return temperatures and fans now."""
        self._find()
        temperatures = _read(self._temperatures)
        fans = {}
        for name, stem in self._fans.items():
            speed, minimum = read_int(f"{stem}_input"), read_int(f"{stem}_min")
            if speed is not None and 0 <= speed < _NO_SPEED_RPM:
                fans[name] = SensorsFan(speed_rpm=speed, minimum_rpm=minimum if minimum and minimum > 0 else UNSET)
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
        self._watch = Watch(machine.sys)
        self._temperatures: dict[str, _Temperature] = {}

    def probe(self) -> bool:
        """Find the drives."""
        self._find()
        return bool(self._temperatures)

    def _find(self) -> None:
        if self._watch.changed():
            self._temperatures = _temperatures(chip for chip in chips(self._sys) if chip.driver == "nvme")

    def read(self) -> Sensors:
        """Return the temperatures now."""
        self._find()
        temperatures = _read(self._temperatures)
        if not temperatures:
            raise NoDataError("no NVMe drive answers")
        return Sensors(temperature=temperatures)
