"""What slows the processor down: heat, and on a Raspberry Pi a supply that is too weak."""

from collections.abc import Mapping
from typing import NamedTuple

from msgspec import UNSET, UnsetType

from hostpulse.bus.messages import Cpu

from ..files import list_directory, read_int, read_text
from ..machine import Machine
from ..rates import Stopwatch, percent
from .base import Collector, NoDataError
from .hwmon import Watch, chips

__all__ = ["CpuThrottleCollector", "FirmwareState", "share_of_looks", "share_of_time"]

_MILLISECONDS = 1000
_VOLTAGE_CHIP = "rpi_volt"

# Bits of get_throttled that say what is so now. Those sixteen higher say what was so at any time since the start.
_UNDER_VOLTAGE, _FREQUENCY_CAP, _THROTTLED, _SOFT_TEMPERATURE_LIMIT = 1, 2, 4, 8


class FirmwareState(NamedTuple):
    """What the firmware of a Raspberry Pi says of this moment: `get_throttled`."""

    bits: int

    @property
    def under_voltage(self) -> bool:
        """Whether the supply is too weak."""
        return bool(self.bits & _UNDER_VOLTAGE)

    @property
    def slowed(self) -> bool:
        """Whether the processor is slower than it could be, for whatever reason."""
        return bool(self.bits & (_FREQUENCY_CAP | _THROTTLED | _SOFT_TEMPERATURE_LIMIT))

    @property
    def reasons(self) -> str:
        """Why, in words with commas between; `none` where all is well."""
        # Throttling alone does not tell why; with a weak supply, that is why.
        hot = self.bits & _SOFT_TEMPERATURE_LIMIT or (self.bits & _THROTTLED and not self.under_voltage)
        reasons = (
            ("thermal", hot),
            ("under_voltage", self.under_voltage),
            ("frequency_cap", self.bits & _FREQUENCY_CAP),
        )
        return ",".join(word for word, is_so in reasons if is_so) or "none"


def share_of_time(now: Mapping[str, int], before: Mapping[str, int], seconds: float | None) -> float | UnsetType:
    """Return the share of time, in percent, in which the part that was slowed down most was slowed down.

    Args:
        now: milliseconds for which each part has been slowed down since the start.
        before: the same at the reading before.
        seconds: between the two; None where that is not known.

    Returns:
        UNSET where no part has two readings of which the second is not less.
    """
    if seconds is None:
        return UNSET
    deltas = [after - then for part, after in now.items() if (then := before.get(part)) is not None and after >= then]
    return percent(max(deltas), seconds * _MILLISECONDS) if deltas else UNSET


def share_of_looks(now: FirmwareState, before: FirmwareState | None, seconds: float | None) -> float | UnsetType:
    """Return the share of time, in percent, in which the processor was slowed down, as two looks let one guess it.

    Args:
        now: the second look.
        before: the first look; None if there was none.
        seconds: between the two; None where that is not known.
    """
    return UNSET if before is None or seconds is None else 50.0 * (now.slowed + before.slowed)


class CpuThrottleCollector(Collector):
    """The time in which the processor was slowed down, and what does so.

    The kernel counts an episode of heat when it ends. Heat slows a processor down in many short ones, so this makes
    no difference as a rule; of an episode that is longer than the period no more than the period is counted.

    Sources: thermal_throttle of each core and package (Intel); get_throttled and the chip rpi_volt (Raspberry Pi).
    """

    name = "cpu_throttle"
    subsystem = "cpu"
    period_seconds = 15.0

    def __init__(self, machine: Machine) -> None:
        self._sys = machine.sys
        self._cpus = f"{machine.sys}/devices/system/cpu"
        self._chips = Watch(machine.sys)
        self._stopwatch = Stopwatch(machine.clock)
        self._online: str | None = None
        self._parts: dict[str, str] = {}
        self._firmware: str | None = None
        self._voltage_alarm: str | None = None
        self._times: dict[str, int] = {}
        self._state: FirmwareState | None = None

    def probe(self) -> bool:
        """Find what tells of it; AMD's processors and virtual machines have nothing."""
        self._online = read_text(f"{self._cpus}/online")
        self._parts = _parts(self._cpus)
        self._firmware = _firmware(self._sys)
        self._find_chip()
        return bool(self._parts or self._firmware or self._voltage_alarm)

    def read(self) -> Cpu:
        """Return the share of time since the last reading, and what is so now."""
        seconds = self._stopwatch.lap()
        online = read_text(f"{self._cpus}/online")
        if online != self._online:  # a CPU that is switched off has no counters, and another one of its core has
            self._online, self._parts = online, _parts(self._cpus)
        self._find_chip()
        before, self._times = (
            self._times,
            {part: time for part, path in self._parts.items() if (time := read_int(path)) is not None},
        )
        look, self._state = self._state, _read_firmware(self._firmware)
        alarm = None if self._voltage_alarm is None else read_int(self._voltage_alarm)
        if not self._times and self._state is None and alarm is None:
            raise NoDataError("nothing tells whether the processor is slowed down")
        if self._state is None:
            return Cpu(
                throttled_percent=share_of_time(self._times, before, seconds),
                under_voltage=UNSET if alarm is None else bool(alarm),
            )
        return Cpu(
            throttled_percent=share_of_looks(self._state, look, seconds),
            throttle_reasons=self._state.reasons,
            under_voltage=self._state.under_voltage or bool(alarm),
        )

    def _find_chip(self) -> None:
        if self._chips.changed():
            found = [chip.path for chip in chips(self._sys) if chip.driver == _VOLTAGE_CHIP]
            self._voltage_alarm = f"{found[0]}/in0_lcrit_alarm" if found else None


def _parts(cpus: str) -> dict[str, str]:
    """Return the counter of each package and of each core, once: all CPUs of a core have the same."""
    parts: dict[str, str] = {}
    for name in list_directory(cpus):
        directory = f"{cpus}/{name}/thermal_throttle"
        files = list_directory(directory) if name[:3] == "cpu" and name[3:].isdigit() else []
        package, die, core = (
            read_int(f"{cpus}/{name}/topology/{file}") if files else None
            for file in ("physical_package_id", "die_id", "core_id")
        )
        for kind, part in (("package", f"package {package}"), ("core", f"core {package} {die} {core}")):
            file = f"{kind}_throttle_total_time_ms"
            if file in files:
                parts.setdefault(part, f"{directory}/{file}")
    return parts


def _firmware(sys: str) -> str | None:
    """Return where the firmware of a Raspberry Pi answers: below soc, or soc@107c000000 of a Pi 5."""
    platform = f"{sys}/devices/platform"
    for bus in list_directory(platform):
        for device in list_directory(f"{platform}/{bus}") if bus.startswith("soc") else []:
            directory = f"{platform}/{bus}/{device}"
            if device.endswith(":firmware") and "get_throttled" in list_directory(directory):
                return f"{directory}/get_throttled"
    return None


def _read_firmware(path: str | None) -> FirmwareState | None:
    text = None if path is None else read_text(path)
    try:
        return None if text is None else FirmwareState(int(text, 16))
    except ValueError:
        return None
