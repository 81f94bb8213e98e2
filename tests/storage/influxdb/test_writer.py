import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from influxdb_client.client.write_api import SYNCHRONOUS, WriteApi
from influxdb_client.domain.authorization import Authorization
from influxdb_client.domain.permission import Permission
from influxdb_client.domain.permission_resource import PermissionResource

from hostpulse.bus.codec import Sample
from hostpulse.bus.messages import CpuCore, DiskMount
from hostpulse.consumer.storage import (
    Host,
    LatestQuery,
    Maintenance,
    RowQuery,
    StorageError,
    StorageUnavailableError,
    UnstorableError,
)
from hostpulse.consumer.storage.influxdb import InfluxOptions, InfluxReader, InfluxWriter, Prepared, open_writer
from hostpulse.consumer.storage.influxdb.lines import Lines
from hostpulse.consumer.storage.influxdb.setup import Setup

START = 1_770_000_000_000
Make = Callable[..., Sample]


def everything(reader: InfluxReader, table: str, **query: Any) -> list[tuple[Any, ...]]:
    found = reader.rows(RowQuery(**{"table": table, "start": 0, "end": 10**10, **query}))
    return [row for batch in found for row in batch]


def token_for(server: Any, options: InfluxOptions, *rights: str) -> str:
    """Return a token with rights on one bucket."""
    with server.client() as client:
        bucket = client.buckets_api().find_bucket_by_name(options.bucket)
        resource = PermissionResource(type="buckets", id=bucket.id, org_id=bucket.org_id)
        permissions = [Permission(action=right, resource=resource) for right in rights]
        made = client.authorizations_api().create_authorization(
            authorization=Authorization(org_id=bucket.org_id, permissions=permissions)
        )
        return str(made.token)


def test_session_sequence_and_interval_are_kept(
    influx_writer: InfluxWriter, influx_reader: InfluxReader, influx_server: Any, influx_options: Any, sample: Make
) -> None:
    influx_writer.write([sample("cpu", START, sequence=42, utilization_percent=1.5)])
    with influx_server.client() as client:
        tables = client.query_api().query(
            "from(bucket: bucket) |> range(start: 0, stop: 2200-01-01T00:00:00Z)",
            params={"bucket": influx_options.bucket},
        )
    fields = {record.get_field(): record.get_value() for table in tables for record in table.records}
    assert fields == {"session": 1_767_225_600_000.0, "sequence": 42.0, "interval": 2.0, "utilization_percent": 1.5}
    assert everything(influx_reader, "cpu", fields=("utilization_percent",)) == [(START, "alpha", 1.5)]


def test_poison_lines_are_found_and_the_rest_is_stored(
    influx_writer: InfluxWriter, influx_reader: InfluxReader, influx_server: Any, influx_options: Any, sample: Make
) -> None:
    """Fields that another program has made text, in three of 5000 lines."""
    with influx_server.client() as client, client.write_api(write_options=SYNCHRONOUS) as api:
        api.write(influx_options.bucket, record=f'cpu,host=x limit_cores="many" {START}', write_precision="ms")
    poison = {17, 2500, 4999}
    samples = [
        sample("cpu", START + index, sequence=index + 1, **{"limit_cores" if index in poison else "user_percent": 1.0})
        for index in range(5000)
    ]
    written = influx_writer.write(samples)
    assert {line.index for line in written.rejected} == poison
    assert all("field type conflict" in str(line.error) for line in written.rejected)
    assert all("\n" not in str(line.error) for line in written.rejected)
    assert all(b"limit_cores=1" in line.line for line in written.rejected)
    assert written.rows == 4997
    assert len(everything(influx_reader, "cpu", hosts=("alpha",), fields=("user_percent",))) == 4997


