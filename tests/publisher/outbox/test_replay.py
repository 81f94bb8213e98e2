"""Consumers that ask again: what they get, in which order, how fast, and what it costs at most."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hostpulse.bus.replay import ReplayRequest, encode_replay_request
from hostpulse.publisher.outbox import Message, Outbox, OutboxOptions
from hostpulse.publisher.outbox.segment import Piece, Segment

from .support import SESSION, Connection, cycle, files_of, kill, message, messages, payloads

Start = Callable[..., Outbox]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def ask(outbox: Outbox, first: int, last: int, *, subsystem: str = "cpu", session: int = SESSION) -> None:
    moment = EPOCH + timedelta(milliseconds=session)
    request = ReplayRequest(session=moment, subsystem=subsystem, first=first, last=last)
    outbox.replay.ask(encode_replay_request(request))


def filled(outbox: Outbox, count: int, **arguments: Any) -> list[Message]:
    """Have so many messages sent and acknowledged."""
    connection = Connection(outbox)
    sent = messages(count, **arguments)
    for one in sent:
        cycle(outbox, one)
        connection.drain()
    assert len(connection.sent) == count
    return sent


def answer(outbox: Outbox, clocks: Any) -> list[bytes]:
    """Let time go by until everything is answered; return what was sent."""
    connection = Connection(outbox)
    for _ in range(10_000):
        connection.send()
        connection.acknowledge()
        clocks.advance(0.05)
        if not outbox.replay.busy:
            return connection.sent
    raise AssertionError("it has no end")


def test_what_is_asked_for_comes_again_as_it_was_and_in_order(start: Start, clocks: Any) -> None:
    outbox = start()
    sent = filled(outbox, 300, size=500)
    filled(outbox, 50, subsystem="disk")
    ask(outbox, 20, 140)
    assert answer(outbox, clocks) == payloads(sent[19:140])
    assert (outbox.replay.sent, outbox.replay.unavailable) == (121, 0)
    assert outbox.sent_messages == 350  # it is no new message
    assert len(outbox) == 0


@pytest.mark.parametrize("ending", ["killed", "stopped"])
def test_messages_of_a_publisher_before_come_again(start: Start, clocks: Any, ending: str) -> None:
    outbox = start()
    sent = filled(outbox, 600, size=500)
    clocks.advance(20)
    cycle(outbox)
    if ending == "killed":
        kill(outbox)
    else:
        outbox.close("stopped")
    outbox = start()
    filled(outbox, 3, session=SESSION + 2)
    ask(outbox, 590, 700)
    ask(outbox, 1, 7)
    assert answer(outbox, clocks) == payloads([*sent[589:], *sent[:7]])
    assert (outbox.replay.sent, outbox.replay.unavailable) == (18, 100)


def test_what_the_broker_never_had_is_not_sent_twice(start: Start, clocks: Any) -> None:
    outbox = start()
    filled(outbox, 5)
    cycle(outbox, *messages(5, first=6))
    connection = Connection(outbox)
    connection.send()
    ask(outbox, 1, 10)
    assert answer(outbox, clocks) == payloads(messages(5))
    assert (outbox.replay.sent, outbox.replay.unavailable) == (5, 0)


def test_live_messages_and_backlog_go_first(start: Start, clocks: Any) -> None:
    outbox = start()
    filled(outbox, 100)
    cycle(outbox, *messages(200, subsystem="disk"))
    kill(outbox)
    outbox = start()
    ask(outbox, 1, 100)
    connection = Connection(outbox)
    for sequence in range(1, 4):
        cycle(outbox, message(sequence, session=SESSION + 1))
        connection.send()
        connection.acknowledge()
        clocks.advance(1)
    assert outbox.replay.sent == 0
    assert answer(outbox, clocks)[-100:] == payloads(messages(100))


def test_several_that_ask_for_the_same_cost_one_answer(start: Start, clocks: Any) -> None:
    outbox = start()
    sent = filled(outbox, 200)
    for first, last in ((50, 60), (55, 70), (40, 80), (50, 60)):
        ask(outbox, first, last)
    assert sorted(answer(outbox, clocks)) == sorted(payloads(sent[39:80]))
    ask(outbox, 45, 85)  # one more that has seen the same gap
    assert answer(outbox, clocks) == payloads(sent[80:85])
    clocks.advance(31)
    ask(outbox, 45, 47)  # it has not come
    assert answer(outbox, clocks) == payloads(sent[44:47])


def test_what_is_being_answered_is_not_answered_again(start: Start, clocks: Any) -> None:
    outbox = start()
    sent = filled(outbox, 100)
    ask(outbox, 1, 100)
    connection = Connection(outbox)
    connection.send()
    assert 0 < len(connection.sent) < 100
    ask(outbox, 1, 100)
    assert connection.sent + answer(outbox, clocks) == payloads(sent)


def test_rate_is_limited(start: Start, clocks: Any) -> None:
    outbox = start()
    filled(outbox, 500)
    ask(outbox, 1, 500)
    connection = Connection(outbox, window=1000)
    for second in range(1, 5):
        for _ in range(20):
            connection.send()
            assert 0 <= outbox.replay.seconds_until_due() <= 0.2
            clocks.advance(0.05)
        assert len(connection.sent) in range(80 * second, 100 * second + 21)
    answer(outbox, clocks)
    assert outbox.replay.seconds_until_due() == float("inf")


def test_what_is_gone_is_counted_and_nothing_is_sent(start: Start, clocks: Any) -> None:
    outbox = start()
    filled(outbox, 1000, size=2000)
    ask(outbox, 1, 10)
    ask(outbox, 3000, 3009)
    ask(outbox, 1, 10, subsystem="unheard_of")
    ask(outbox, 1, 10, session=SESSION + 1)
    assert answer(outbox, clocks) == []
    assert (outbox.replay.sent, outbox.replay.unavailable) == (0, 40)


def test_a_file_that_is_deleted_meanwhile(start: Start, clocks: Any, place: Path) -> None:
    outbox = start()
    filled(outbox, 400, size=1000)
    ask(outbox, 1, 400)
    connection = Connection(outbox)
    connection.send()
    for path in files_of(place)[:-1]:
        path.unlink()
    again = connection.sent + answer(outbox, clocks)
    found = [int(payload.rstrip(b" }").rpartition(b":")[2]) for payload in again]
    assert found[0] == 1
    assert found[-1] == 400
    assert found == sorted(set(found))
    assert outbox.replay.unavailable == 400 - len(found) > 0


def test_without_a_disk_nothing_is_to_be_had(clocks: Any) -> None:
    outbox = Outbox(None, OutboxOptions(), clocks.clock)
    filled(outbox, 10)
    ask(outbox, 1, 10)
    assert answer(outbox, clocks) == []
    assert outbox.replay.unavailable == 10


def test_what_consumers_have_sent_is_not_ours_to_answer(
    start: Start, clocks: Any, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = start()
    filled(outbox, 10)
    for subsystem in ("event", "consumer"):
        ask(outbox, 1, 10, subsystem=subsystem)
        assert not outbox.replay.busy
    assert answer(outbox, clocks) == []
    assert (outbox.replay.sent, outbox.replay.unavailable, outbox.replay.ignored) == (0, 0, 0)
    assert caplog.messages == []


# --- those who mean harm


def test_nonsense_is_counted_and_said_once_a_minute(
    start: Start, clocks: Any, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = start()
    for _ in range(590):
        outbox.replay.ask(b'{"v":1}')
        clocks.advance(0.2)
    assert outbox.replay.ignored == 590
    assert not outbox.replay.busy
    counts = [int(one.partition(" replay requests were ignored")[0]) for one in caplog.messages]
    assert len(counts) == 2
    assert counts[0] == 1
    assert counts[1] in (300, 301)
    assert "wrong_type" in caplog.text


def test_what_waits_is_bounded(start: Start, clocks: Any, caplog: pytest.LogCaptureFixture) -> None:
    outbox = start()
    filled(outbox, 10)
    for number in range(5000):
        ask(outbox, 1 + 10 * number, 5 + 10 * number)
    assert len(outbox.replay._pending) == 64
    assert outbox.replay.ignored == 5000 - 64
    assert len(caplog.messages) == 1
    answer(outbox, clocks)
    for number in range(2000):
        ask(outbox, 1, 1 + number, session=SESSION + 1 + number)
        if number % 50 == 0:
            Connection(outbox).send()
    assert len(outbox.replay._answered) <= 256


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every reading of a piece of a file adds an entry."""
    found: list[int] = []
    read = Segment.read

    def count(segment: Segment, offset: int) -> Piece:
        found.append(offset)
        return read(segment, offset)

    monkeypatch.setattr(Segment, "read", count)
    return found


