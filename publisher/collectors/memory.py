"""Main memory and swap: use (fast), sizes and limits (slow)."""

from collections.abc import Iterable

from msgspec import UNSET, UnsetType

from hostpulse.bus.messages import Memory

from ..files import OpenFile
from ..machine import Machine
from ..rates import Stopwatch, per_second, percent, whole_per_second
from .base import Collector
from .cgroup import MemoryLimit
from .pressure import Pressure
from .zfs import ZfsCache

__all__ = ["MemoryCollector", "MemoryDetailsCollector", "parse_meminfo", "parse_vmstat"]

_KIBIBYTE = 1024
_RATES = (b"pswpin", b"pswpout", b"pgmajfault")


class MemoryCollector(Collector):
    """Memory and swap in use, swapping, major faults and pressure.

    Sources: /proc/meminfo, /proc/vmstat, /proc/pressure/memory, arcstats of ZFS.
    """

    name = "memory"
    subsystem = "memory"
    inline = True

    def __init__(self, machine: Machine) -> None:
        self._meminfo = OpenFile(f"{machine.proc}/meminfo")
        self._vmstat = OpenFile(f"{machine.proc}/vmstat")
        self._pressure = Pressure(f"{machine.proc}/pressure/memory")
        self._zfs = ZfsCache(machine.proc)
        self._page_bytes = machine.page_bytes
        self._stopwatch = Stopwatch(machine.clock)
        self._before: dict[bytes, int] = {}

    def read(self) -> Memory:
        """Return memory now, and the rates since the last reading."""
        seconds = self._stopwatch.lap()
        info = parse_meminfo(self._meminfo.read())
        total, available = info[b"MemTotal"], _available(info, self._zfs.reclaimable_bytes())
        some, full = self._pressure.read(seconds)
        before, self._before = self._before, parse_vmstat(self._vmstat.read(), _RATES)
        now = self._before
        fields = Memory(
            used_bytes=total - available,
            available_bytes=available,
            used_percent=percent(total - available, total),
            major_faults_per_second=per_second(now.get(b"pgmajfault"), before.get(b"pgmajfault"), seconds),
            pressure_some_percent=some,
            pressure_full_percent=full,
        )
        if swap_total := info.get(b"SwapTotal"):
            fields.swap_used_bytes = swap_total - info[b"SwapFree"]
            fields.swap_used_percent = percent(fields.swap_used_bytes, swap_total)
            fields.swap_in_bytes_per_second = self._swapped(b"pswpin", now, before, seconds)
            fields.swap_out_bytes_per_second = self._swapped(b"pswpout", now, before, seconds)
        return fields

    def _swapped(
        self, name: bytes, now: dict[bytes, int], before: dict[bytes, int], seconds: float | None
    ) -> int | UnsetType:
        if name not in now or name not in before:
            return UNSET
        return whole_per_second(now[name] * self._page_bytes, before[name] * self._page_bytes, seconds)


class MemoryDetailsCollector(Collector):
    """Sizes, caches, what a container may use, and processes killed for want of memory.

    Sources: /proc/meminfo, /proc/vmstat, arcstats of ZFS, cgroup.
    """

    name = "memory_details"
    subsystem = "memory"
    period_seconds = 15.0
    inline = True

    def __init__(self, machine: Machine) -> None:
        self._meminfo = OpenFile(f"{machine.proc}/meminfo")
        self._vmstat = OpenFile(f"{machine.proc}/vmstat")
        self._zfs = ZfsCache(machine.proc)
        self._limit = MemoryLimit(machine.sys)

    def read(self) -> Memory:
        """Return all of it now."""
        info = parse_meminfo(self._meminfo.read())
        fields = Memory(
            total_bytes=info[b"MemTotal"],
            free_bytes=info[b"MemFree"],
            cached_bytes=_cached(info) + self._zfs.reclaimable_bytes(),
            buffers_bytes=info[b"Buffers"],
            swap_total_bytes=info.get(b"SwapTotal", UNSET),
            oom_kills=parse_vmstat(self._vmstat.read(), (b"oom_kill",)).get(b"oom_kill", UNSET),
        )
        limit = self._limit.read()
        if limit is not None:
            fields.limit_bytes, fields.limit_used_bytes = limit
            fields.limit_used_percent = percent(limit[1], limit[0])
        return fields


def parse_meminfo(data: bytes) -> dict[bytes, int]:
    """Return the bytes of each line of /proc/meminfo that has a unit."""
    values = {}
    for line in data.splitlines():
        name, _, rest = line.partition(b":")
        if rest.endswith(b" kB"):
            values[name] = int(rest[:-3]) * _KIBIBYTE
    return values


def parse_vmstat(data: bytes, names: Iterable[bytes]) -> dict[bytes, int]:
    """Return a few of the two hundred counters of /proc/vmstat; those that the kernel has."""
    values = {}
    for name in names:
        start = data.find(b"\n" + name + b" ")
        if start >= 0:
            start += len(name) + 2
            values[name] = int(data[start : data.index(b"\n", start)])
    return values


def _cached(info: dict[bytes, int]) -> int:
    return info[b"Cached"] + info.get(b"SReclaimable", 0)


def _available(info: dict[bytes, int], reclaimable_bytes: int) -> int:
    """Return what programs can get, with what the kernel does not know to be reclaimable.

    Kernels before 3.14 do not say; free(1) then took what follows for it.
    """
    available = info.get(b"MemAvailable", info[b"MemFree"] + _cached(info) + info[b"Buffers"])
    return min(info[b"MemTotal"], available + reclaimable_bytes)
