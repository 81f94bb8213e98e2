"""Processor time and load (fast), clock and temperature (slow)."""

import re

from msgspec import UNSET

from hostpulse.bus.messages import Cpu, CpuCore

from ..files import OpenFile, list_directory, read_bytes, read_int
from ..machine import Machine
from ..rates import Stopwatch, percent
from .base import Collector, NoDataError
from .cgroup import CpuLimit
from .hwmon import Watch, cpu_temperature_paths, read_celsius
from .pressure import Pressure

__all__ = ["CpuClockCollector", "CpuCollector"]

# Columns of a cpu line of /proc/stat. Guest time, behind these, is contained in user and nice.
_USER, _NICE, _SYSTEM, _IDLE, _IOWAIT, _IRQ, _SOFTIRQ, _STEAL = range(8)
_COLUMNS = 8

_KILOHERTZ = 1000
_HIGHEST_KILOHERTZ = 10**9
_MEGAHERTZ = 1_000_000
_CPU_MEGAHERTZ = re.compile(r"^processor\s*:\s*(\d+)$|^cpu MHz\s*:\s*(\d+(?:\.\d+)?)$", re.MULTILINE)


class CpuCollector(Collector):
    """Processor time of all CPUs and of each, load, pressure, and the limit of a container.

    Sources: /proc/stat, /proc/loadavg, /proc/pressure/cpu, cgroup.
    """

    name = "cpu"
    subsystem = "cpu"
    inline = True

    def __init__(self, machine: Machine) -> None:
        self._stat = OpenFile(f"{machine.proc}/stat")
        self._load = OpenFile(f"{machine.proc}/loadavg")
        self._pressure = Pressure(f"{machine.proc}/pressure/cpu")
        self._limit = CpuLimit(machine.sys)
        self._stopwatch = Stopwatch(machine.clock)
        self._before: dict[bytes, list[int]] = {}

    def read(self) -> Cpu:
        """Return the shares of time since the last reading, and the load now."""
        seconds = self._stopwatch.lap()
        data = self._stat.read()
        # Everything behind the cpu lines (thousands of interrupt counters on a large machine) is not looked at.
        lines = data[: data.find(b"\nintr")].split(b"\n")
        now: dict[bytes, list[int]] = {}
        for line in lines:
            name, *columns = line.split(None, _COLUMNS + 1)[: _COLUMNS + 1]
            now[name] = [int(column) for column in columns]
        before, self._before = self._before, now
        load = self._load.read().split(None, 3)
        limit_cores, throttled = self._limit.read(seconds)
        fields = Cpu(
            load_average_1m=float(load[0]),
            load_average_5m=float(load[1]),
            load_average_15m=float(load[2]),
            pressure_some_percent=self._pressure.read(seconds)[0],
            limit_cores=limit_cores,
            limit_throttled_percent=throttled,
        )
        if seconds is not None:
            self._add_shares(fields, before, now)
        return fields

    @staticmethod
    def _add_shares(fields: Cpu, before: dict[bytes, list[int]], now: dict[bytes, list[int]]) -> None:
        cores: dict[str, CpuCore] = {}
        for name, after in now.items():
            then = before.get(name)
            if then is None:  # a CPU that was switched on meanwhile
                continue
            # iowait of the kernel may fall by a little; a share is never below 0
            delta = [a - b if a > b else 0 for a, b in zip(after, then, strict=True)]
            whole = sum(delta)
            busy = percent(whole - delta[_IDLE] - delta[_IOWAIT], whole)
            if name != b"cpu":
                cores[name[3:].decode()] = CpuCore(utilization_percent=busy)
                continue
            fields.utilization_percent = busy
            fields.user_percent = percent(delta[_USER] + delta[_NICE], whole)
            fields.system_percent = percent(delta[_SYSTEM], whole)
            fields.interrupt_percent = percent(delta[_IRQ] + delta[_SOFTIRQ], whole)
            fields.iowait_percent = percent(delta[_IOWAIT], whole)
            fields.steal_percent = percent(delta[_STEAL], whole)
        fields.core = cores


class CpuClockCollector(Collector):
    """Clock of each CPU and temperature of the processor.

    Sources: cpufreq in sysfs, /proc/cpuinfo where a virtual machine has none, hwmon or a thermal zone. Reading a
    clock may have to ask the CPU itself, so this is no work for every two seconds on a machine with a hundred.
    """

    name = "cpu_clock"
    subsystem = "cpu"
    period_seconds = 15.0

    def __init__(self, machine: Machine) -> None:
        self._cpus = f"{machine.sys}/devices/system/cpu"
        self._cpuinfo = f"{machine.proc}/cpuinfo"
        self._sys = machine.sys
        self._sensors = Watch(machine.sys)
        self._temperatures: list[str] = []

    def probe(self) -> bool:
        """Find the sensors; the clock is always known but on a few small boards."""
        self._find_sensors()
        return bool(self._temperatures or self._clocks())

    def _find_sensors(self) -> None:
        if self._sensors.changed():
            self._temperatures = cpu_temperature_paths(self._sys)

    def read(self) -> Cpu:
        """Return clocks and temperature now."""
        self._find_sensors()
        clocks = self._clocks()
        temperatures = [value for path in self._temperatures if (value := read_celsius(path)) is not None]
        if not clocks and not temperatures:
            raise NoDataError("neither clock nor temperature of the processor is known")
        fields = Cpu(
            frequency_hertz=round(sum(clocks.values()) / len(clocks)) if clocks else UNSET,
            temperature_celsius=max(temperatures, default=UNSET),
        )
        if clocks:
            fields.core = {core: CpuCore(frequency_hertz=clock) for core, clock in clocks.items()}
        return fields

    def _clocks(self) -> dict[str, int]:
        """Return the clock of each CPU in hertz."""
        clocks = {}
        for name in list_directory(self._cpus):
            if name[:3] == "cpu" and name[3:].isdigit():
                clock = read_int(f"{self._cpus}/{name}/cpufreq/scaling_cur_freq")
                if clock is not None and 0 < clock < _HIGHEST_KILOHERTZ:
                    clocks[name[3:]] = clock * _KILOHERTZ
        return clocks or self._clocks_of_cpuinfo()

    def _clocks_of_cpuinfo(self) -> dict[str, int]:
        clocks = {}
        processor = None
        for found in _CPU_MEGAHERTZ.finditer((read_bytes(self._cpuinfo) or b"").decode("utf-8", "replace")):
            if found[1]:
                processor = found[1]
            elif processor is not None:
                clocks[processor] = round(float(found[2]) * _MEGAHERTZ)
        return clocks
