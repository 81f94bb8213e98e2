"""`hostpulse import` with a real InfluxDB: what comes over, and what happens when it does not go well."""

import random
import sqlite3
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from influxdb_client.domain.authorization import Authorization
from influxdb_client.domain.permission import Permission
from influxdb_client.domain.permission_resource import PermissionResource

from hostpulse.bus.codec import Sample
from hostpulse.bus.messages import TABLES, CpuCore, DiskMount
from hostpulse.consumer.storage import Host, LatestQuery, Reader, RowQuery, SeriesQuery
from hostpulse.consumer.storage.embedded import EmbeddedReader, EmbeddedWriter
from hostpulse.consumer.storage.influxdb import InfluxOptions, InfluxReader

from ..influxdb import InfluxServer
from .support import Hostpulse, sample

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
            for every in (60, 3600, 7 * 86_400) if field.type is not str else ():
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
