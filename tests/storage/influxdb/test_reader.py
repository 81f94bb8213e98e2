import contextlib
import http.server
import io
import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
import urllib3
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException

from hostpulse.bus.codec import Sample
from hostpulse.bus.messages import CpuCore
from hostpulse.consumer.storage import RowQuery, Series, SeriesQuery, StorageUnavailableError
from hostpulse.consumer.storage.influxdb import InfluxOptions, InfluxReader, InfluxWriter
from hostpulse.consumer.storage.influxdb import reader as reader_module
from hostpulse.consumer.storage.influxdb.answer import read_answer
from hostpulse.consumer.storage.influxdb.downsampling import downsampling_task, flux_text, summing_up, task_name
from hostpulse.consumer.storage.influxdb.flux import Flux
from hostpulse.consumer.storage.influxdb.flux_queries import FluxQueries
from hostpulse.consumer.storage.influxdb.lines import Lines
from hostpulse.consumer.storage.influxdb.rows import TooManyRowsError
from hostpulse.consumer.storage.influxdb.slices import in_slices

START = 1_769_997_600_000  # a whole hour
SECONDS = START // 1000
HOUR = 3600
Make = Callable[..., Sample]


@pytest.fixture
def filled(influx_writer: InfluxWriter, influx_reader: InfluxReader, sample: Make) -> InfluxReader:
    """Two hosts with two cores, a sample each two seconds for three hours."""
    for first in range(0, 10_800, 3600):
        influx_writer.write(
            [
                sample(
                    "cpu",
                    START + second * 1000,
                    host,
                    second + 1,
                    user_percent=float(second % 977),
                    core={key: CpuCore(utilization_percent=float(second + index)) for index, key in enumerate("01")},
                )
                for second in range(first, first + 3600, 2)
                for host in ("alpha", "beta")
            ]
        )
    return influx_reader


def test_rows_come_in_batches_whatever_the_slices_are(filled: InfluxReader, monkeypatch: pytest.MonkeyPatch) -> None:
    query = RowQuery(table="cpu_core", start=0, end=10**10)
    whole = list(filled.rows(query))
    assert sum(map(len, whole)) == 5400 * 4
    assert all(len(batch) <= 4096 for batch in whole)
    monkeypatch.setattr(reader_module, "_SLICE_VALUES", 1)
    monkeypatch.setattr(reader_module, "_FEWEST_ROWS", 300)
    narrow = list(filled.rows(query))
    assert all(len(batch) <= 1200 for batch in narrow)
    assert [row for batch in narrow for row in batch] == [row for batch in whole for row in batch]


def test_rows_can_be_given_up(filled: InfluxReader) -> None:
    batches = filled.rows(RowQuery(table="cpu", start=0, end=10**10))
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert filled.count(RowQuery(table="cpu", start=0, end=10**10)) == 5400 * 2


def test_slices_of_a_range_are_bounded_and_whole() -> None:
    moments = [*range(5000), *range(10**9, 10**9 + 300_000, 100), *[2 * 10**9] * 700, 3 * 10**9]
    reads = []

    def read(start: int, end: int, most: int | None) -> list[Any]:
        found = [(moment,) for moment in moments if start <= moment < end]
        reads.append(len(found))
        if most is not None and len(found) > most:
            raise TooManyRowsError
        return found

    def first(start: int, end: int) -> int | None:
        return min((moment for moment in moments if start <= moment < end), default=None)

    slices = list(in_slices(0, 4 * 10**9, read, first, target=100))
    assert [row[0] for rows in slices for row in rows] == moments
    *others, longest = sorted(map(len, slices))
    assert longest == 700  # of one moment
    assert others[-1] <= 400
    assert len(reads) < 250


@pytest.fixture
def many(influx_server: Any, influx_writer: InfluxWriter, influx_options: InfluxOptions) -> InfluxOptions:  # noqa: ARG001 - it makes the bucket
    lines = b"\n".join(b"m,host=%d f=%d %d" % (host, i, START + i) for host in range(5) for i in range(20_000))
    with influx_server.client() as client, client.write_api(write_options=SYNCHRONOUS) as api:
        api.write(influx_options.bucket, record=lines, write_precision="ms")
    return influx_options


def test_an_error_in_mid_stream_is_seen(many: InfluxOptions, influx_reader: InfluxReader) -> None:
    flux = Flux()
    source = flux.source(many.bucket, START, START + 10**6)
    map_ = 'map(fn: (r) => ({r with x: if r._value > 19990 then die(msg: "in mid\\nstream") else 1}))'
    text = f'{source} |> yield(name: "a")\n{source} |> sort(columns: ["_value"]) |> {map_} |> yield(name: "b")'
    seen = 0
    queries = influx_reader._queries
    assert isinstance(queries, FluxQueries)

    def read_on() -> None:
        nonlocal seen
        for _ in queries.ask(flux, text):
            seen += 1

    def broken() -> Exception:
        with pytest.raises((StorageUnavailableError, ApiException)) as caught:
            read_on()
        return caught.value

    error = broken()
    for _ in range(20):  # the server works on both at once, and may come to the error before it begins to answer
        if isinstance(error, StorageUnavailableError):
            break
        error = broken()
    assert re.search(r"broke off its answer .*in mid stream.; ask again", str(error))
    assert seen > 1000, "the answer had not begun"
    assert "\n" not in str(error)
    assert influx_reader.hosts()  # the connection is still good


