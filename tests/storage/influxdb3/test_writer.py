"""Writing to InfluxDB 3 Core: what comes back is what was written, and what it refuses is told with the reason."""

import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from hostpulse.bus.codec import Sample
from hostpulse.bus.messages import CpuCore, DiskMount
from hostpulse.consumer.storage import Maintenance, StorageError, StorageUnavailableError, UnstorableError
from hostpulse.consumer.storage.influxdb import InfluxOptions, InfluxWriter

from ...cli.support import eventually
from ...influxdb3 import Influx3Server, OwnInflux3Server

START = 1_770_000_000_000
Make = Callable[..., Sample]
Rows = Callable[[str], list[dict[str, Any]]]
MakeServer = Callable[..., OwnInflux3Server]


@pytest.fixture
def database(influx3_server: Influx3Server) -> Iterator[InfluxOptions]:
    with influx3_server.database() as options:
        yield options


@pytest.fixture
def writer(database: InfluxOptions) -> Iterator[InfluxWriter]:
    with writer_to(database) as opened:
        yield opened


@pytest.fixture
def rows(influx3_server: Influx3Server, database: InfluxOptions) -> Rows:
    """Return what SQL finds, with moments in milliseconds."""
    return lambda query: influx3_server.rows(database.bucket, query)


def writer_to(options: InfluxOptions) -> InfluxWriter:
    return InfluxWriter(options, retention=None, rollup_retention=None)


def test_it_says_what_it_is_and_has_the_database(
    writer: InfluxWriter, database: InfluxOptions, influx3_server: Influx3Server
) -> None:
    assert (writer.server.build, writer.server.is_version_3, writer.prepared) == ("Core", True, None)
    assert writer.maintain(0) == Maintenance(0, 0, more=False)
    assert database.bucket in influx3_server.databases()


def test_values_come_back_as_they_were_written(writer: InfluxWriter, rows: Rows, sample: Make) -> None:
    generator = random.Random(7)  # noqa: S311 - not for secrets
    batch, expected, cores = [], [], []
    for number in range(500):
        moment = START + number * 2000 + generator.randrange(1000)
        percent, hertz = round(generator.uniform(0, 100), 9), generator.randrange(10**9, 4 * 10**9)
        common = {"t": moment, "interval": 2.0, "session": 1_767_225_600_000.0, "sequence": number + 1.0}
        expected.append({**common, "utilization_percent": percent, "frequency_hertz": float(hertz)})
        cores += [{"t": moment, "core": core, "utilization_percent": percent / 2} for core in "01"]
        core = {core: CpuCore(utilization_percent=percent / 2) for core in "01"}
        fields = {"utilization_percent": percent, "frequency_hertz": hertz, "core": core}
        batch.append(sample("cpu", moment, "values", number + 1, **fields))
    for _ in range(2):  # a batch that was not acknowledged is written again
        written = writer.write(batch)
        assert (written.rows, written.rejected) == (1500, ())
    own = """
        SELECT CAST(time AS BIGINT) / 1000000 AS t, "interval", session, sequence, utilization_percent, frequency_hertz
        FROM cpu ORDER BY time
    """
    of_cores = "SELECT CAST(time AS BIGINT) / 1000000 AS t, core, utilization_percent FROM cpu_core ORDER BY time, core"
    assert (rows(own), rows(of_cores)) == (expected, cores)


@pytest.mark.parametrize("name", ["/var/my lib", "a,b=c d", "☃ 日本", "a\\b", "it's", '"', "#comment", "'; DROP"])
def test_names_come_back(writer: InfluxWriter, rows: Rows, sample: Make, name: str) -> None:
    mount = {name: DiskMount(used_bytes=1, device=name)}
    assert writer.write([sample("disk", START, name, mount=mount)]).rejected == ()
    expected = [{"host": name, "mount": name, "device": name, "used_bytes": 1.0}]
    assert rows("SELECT host, mount, device, used_bytes FROM disk_mount") == expected


def test_poison_lines_are_found_with_their_reasons_and_the_rest_is_stored(
    writer: InfluxWriter, rows: Rows, influx3_server: Influx3Server, database: InfluxOptions, sample: Make
) -> None:
    """Fields that another program has made text, in three of 5000 lines."""
    influx3_server.write(database.bucket, f'cpu,host=x limit_cores="many" {START}')
    poison = {17, 2500, 4999}
    batch = [
        sample("cpu", START + index, sequence=index + 1, **{"limit_cores" if index in poison else "user_percent": 1.0})
        for index in range(5000)
    ]
    written = writer.write(batch)
    assert {line.index for line in written.rejected} == poison
    for line in written.rejected:
        assert "invalid column type for column 'limit_cores', expected" in str(line.error)
        assert b"limit_cores=1" in line.line
    assert written.rows == 4997
    assert rows("SELECT COUNT(*) AS n FROM cpu WHERE host = 'alpha'") == [{"n": 4997}]


