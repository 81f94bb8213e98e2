"""What a consumer says about itself: a message like any other, which comes back and is stored."""

import os
from collections.abc import Callable
from pathlib import Path

from msgspec import UNSET

from hostpulse.bus.codec import encode
from hostpulse.bus.messages import Consumer, ConsumerMember
from hostpulse.bus.topics import Topics

from .delivery import Delivery
from .store import StoreRole

__all__ = ["Health"]

_PERIOD_SECONDS = 30.0


class Health:
    """Publishes what a consumer has done.

    Args:
        topics: the prefix.
        host: name of this machine.
        member: what tells this consumer from the others of the machine.
        role: what receives and stores.
        delivery: its account.
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
        role: StoreRole,
        delivery: Delivery,
        publish: Callable[[str, bytes], bool],
        wall: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self._topic = topics.sample(host, "consumer")
        self._host = host
        self._member = member
        self._role = role
        self._delivery = delivery
        self._publish = publish
        self._wall = wall
        self._clock = clock
        self._session = round(wall(), 3)
        self._sequence = 0
        self._before = (clock(), _cpu_seconds())
        self._next = clock() + _PERIOD_SECONDS

    def publish_if_due(self) -> None:
        """Say how it is, twice a minute; what cannot be sent is said the next time."""
        now = self._clock()
        if now < self._next:
            return
        self._next = now + _PERIOD_SECONDS
        payload = encode(
            self._account(now),
            host=self._host,
            subsystem="consumer",
            timestamp=self._wall(),
            sequence=self._sequence + 1,
            session=self._session,
            interval=_PERIOD_SECONDS,
        )
        if self._publish(self._topic, payload):
            self._sequence += 1

    def _account(self, now: float) -> Consumer:
        fields = Consumer(member={self._member: self._read(now)})
        delivery = self._delivery
        if delivery.keeps_account:
            fields.missing_messages = delivery.missing_messages
            fields.asked_messages = delivery.asked_messages
            fields.recovered_messages = delivery.recovered_messages
            fields.lost_messages = delivery.lost_messages
        return fields

    def _read(self, now: float) -> ConsumerMember:
        cpu = _cpu_seconds()
        (then, cpu_then), self._before = self._before, (now, cpu)
        role = self._role
        return ConsumerMember(
            cpu_percent=round(100 * (cpu - cpu_then) / (now - then), 2) if now > then else UNSET,
            memory_bytes=_resident_bytes() or UNSET,
            received_messages=role.received,
            stored_rows=role.stored_rows,
            dead_letter_messages=role.dead_letters,
            lag_seconds=UNSET if role.lag_seconds is None else round(role.lag_seconds, 3),
        )


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system


def _resident_bytes() -> int | None:
    """Return our resident memory, where the system tells it in a file."""
    try:
        statm = Path("/proc/self/statm").read_bytes()
    except OSError:
        return None
    return int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")
