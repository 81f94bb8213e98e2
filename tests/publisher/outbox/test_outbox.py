"""The outbox on disk: restarts, order, bounds, and disks that cannot be used."""

import logging
import os
import shutil
import subprocess
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostpulse.publisher.clock import Clock
from hostpulse.publisher.outbox import Message, Outbox, OutboxOptions

from .support import SESSION, SMALL, Connection, cycle, files_of, kill, message, messages, payloads

Start = Callable[..., Outbox]


def test_what_was_not_acknowledged_is_sent_by_the_next_publisher_as_it_was(start: Start) -> None:
    first = start()
    old = messages(10)
    cycle(first, *old)
    connection = Connection(first, window=5)
    connection.send()
    connection.acknowledge(3)
    cycle(first, message(11))
    kill(first)
    second = start()
    assert (len(second), second.waiting) == (8, 8)
    new = message(1, session=SESSION + 5000)
    cycle(second, new)
    connection = Connection(second)
    connection.drain()
    assert connection.sent == [new.payload, *payloads([*old[3:], message(11)])]
    assert (len(second), second.bytes, second.age_seconds) == (0, 0, 0)
    second.close("stopped")
    third = Connection(start())
    third.drain()
    assert third.sent == []


def test_after_a_stop_nothing_is_sent_twice(start: Start) -> None:
    for session in range(3):
        outbox = start()
        connection = Connection(outbox)
        cycle(outbox, *messages(5, session=SESSION + session))
        connection.drain()
        assert len(connection.sent) == 5
        outbox.close("stopped")


def test_earlier_starts_are_known_with_their_last_messages(start: Start) -> None:
    for session in range(20):
        outbox = start()
        cycle(outbox, *messages(3, session=SESSION + session), message(1, session=SESSION + session, subsystem="disk"))
        kill(outbox)
    last = start()
    assert last.sessions() == {SESSION + session: {"cpu": 3, "disk": 1} for session in range(4, 20)}
    cycle(last, *messages(2, session=SESSION + 20))
    assert last.sessions()[SESSION + 20] == {"cpu": 2}
    assert len(last.sessions()) == 16


def test_what_is_done_is_noted_though_no_message_comes(start: Start, clocks: Any) -> None:
    """A publisher with a long interval that is killed does not send the last messages again."""
    outbox = start()
    cycle(outbox, *messages(5))
    Connection(outbox).drain()
    clocks.advance(15)
    cycle(outbox)
    kill(outbox)
    assert len(start()) == 0


def test_live_messages_go_first_and_the_backlog_oldest_first(start: Start) -> None:
    outbox = start()
    for sequence in range(1, 501):
        cycle(outbox, message(sequence, subsystem="disk"))
    kill(outbox)
    outbox = start()
    connection = Connection(outbox)
    backlog: list[bytes] = []
    for sequence in range(1, 13):
        live = messages(2, first=2 * sequence)
        cycle(outbox, *live)
        before = len(connection.sent)
        connection.send()
        sent = connection.sent[before:]
        assert sent[:2] == payloads(live)
        assert len(sent) == 40
        backlog += sent[2:]
        connection.acknowledge()
    connection.drain()
    backlog += connection.sent[12 * 40 :]
    assert backlog == payloads(messages(500, subsystem="disk"))


def test_a_slow_connection_does_not_hold_up_what_is_new(start: Start) -> None:
    outbox = start()
    cycle(outbox, *messages(300, subsystem="disk"))
    kill(outbox)
    outbox = start()
    connection = Connection(outbox)
    connection.send()
    for sequence in range(1, 50):
        cycle(outbox, message(sequence))
        connection.acknowledge(1)
        connection.send()
        assert connection.sent[-1] == message(sequence).payload


def test_an_outage_is_made_up_for_without_a_restart(start: Start) -> None:
    outbox = start()
    connection = Connection(outbox)
    everything: list[bytes] = []
    for outage in range(3):
        connection.up = False
        for sequence in range(300):
            one = message(1 + 300 * outage + sequence)
            everything.append(one.payload)
            cycle(outbox, one)
        assert (len(outbox), outbox.waiting) == (300, 300)
        assert outbox.bytes > 300 * 60
        connection.up = True
        connection.drain()
        assert len(outbox) == 0
    assert sorted(connection.sent) == sorted(everything)
    assert outbox.sent_messages == 900


def test_memory_does_not_grow_with_the_backlog(start: Start) -> None:
    outbox = start(OutboxOptions(size_bytes=64 * 2**20))
    tracemalloc.start()
    try:
        for sequence in range(1, 8001):
            cycle(outbox, message(sequence, size=2000))
        _, filling = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        connection = Connection(outbox)
        while outbox.waiting:
            connection.send()
            connection.sent.clear()
            connection.acknowledge()
        _, draining = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert outbox._directory is not None
    assert sum(path.stat().st_size for path in files_of(outbox._directory)) > 16_000_000
    assert max(filling, draining) < 1_500_000