@pytest.mark.parametrize("length", [100, 65_536, 1_000_003])
def test_a_connection_that_is_cut_is_seen(many: InfluxOptions, length: int) -> None:
    """A server that gives the real answer, and closes before its end."""
    address = urlsplit(many.url)

    class Cutter(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.forward("GET", None)

        def do_POST(self) -> None:
            self.forward("POST", self.rfile.read(int(self.headers["Content-Length"])))

        def forward(self, method: str, body: bytes | None) -> None:
            with urllib3.HTTPConnectionPool(str(address.hostname), address.port) as pool:
                headers = {name: value for name, value in self.headers.items() if name != "Host"}
                answer = pool.request(method, self.path, body=body, headers=headers)
                self.send_response(answer.status)
                for name in ("X-Influxdb-Version", "Content-Type"):
                    if name in answer.headers:
                        self.send_header(name, answer.headers[name])
                self.end_headers()  # no length: the end of the connection is the end of the body
                cut = body is not None and b"range" in body and len(answer.data) > length
                self.wfile.write(answer.data[:length] if cut else answer.data)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Cutter)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        with InfluxReader(InfluxOptions(url=url, token=many.token, org=many.org, bucket=many.bucket)) as reader:
            flux = Flux()
            queries = reader._queries
            assert isinstance(queries, FluxQueries)
            with pytest.raises(StorageUnavailableError, match="ask again"):
                list(queries.ask(flux, flux.source(many.bucket, START, START + 10**6)))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        (b"\r\n", 0),
        (b",result,table,_value\r\n,a,0,1\r\n\r\n", 1),
        (
            b"#datatype,string,long,double\r\n,result,table,_value\r\n,a,0,1\r\n\r\n,result,table,x,y\r\n,b,0,1,2\r\n\r\n",
            2,
        ),
    ],
)
def test_answers_that_are_whole_and_every_cut_of_them(body: bytes, rows: int) -> None:
    def read(data: bytes) -> list[Any]:
        response = urllib3.HTTPResponse(io.BytesIO(data), preload_content=False)
        return list(read_answer(response))

    assert len(read(body)) == rows
    for length in range(len(body)):
        if not body[:length].endswith((b"\r\n\r\n", b"\r\n\r")) and body[:length] != b"\r":
            with pytest.raises(StorageUnavailableError):
                read(body[:length])


