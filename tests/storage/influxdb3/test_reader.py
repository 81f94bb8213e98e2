"""Reading from InfluxDB 3 Core what it does not give at once, and what another program has made of it."""

from collections.abc import Callable
from typing import Any

import pytest

from hostpulse.bus.codec import Sample
from hostpulse.bus.messages import CpuCore
from hostpulse.consumer.storage import LatestQuery, Reader, RowQuery, SeriesQuery, StorageUnavailableError
from hostpulse.consumer.storage.embedded import EmbeddedReader, EmbeddedWriter
from hostpulse.consumer.storage.influxdb import InfluxOptions, InfluxReader, InfluxWriter

from ...cli.support import eventually
from ...influxdb3 import Influx3Server, OwnInflux3Server

START = 1_769_997_600_000  # a whole hour
MINUTE = 60_000
Make = Callable[..., Sample]
SMALL_FILES = ("--wal-flush-interval", "20ms", "--wal-snapshot-size", "5", "--gen1-duration", "1m")
"""A file for each minute and table, of what came more than some requests ago."""


def everything(reader: Reader) -> list[Any]:
    """Return what a reader says of cpu and its cores, each query over all time."""
    found: list[Any] = [reader.hosts()]
    for table in ("cpu", "cpu_core"):
        query = RowQuery(table=table, start=0, end=10**10)
        found += [sorted(row for batch in reader.rows(query) for row in batch), reader.count(query)]
        found.append(reader.latest(LatestQuery(table=table, since=0)))
        for every in (None, 90, 3600):
            one = SeriesQuery(table=table, field="utilization_percent", start=0, end=10**10, every=every)
            found.append(reader.series(one))
    numbers = [one for batch in reader.numbers("cpu", 0, 10**10) for one in batch]
    return [*found, sorted(numbers), reader.last_numbers("cpu", 0)]


def test_what_lies_in_more_files_than_it_opens_is_read_in_parts(
    make_influx3_server: Callable[..., OwnInflux3Server],
    writer: EmbeddedWriter,
    reader: EmbeddedReader,
    sample: Make,
) -> None:
    """Of 432 files it opens by itself, it has one for each table and ten minutes."""
    server = make_influx3_server(*SMALL_FILES, "--query-file-limit", "6")
    options = server.options("d")
    with InfluxWriter(options, retention=None, rollup_retention=None) as influx3_writer:
        for number in range(24):
            host, core = "abc"[number % 3], {str(number % 2): CpuCore(utilization_percent=float(number))}
            fields: dict[str, Any] = {"utilization_percent" if number % 5 else "user_percent": float(number)}
            one = sample("cpu", START + number * MINUTE, host, number + 1, core=core, **fields)
            assert influx3_writer.write([one]) == writer.write([one])
    files = "SELECT COUNT(*) AS n FROM system.parquet_files WHERE table_name = 'cpu'"
    eventually(lambda: server.rows("d", files)[0]["n"] > 12)
    with InfluxReader(options) as influx3_reader:
        assert everything(influx3_reader) == everything(reader)


def test_a_part_that_lies_in_too_many_files_alone_is_an_error(
    make_influx3_server: Callable[..., OwnInflux3Server], sample: Make
) -> None:
    server = make_influx3_server(*SMALL_FILES, "--query-file-limit", "0")
    options = server.options("d")
    with InfluxWriter(options, retention=None, rollup_retention=None) as writer:
        for number in range(20):
            writer.write([sample("cpu", START + number * MINUTE)])
    eventually(lambda: server.rows("d", "SELECT COUNT(*) AS n FROM system.parquet_files")[0]["n"] > 0)
    with (
        InfluxReader(options) as reader,
        pytest.raises(StorageUnavailableError, match="exceed file limit of 0 parquet files") as caught,
    ):
        reader.count(RowQuery(table="cpu", start=0, end=10**10))
    assert "\n" not in str(caught.value)


def test_tables_of_another_program_are_nothing(
    influx3_server: Influx3Server, influx3_options: InfluxOptions, influx3_reader: InfluxReader
) -> None:
    name = influx3_options.bucket
    influx3_server.write(name, f"cpu,region=x usage=1 {START}", f"cpu_core,host=a usage=1 {START}", f"x f=1 {START}")
    for table in ("cpu", "cpu_core"):
        assert list(influx3_reader.rows(RowQuery(table=table, start=0, end=10**10))) == []
    assert influx3_reader.latest(LatestQuery(table="cpu", since=0)) == []
    assert influx3_reader.last_numbers("cpu", 0) == []
    influx3_server.write(name, f"cpu,host=a,region=x usage=1 {START + 1}")
    [[row]] = influx3_reader.rows(RowQuery(table="cpu", start=0, end=10**10, fields=("user_percent",)))
    assert row == (START + 1, "a", None)
    assert [host.name for host in influx3_reader.hosts()] == ["a"]


def test_a_database_that_is_made_anew_has_what_it_has(
    influx3_server: Influx3Server,
    influx3_options: InfluxOptions,
    influx3_writer: InfluxWriter,
    influx3_reader: InfluxReader,
    sample: Make,
) -> None:
    query = RowQuery(table="cpu", start=0, end=10**10, fields=("user_percent",))
    influx3_writer.write([sample("cpu", START, user_percent=1.0)])
    assert list(influx3_reader.rows(query)) == [[(START, "alpha", 1.0)]]
    influx3_server.forget(influx3_options)
    influx3_writer.write([sample("memory", START)])
    with pytest.raises(StorageUnavailableError, match="not found"):  # it is not what it was
        list(influx3_reader.rows(query))
    assert list(influx3_reader.rows(query)) == []