def test_what_has_no_room_is_counted_and_is_the_oldest(start: Start) -> None:
    outbox = start()
    for sequence in range(1, 2001):
        cycle(outbox, message(sequence, size=2000))
    dropped = outbox.dropped_messages
    assert dropped > 1400
    assert len(outbox) == 2000 - dropped
    connection = Connection(outbox)
    connection.drain()
    assert sorted(connection.sent) == sorted(payloads(messages(2000 - dropped, first=dropped + 1, size=2000)))


def test_what_was_sent_and_makes_room_is_not_counted(start: Start, place: Path) -> None:
    outbox = start()
    connection = Connection(outbox)
    for sequence in range(1, 1001):
        cycle(outbox, message(sequence, size=2000))
        connection.send()
        connection.acknowledge()
    assert outbox.dropped_messages == 0
    assert sum(path.stat().st_size for path in files_of(place)) <= SMALL.size_bytes


def test_what_is_too_old_is_counted(start: Start, clocks: Any) -> None:
    outbox = start(OutboxOptions(age_seconds=3600))
    for sequence in range(1, 121):
        cycle(outbox, message(sequence))
        clocks.advance(60)
    dropped = outbox.dropped_messages
    assert 50 <= dropped <= 60
    connection = Connection(outbox)
    connection.drain()
    assert sorted(connection.sent) == sorted(payloads(messages(120 - dropped, first=dropped + 1)))


@pytest.mark.parametrize("damage", ["deleted", "zeros", "a directory"])
def test_a_file_that_is_lost_costs_its_messages_and_is_reported(
    start: Start, place: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = start()
    for first in range(1, 600, 10):
        cycle(outbox, *messages(10, first=first, size=500))
    kill(outbox)
    outbox = start()
    files = files_of(place)
    assert len(files) > 3
    lost = files[1].read_bytes().count(b'"sequence"')
    size = files[1].stat().st_size
    files[1].unlink()
    if damage == "zeros":
        files[1].write_bytes(bytes(size))
    elif damage == "a directory":
        files[1].mkdir()
    caplog.clear()
    connection = Connection(outbox)
    connection.drain()
    expected = payloads(messages(600, size=500))
    assert len(connection.sent) == 600 - lost
    assert connection.sent == [one for one in expected if one in connection.sent]
    assert (len(outbox), outbox.dropped_messages) == (0, lost)
    assert f"{lost} messages in {files[1]} cannot be read and are lost" in caplog.text
    if damage == "a directory":
        files[1].rmdir()


def test_what_is_in_flight_between_two_outages_is_not_sent_again(start: Start) -> None:
    outbox = start()
    connection = Connection(outbox, window=70)
    cycle(outbox, *messages(100))
    for count in (2, 200):
        connection.send()
        connection.up = False
        for _ in range(count):
            cycle(outbox, message(1 + len(outbox) + outbox.sent_messages))
        connection.up = True
    while outbox.waiting:
        connection.window += 10  # it acknowledges nothing yet
        connection.send()
    assert len(connection.sent) == len(set(connection.sent)) == 302


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("cycle"), st.integers(0, 90)),
        st.tuples(st.just("send"), st.just(0)),
        st.tuples(st.just("acknowledge"), st.integers(1, 40)),
        st.tuples(st.just("acknowledge newest"), st.integers(1, 40)),
        st.tuples(st.sampled_from(["kill", "stop", "cut", "connect"]), st.just(0)),
    ),
    max_size=40,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(steps=STEPS)
def test_everything_arrives_however_often_it_is_killed(place: Path, steps: list[tuple[str, int]]) -> None:
    shutil.rmtree(place, ignore_errors=True)

    def start() -> tuple[Outbox, Connection]:
        outbox = Outbox(place, OutboxOptions(), Clock())
        outbox.open()
        return outbox, Connection(outbox)

    outbox, connection = start()
    arrived: list[bytes] = []
    made: list[Message] = []
    for step, count in steps:
        match step:
            case "cycle":
                new = messages(count, first=len(made) + 1)
                made += new
                cycle(outbox, *new)
            case "send":
                connection.send()
            case "acknowledge":
                connection.acknowledge(count)
            case "acknowledge newest":
                connection.unacknowledged.reverse()
                connection.acknowledge(count)
                connection.unacknowledged.reverse()
            case "kill" | "stop":
                assert len(connection.sent) == len(set(connection.sent)), "sent twice"
                arrived += connection.sent
                if step == "kill":
                    kill(outbox)
                else:
                    outbox.close("stopped")
                outbox, connection = start()
            case _:
                connection.up = step == "connect"
        assert outbox.dropped_messages == 0
        assert outbox.waiting + len(connection.unacknowledged) == len(outbox)
    connection.up = True
    connection.acknowledge()
    connection.drain()
    assert len(connection.sent) == len(set(connection.sent)), "sent twice"
    arrived += connection.sent
    outbox.close("the test has ended")
    assert set(arrived) == set(payloads(made))
    assert len(outbox) == 0


