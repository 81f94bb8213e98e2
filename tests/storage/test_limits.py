"""What one host can make of a store: its new entries are bounded, and the store knows its hosts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hostpulse.bus.codec import Sample
from hostpulse.bus.messages import DiskMount
from hostpulse.consumer.storage import RowQuery, TooManyEntriesError, Writer
from hostpulse.consumer.storage.embedded import EmbeddedReader, EmbeddedWriter
from hostpulse.consumer.storage.influxdb import InfluxOptions, InfluxReader, InfluxWriter
from hostpulse.consumer.storage.influxdb.encoder import Encoder
from hostpulse.consumer.storage.limit import DAY, EntryLimit

from .influxdb.test_writer import token_for

START = 1_770_000_000_000
SECONDS = START / 1000
Make = Callable[..., Sample]


def mounts(*names: str) -> dict[str, DiskMount]:
    return {name: DiskMount(used_bytes=1) for name in names}


def keys(reader: EmbeddedReader | InfluxReader) -> list[tuple[object, object]]:
    query = RowQuery(table="disk_mount", start=SECONDS - 1, end=SECONDS + 100)
    return sorted({(row[1], row[2]) for batch in reader.rows(query) for row in batch})  # type: ignore[type-var]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_count_begins_anew_each_day() -> None:
    clock = Clock()
    limit = EntryLimit(2, clock)
    assert [limit.admits("a") for _ in range(3)] == [True, True, False]
    assert limit.admits("b")
    clock.now += DAY - 1
    assert not limit.admits("a")
    clock.now += 1
    assert limit.admits("a")


def test_no_limit() -> None:
    limit = EntryLimit(None)
    assert all(limit.admits("a") for _ in range(10_000))


def test_the_embedded_store_leaves_out_what_one_host_brings_too_much_of(path: Path, sample: Make) -> None:
    with EmbeddedWriter(path, retention=None, rollup_retention=None, maximum_entries=3) as writer:
        flood = mounts(*(f"/{number}" for number in range(10)))
        written = writer.write([sample("disk", START, "bad", mount=flood), sample("disk", START, "good")])
        assert written.rows == 2 + 3
        (refused,) = written.refused
        assert (refused.table, refused.rows, refused.is_of_host) == ("disk_mount", 7, True)
        assert "raise store.maximum_entries" in str(refused)
        assert not writer.write([sample("disk", START + 1, "good", mount=mounts("/"))]).refused
        assert not writer.write([sample("disk", START + 2, "bad", mount=mounts("/0", "/2"))]).refused
        with EmbeddedReader(path) as reader:
            assert keys(reader) == [("bad", "/0"), ("bad", "/1"), ("bad", "/2"), ("good", "/")]


def test_a_batch_that_was_undone_does_not_count(path: Path, sample: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedWriter(path, retention=None, rollup_retention=None, maximum_entries=3) as writer:
        batch = [sample("disk", START, mount=mounts("/1", "/2", "/3"))]
        assert writer._open is not None
        with monkeypatch.context() as patched:
            patched.setattr(writer._open.rollup, "touch", lambda *_: 1 / 0)
            for _ in range(3):
                with pytest.raises(ZeroDivisionError):
                    writer.write(batch)
        assert not writer.write(batch).refused


def test_influxdb_gets_no_more_of_one_host_either(
    influx_options: InfluxOptions, influx_reader: InfluxReader, sample: Make
) -> None:
    with InfluxWriter(influx_options, retention=None, rollup_retention=None, maximum_entries=3) as writer:
        flood = mounts(*(f"/{number}" for number in range(10)))
        good = sample("disk", START, "good", mount=mounts("/"))
        written = writer.write([good, sample("disk", START, "bad", mount=flood)])
        assert written.rows == 2 + 4
        assert {(one.index, type(one.error)) for one in written.rejected} == {(1, TooManyEntriesError)}
        assert len(written.rejected) == 7
        assert "see store.maximum_entries" in str(written.rejected[0].error)
        assert not writer.write([sample("disk", START + 1, "bad", mount=mounts("/0", "/2"))]).rejected
    assert keys(influx_reader) == [("bad", "/0"), ("bad", "/1"), ("bad", "/2"), ("good", "/")]


def test_what_was_counted_is_not_counted_again_when_it_is_no_longer_remembered(
    sample: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hostpulse.consumer.storage.influxdb.plans._REMEMBERED", 2)
    encoder = Encoder(maximum_entries=5)
    for _ in range(5):
        assert not encoder.encode([[sample("disk", START, mount=mounts(*"abcde"))]]).rejected
    assert len(encoder.encode([[sample("disk", START, mount=mounts(*"abcdef"))]]).rejected) == 1


def test_what_is_remembered_is_bounded_in_bytes_and_all_entries_of_a_table_in_number(
    sample: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hostpulse.consumer.storage.influxdb.plans._REMEMBERED_BYTES", 500)
    monkeypatch.setattr("hostpulse.consumer.storage.influxdb.plans._COUNTED", 20)
    encoder = Encoder(maximum_entries=100)
    for number in range(25):
        encoded = encoder.encode([[sample("disk", START, f"h{number}", mount=mounts("x" * 100))]])
        assert len(encoded.rejected) == (number >= 20)
    (_, plan), *_ = [part for part in encoder._plans["disk"][1] if part[1].name == "disk_mount"]
    assert len(plan.heads) < 6


def known_to(writer: Writer, sample: Make, now: float) -> set[str] | None:
    writer.write([sample("cpu", round(now * 1000) - 1000, "new"), sample("cpu", round(now * 1000) - 7_200_000, "old")])
    writer.note_host("silent", online=True)
    return writer.hosts(now)


def test_a_store_knows_its_hosts(path: Path, influx_options: InfluxOptions, sample: Make) -> None:
    now = SECONDS
    with EmbeddedWriter(path, retention=3600, rollup_retention=None) as writer:
        assert writer.hosts(now) == set()
        assert known_to(writer, sample, now) == {"new", "silent"}
    with InfluxWriter(influx_options, retention=None, rollup_retention=None) as influx:
        assert influx.hosts(now) == set()
        assert known_to(influx, sample, now) == {"new", "old", "silent"}


def test_a_token_that_may_only_write_knows_no_hosts(
    influx_server: Any, influx_options: InfluxOptions, influx_writer: InfluxWriter, sample: Make
) -> None:
    influx_writer.write([sample("cpu", START)])
    only_write = influx_server.options(influx_options.bucket, token_for(influx_server, influx_options, "write"))
    with InfluxWriter(only_write, retention=None, rollup_retention=None) as writer:
        assert writer.hosts(SECONDS) is None


def test_a_host_that_only_says_its_status_is_forgotten_after_two_looks(path: Path, sample: Make) -> None:
    with EmbeddedWriter(path, retention=3600, rollup_retention=None) as writer, EmbeddedReader(path) as reader:
        writer.note_host("stranger", online=True)
        writer.note_host("late", online=True)
        writer.write([sample("cpu", START, "own")])
        writer.note_host("own", online=True)
        writer.maintain(SECONDS)
        writer.maintain(SECONDS + 1800)
        assert [host.name for host in reader.hosts()] == ["late", "own", "stranger"]
        writer.write([sample("cpu", START + 1, "late")])
        writer.maintain(SECONDS + 3601)
        assert [(host.name, host.online) for host in reader.hosts()] == [("late", True), ("own", True)]
