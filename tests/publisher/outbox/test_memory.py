"""The outbox without a disk: order, bounds, acknowledgements. What is said here holds with a disk as well."""

from collections import deque
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostpulse.publisher.clock import Clock
from hostpulse.publisher.outbox import Message, Outbox, OutboxOptions

from .support import SESSION, Connection, cycle


def text(payload: str) -> Message:
    return Message("p/h/cpu", payload.encode(), session=SESSION, sequence=1, timestamp=SESSION)


@pytest.fixture
def outbox(clocks: Any) -> Outbox:
    return Outbox(None, OutboxOptions(), clocks.clock, memory_messages=5, memory_bytes=100)


def test_order_and_acknowledgement(outbox: Outbox) -> None:
    connection = Connection(outbox, window=2)
    cycle(outbox, text("a"), text("bb"), text("ccc"))
    assert (len(outbox), outbox.waiting, outbox.bytes) == (3, 3, 6)
    connection.send()
    assert connection.sent == [b"a", b"bb"]
    assert (len(outbox), outbox.waiting, outbox.sent_messages) == (3, 1, 0)
    outbox.acknowledge(2)
    outbox.acknowledge(2)  # the broker repeats itself
    outbox.acknowledge(99)  # the greeting's, which is none of ours
    assert (len(outbox), outbox.bytes, outbox.sent_messages, outbox.sent_bytes) == (2, 4, 1, 2)
    connection.acknowledge()
    connection.drain()
    assert (len(outbox), outbox.bytes, outbox.sent_messages, outbox.sent_bytes) == (0, 0, 3, 6)
    assert outbox.dropped_messages == 0


def test_oldest_is_given_up_first(outbox: Outbox) -> None:
    cycle(outbox, *(text(str(number)) for number in range(8)))
    connection = Connection(outbox)
    connection.send()
    assert connection.sent == [b"3", b"4", b"5", b"6", b"7"]
    assert outbox.dropped_messages == 3


def test_bytes_are_bounded_and_the_newest_is_always_kept(outbox: Outbox) -> None:
    for size in (40, 40, 40, 500):
        cycle(outbox, text("x" * size))
    assert (len(outbox), outbox.bytes, outbox.dropped_messages) == (1, 500, 3)
    cycle(outbox, text("y"))
    assert (len(outbox), outbox.bytes, outbox.dropped_messages) == (1, 1, 4)


@pytest.mark.parametrize("on_disk", [False, True])
def test_connection_that_breaks_on_the_way_loses_nothing(clocks: Any, tmp_path: Path, on_disk: bool) -> None:  # noqa: FBT001
    """Handing over a message is where a dead connection is noticed; the next message must not go that way."""
    outbox = Outbox(tmp_path if on_disk else None, OutboxOptions(), clocks.clock)
    outbox.open()

    class Breaking(Connection):
        def room(self) -> int:
            self.up = not self.sent
            return super().room()

    cycle(outbox, text("a"), text("b"), text("c"))
    connection = Breaking(outbox)
    connection.send()
    assert connection.sent == [b"a"]
    assert (len(outbox), outbox.waiting) == (3, 2)
    outbox.close("the test has ended")


def test_age_is_that_of_the_oldest_unacknowledged(clocks: Any) -> None:
    outbox = Outbox(None, OutboxOptions(), clocks.clock)
    assert outbox.age_seconds == 0

    def now() -> Message:
        return Message("p/h/cpu", b"", session=SESSION, sequence=1, timestamp=round(clocks.wall * 1000))

    cycle(outbox, now())
    clocks.advance(3)
    cycle(outbox, now())
    connection = Connection(outbox, window=1)
    connection.send()
    clocks.advance(1)
    assert outbox.age_seconds == 4
    outbox.acknowledge(1)
    assert outbox.age_seconds == 1


STEPS = st.lists(st.one_of(st.integers(0, 30), st.just("send"), st.just("acknowledge")), max_size=60)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(STEPS, st.booleans())
def test_nothing_is_lost_without_being_counted(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[int | str],
    on_disk: bool,  # noqa: FBT001
) -> None:
    directory = tmp_path_factory.mktemp("outbox") if on_disk else None
    outbox = Outbox(directory, OutboxOptions(), Clock(), memory_messages=4, memory_bytes=60)
    outbox.open()
    connection = Connection(outbox, window=10**6)
    unacknowledged: deque[int] = deque()
    added = acknowledged = 0
    for step in steps:
        if isinstance(step, int):
            cycle(outbox, text("x" * step))
            added += 1
        elif step == "send":
            before = len(connection.sent)
            connection.send()
            unacknowledged.extend(range(before + 1, len(connection.sent) + 1))
        elif unacknowledged:
            outbox.acknowledge(unacknowledged.popleft())
            acknowledged += 1
        assert added == len(outbox) + acknowledged + outbox.dropped_messages
        assert outbox.sent_messages == acknowledged
        assert outbox.bytes >= 0
    outbox.close("the test has ended")
