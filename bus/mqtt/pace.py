"""When a batch is large enough, or has waited long enough."""

from collections.abc import Callable

__all__ = ["Pace"]

_QUIET_SECONDS = 0.005
_ANSWER_SECONDS = 0.2


class Pace:
    """Decides when a batch is due.

    A batch may grow for a while: fewer, larger writes. But a broker sends only so many messages without an
    acknowledgement (mosquitto twenty, unless told otherwise), and a batch that waits for the twenty-first waits in
    vain. So that window is learned: where an acknowledgement of N messages brings more of them at once, N was all the
    broker would send, and the next N are not waited upon; a batch that exceeds N shows the guess to be wrong.

    Args:
        linger: how long a batch may wait to grow, seconds.
        clock: monotonic seconds.
    """

    def __init__(self, linger: float, clock: Callable[[], float]) -> None:
        self._linger = linger
        self._clock = clock
        self._window: int | None = None
        self._acknowledged = 0
        self._acknowledged_at = 0.0
        self._first: float | None = None
        self._last = 0.0
        self._unacknowledged = 0

    def restart(self) -> None:
        """Forget what belongs to the connection before: the window, and what could be acknowledged."""
        self._window = None
        self._acknowledged = self._unacknowledged = 0

    def arrived(self, unacknowledged: int) -> None:
        """Note that messages have come, and how many there are now that can be acknowledged."""
        now = self._clock()
        if self._first is None:
            self._first = now
            if self._acknowledged and now - self._acknowledged_at < _ANSWER_SECONDS:
                self._window = self._acknowledged
        if self._window is not None and unacknowledged > self._window:
            self._window = None
        self._last, self._unacknowledged = now, unacknowledged

    def taken(self) -> None:
        """Note that the batch was given away, so that another one begins."""
        self._first = None

    def acknowledged(self, messages: int) -> None:
        """Note that so many were acknowledged."""
        self._acknowledged, self._acknowledged_at = messages, self._clock()
        self._unacknowledged -= messages

    def due(self) -> float | None:
        """Return the moment at which the batch is due; None if there is none."""
        if self._first is None:
            return None
        moment = self._first + self._linger
        if self._window is not None and self._unacknowledged >= self._window:
            moment = min(moment, self._last + _QUIET_SECONDS)
        return moment
