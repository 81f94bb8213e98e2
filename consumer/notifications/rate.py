"""How many notifications go out in an hour."""

from collections.abc import Callable

__all__ = ["Rate"]

_HOUR = 3600.0


class Rate:
    """Half of what an hour may have at once, the rest spread over it; so never more in any hour.

    Args:
        most: notifications in an hour.
        clock: monotonic seconds.
    """

    def __init__(self, most: int, *, clock: Callable[[], float]) -> None:
        self._burst = (most + 1) // 2
        self._seconds = _HOUR / max(most - self._burst, 1)
        self._clock = clock
        self._left = float(self._burst)
        self._at: float | None = None

    def wait(self) -> float:
        """Return the seconds until one may go out; 0 for now."""
        self._refill()
        return 0.0 if self._left >= 1 else (1 - self._left) * self._seconds

    def take(self) -> None:
        """Note that one went out."""
        self._refill()
        self._left -= 1

    def _refill(self) -> None:
        now = self._clock()
        if self._at is not None:
            self._left = min(self._left + (now - self._at) / self._seconds, self._burst)
        self._at = now
