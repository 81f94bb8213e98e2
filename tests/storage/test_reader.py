from collections.abc import Callable
from typing import Any

import pytest

from hostpulse.bus.codec import Sample
from hostpulse.bus.errors import UsageError
from hostpulse.bus.messages import CpuCore, DiskDevice, DiskMount
from hostpulse.consumer.storage import Latest, LatestQuery, Point, RowQuery, Series, SeriesQuery
from hostpulse.consumer.storage.embedded import EmbeddedReader, EmbeddedWriter

START = 1_769_997_600_000  # a whole hour
SECONDS = START // 1000
Make = Callable[..., Sample]


@pytest.fixture
def filled(writer: EmbeddedWriter, reader: EmbeddedReader, sample: Make) -> EmbeddedReader:
    """Two hosts with two cores, a sample each second for three hours; the first two are summed up."""
    for first in range(0, 10_800, 1800):
        writer.write(
            [
                sample(
                    "cpu",
                    START + second * 1000,
                    host,
                    second + 1,
                    user_percent=float(second),
                    core={key: CpuCore(utilization_percent=float(second + index)) for index, key in enumerate("01")},
                )
                for second in range(first, first + 1800)
                for host in ("alpha", "beta")
            ]
        )
    while writer.maintain(SECONDS + 7200).more:
        pass
    return reader


def rows(reader: EmbeddedReader, **query: Any) -> list[tuple[Any, ...]]:
    return [row for batch in reader.rows(RowQuery(**query)) for row in batch]


def test_rows_come_in_batches_in_order(filled: EmbeddedReader) -> None:
    query = RowQuery(table="cpu_core", start=SECONDS, end=SECONDS + 10_800)
    batches = list(filled.rows(query))
    assert len(batches) > 5
    found: list[tuple[Any, ...]] = [row for batch in batches for row in batch]
    assert len(found) == len(set(found)) == 10_800 * 4
    assert [row[0] for row in found] == sorted(row[0] for row in found)
    assert all(len(row) == len(query.columns) for row in found)
    assert query.columns == ("timestamp", "host", "core", "utilization_percent", "frequency_hertz")


def test_rows_of_chosen_devices_and_fields(filled: EmbeddedReader) -> None:
    found = rows(
        filled,
        table="cpu_core",
        start=SECONDS + 5,
        end=SECONDS + 7,
        hosts=("beta", "nobody"),
        keys=("1",),
        fields=("utilization_percent",),
    )
    assert found == [(START + 5000, "beta", "1", 6.0), (START + 6000, "beta", "1", 7.0)]
    assert rows(filled, table="cpu_core", start=0, end=10**10, hosts=("nobody",)) == []
    assert rows(filled, table="cpu_core", start=0, end=10**10, keys=()) == []
    assert rows(filled, table="cpu", start=0, end=10**10, fields=())[0] == (START, "alpha")


def test_moments_outside_of_what_an_id_can_hold(filled: EmbeddedReader) -> None:
    assert len(rows(filled, table="cpu", start=-1e300, end=1e300)) == 21_600
    assert rows(filled, table="cpu", start=1e200, end=1e300) == []
    assert filled.series(SeriesQuery(table="cpu", field="user_percent", start=1e200, end=1e300, every=60)) == []


@pytest.mark.parametrize(
    ("first", "last"), [(0, 1), (100, 3700), (0, 10_800), (30, 10_770), (7200, 10_800), (10_800, 99_999)]
)
def test_the_count_is_near(filled: EmbeddedReader, first: int, last: int) -> None:
    query = RowQuery(table="cpu_core", start=SECONDS + first, end=SECONDS + last, hosts=("beta",))
    exact = sum(map(len, filled.rows(query)))
    assert filled.count(query) == exact if last - first <= 3600 else abs(filled.count(query) - exact) <= 2 * 120


