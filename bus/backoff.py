"""How long to wait before the next attempt."""

import random
from collections.abc import Callable

__all__ = ["Backoff"]


class Backoff:
    """Exponential delays with full jitter: clients that lost one broker do not come back in step.

    Args:
        first: bound of the first delay, seconds.
        most: bound that the doubling ends at, seconds.
        uniform: draws from an interval; a test gives its own.
    """

    def __init__(self, *, first: float, most: float, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._first = first
        self._most = most
        self._uniform = uniform
        self._bound = first

    def reset(self) -> None:
        """Begin again with the first delay, after a success."""
        self._bound = self._first

    def delay(self) -> float:
        """Return the next delay in seconds."""
        bound, self._bound = self._bound, min(self._bound * 2, self._most)
        return self._uniform(0, bound)
