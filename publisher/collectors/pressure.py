"""Pressure stall information: for how long tasks had to wait for a resource."""

from msgspec import UNSET, UnsetType

from ..files import OpenFile
from ..rates import percent

__all__ = ["Pressure"]

_MICROSECONDS = 1e6


class Pressure:
    """Share of time in which some or all tasks waited, from the kernel's totals.

    Args:
        path: /proc/pressure/cpu, memory or io. A kernel built or booted without it gives UNSET.
    """

    def __init__(self, path: str) -> None:
        self._file = OpenFile(path)
        self._before: list[int] | None = None
        self._missing = False

    def read(self, seconds: float | None) -> tuple[float | UnsetType, float | UnsetType]:
        """Return `some` and `full` in percent of the seconds since the last reading."""
        if self._missing:
            return UNSET, UNSET
        try:
            totals = [int(line[line.rindex(b"=") + 1 :]) for line in self._file.read().splitlines()]
        except (OSError, ValueError):  # also EOPNOTSUPP: built, but switched off at boot
            self._missing = True
            return UNSET, UNSET
        before, self._before = self._before, totals
        if not totals or before is None or seconds is None or len(before) != len(totals):
            return UNSET, UNSET
        whole = seconds * _MICROSECONDS
        shares = [
            percent(now - then, whole) if now >= then else UNSET for now, then in zip(totals, before, strict=True)
        ]
        return shares[0], shares[1] if len(shares) > 1 else UNSET
