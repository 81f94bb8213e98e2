from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostpulse.bus.mqtt import Publication
from hostpulse.publisher.outbox import Outbox


class Connection:
    """Takes messages while there is room; breaks after some."""

    def __init__(self, room: int = 40, breaks_after: int | None = None) -> None:
        self._room = room
        self._breaks_after = breaks_after
        self.sent: list[bytes] = []
        self.number = 0

    @property
    def up(self) -> bool:
        return self._breaks_after is None or self.number < self._breaks_after

    def room(self) -> int:
        return self._room - self.number if self.up else 0

    def publish(self, publication: Publication) -> int:
        if not self.up:
            raise RuntimeError("publish() without a connection")
        self.number += 1
        self.sent.append(publication.payload)
        return self.number


def message(text: str) -> Publication:
    return Publication("topic", text.encode())


@pytest.fixture
def outbox(clocks) -> Outbox:
    return Outbox(maximum_messages=5, maximum_bytes=100, clock=clocks.clock.monotonic)


def test_order_and_acknowledgement(outbox: Outbox) -> None:
    connection = Connection(room=2)
    for text in ("a", "bb", "ccc"):
        outbox.add(message(text))
    assert (len(outbox), outbox.waiting, outbox.bytes) == (3, 3, 6)
    outbox.send(connection.room, connection.publish)
    assert connection.sent == [b"a", b"bb"]
    assert (len(outbox), outbox.waiting, outbox.sent_messages) == (3, 1, 0)
    outbox.acknowledge(2)
    outbox.acknowledge(2)  # the broker repeats itself
    outbox.acknowledge(99)  # the greeting's, which is none of ours
    assert (len(outbox), outbox.bytes, outbox.sent_messages, outbox.sent_bytes) == (2, 4, 1, 2)
    outbox.acknowledge(1)
    outbox.send(Connection().room, connection.publish)
    outbox.acknowledge(3)
    assert (len(outbox), outbox.bytes, outbox.sent_messages, outbox.sent_bytes) == (0, 0, 3, 6)
    assert outbox.dropped_messages == 0


def test_oldest_is_given_up_first(outbox: Outbox) -> None:
    for number in range(8):
        outbox.add(message(str(number)))
    connection = Connection()
    outbox.send(connection.room, connection.publish)
    assert connection.sent == [b"3", b"4", b"5", b"6", b"7"]
    assert outbox.dropped_messages == 3


def test_bytes_are_bounded_and_the_newest_is_always_kept(outbox: Outbox) -> None:
    for size in (40, 40, 40, 500):
        outbox.add(message("x" * size))
    assert (len(outbox), outbox.bytes, outbox.dropped_messages) == (1, 500, 3)
    outbox.add(message("y"))
    assert (len(outbox), outbox.bytes, outbox.dropped_messages) == (1, 1, 4)


def test_connection_that_breaks_on_the_way_loses_nothing(outbox: Outbox) -> None:
    """Handing over a message is where a dead connection is noticed; the next message must not go that way."""
    for text in ("a", "b", "c"):
        outbox.add(message(text))
    connection = Connection(breaks_after=1)
    outbox.send(connection.room, connection.publish)
    assert connection.sent == [b"a"]
    assert (len(outbox), outbox.waiting) == (3, 2)


def test_age_is_that_of_the_oldest_unacknowledged(outbox: Outbox, clocks) -> None:
    assert outbox.age_seconds == 0
    outbox.add(message("a"))
    clocks.advance(3)
    outbox.add(message("b"))
    connection = Connection(room=1)
    outbox.send(connection.room, connection.publish)
    clocks.advance(1)
    assert outbox.age_seconds == 4
    outbox.acknowledge(1)
    assert outbox.age_seconds == 1


@given(st.lists(st.one_of(st.integers(0, 30), st.just("send"), st.just("acknowledge")), max_size=60))
def test_nothing_is_lost_without_being_counted(steps: list[int | str]) -> None:
    outbox = Outbox(maximum_messages=4, maximum_bytes=60, clock=lambda: 0.0)
    connection = Connection(room=10**6)
    unacknowledged: deque[int] = deque()
    added = acknowledged = 0
    for step in steps:
        if isinstance(step, int):
            outbox.add(message("x" * step))
            added += 1
        elif step == "send":
            before = connection.number
            outbox.send(connection.room, connection.publish)
            unacknowledged.extend(range(before + 1, connection.number + 1))
        elif unacknowledged:
            outbox.acknowledge(unacknowledged.popleft())
            acknowledged += 1
        assert outbox.waiting <= 4
        assert added == len(outbox) + acknowledged + outbox.dropped_messages
        assert outbox.sent_messages == acknowledged
        assert outbox.bytes >= 0
    outbox.send(connection.room, connection.publish)
    for number in range(1, connection.number + 1):
        outbox.acknowledge(number)
    assert (len(outbox), outbox.bytes) == (0, 0)