def test_what_hosts_say_of_themselves_is_remembered(writer: InfluxWriter, rows: Rows) -> None:
    writer.note_host("alpha", online=True)
    writer.note_host("alpha", info='{"cores":\t4}')
    writer.note_host("beta")
    with pytest.raises(UnstorableError):
        writer.note_host("ends with \\", online=True)
    # Notes do not wait until they are durable.
    eventually(lambda: len(rows("SELECT * FROM hostpulse_host")) == 3)
    found = rows("SELECT host, online, info FROM hostpulse_host ORDER BY host, online")
    assert found == [
        {"host": "alpha", "online": 1.0},
        {"host": "alpha", "info": '"{\\"cores\\":\\t4}"'},
        {"host": "beta"},
    ]


def test_a_database_that_is_deleted_is_there_again(
    writer: InfluxWriter, rows: Rows, influx3_server: Influx3Server, database: InfluxOptions, sample: Make
) -> None:
    writer.write([sample("cpu", START)])
    influx3_server.forget(database)
    assert writer.write([sample("cpu", START + 1)]).rows == 1
    assert rows("SELECT sequence FROM cpu") == [{"sequence": 1.0}]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"token": "wrong"}, r"does not know the token \(401\): set influxdb.token"),
        ({"token": "two words"}, r"refuses \(400: Authorization header was malformed"),
        ({"bucket": "my bucket"}, r"does not take 'my bucket' as a database \(400: .*; set influxdb.bucket to another"),
    ],
)
def test_what_a_person_has_to_mend_is_said_at_once(
    influx3_server: Influx3Server, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(StorageError, match=said) as caught:
        writer_to(replace(influx3_server.options("unused"), **change)).open()
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, StorageUnavailableError)


def test_a_database_too_many_is_said_at_once(make_influx3_server: MakeServer) -> None:
    server = make_influx3_server()
    opened = (writer_to(server.options(f"d{number}")).open() for number in range(101))
    with pytest.raises(StorageError, match=r"'d\d+' as a database .*exceed limit of \d+ databases.*influxdb.bucket"):
        list(map(InfluxWriter.close, opened))


def test_a_body_that_is_too_large_is_split(make_influx3_server: MakeServer, sample: Make) -> None:
    server = make_influx3_server("--max-http-request-size", "2000", "--wal-flush-interval", "20ms")
    with writer_to(server.options("d")) as writer:
        written = writer.write([sample("cpu", START + index) for index in range(100)])
        big = {"x" * 3000: DiskMount(used_bytes=1)}
        refused = writer.write([sample("disk", START, mount=big), sample("disk", START + 1)])
    assert (written.rows, written.rejected) == (100, ())
    assert server.rows("d", "SELECT COUNT(*) AS n FROM cpu") == [{"n": 100}]
    [line] = refused.rejected
    assert (refused.rows, line.index, "max request size" in str(line.error)) == (2, 0, True)


def test_a_disk_that_cannot_be_written_is_waited_for(make_influx3_server: MakeServer, sample: Make) -> None:
    """After ten seconds the server gives up. At `/api/v2/write` that looks like a fault of the lines."""
    server = make_influx3_server("--wal-flush-interval", "20ms")
    away = server.log_of_writes.with_name("away")
    with writer_to(server.options("d")) as writer:
        writer.write([sample("cpu", START)])
        server.log_of_writes.rename(away)
        server.log_of_writes.touch()
        with pytest.raises(StorageUnavailableError, match=r"not ready \(500: .*error writing wal file") as caught:
            writer.write([sample("cpu", START + 1)])
        assert "\n" not in str(caught.value)
        server.log_of_writes.unlink()
        away.rename(server.log_of_writes)
        assert writer.write([sample("cpu", START + 1)]).rows == 1
    assert server.rows("d", "SELECT COUNT(*) AS n FROM cpu") == [{"n": 2}]


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_a_server_that_ends_under_load_keeps_what_it_acknowledged(
    make_influx3_server: MakeServer, sample: Make, end: str
) -> None:
    """Nor does it take what it can no longer store for a fault of the lines."""
    server = make_influx3_server("--wal-flush-interval", "20ms")
    acknowledged: set[int] = set()
    failures = batch = 0
    with writer_to(server.options("d")) as writer:
        ender = threading.Timer(random.uniform(0.2, 0.6), getattr(server, end))  # noqa: S311 - no secret
        ender.start()
        while not failures or len(acknowledged) < 1000:
            moments = range(START + batch * 50, START + batch * 50 + 50)
            try:
                written = writer.write([sample("cpu", moment) for moment in moments])
            except StorageUnavailableError:
                failures += 1
                if failures == 1:
                    ender.join()
                    server.start()
            else:
                assert written.rejected == ()
                acknowledged.update(moments)
            batch += 1
    found = {row["t"] for row in server.rows("d", "SELECT CAST(time AS BIGINT) / 1000000 AS t FROM cpu")}
    assert acknowledged <= found