def test_raw_values(filled: EmbeddedReader) -> None:
    query = SeriesQuery(
        table="cpu_core",
        field="utilization_percent",
        start=SECONDS,
        end=SECONDS + 2,
        every=None,
        hosts=("beta",),
    )
    assert filled.series(query) == [
        Series("beta", "0", [Point(START, 0.0, 0.0, 0.0), Point(START + 1000, 1.0, 1.0, 1.0)]),
        Series("beta", "1", [Point(START, 1.0, 1.0, 1.0), Point(START + 1000, 2.0, 2.0, 2.0)]),
    ]


def test_buckets_are_whole_even_if_the_range_cuts_into_them(filled: EmbeddedReader) -> None:
    query = SeriesQuery(
        table="cpu", field="user_percent", start=SECONDS + 3601, end=SECONDS + 7201, every=3600, hosts=("alpha",)
    )
    [series] = filled.series(query)
    assert series == Series(
        "alpha",
        None,
        [
            Point(START + 3_600_000, sum(range(3600, 7200)) / 3600, 3600.0, 7199.0),
            Point(START + 7_200_000, sum(range(7200, 10_800)) / 3600, 7200.0, 10_799.0),
        ],
    )


def test_too_many_points_are_refused(filled: EmbeddedReader) -> None:
    query = SeriesQuery(table="cpu", field="user_percent", start=0, end=10**10, every=60, maximum_points=360)
    assert sum(len(series.points) for series in filled.series(query)) == 360
    narrow = SeriesQuery(table="cpu", field="user_percent", start=0, end=10**10, every=60, maximum_points=359)
    with pytest.raises(UsageError, match="more than 359 points"):
        filled.series(narrow)


def test_the_latest_of_each_field(writer: EmbeddedWriter, reader: EmbeddedReader, sample: Make) -> None:
    writer.write(
        [
            sample("disk", START, mount={"/": DiskMount(used_percent=1.0, state="ok")}),
            sample("disk", START + 30_000, mount={"/": DiskMount(used_percent=2.0, inodes_used=7)}),
            sample("disk", START + 40_000, device={"sda": DiskDevice(busy_percent=3.0)}, read_bytes_per_second=4),
            sample("disk", START + 42_000, "beta", mount={"/": DiskMount(used_percent=5.0)}),
            sample("disk", START + 44_000, write_bytes_per_second=6),
        ]
    )
    assert reader.latest(LatestQuery(table="disk_mount", since=SECONDS)) == [
        Latest("alpha", "/", START + 30_000, {"used_percent": 2.0, "state": "ok", "inodes_used": 7}),
        Latest("beta", "/", START + 42_000, {"used_percent": 5.0}),
    ]
    assert reader.latest(LatestQuery(table="disk_mount", since=SECONDS + 1, hosts=("alpha",))) == [
        Latest("alpha", "/", START + 30_000, {"used_percent": 2.0, "inodes_used": 7}),
    ]
    assert reader.latest(LatestQuery(table="disk", since=SECONDS, hosts=("alpha",))) == [
        Latest("alpha", None, START + 44_000, {"read_bytes_per_second": 4, "write_bytes_per_second": 6}),
    ]
    assert reader.latest(LatestQuery(table="disk_mount", since=SECONDS + 60)) == []
    assert reader.latest(LatestQuery(table="battery", since=0)) == []


def test_an_idle_reader_does_not_hold_the_log(filled: EmbeddedReader, writer: EmbeddedWriter, sample: Make) -> None:
    batches = filled.rows(RowQuery(table="cpu_core", start=0, end=10**10))
    next(batches)
    writer.write([sample("cpu", START - 1000)])
    assert writer._open is not None
    busy, _, _ = writer._open.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert busy == 0
    assert len(next(batches)) == 4096


def test_a_reader_cannot_write(reader: EmbeddedReader) -> None:
    assert reader._open is not None
    with pytest.raises(Exception, match="readonly"):
        reader._open.execute("DELETE FROM cpu")
    reader.close()
    reader.close()
    with pytest.raises(RuntimeError):
        reader.hosts()
