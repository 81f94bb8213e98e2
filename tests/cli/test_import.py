"""`hostpulse import` with a real InfluxDB: what comes over, and what happens when it does not go well."""

import json
import random
import signal
import sqlite3
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from influxdb_client.domain.authorization import Authorization
from influxdb_client.domain.permission import Permission
from influxdb_client.domain.permission_resource import PermissionResource

from hostpulse.bus.codec import Sample
from hostpulse.bus.messages import TABLES, CpuCore, DiskMount
from hostpulse.consumer.export import original_text, safe_cell
from hostpulse.consumer.storage import Host, LatestQuery, Reader, RowQuery, SeriesQuery
from hostpulse.consumer.storage.embedded import EmbeddedReader, EmbeddedWriter
from hostpulse.consumer.storage.influxdb import InfluxOptions, InfluxReader, InfluxWriter

from ..influxdb import InfluxServer, OwnInfluxServer
from .support import SECONDS, Hostpulse, eventually, sample

HOUR = 3_600_000
DAY = 24 * HOUR
NOW = round(time.time() * 1000) // HOUR * HOUR
ALL = ("--since", "2020-01-01")


@pytest.fixture
def bucket(influx_server: InfluxServer) -> Iterator[InfluxOptions]:
    options = influx_server.options(f"import-{uuid.uuid4()}")
    yield options
    influx_server.forget(options)


def settings_of(options: InfluxOptions) -> dict[str, str]:
    return {
        "HOSTPULSE_INFLUXDB__URL": options.url,
        "HOSTPULSE_INFLUXDB__TOKEN": options.token,
        "HOSTPULSE_INFLUXDB__ORG": options.org,
        "HOSTPULSE_INFLUXDB__BUCKET": options.bucket,
    }


@pytest.fixture
def hostpulse_to(hostpulse: Hostpulse, bucket: InfluxOptions) -> Hostpulse:
    """The command with the settings of a bucket, and the embedded store."""
    hostpulse.environment |= settings_of(bucket)
    return hostpulse


def moved(hostpulse: Hostpulse, *arguments: object, code: int = 0, **options: Any) -> str:
    """Import, and return what was said."""
    done = hostpulse.run("import", *arguments, **options)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def rows(reader: Reader, table: str, **query: Any) -> list[Any]:
    """Return all rows, those of one moment sorted."""
    found = reader.rows(RowQuery(**{"table": table, "start": 0, "end": 10**10, **query}))
    return sorted(row for batch in found for row in map(_sortable, batch))


def _sortable(row: tuple[Any, ...]) -> Any:
    return (*row[:2], *((type(value).__name__, repr(value)) for value in row[2:]))


def everything(reader: Reader, *, series: bool = True) -> dict[str, Any]:
    """Return all that a reader knows."""
    found: dict[str, Any] = {"hosts": reader.hosts()}
    for table in TABLES.values():
        found[table.name] = rows(reader, table.name)
        found[f"latest {table.name}"] = reader.latest(LatestQuery(table=table.name, since=0))
        for field in table.fields if series else ():
            for every in (60, 3600, 7 * 86_400) if field.has_mean else ():
                query = SeriesQuery(
                    table=table.name, field=field.name, start=NOW / 1000 - 40 * 86_400, end=NOW / 1000, every=every
                )
                found[f"{table.name} {field.name} {every}"] = [
                    (
                        one.host,
                        one.key,
                        [(p.timestamp, pytest.approx(p.value, 1e-12), p.minimum, p.maximum) for p in one.points],
                    )
                    for one in reader.series(query)
                ]
    return found


def minutes_of(server: InfluxServer, options: InfluxOptions) -> dict[tuple[Any, ...], float]:
    """Return every point in the bucket of minutes."""
    with server.client() as client:
        tables = client.query_api().query(
            "from(bucket: b) |> range(start: 0, stop: 2200-01-01T00:00:00Z)", params={"b": options.rollup_bucket}
        )
    return {
        (*(item for item in sorted(record.values.items()) if item[0] not in UNTAGGED), record.get_time()): record[
            "_value"
        ]
        for table in tables
        for record in table.records
    }


UNTAGGED = {"result", "table", "_start", "_stop", "_time", "_value"}


def raw_points(server: InfluxServer, options: InfluxOptions, table: str) -> set[tuple[Any, ...]]:
    """Return every value of a measurement with its field."""
    with server.client() as client:
        tables = client.query_api().query(
            "from(bucket: b) |> range(start: 0, stop: 2200-01-01T00:00:00Z) |> filter(fn: (r) => r._measurement == m)",
            params={"b": options.bucket, "m": table},
        )
    return {
        (record["host"], record.get_time(), record.get_field(), record.get_value())
        for found in tables
        for record in found.records
    }


