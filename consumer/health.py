"""What a consumer says about itself: a message like any other, which comes back and is stored."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from msgspec import UNSET

from hostpulse.bus.codec import encode
from hostpulse.bus.messages import Consumer, ConsumerMember
from hostpulse.bus.topics import Topics

__all__ = ["Health"]

_PERIOD_SECONDS = 30.0


class Health:
    """Publishes how a consumer is.

    Args:
        topics: the prefix.
        host: name of this machine.
        read: returns what there is to say, all but CPU and memory.
        member: what tells this consumer from the others of the machine.
        publish: sends a message; returns whether it was sent.
        wall: seconds since the epoch.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        topics: Topics,
        *,
        host: str,
        member: str,
        read: Callable[[ConsumerMember], Consumer],
        publish: Callable[[str, bytes], bool],
        wall: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self._topic = topics.sample(host, "consumer")
        self._host = host
        self._member = member
        self._read = read
        self._publish = publish
        self._wall = wall
        self._clock = clock
        self._session = round(wall(), 3)
        self._sequence = 0
        self._before = (clock(), time.thread_time())
        self._next = clock() + _PERIOD_SECONDS

    def publish_if_due(self) -> None:
        """Say how it is, twice a minute; what cannot be sent is said the next time. Call it from the role's thread."""
        now = self._clock()
        if now < self._next:
            return
        self._next = now + _PERIOD_SECONDS
        member = self._own(now)
        fields = self._read(member)
        fields.member = {self._member: member}
        payload = encode(
            fields,
            host=self._host,
            subsystem="consumer",
            timestamp=self._wall(),
            sequence=self._sequence + 1,
            session=self._session,
            interval=_PERIOD_SECONDS,
        )
        if self._publish(self._topic, payload):
            self._sequence += 1

    def _own(self, now: float) -> ConsumerMember:
        cpu = time.thread_time()  # of this role: the other one has a thread of its own
        (then, cpu_then), self._before = self._before, (now, cpu)
        return ConsumerMember(
            cpu_percent=round(100 * (cpu - cpu_then) / (now - then), 2) if now > then else UNSET,
            memory_bytes=_resident_bytes() or UNSET,
        )


def _resident_bytes() -> int | None:
    """Return our resident memory, where the system tells it in a file."""
    try:
        statm = Path("/proc/self/statm").read_bytes()
    except OSError:
        return None
    return int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")
