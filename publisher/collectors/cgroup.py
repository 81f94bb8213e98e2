"""The limits of the container that we run in, beside the host's figures.

Only a container sees files like memory.max at the root of its cgroup tree; on the host itself the root has none,
so there nothing is reported.
"""

import os

from msgspec import UNSET, UnsetType

from ..files import OpenFile, read_bytes, read_int
from ..rates import percent

__all__ = ["CpuLimit", "MemoryLimit"]

_UNLIMITED_BYTES = 1 << 60  # version 1 writes "no limit" as nearly 2^63
_MICROSECONDS = 1e6
_NANOSECONDS = 1e9


def _value_of(data: bytes, key: bytes) -> int | None:
    """Return the number behind a key in `key value` lines."""
    for line in data.splitlines():
        if line.startswith(key + b" "):
            value = line[len(key) + 1 :].strip()
            return int(value) if value.isdigit() else None
    return None


class CpuLimit:
    """How many CPUs a container may use, and how long that limit stopped it. Both versions of cgroups."""

    def __init__(self, sys: str) -> None:
        self._root = f"{sys}/fs/cgroup"
        self._looked = False
        self._stat: OpenFile | None = None
        self._throttled_key = b""
        self._throttled_unit = 1.0
        self._throttled: int | None = None
        self._cores: float | UnsetType = UNSET

    def read(self, seconds: float | None) -> tuple[float | UnsetType, float | UnsetType]:
        """Return CPUs and percent of the time since the last reading; UNSET without a limit."""
        if not self._looked:
            self._looked = True
            self._look()
        if self._stat is None:
            return UNSET, UNSET
        try:
            now = _value_of(self._stat.read(), self._throttled_key)
        except OSError:
            return self._cores, UNSET
        before, self._throttled = self._throttled, now
        if now is None or before is None or seconds is None or now < before:
            return self._cores, UNSET
        return self._cores, percent((now - before) / self._throttled_unit, seconds)

    def _look(self) -> None:
        two = (read_bytes(f"{self._root}/cpu.max") or b"").split()
        quota = read_int(f"{self._root}/cpu/cpu.cfs_quota_us")
        period = read_int(f"{self._root}/cpu/cpu.cfs_period_us")
        if len(two) > 1 and two[0].isdigit() and two[1].isdigit() and int(two[1]):  # "max" is no number
            self._cores = round(int(two[0]) / int(two[1]), 2)
            self._stat = OpenFile(f"{self._root}/cpu.stat")
            self._throttled_key, self._throttled_unit = b"throttled_usec", _MICROSECONDS
        elif quota and period and quota > 0:  # -1 is no limit
            self._cores = round(quota / period, 2)
            self._stat = OpenFile(f"{self._root}/cpu/cpu.stat")
            self._throttled_key, self._throttled_unit = b"throttled_time", _NANOSECONDS


class MemoryLimit:
    """How much memory a container may use and does use. Both versions of cgroups."""

    def __init__(self, sys: str) -> None:
        root = f"{sys}/fs/cgroup"
        self._variants = (
            (f"{root}/memory.max", f"{root}/memory.current", f"{root}/memory.stat", b"inactive_file"),
            (
                f"{root}/memory/memory.limit_in_bytes",
                f"{root}/memory/memory.usage_in_bytes",
                f"{root}/memory/memory.stat",
                b"total_inactive_file",
            ),
        )

    def read(self) -> tuple[int, int] | None:
        """Return limit and use in bytes, file cache that nobody used lately left out; None without a limit."""
        for limit_path, usage_path, stat_path, inactive_key in self._variants:
            if not os.path.exists(limit_path):  # noqa: PTH110
                continue
            limit, usage = read_int(limit_path), read_int(usage_path)  # "max" is no number
            if limit is None or usage is None or not 0 < limit < _UNLIMITED_BYTES:
                return None
            return limit, max(0, usage - (_value_of(read_bytes(stat_path) or b"", inactive_key) or 0))
        return None