def token_for(server: InfluxServer, options: InfluxOptions, **rights: tuple[str, ...]) -> str:
    """Return a token with rights on the buckets `raw` and `minutes`."""
    names = {"raw": options.bucket, "minutes": options.rollup_bucket}
    permissions = []
    with server.client() as client:
        for which, actions in rights.items():
            bucket: Any = client.buckets_api().find_bucket_by_name(names[which])
            resource = PermissionResource(type="buckets", id=bucket.id, org_id=bucket.org_id)
            permissions += [Permission(action=action, resource=resource) for action in actions]
        org = client.organizations_api().find_organizations(org=server.org)[0].id
        made = client.authorizations_api().create_authorization(
            authorization=Authorization(org_id=org, permissions=permissions)
        )
    return str(made.token)


def ten_days() -> list[Sample]:
    """Two hosts over ten days: some minutes of each hour in each of which something is known."""
    generator = random.Random(3)  # noqa: S311
    samples = []
    for hour in range(0, 240, 3):
        for second in range(0, 200, 10):
            moment = NOW - 10 * DAY + hour * HOUR + second * 1000
            for host in ("web-1", "a,b=c d"):
                fields: dict[str, Any] = {"user_percent": generator.uniform(0, 100)}
                if second % 20:
                    fields["frequency_hertz"] = generator.randrange(10**9, 4 * 10**9)
                    fields["core"] = {key: CpuCore(utilization_percent=generator.random()) for key in ("0", "1")}
                samples.append(sample("cpu", moment, host=host, sequence=hour + second + 1, **fields))
                samples.append(
                    sample(
                        "disk",
                        moment + 500,
                        host=host,
                        mount={
                            "/": DiskMount(used_percent=float(hour), used_bytes=hour, file_system="ext4", state=""),
                            "/odd ,=\"'": DiskMount(),
                        },
                    )
                )
                samples.append(sample("battery", moment, host=host, mains=bool(second % 3)))
    return samples


def fill(path: Path, samples: list[Sample], *, keep_days: float | None = None) -> None:
    """Write a history, and have its rows of before some days summed up and deleted."""
    seconds = None if keep_days is None else keep_days * 86_400
    with EmbeddedWriter(path, retention=seconds, rollup_retention=None) as writer:
        for first in range(0, len(samples), 1000):
            writer.write(samples[first : first + 1000])
        writer.note_host("web-1", online=True, info='{"host":"web-1"}')
        writer.note_host("a,b=c d", online=False)
        if keep_days is not None:
            while writer.maintain(NOW / 1000).more:
                pass


def test_everything_comes_over(hostpulse_to: Hostpulse, bucket: InfluxOptions, influx_server: InfluxServer) -> None:
    fill(hostpulse_to.history, ten_days(), keep_days=4)
    with sqlite3.connect(hostpulse_to.history) as connection:
        [raw_start] = connection.execute("SELECT raw_start FROM _table WHERE name = 'cpu'").fetchone()
        sessions = set(connection.execute("SELECT session, sequence, interval FROM cpu").fetchall())
    connection.close()
    assert raw_start > NOW - 5 * DAY
    said = moved(hostpulse_to)
    (line,) = said.splitlines()
    assert f"rows to InfluxDB {bucket.url}, bucket {bucket.bucket}: cpu 1,280, cpu_core 1,280, " in line
    assert "minutes" in line
    assert not list((hostpulse_to.data / "import").iterdir())  # nothing is left to go on with
    with EmbeddedReader(hostpulse_to.history) as source, InfluxReader(bucket) as target:
        expected, found = everything(source), everything(target)
    for name, value in expected.items():
        assert found[name] == value, name
    assert len(expected["cpu user_percent 60"][0][2]) > 300  # also where there are no rows
    assert Host("web-1", online=True, info='{"host":"web-1"}') in found["hosts"]
    points = raw_points(influx_server, bucket, "cpu")
    assert {point[3] for point in points if point[2] == "sequence"} == {float(one[1]) for one in sessions}
    assert {point[3] for point in points if point[2] == "session"} == {float(one[0]) for one in sessions}
    # The commands say the same.
    for command in (("export", "disk_mount"), ("history", "cpu.frequency_hertz", "--every", "1h")):
        embedded = hostpulse_to.output(*command, *ALL)
        influx = hostpulse_to.output(*command, *ALL, environment={"HOSTPULSE_STORE__KIND": "influxdb"})
        assert sorted(influx.splitlines()) == sorted(embedded.splitlines())