def test_expired_raw_rows_are_stood_in_for_by_minutes(
    influx_server: Any, influx_options: InfluxOptions, sample: Make
) -> None:
    now = time.time()
    first = round(now // 60 * 60 - 9 * HOUR)
    samples = [
        sample("cpu", (first + second) * 1000, host, 1, user_percent=second * 7.5 % 1003, frequency_hertz=second)
        for second in range(0, 9 * HOUR, 7)
        for host in ("alpha", "beta")
    ]
    queries = [
        SeriesQuery(table="cpu", field=field, start=first + 100, end=now, every=every)
        for field in ("user_percent", "frequency_hertz")
        for every in (60, 300, 7200, 86_400)
    ]
    with InfluxWriter(influx_options, retention=86_400, rollup_retention=None) as writer:
        writer.write(samples)
        with InfluxReader(influx_options) as reader, influx_server.client() as client:
            before = [reader.series(query) for query in queries]
            assert all(before)
            text = summing_up(influx_options.bucket, influx_options.rollup_bucket, [("first", "last")])
            api = client.query_api()
            bounds = {
                name: datetime.fromtimestamp(at, UTC) for name, at in (("first", first), ("last", now // 60 * 60))
            }
            api.query(text, params=bounds)
            # 4 h 30 s later than the end of the rows that are to expire: raw rows of the last five hours are left.
            cutoff = -(-(now + 20 * HOUR + 30 - 86_400) // 60) * 60
            client.delete_api().delete(
                datetime.fromtimestamp(0, UTC),
                datetime.fromtimestamp(cutoff - 0.001, UTC),
                "",
                bucket=influx_options.bucket,
            )
        with InfluxReader(influx_options) as reader:
            rows = [row for batch in reader.rows(RowQuery(table="cpu", start=0, end=10**10)) for row in batch]
            assert 0 < len(rows) < len(samples) * 0.6  # they have gone
            for query, expected in zip(queries, before, strict=True):
                assert rounded(reader.series(query)) == rounded(expected)
            assert [host.name for host in reader.hosts()] == ["alpha", "beta"]
            raw = SeriesQuery(table="cpu", field="user_percent", start=first, end=now, every=None)
            assert min(point.timestamp for one in reader.series(raw) for point in one.points) >= cutoff * 1000


def rounded(found: list[Series]) -> list[Any]:
    return [
        (one.host, [(p.timestamp, round(float(p.value), 6), p.minimum, p.maximum) for p in one.points]) for one in found
    ]


def test_the_task_runs(influx_server: Any, influx_options: InfluxOptions, sample: Make) -> None:
    now = round(time.time())
    hour = now // HOUR * HOUR
    with InfluxWriter(influx_options, retention=86_400, rollup_retention=None) as writer:
        writer.write([sample("cpu", (hour - 1800 + second) * 1000, user_percent=float(second)) for second in range(60)])
        writer.write([sample("system", (hour - 1800) * 1000, kernel="6.1", processes=5)])
        writer.write([sample("event", (hour - 1800) * 1000, level="critical", value=97.5, told=True)])
        writer.write([sample("cpu", (hour - 80_000) * 1000, user_percent=3.0)])
    with influx_server.client() as client:
        [task] = client.tasks_api().find_tasks(name=task_name(influx_options.bucket))
        assert task.flux == downsampling_task(influx_options.bucket, influx_options.rollup_bucket, 86_400)
        run = client.tasks_api().run_manually(task.id)
        run_id = run["id"] if isinstance(run, dict) else run.id
        state = wait_for_run(client, task.id, run_id)
        # Its log is not asked for before: that of a run that has just ended cannot be had for a moment.
        assert state == "success", [event.message for event in client.tasks_api().get_run_logs(task.id, run_id)]
        found = {
            (
                record.get_measurement(),
                record.get_field(),
                record["aggregate"],
                record.get_time().timestamp(),
            ): record.get_value()
            for table in client.query_api().query(
                "from(bucket: b) |> range(start: 0, stop: 2200-01-01T00:00:00Z)",
                params={"b": influx_options.rollup_bucket},
            )
            for record in table.records
        }
    cpu = {
        name: found["cpu", "user_percent", name, hour - 1800] for name in ("mean", "minimum", "maximum", "sum", "count")
    }
    assert cpu == {"mean": 29.5, "minimum": 0.0, "maximum": 59.0, "sum": 1770.0, "count": 60.0}
    assert found["system", "processes", "mean", hour - 1800] == 5.0
    assert {field for _, field, _, _ in found} == {"user_percent", "processes"}
    assert found["cpu", "user_percent", "count", (hour - 80_000) // 60 * 60] == 1.0


def wait_for_run(client: InfluxDBClient, task: str, run: str) -> str:
    state = ""
    for _ in range(300):
        state = "not listed yet"
        with contextlib.suppress(ApiException):
            state = str(client.tasks_api().get_run(task, run).status)
        if state in {"success", "failed", "canceled"}:
            return state
        time.sleep(0.1)
    return state


def test_settings_that_change_are_taken_over(influx_server: Any, influx_options: InfluxOptions) -> None:
    for retention, became in ((86_400, "created"), (86_400, "ready"), (172_800, "updated"), (None, "updated")):
        with InfluxWriter(influx_options, retention=retention, rollup_retention=None) as writer:
            prepared = writer.prepared
            assert prepared is not None
            assert (prepared.bucket, prepared.task) == (became, became)
        with influx_server.client() as client:
            bucket = client.buckets_api().find_bucket_by_name(influx_options.bucket)
            assert [rule.every_seconds for rule in bucket.retention_rules] == [retention or 0]


def test_names_of_buckets_are_escaped_in_a_task(influx_server: Any) -> None:
    options = influx_server.options(f"a'b\\c ${{d}} {time.time_ns()}")
    try:
        with InfluxWriter(options, retention=None, rollup_retention=None) as writer, InfluxReader(options) as reader:
            assert writer.prepared is not None
            assert writer.prepared.task == "created"
            with influx_server.client() as client:
                names = [task.name for task in client.tasks_api().find_tasks(name=task_name(options.bucket))]
            assert names == [task_name(options.bucket)]
            assert reader.hosts() == []
    finally:
        influx_server.forget(options)


def test_text_of_flux() -> None:
    assert flux_text('a"b\\\n${x}') == r'"a\"b\\\n\x24{x}"'


def test_numbers_of_another_program(influx_writer: InfluxWriter, influx_reader: InfluxReader) -> None:
    first = b"cpu,host=a sequence=1,frequency_hertz=2.5,user_percent=1 %d" % START
    second = b"cpu,host=a sequence=2,frequency_hertz=1e30,user_percent=1e-300 %d" % (START + 1)
    assert influx_writer._parts.send(Lines([first, second])) == []
    query = RowQuery(table="cpu", start=0, end=10**10, fields=("frequency_hertz", "user_percent", "steal_percent"))
    [found] = influx_reader.rows(query)
    assert found == [(START, "a", 2, 1.0, None), (START + 1, "a", int(1e30), 1e-300, None)]
    assert [type(value) for value in found[0][2:4]] == [int, float]
