"""A moment of its own for each message: stores tell the messages of a subsystem apart by it."""

from array import array

__all__ = ["Timestamps"]

_MOMENT = 1000  # a clock that goes back by less is not followed
_REMEMBERED = 2048  # more than an hour at 2 s, and 16 KB


class Timestamps:
    """Hands out the timestamps of one subsystem, in milliseconds since the epoch, each once.

    A clock that was set back by more than a moment is followed. What it shows then, it may have shown before, so the
    last ones that were handed out are remembered.
    """

    def __init__(self) -> None:
        self._given = array("q")
        self._oldest = 0
        self._last = 0
        self._latest = 0

    def take(self, now: int) -> int:
        """Return the timestamp of a message that was sampled now: that moment, or the next that no message has."""
        timestamp = self._last + 1 if 0 <= self._last - now < _MOMENT else now
        if timestamp <= self._latest:  # otherwise it cannot have been handed out
            while timestamp in self._given:
                timestamp += 1
        self._remember(timestamp)
        self._last = timestamp
        self._latest = max(self._latest, timestamp)
        return timestamp

    def _remember(self, timestamp: int) -> None:
        if len(self._given) < _REMEMBERED:
            self._given.append(timestamp)
        else:
            self._given[self._oldest] = timestamp
            self._oldest = (self._oldest + 1) % _REMEMBERED