# Twice, killed, interrupted


def test_moving_twice_gives_the_same_points(
    hostpulse_to: Hostpulse, bucket: InfluxOptions, influx_server: InfluxServer
) -> None:
    fill(hostpulse_to.history, ten_days(), keep_days=4)
    seen = []
    for _ in range(2):
        said = moved(hostpulse_to)
        points = {table: raw_points(influx_server, bucket, table) for table in ("cpu", "disk_mount", "hostpulse_host")}
        seen.append((said, points, minutes_of(influx_server, bucket)))
    assert seen[0] == seen[1]
    assert len(seen[0][2]) > 10_000


def moments_of(options: InfluxOptions, table: str) -> set[Any]:
    """Return the moments of all rows."""
    with InfluxReader(options) as reader:
        return {row[0] for batch in reader.rows(RowQuery(table=table, start=0, end=10**10)) for row in batch}


def test_killed_in_the_middle_it_goes_on_where_it_was(hostpulse_to: Hostpulse, bucket: InfluxOptions) -> None:
    with EmbeddedWriter(hostpulse_to.history, retention=None, rollup_retention=None) as writer:
        for first in range(0, 150_000, 10_000):
            moments = range(NOW - DAY + first, NOW - DAY + first + 10_000)
            writer.write([sample("battery", moment, sequence=moment % 10**6 + 1, mains=True) for moment in moments])
    running = hostpulse_to.start("import")
    states = hostpulse_to.data / "import"

    def rows_done() -> int:
        for state in states.glob("*.json"):
            return int(json.loads(state.read_bytes())["parts"].get("battery", {"rows": 0})["rows"])
        return 0

    give_up = time.monotonic() + 60
    while not rows_done() and time.monotonic() < give_up and running.process.poll() is None:
        time.sleep(0.001)
    assert running.end(signal.SIGKILL) == -signal.SIGKILL, running.output
    assert 0 < rows_done() < 150_000
    assert rows_done() <= len(moments_of(bucket, "battery")) < 150_000
    said = moved(hostpulse_to)
    assert "going on with" in said
    assert "battery 150,000" in said
    assert len(moments_of(bucket, "battery")) == 150_000
    assert "going on" not in moved(hostpulse_to)  # what is done is done


def test_a_server_that_goes_away_is_waited_for_and_ctrl_c_ends_it(
    hostpulse: Hostpulse, killable_influx_server: OwnInfluxServer
) -> None:
    server = killable_influx_server
    options = server.options("history")
    hostpulse.environment |= settings_of(options)
    fill(hostpulse.history, ten_days())
    server.kill()
    (line,) = moved(hostpulse, code=1).splitlines()
    assert "cannot be reached" in line
    server.start()
    running = hostpulse.start("import")
    eventually(lambda: list((hostpulse.data / "import").glob("*.json")), what=lambda: running.output)
    server.kill()
    running.says("cannot be reached", "(trying again)")
    assert running.end(signal.SIGINT) == 130
    assert running.output.splitlines()[-1] == "hostpulse: interrupted; the same command goes on where this one was"
    server.start()
    for state in (hostpulse.data / "import").glob("*.json"):
        state.unlink()
    running = hostpulse.start("import")
    eventually(lambda: list((hostpulse.data / "import").glob("*.json")), what=lambda: running.output)
    server.kill()
    running.says("(trying again)")
    server.start()
    assert running.process.wait(SECONDS) == 0, running.output
    assert "InfluxDB answers again" in running.output
    with EmbeddedReader(hostpulse.history) as source, InfluxReader(options) as target:
        assert everything(source, series=False) == everything(target, series=False)


# Rights and mistakes


def test_tokens_that_may_only_write(
    hostpulse_to: Hostpulse, bucket: InfluxOptions, influx_server: InfluxServer
) -> None:
    fill(hostpulse_to.history, ten_days(), keep_days=4)
    moved(hostpulse_to)
    whole = minutes_of(influx_server, bucket)
    influx_server.forget(bucket)
    InfluxWriter(bucket, retention=30 * 86_400, rollup_retention=730 * 86_400).open().close()
    token = {"HOSTPULSE_INFLUXDB__TOKEN": token_for(influx_server, bucket, raw=("write",))}
    said = moved(hostpulse_to, environment=token, code=1)
    assert f"minutes are not moved: InfluxDB at {bucket.url} " in said
    assert f"{bucket.bucket}_minutes" in said
    assert "cpu 1,280" in said
    assert not minutes_of(influx_server, bucket)
    # With a further right the same command moves what is left, with the figures of the source.
    token = {"HOSTPULSE_INFLUXDB__TOKEN": token_for(influx_server, bucket, raw=("write",), minutes=("write",))}
    said = moved(hostpulse_to, environment=token)
    assert "going on" in said
    assert "3,200 minutes" in said
    own = minutes_of(influx_server, bucket)
    assert own.keys() == whole.keys()
    assert all(own[key] == pytest.approx(whole[key], 1e-12) for key in whole)
    with EmbeddedReader(hostpulse_to.history) as source, InfluxReader(bucket) as target:
        assert everything(source, series=False) == everything(target, series=False)


