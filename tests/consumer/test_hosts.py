"""More hosts than are stored: what comes from them is counted, a few of it are kept, and it ends when there is room."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hostpulse.bus.mqtt import Batch
from hostpulse.bus.topics import Topics
from hostpulse.consumer.dead_letter import DeadLetterFile
from hostpulse.consumer.letter import Selection
from hostpulse.consumer.retry import retry
from hostpulse.consumer.storage import RejectedLine, StorageUnavailableError, TooManyEntriesError, Written
from hostpulse.consumer.storage.embedded import EmbeddedReader, EmbeddedWriter
from hostpulse.consumer.store import StoreRole

from .conftest import NOW, Clock, FakeWriter, message

MakeBatch = Callable[..., Batch]


def of(host: str, sequence: int = 1) -> tuple[str, bytes]:
    return f"hostpulse/{host}/cpu", message(host=host, sequence=sequence, load_average_1m=1)


@pytest.fixture
def small(writer: FakeWriter, dead_letters: DeadLetterFile, clock: Clock) -> StoreRole:
    """A role that stores two hosts."""
    return StoreRole(Topics(), writer, dead_letters, maximum_hosts=2, wall=lambda: NOW, monotonic=clock)


def kinds(dead_letters: DeadLetterFile) -> Counter[str]:
    return Counter(entry.letter.kind for entry in dead_letters.entries() if entry.letter)


def test_hosts_beyond_the_bound_are_left_out_and_the_others_are_stored(
    small: StoreRole, writer: FakeWriter, batch: MakeBatch, dead_letters: DeadLetterFile
) -> None:
    small.take(batch(of("a"), of("b"), of("c"), of("a", 2), ("hostpulse/d/status", b"online")))
    small.take(batch(of("c", 2), of("b", 2), ("hostpulse/b/status", b"online")))
    assert [(one.envelope.host, one.envelope.sequence) for one in writer.samples] == [
        ("a", 1),
        ("b", 1),
        ("a", 2),
        ("b", 2),
    ]
    assert [note[0] for note in writer.notes] == ["b"]
    assert kinds(dead_letters) == {"too_many_hosts": 3}


def test_a_host_takes_no_room_by_what_is_unusable(small: StoreRole, writer: FakeWriter, batch: MakeBatch) -> None:
    small.take(batch(*((f"hostpulse/x{number}/cpu", b"{") for number in range(10)), of("a"), of("b")))
    assert [one.envelope.host for one in writer.samples] == ["a", "b"]


def test_a_flood_is_counted_a_few_are_kept_and_a_line_a_minute_says_so(
    small: StoreRole,
    batch: MakeBatch,
    clock: Clock,
    dead_letters: DeadLetterFile,
    caplog: pytest.LogCaptureFixture,
) -> None:
    small.take(batch(of("a"), of("b")))
    for number in range(20):
        small.take(batch(*(of(f"stranger-{number}-{each}") for each in range(100))))
    assert kinds(dead_letters) == {"too_many_hosts": 10}
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "100 messages were not or not all stored, by store.maximum_hosts "
        f"(the first 10 a minute are kept in {dead_letters.path}); "
    )
    assert "2 hosts are stored already, and 'stranger-0-99' is not one of them" in caplog.text
    caplog.clear()
    clock.seconds += 61
    small.idle()  # nothing more has come, and what came is said
    (text,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert text.startswith("1900 messages were not")
    small.idle()
    assert len(caplog.records) == 1
    clock.seconds += 61
    small.take(batch(*(of(f"more-{each}") for each in range(100))))
    assert kinds(dead_letters) == {"too_many_hosts": 20}


def test_a_name_cannot_forge_a_line_of_the_log(
    small: StoreRole, batch: MakeBatch, caplog: pytest.LogCaptureFixture
) -> None:
    small.take(batch(of("a"), of("b")))
    host = "x\n\x1b[2Jroot"
    small.take(batch((Topics().sample(host, "cpu"), message(host=host))))
    assert "not one of them" in caplog.text
    assert not any(sign in caplog.records[-1].getMessage() for sign in "\n\x1b")


def test_other_unusable_messages_are_all_kept_beside_a_flood(
    small: StoreRole, batch: MakeBatch, dead_letters: DeadLetterFile
) -> None:
    small.take(batch(of("a"), of("b")))
    for _ in range(3):
        small.take(batch(*(of(f"stranger-{each}") for each in range(50)), ("hostpulse/a/cpu", b"{")))
    assert kinds(dead_letters) == {"too_many_hosts": 10, "malformed": 3}


def test_what_the_store_has_counts_however_many_there_are(
    small: StoreRole, writer: FakeWriter, batch: MakeBatch
) -> None:
    writer.known_hosts = {f"h{number}" for number in range(50)}
    small.take(batch(*(of(f"h{number}") for number in range(51))))
    assert len(writer.samples) == 50


def test_hosts_that_have_gone_make_room_within_an_hour(
    small: StoreRole, writer: FakeWriter, batch: MakeBatch, clock: Clock
) -> None:
    writer.known_hosts = {"a", "b"}
    small.take(batch(of("c")))
    writer.known_hosts = {"b"}
    clock.seconds += 3500
    small.take(batch(of("c", 2)))
    assert writer.samples == []
    clock.seconds += 101
    small.take(batch(of("c", 3), of("d")))
    assert [(one.envelope.host, one.envelope.sequence) for one in writer.samples] == [("c", 3)]


def test_a_store_that_cannot_be_read_counts_what_comes_first(
    small: StoreRole, writer: FakeWriter, batch: MakeBatch, clock: Clock
) -> None:
    writer.known_hosts = None
    small.take(batch(of("a"), of("b"), of("c")))
    clock.seconds += 3601
    small.take(batch(of("c", 2), of("a", 2)))
    assert [one.envelope.host for one in writer.samples] == ["a", "b", "a"]


def test_a_store_that_cannot_be_read_now_is_asked_again_and_keeps_nothing_from_being_stored(
    small: StoreRole,
    *,
    writer: FakeWriter,
    batch: MakeBatch,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def away(_now: float) -> set[str]:
        raise StorageUnavailableError("away")

    with monkeypatch.context() as patched:
        patched.setattr(writer, "hosts", away)
        for _ in range(3):
            small.take(batch(of("a")))
            clock.seconds += 61
    assert len(writer.samples) == 3
    assert len(caplog.records) == 1
    assert caplog.records[0].getMessage().endswith("those that come first count: away")
    writer.known_hosts = {"a", "b", "c"}
    small.take(batch(of("b"), of("c"), of("d")))
    assert [one.envelope.host for one in writer.samples[3:]] == ["b", "c"]


def test_rows_beyond_the_bound_of_entries_are_counted_with_their_message(
    small: StoreRole, writer: FakeWriter, batch: MakeBatch, dead_letters: DeadLetterFile
) -> None:
    writer.written = Written(1, rejected=(RejectedLine(0, b"disk_mount,a,/x", TooManyEntriesError("too many")),))
    for _ in range(20):
        small.take(batch(of("a")))
    assert kinds(dead_letters) == {"too_many_entries": 10}


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[EmbeddedWriter]:
    with EmbeddedWriter(tmp_path / "history.db", retention=3600, rollup_retention=None) as writer:
        yield writer


def test_a_restart_knows_the_hosts_and_a_retry_stores_what_has_room_then(
    tmp_path: Path, embedded: EmbeddedWriter, dead_letters: DeadLetterFile, batch: MakeBatch
) -> None:
    StoreRole(Topics(), embedded, dead_letters, maximum_hosts=2, wall=lambda: NOW).take(batch(of("a"), of("b")))
    again = StoreRole(Topics(), embedded, dead_letters, maximum_hosts=2, wall=lambda: NOW)
    again.take(batch(of("c"), of("a", 2)))
    with EmbeddedReader(tmp_path / "history.db") as reader:
        assert [host.name for host in reader.hosts()] == ["a", "b"]
        assert kinds(dead_letters) == {"too_many_hosts": 1}
        assert retry(dead_letters, again, Selection(), wall=lambda: NOW).failed == 1
        larger = StoreRole(Topics(), embedded, dead_letters, maximum_hosts=3, wall=lambda: NOW)
        assert retry(dead_letters, larger, Selection(), wall=lambda: NOW).stored == 1
        assert [host.name for host in reader.hosts()] == ["a", "b", "c"]