def test_what_is_recent_is_found_without_reading_what_is_old(start: Start, clocks: Any, reads: list[int]) -> None:
    outbox = start()
    sent = filled(outbox, 400, size=2000)
    outbox.close("stopped")
    outbox = start()
    reads.clear()
    ask(outbox, 380, 400)
    assert answer(outbox, clocks) == payloads(sent[379:])
    assert len(reads) < 10


def test_reading_is_bounded(start: Start, clocks: Any, reads: list[int]) -> None:
    outbox = start()
    filled(outbox, 400, size=2000)
    outbox.close("stopped")
    outbox = start()
    reads.clear()
    for number in range(64):
        ask(outbox, 1000, 1010, session=SESSION - number)
    connection = Connection(outbox)
    for _ in range(20):
        before = len(reads)
        connection.send()
        assert len(reads) - before <= 8
        clocks.advance(0.2)
    # What is in a file is found out once.
    assert len(reads) < 60
    assert not outbox.replay.busy


def test_a_range_that_hardly_ends_costs_no_memory(start: Start, clocks: Any) -> None:
    outbox = start()
    filled(outbox, 20)
    for number in range(60):
        ask(outbox, 1 + number * 100_000, (number + 1) * 100_000)
    assert answer(outbox, clocks) == payloads(messages(20))
    assert outbox.replay.unavailable == 60 * 100_000 - 20