# --- disks that cannot be used


class Disk:
    """A small file system in memory that can be filled and emptied."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filling = path / "filling"

    def fill(self) -> None:
        with self._filling.open("wb", buffering=0) as file:
            size = 2**16
            while size:
                try:
                    full = file.write(bytes(size)) < size
                except OSError:
                    full = True
                size //= 2 if full else 1
        assert os.statvfs(self.path).f_bavail == 0

    def empty(self) -> None:
        self._filling.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(path)]
    if os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("a small file system can only be mounted by root")
    yield Disk(path)
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_disk_is_made_up_for_by_memory_and_used_again(
    disk: Disk, start: Start, clocks: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    place = disk.path / "outbox"
    outbox = start(directory=place)
    cycle(outbox, *messages(100, size=200))
    (file,) = files_of(place)
    written = file.read_bytes()
    disk.fill()
    for first in range(101, 701, 10):
        cycle(outbox, *messages(10, first=first, size=200))
        clocks.advance(2)
    assert caplog.messages == [
        f"outbox {place}: No space left on device; messages are kept in memory until it can be used (at most 50000)"
    ]
    assert (len(outbox), outbox.dropped_messages) == (700, 0)
    assert file.read_bytes() == written, "half a record was left behind"
    connection = Connection(outbox)
    connection.send()  # some of them from memory
    connection.acknowledge(20)
    disk.empty()
    clocks.advance(12)
    cycle(outbox, message(701, size=200))
    assert caplog.messages[1:] == [f"outbox {place} can be used again; messages are kept there"]
    kill(outbox)  # and everything is there, also what was in flight
    after = Connection(start(directory=place))
    after.drain()
    assert set(connection.sent[:20] + after.sent) == set(payloads(messages(701, size=200)))
    assert len(after.sent) == len(set(after.sent)) == 681


def test_a_full_disk_and_a_full_memory(disk: Disk, start: Start) -> None:
    outbox = start(directory=disk.path / "outbox", memory_messages=50)
    disk.fill()
    for sequence in range(1, 101):
        cycle(outbox, message(sequence, size=300))
    connection = Connection(outbox)
    connection.drain()
    assert len(connection.sent) == 100 - outbox.dropped_messages
    assert connection.sent[-1] == message(100, size=300).payload
    assert outbox.dropped_messages in range(30, 51)


def test_a_directory_that_cannot_be_made(
    start: Start, tmp_path: Path, clocks: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "outbox"
    outbox = start(directory=place)
    for sequence in range(1, 31):
        cycle(outbox, message(sequence))
        clocks.advance(2)
    assert caplog.messages == [
        f"outbox {place}: Not a directory; messages are kept in memory until it can be used (at most 50000)"
    ]
    assert len(outbox) == 30
    (tmp_path / "file").unlink()
    clocks.advance(12)
    cycle(outbox, message(31))
    kill(outbox)
    assert len(start(directory=place)) == 31


def test_a_second_publisher_keeps_its_own_in_memory_until_the_first_has_ended(
    start: Start, clocks: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first, second = start(), start()
    assert f"another publisher (pid {os.getpid()}) uses it; give each a data_dir of its own" in caplog.text
    cycle(first, message(1))
    cycle(second, message(1, session=SESSION + 1))
    connection = Connection(second)
    connection.drain()
    assert connection.sent == [message(1, session=SESSION + 1).payload]
    kill(first)
    clocks.advance(12)
    cycle(second, message(2, session=SESSION + 1))
    assert "can be used again" in caplog.text
    connection.drain()
    assert connection.sent[1:] == [message(2, session=SESSION + 1).payload, message(1).payload]


def test_a_publisher_that_stops_says_what_is_left(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    outbox = start()
    cycle(outbox, *messages(3))
    outbox.close("broker b:1 refused us")
    assert caplog.messages == [f"3 messages wait in {outbox._directory} for the next start: broker b:1 refused us"]
    caplog.clear()
    outbox = start()
    assert caplog.messages == [f"outbox {outbox._directory}: 3 messages of before are to be sent"]
