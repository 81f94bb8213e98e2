"""How many new names one host may bring: a bound on what a stranger, or a fault, can make of a table."""

import time
from collections.abc import Callable

__all__ = ["DAY", "EntryLimit"]

DAY = 86_400.0


class EntryLimit:
    """Counts the new entries of each host in the map of one table. A count begins anew a day after its first.

    Args:
        maximum: new entries of one host in a day; None for any number.
        clock: monotonic seconds.

    Attributes:
        maximum: as given.
    """

    def __init__(self, maximum: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.maximum = maximum
        self._clock = clock
        self._counts: dict[str, int] = {}
        self._day_ends = 0.0

    def is_new_day(self) -> bool:
        """Return whether a day has passed since the count began; if so, it begins anew."""
        now = self._clock()
        if now < self._day_ends:
            return False
        self._day_ends = now + DAY
        self._counts.clear()
        return True

    def admits(self, host: str) -> bool:
        """Count one more entry of a host; return False, and do not count it, where it is one too many."""
        if self.maximum is None:
            return True
        self.is_new_day()
        count = self._counts.get(host, 0)
        if count >= self.maximum:
            return False
        self._counts[host] = count + 1
        return True

    def forget(self) -> None:
        """Begin anew: what was counted was not stored."""
        self._counts.clear()