def test_wrong_settings_are_one_line(hostpulse_to: Hostpulse) -> None:
    (none,) = moved(hostpulse_to, code=2).splitlines()
    assert f"there is no file {hostpulse_to.history}; name a history.db" in none
    fill(hostpulse_to.history, ten_days()[:100])
    (wrong,) = moved(hostpulse_to, code=1, environment={"HOSTPULSE_INFLUXDB__TOKEN": "wrong-token"}).splitlines()
    assert "does not know the token (401): set influxdb.token" in wrong
    assert "wrong-token" not in wrong
    (org,) = moved(hostpulse_to, code=1, environment={"HOSTPULSE_INFLUXDB__ORG": "nobody"}).splitlines()
    assert "'nobody'" in org
    assert "there is no table 'cup'; did you mean cpu?" in moved(hostpulse_to, "--table", "cup", code=2)
    for name in ("TOKEN", "ORG"):
        del hostpulse_to.environment[f"HOSTPULSE_INFLUXDB__{name}"]
    assert moved(hostpulse_to, code=2).splitlines() == [
        "hostpulse: influxdb.token is not set; set it",
        "hostpulse: influxdb.org is not set; set it",
    ]


def test_rows_that_are_too_old_are_counted_and_their_minutes_moved(
    hostpulse_to: Hostpulse, bucket: InfluxOptions
) -> None:
    fill(hostpulse_to.history, ten_days())
    with EmbeddedWriter(hostpulse_to.history, retention=None, rollup_retention=None) as writer:
        while writer.maintain(NOW / 1000).more:
            pass
    # At each minute of our hour the bound is far from the rows. Near it InfluxDB decides, and takes what is a little
    # too old where the same day has something that is not.
    hostpulse_to.environment["HOSTPULSE_STORE__RETENTION"] = "121h30m"
    first, last = moved(hostpulse_to).splitlines()
    assert "rows older than what InfluxDB keeps, 5d 1h, are left out; " in first
    assert "to move them, too, set store.retention to" in first
    assert "cpu 1,600, cpu_core 1,600, disk 1,600, disk_mount 3,200, battery 1,600" in last
    assert "; 9,600 left out, older than what the bucket keeps" in last
    with EmbeddedReader(hostpulse_to.history) as source, InfluxReader(bucket) as target:
        query = SeriesQuery(table="cpu", field="user_percent", start=0, end=NOW / 1000, every=3600)
        expected, found = source.series(query), target.series(query)
    assert [
        (one.host, [(p.timestamp, pytest.approx(p.value, 1e-12), p.minimum, p.maximum) for p in one.points])
        for one in expected
    ] == [(one.host, [tuple(p) for p in one.points]) for one in found]


def test_rows_that_influxdb_cannot_hold_are_kept(hostpulse_to: Hostpulse, bucket: InfluxOptions) -> None:
    hostpulse_to.write([sample("disk", NOW - HOUR, mount={"good": DiskMount(used_bytes=1), "bad\\": DiskMount()})])
    said = moved(hostpulse_to)
    letters = hostpulse_to.data / "import" / "dead-letter.jsonl"
    assert f"1 refused, kept in {letters}" in said
    (letter,) = [json.loads(line) for line in letters.read_text().splitlines()]
    assert (letter["topic"], letter["kind"]) == ("disk_mount", "unstorable")
    assert "backslash" in letter["reason"]
    with InfluxReader(bucket) as reader:
        assert len(rows(reader, "disk_mount")) == 1


# CSV


ODD = ["plain", "=1+1", "'=1+1", "''-x", "'", "a,b=c d", 'say "hi"', "ü 日本 🐧", "＝x", " lead", "#", "@'"]  # noqa: RUF001


