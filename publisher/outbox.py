"""Messages on their way to the broker: kept until it has acknowledged them, bounded, the oldest given up first."""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from hostpulse.bus.mqtt import Publication

__all__ = ["Outbox"]


class _Waiting(NamedTuple):
    publication: Publication
    since: float


class Outbox:
    """Keeps messages in order until the broker has acknowledged them.

    Args:
        maximum_messages: more than these, and the oldest that waits is given up.
        maximum_bytes: the same for the sum of payloads.
        clock: monotonic seconds.
    """

    def __init__(self, *, maximum_messages: int, maximum_bytes: int, clock: Callable[[], float]) -> None:
        self._maximum_messages = maximum_messages
        self._maximum_bytes = maximum_bytes
        self._clock = clock
        self._waiting: deque[_Waiting] = deque()
        self._in_flight: dict[int, _Waiting] = {}
        self.bytes = 0
        self.sent_messages = 0
        self.sent_bytes = 0
        self.dropped_messages = 0

    def __len__(self) -> int:
        return len(self._waiting) + len(self._in_flight)

    @property
    def waiting(self) -> int:
        """How many have not been handed to the connection."""
        return len(self._waiting)

    @property
    def age_seconds(self) -> float:
        """Age of the oldest message that is not acknowledged; 0 where there is none."""
        first = next(iter(self._in_flight.values()), None) or (self._waiting[0] if self._waiting else None)
        return 0.0 if first is None else self._clock() - first.since

    def add(self, publication: Publication) -> None:
        """Append a message; make room for it if need be."""
        self._waiting.append(_Waiting(publication, self._clock()))
        self.bytes += len(publication.payload)
        while len(self._waiting) > self._maximum_messages or self.bytes > self._maximum_bytes:
            if len(self._waiting) <= 1:
                break
            self.bytes -= len(self._waiting.popleft().publication.payload)
            self.dropped_messages += 1

    def send(self, room: Callable[[], int], publish: Callable[[Publication], int]) -> None:
        """Hand the oldest messages to a connection while it has room, and remember their numbers.

        The room is asked for each time: a connection may break while a message is handed to it.
        """
        while self._waiting and room() > 0:
            waiting = self._waiting.popleft()
            self._in_flight[publish(waiting.publication)] = waiting

    def acknowledge(self, number: int) -> None:
        """Forget the message that was published under a number."""
        waiting = self._in_flight.pop(number, None)
        if waiting is not None:
            size = len(waiting.publication.payload)
            self.bytes -= size
            self.sent_messages += 1
            self.sent_bytes += size