def test_a_line_that_does_not_parse_is_found(
    influx_writer: InfluxWriter, influx_reader: InfluxReader, sample: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The encoder lets none through, so it is made to."""
    broken = {b"user_percent=7.0 ": b"user_percent= ", b"=9.0 ": b"=NaN ", b"=3.0 ": b"=, "}
    encode = influx_writer._encoder.encode

    def encode_wrongly(samples: Any) -> Any:
        encoded = encode(samples)
        lines = list(encoded.lines)
        for right, wrong in broken.items():
            lines = [line.replace(right, wrong) for line in lines]
        return encoded._replace(lines=Lines(lines))

    monkeypatch.setattr(influx_writer._encoder, "encode", encode_wrongly)
    written = influx_writer.write([sample("cpu", START + index, user_percent=float(index)) for index in range(5000)])
    assert [line.index for line in written.rejected] == [3, 7, 9]
    assert all("unable to parse" in str(line.error) for line in written.rejected)
    assert len(everything(influx_reader, "cpu")) == 4997


def test_points_older_than_the_retention_are_rejected_at_once(
    influx_options: InfluxOptions, sample: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = round(time.time() * 1000)
    requests: list[Any] = []
    write = WriteApi.write

    def count(*arguments: Any, **named: Any) -> Any:
        requests.append(arguments)
        return write(*arguments, **named)

    monkeypatch.setattr(WriteApi, "write", count)
    with InfluxWriter(influx_options, retention=3600, rollup_retention=7200) as writer:
        requests.clear()
        moments = [now - 4_000_000 * (index % 2) - index for index in range(3000)]
        written = writer.write([sample("cpu", moment, sequence=index + 1) for index, moment in enumerate(moments)])
    assert [line.index for line in written.rejected] == list(range(1, 3000, 2))
    assert "outside retention policy" in str(written.rejected[0].error)
    assert written.rows == 1500
    assert len(requests) == 3


def test_a_poisoned_name_costs_its_own_row(
    influx_writer: InfluxWriter, influx_reader: InfluxReader, sample: Make
) -> None:
    cores = {"0": CpuCore(utilization_percent=1.0), "1\\": CpuCore(utilization_percent=2.0)}
    written = influx_writer.write([sample("cpu", START, "a\nb"), sample("cpu", START, "good", core=cores)])
    assert [(line.index, line.line) for line in written.rejected] == [(0, b"cpu,a\nb"), (1, b"cpu_core,good,1\\")]
    assert written.rows == 2
    assert everything(influx_reader, "cpu_core") == [(START, "good", "0", 1.0, None)]


@pytest.mark.parametrize(
    "name",
    [
        'b" or true //',
        '${string(v: die(msg: "x"))}',
        "a,host=b",
        "a b=c",
        "#comment",
        "a\\b",
        "'; DROP",
        "\u2028☃ 日本 \U0001f600",
        " ",
        '"',
    ],
)
def test_names_that_look_like_something_else(
    influx_writer: InfluxWriter, influx_reader: InfluxReader, sample: Make, name: str
) -> None:
    mount = DiskMount(used_bytes=1, device=name)
    written = influx_writer.write(
        [sample("disk", START, name, mount={name: mount}), sample("disk", START, "other", mount={"/": mount})]
    )
    assert written.rejected == ()
    row = (START, name, name, 1, name)
    fields = ("used_bytes", "device")
    assert everything(influx_reader, "disk_mount", hosts=(name,), keys=(name,), fields=fields) == [row]
    assert everything(influx_reader, "disk_mount", hosts=("other",), keys=(name,)) == []
    [latest] = influx_reader.latest(LatestQuery(table="disk_mount", since=0, hosts=(name,)))
    assert (latest.host, latest.key, latest.values["device"]) == (name, name, name)
    influx_writer.note_host(name, online=True)
    assert influx_reader.hosts() == sorted(
        [Host(name, online=True, info=None), Host("other", online=None, info=None)], key=lambda host: host.name
    )


def test_hosts_are_remembered(influx_writer: InfluxWriter, influx_reader: InfluxReader, sample: Make) -> None:
    influx_writer.write([sample("cpu", START, "beta")])
    influx_writer.note_host("alpha", online=True)
    influx_writer.note_host("alpha", info='{\r\n "cores":\t4, "x": "a\\\\b"}')
    influx_writer.note_host("gamma", online=True)
    influx_writer.note_host("gamma", online=False)
    influx_writer.note_host("delta")
    influx_writer.note_host("\udcff", info="\udcfe")
    influx_writer.note_host("large", info='"' * 65_000)
    with pytest.raises(UnstorableError):
        influx_writer.note_host("ends with \\", online=True)
    with pytest.raises(UnstorableError, match="limit"):
        influx_writer.note_host("too large", info="\n" * 65_536)
    assert influx_reader.hosts() == [
        Host("\\udcff", online=None, info="\\udcfe"),
        Host("alpha", online=True, info='{\r\n "cores":\t4, "x": "a\\\\b"}'),
        Host("beta", online=None, info=None),
        Host("delta", online=None, info=None),
        Host("gamma", online=False, info=None),
        Host("large", online=None, info='"' * 65_000),
    ]


def test_closed_and_opened_again(influx_options: InfluxOptions, sample: Make) -> None:
    writer = InfluxWriter(influx_options, retention=None, rollup_retention=None)
    with pytest.raises(RuntimeError):
        writer.write([sample("cpu", START)])
    with writer, writer:
        assert writer.write([]).rows == 0
        assert writer.write([sample("cpu", START)]).rows == 1
        assert writer.maintain(START / 1000) == Maintenance(0, 0, more=False)
    writer.close()
    with pytest.raises(RuntimeError):
        writer.note_host("a")
    with open_writer(influx_options, retention=None, rollup_retention=None) as again:
        assert again.prepared == Prepared("ready", "ready", "ready")


def test_a_least_rights_token_works_without_seeing_its_bucket(
    influx_server: Any, influx_options: InfluxOptions, influx_writer: InfluxWriter, sample: Make
) -> None:
    assert influx_writer.prepared == Prepared("created", "created", "created")
    only_write = influx_server.options(influx_options.bucket, token_for(influx_server, influx_options, "write"))
    only_read = influx_server.options(influx_options.bucket, token_for(influx_server, influx_options, "read"))
    with InfluxWriter(only_write, retention=3600, rollup_retention=7200) as writer, InfluxReader(only_read) as reader:
        assert writer.prepared == Prepared("not permitted", "not permitted", "not permitted")
        assert writer.write([sample("cpu", START)]).rows == 1
        assert len(everything(reader, "cpu")) == 1
        assert [host.name for host in reader.hosts()] == ["alpha"]
    with pytest.raises(StorageError, match=r"no bucket 'test-.*may not see it.*may read bucket"):
        InfluxReader(only_write).open()
    with pytest.raises(StorageError, match=r"\(403\): give it that right") as caught:
        InfluxWriter(only_read, retention=None, rollup_retention=None).open()
    assert "\n" not in str(caught.value)


def test_a_wrong_token_and_a_wrong_organisation(influx_server: Any, influx_options: InfluxOptions) -> None:
    wrong = influx_server.options(influx_options.bucket, "wrong")
    stranger = InfluxOptions(url=wrong.url, token=influx_options.token, org="nobody", bucket="b")
    for options, said in ((wrong, r"does not know the token \(401\): set influxdb.token"), (stranger, "'nobody'")):
        for opened in (InfluxWriter(options, retention=None, rollup_retention=None), InfluxReader(options)):
            with pytest.raises(StorageError, match=said) as caught:
                opened.open()
            assert "\n" not in str(caught.value)
            assert "wrong" not in str(caught.value)
            assert not isinstance(caught.value, StorageUnavailableError)


def test_writers_that_start_together_make_everything_once(influx_server: Any, influx_options: InfluxOptions) -> None:
    with ThreadPoolExecutor(4) as pool:
        writers = [
            made.result()
            for made in [
                pool.submit(open_writer, influx_options, retention=None, rollup_retention=None) for _ in range(4)
            ]
        ]
    for writer in writers:
        writer.close()
    with influx_server.client() as client:
        name = f"hostpulse: minutes of {influx_options.bucket}"
        assert [task.name for task in client.tasks_api().find_tasks(name=name)] == [name]


def test_a_deleted_bucket_is_made_again(
    influx_server: Any,
    influx_options: InfluxOptions,
    influx_writer: InfluxWriter,
    sample: Make,
    caplog: pytest.LogCaptureFixture,
) -> None:
    influx_writer.write([sample("cpu", START)])
    influx_server.forget(influx_options)
    assert influx_writer.write([sample("cpu", START, user_percent=2.0)]).rows == 1
    assert f"bucket {influx_options.bucket} was gone" in caplog.text
    with InfluxReader(influx_options) as reader:
        query = RowQuery(table="cpu", start=START / 1000, end=START / 1000 + 1, fields=("user_percent",))
        assert list(reader.rows(query)) == [[(START, "alpha", 2.0)]]


@pytest.mark.parametrize("deleted", [False, True])
def test_two_batches_are_on_their_way_at_once(
    deleted: bool,  # noqa: FBT001
    influx_server: Any,
    influx_options: InfluxOptions,
    sample: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither write ends before the other has begun; a bucket that both find gone is made once."""
    both = threading.Barrier(2, timeout=30)
    met: set[str] = set()
    write, run = WriteApi.write, Setup.run
    made: list[Any] = []

    def meet(*arguments: Any, **named: Any) -> Any:
        try:
            return write(*arguments, **named)
        finally:
            name = threading.current_thread().name
            if name not in met and name != "MainThread":
                met.add(name)
                both.wait()

    monkeypatch.setattr(WriteApi, "write", meet)
    monkeypatch.setattr(Setup, "run", lambda *arguments: made.append(run(*arguments)) or made[-1])
    batches = [[sample("cpu", START + second * 1000, user_percent=1.0)] for second in range(2)]
    with InfluxWriter(influx_options, retention=None, rollup_retention=None) as writer:
        if deleted:
            influx_server.forget(influx_options)
        works = [writer.submit([batch]) for batch in batches]
        assert [work.result().rows for work in works] == [1, 1]
    assert len(made) == 1 + deleted
    with InfluxReader(influx_options) as reader:
        assert len(everything(reader, "cpu")) == 2


def test_a_deleted_bucket_that_the_token_may_not_make(
    influx_server: Any, influx_options: InfluxOptions, influx_writer: InfluxWriter, sample: Make
) -> None:
    token = token_for(influx_server, influx_options, "write")
    with InfluxWriter(influx_server.options(influx_options.bucket, token), retention=None, rollup_retention=None) as it:
        influx_server.forget(influx_options)
        with pytest.raises(StorageError, match=rf"no bucket '{influx_options.bucket}'.*create it") as caught:
            it.write([sample("cpu", START)])
        assert "\n" not in str(caught.value)
        influx_writer.close()
        influx_writer.open()  # a person with more rights
        assert influx_writer.prepared is not None
        assert influx_writer.prepared.bucket == "created"


def test_a_server_that_is_killed_keeps_what_it_acknowledged(killable_influx_server: Any, sample: Make) -> None:
    server = killable_influx_server
    options = server.options("history")
    acknowledged: list[int] = []
    failures = 0
    with InfluxWriter(options, retention=None, rollup_retention=None) as writer:
        killer = threading.Timer(random.uniform(0.3, 0.8), server.kill)  # noqa: S311
        killer.start()
        batch = 0
        while failures < 3 and batch < 5000:
            samples = [sample("cpu", START + batch * 50 + index, user_percent=float(batch)) for index in range(50)]
            try:
                writer.write(samples)
            except StorageUnavailableError:
                failures += 1
                if failures == 1:
                    killer.join()
                    server.start()
            else:
                acknowledged.append(batch)
            batch += 1
            if failures and len(acknowledged) > 20 and batch - failures > 40:
                break
        assert failures >= 1
    with InfluxReader(options) as reader:
        found = {row[0] for row in everything(reader, "cpu", fields=("user_percent",))}
    assert {START + batch * 50 + index for batch in acknowledged for index in range(50)} <= found


def test_points_in_the_future_and_out_of_order(
    influx_writer: InfluxWriter, influx_reader: InfluxReader, sample: Make
) -> None:
    future = round(time.time() * 1000) + 80_000_000
    moments = [future, START, START + 60_000_000, START + 1, START, START + 5]
    influx_writer.write([sample("cpu", moment, sequence=9, user_percent=1.0) for moment in moments])
    assert [row[0] for row in everything(influx_reader, "cpu")] == sorted(set(moments))
    assert influx_reader.latest(LatestQuery(table="cpu", since=START / 1000))[0].timestamp == future