def test_csv_comes_back_as_it_went(hostpulse_to: Hostpulse, bucket: InfluxOptions, influx_server: InfluxServer) -> None:
    mounts = {
        name: DiskMount(device=text, file_system="ext4", used_percent=0.1 + 0.2, inodes_used=2**53)
        for name, text in zip(ODD, reversed(ODD), strict=True)
    }
    moments = [NOW - 20 * HOUR + 60_000 * number for number in range(100)]
    hostpulse_to.write(
        [sample("disk", moment, host=ODD[index % len(ODD)], mount=mounts) for index, moment in enumerate(moments)]
    )
    hostpulse_to.write([sample("disk", NOW - HOUR, read_bytes_per_second=15), sample("disk", NOW - HOUR + 1)])
    hostpulse_to.write([sample("battery", NOW - HOUR, mains=True), sample("battery", NOW - HOUR + 1000, mains=False)])
    files = []
    for table in ("disk_mount", "disk", "battery"):
        files.append(hostpulse_to.home / f"{table}.csv")
        assert hostpulse_to.run("export", table, *ALL, "-o", files[-1]).returncode == 0
    said = moved(hostpulse_to, *files)
    assert "disk_mount 1,200, disk 102, battery 2" in said
    for file in files:
        found = hostpulse_to.output("export", file.stem, *ALL, environment={"HOSTPULSE_STORE__KIND": "influxdb"})
        assert sorted(found.split(b"\n")) == sorted(file.read_bytes().split(b"\n"))
    points = raw_points(influx_server, bucket, "disk_mount")
    assert {value for *_, field, value in points if field == "device"} == set(ODD)
    assert minutes_of(influx_server, bucket)  # summed up, although no task looks so far back
    assert "sequence" not in {point[2] for point in raw_points(influx_server, bucket, "disk")}


@given(st.text(st.sampled_from("'=+-@\t\r\n＝a"), max_size=6))  # noqa: RUF001
def test_a_cell_says_what_its_text_was(text: str) -> None:
    cell = str(safe_cell(text))
    assert original_text(cell) == text
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝"))  # noqa: RUF001


DATE = "2026-03-01T00:00:00.000Z"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f"{DATE},web-1,0,1.5", "4 cells in place of 5"),
        ("yesterday,web-1,0,1.5,7", "timestamp 'yesterday' is no time"),
        (f"{DATE[:-1]},web-1,0,1.5,7", "is no time such as"),
        (f"{DATE},,0,1.5,7", "host is empty"),
        (f"{DATE},web-1,,1.5,7", "core is empty"),
        (f"{DATE},web-1,0,1_5,7", "utilization_percent '1_5' is no number"),
        (f"{DATE},web-1,0,nan,7", "utilization_percent 'nan' is no number"),
        (f"{DATE},web-1,0,1.5,7.5", "frequency_hertz '7.5' is no whole number"),
        (f"{DATE},web-1,0,1.5,{2**63}", "is no whole number"),
        (f'{DATE},"web-1,0,1.5,7', "unexpected end of data"),
    ],
)
def test_a_broken_line_is_named(hostpulse_to: Hostpulse, line: str, said: str) -> None:
    file = hostpulse_to.home / "cores.csv"
    good = f"{DATE},web-1,0,1.5,7\n"
    file.write_text(f"timestamp,host,core,utilization_percent,frequency_hertz\n{good * 3}{line}\n", encoding="utf-8")
    (text,) = moved(hostpulse_to, file, code=1).splitlines()
    assert f"hostpulse: {file} line 5: " in text
    assert said in text


def test_the_table_of_a_file(hostpulse_to: Hostpulse) -> None:
    directory = hostpulse_to.home / "files"
    directory.mkdir()
    file = directory / "values.csv"
    file.write_text(f"timestamp,host,pressure_some_percent\n{DATE},web-1,1.5\n")
    assert f"{file} may be of cpu or memory or disk: say which with --table" in moved(hostpulse_to, file, code=2)
    hostpulse_to.environment["HOSTPULSE_STORE__RETENTION"] = "20y"
    hostpulse_to.environment["HOSTPULSE_STORE__ROLLUP_RETENTION"] = "20y"
    assert ": memory 1" in moved(hostpulse_to, file, "--table", "memory")
    other = file.rename(directory / "disk.csv")
    assert ": disk 1" in moved(hostpulse_to, other)
    assert "a file of cpu_core begins with timestamp,host,core" in moved(
        hostpulse_to, other, "--table", "cpu_core", code=1
    )
    file.write_text("a,b\n1,2\n")
    assert f"{file} is no CSV file of hostpulse export" in moved(hostpulse_to, file, code=2)
    for missing in (directory, directory / "none.csv"):
        assert f"there is no file {missing}" in moved(hostpulse_to, missing, code=2)
