"""How long to wait before a child that died is started again."""

import random as _random
from collections.abc import Callable

__all__ = ["Backoff"]


class Backoff:
    """Exponential backoff with full jitter: each delay is random below a ceiling that doubles.

    Args:
        first: first ceiling, in seconds.
        longest: highest ceiling, in seconds.
        healthy: a run of this many seconds starts over with the first ceiling.
        random: returns numbers from 0 to 1.
    """

    def __init__(
        self,
        *,
        first: float = 0.5,
        longest: float = 30,
        healthy: float = 60,
        random: Callable[[], float] = _random.random,
    ) -> None:
        self._first = first
        self._longest = longest
        self._healthy = healthy
        self._random = random
        self._ceiling = first

    def delay(self, ran: float) -> float:
        """Return the seconds to wait after a run of `ran` seconds."""
        if ran >= self._healthy:
            self._ceiling = self._first
        delay = self._random() * self._ceiling
        self._ceiling = min(self._longest, self._ceiling * 2)
        return delay
