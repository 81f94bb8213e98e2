"""Both stores give the same answers."""

import random
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostpulse.bus import messages
from hostpulse.bus.codec import Sample, decode
from hostpulse.bus.errors import UsageError
from hostpulse.bus.messages import SUBSYSTEMS, TABLES, CpuCore, DiskDevice, DiskMount, NetworkInterface
from hostpulse.bus.topics import HostTopic
from hostpulse.consumer.storage import (
    Host,
    Latest,
    LatestQuery,
    Number,
    Point,
    Reader,
    RowQuery,
    Series,
    SeriesQuery,
    StorageError,
    Writer,
)
from hostpulse.consumer.storage.embedded import EmbeddedReader, EmbeddedWriter
from hostpulse.consumer.storage.influxdb import InfluxOptions, InfluxReader, InfluxWriter

START = 1_769_997_600_000  # a whole hour
SECONDS = START // 1000
Make = Callable[..., Sample]
Store = tuple[Writer, Reader]


@pytest.fixture(params=["embedded", "influxdb", "influxdb3"])
def store(request: pytest.FixtureRequest) -> Store:
    prefix = {"embedded": "", "influxdb": "influx_", "influxdb3": "influx3_"}[request.param]
    return request.getfixturevalue(f"{prefix}writer"), request.getfixturevalue(f"{prefix}reader")


def rows(reader: Reader, table: str, **query: Any) -> list[Any]:
    """Return all rows, those of one moment sorted."""
    found: list[Any] = [
        row for batch in reader.rows(RowQuery(**{"table": table, "start": 0, "end": 10**10, **query})) for row in batch
    ]
    assert [row[0] for row in found] == sorted(row[0] for row in found)
    return sorted(found, key=lambda row: row[: 2 if TABLES[table].key is None else 3])


VALUES = {
    float: st.floats(-1e300, 1e300, width=64),  # larger ones have a mean that is infinite
    int: st.integers(0, 2**53),
    bool: st.booleans(),
    str: st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20),
}
NAMES = st.sampled_from(["a", "/", "/var/my lib", "a,b=c d", '"; DROP', "\\x", "☃", " ", "#"])


def fields_of(table: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={field.name: VALUES[field.type] for field in TABLES[table].fields})


@st.composite
def any_message(draw: st.DrawFn) -> tuple[str, str, dict[str, Any]]:
    subsystem = draw(st.sampled_from(sorted(SUBSYSTEMS)))
    fields = draw(fields_of(subsystem))
    for table in TABLES.values():
        if table.subsystem == subsystem and table.map and draw(st.booleans()):
            struct = getattr(messages, subsystem.capitalize() + table.map.capitalize())
            entries = draw(st.dictionaries(NAMES, fields_of(table.name), max_size=3))
            fields[table.map] = {key: struct(**entry) for key, entry in entries.items()}
    return subsystem, draw(NAMES), fields


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@pytest.mark.parametrize("server", ["influx_server", "influx3_server"])
@given(batch=st.lists(any_message(), min_size=1, max_size=10))
def test_any_messages(
    batch: list[Any], server: str, request: pytest.FixtureRequest, tmp_path_factory: Any, sample: Make
) -> None:
    influx_server = request.getfixturevalue(server)
    samples = [
        sample(subsystem, START + 1700 * index, host, index + 1, **fields)
        for index, (subsystem, host, fields) in enumerate(batch)
    ]
    directory = tmp_path_factory.mktemp("same")
    options = influx_server.options(f"test-{directory.name}-{time.time_ns()}")
    stores = (
        (EmbeddedWriter(directory / "h", retention=None, rollup_retention=None), EmbeddedReader(directory / "h")),
        (InfluxWriter(options, retention=None, rollup_retention=None), InfluxReader(options)),
    )
    seen = []
    try:
        for writer, reader in stores:
            with writer, reader:
                assert writer.write(samples).rows == writer.write(samples).rows
                tables = {name: rows(reader, name) for name in TABLES}
                one_field = {
                    table.name: rows(reader, table.name, fields=(table.fields[-1].name,))
                    for table in TABLES.values()
                    if table.fields
                }
                latest = {name: reader.latest(LatestQuery(table=name, since=0)) for name in TABLES}
                seen.append((tables, one_field, latest, reader.hosts()))
    finally:
        influx_server.forget(options)
        shutil.rmtree(directory)
    assert seen[0] == seen[1]
    assert sum(map(len, seen[0][0].values())) >= len(batch)
    types = [[type(value) for table in tables.values() for row in table for value in row] for tables, *_ in seen]
    assert types[0] == types[1]


@pytest.fixture
def filled(store: Store, sample: Make) -> Reader:
    writer, reader = store
    generator = random.Random(7)  # noqa: S311
    batch = [
        sample(
            "cpu",
            START + second * 1000 + generator.randrange(1000),
            host,
            second + 1,
            user_percent=generator.uniform(0, 100),
            frequency_hertz=generator.randrange(10**9, 4 * 10**9),
            core={key: CpuCore(utilization_percent=float(second + index)) for index, key in enumerate("01")},
        )
        for second in range(0, 7200, 3)
        for host in ("alpha", "beta")
        if (second // 900) % 3 != 1 or host == "alpha"
    ]
    generator.shuffle(batch)
    for first in range(0, len(batch), 700):
        writer.write(batch[first : first + 700])
    return reader


_EXPECTED: dict[Any, Any] = {}


def same(key: Any, found: Any) -> Any:
    """Compare with what the other store gave."""
    expected = _EXPECTED.setdefault(key, found)
    assert found == expected
    return found


def rounded(found: list[Series]) -> list[Any]:
    return [
        (one.host, one.key, [(p.timestamp, round(float(p.value), 6), p.minimum, p.maximum) for p in one.points])
        for one in found
    ]


@pytest.mark.parametrize("every", [0.5, 7.5, 60, 90, 300, 3600, 86_400, 366 * 86_400])
@pytest.mark.parametrize(("start", "end"), [(0, 7200), (-10_000, 99_999), (100.5, 3700.25), (9000, 9001)])
@pytest.mark.parametrize("field", ["user_percent", "frequency_hertz", "steal_percent"])
def test_buckets(filled: Reader, field: str, start: float, end: float, every: float) -> None:
    query = SeriesQuery(table="cpu", field=field, start=SECONDS + start, end=SECONDS + end, every=every)
    found = same(query, rounded(filled.series(query)))
    assert bool(found) == (field != "steal_percent" and (start < 7200 or every > 3600))


def test_rows_of_ranges_and_devices(filled: Reader) -> None:
    for number, query in enumerate(
        [
            {},
            {"hosts": ("alpha",)},
            {"hosts": ("beta", "nobody"), "keys": ("1",)},
            {"keys": ()},
            {"hosts": ()},
            {"start": SECONDS + 100.001, "end": SECONDS + 200.5},
            {"fields": ()},
            {"fields": ("frequency_hertz", "utilization_percent")},
            {"start": -1e300, "end": 1e300},
            {"start": 1e200, "end": 1e300},
        ]
    ):
        for table in ("cpu", "cpu_core"):
            found = same((number, table), rows(filled, table, **query))
            assert all(
                len(row) == len(RowQuery(**{"table": table, "start": 0, "end": 1, **query}).columns) for row in found
            )
            exact = filled.count(RowQuery(**{"table": table, "start": 0, "end": 10**10, **query}))
            assert abs(exact - len(found)) <= 120


def test_raw_values(filled: Reader) -> None:
    query = SeriesQuery(table="cpu_core", field="utilization_percent", start=0, end=10**10, every=None, keys=("0",))
    found = same("raw", filled.series(query))
    assert [(series.host, series.key) for series in found] == [("alpha", "0"), ("beta", "0")]


@pytest.mark.parametrize("every", [None, 60])
def test_too_many_points_are_refused(filled: Reader, every: float | None) -> None:
    query = {"table": "cpu", "field": "user_percent", "start": 0, "end": 10**10, "every": every}
    points = sum(len(series.points) for series in filled.series(SeriesQuery(**query)))
    assert sum(len(one.points) for one in filled.series(SeriesQuery(**query, maximum_points=points))) == points
    with pytest.raises(UsageError, match=f"more than {points - 1} points"):
        filled.series(SeriesQuery(**query, maximum_points=points - 1))
    assert filled.hosts() == [Host("alpha", None, None), Host("beta", None, None)]  # the connection is still good


def test_the_latest_of_each_field(store: Store, sample: Make) -> None:
    writer, reader = store
    writer.write(
        [
            sample("disk", START, mount={"/": DiskMount(used_percent=1.0, state="ok", device="")}),
            sample("disk", START + 30_000, mount={"/": DiskMount(used_percent=2.0, inodes_used=7)}),
            sample("disk", START + 40_000, device={"sda": DiskDevice(busy_percent=3.0)}, read_bytes_per_second=4),
            sample("disk", START + 42_000, "beta", mount={"/": DiskMount(used_percent=5.0)}),
            sample("disk", START + 44_000, write_bytes_per_second=6),
            sample("disk", START + 46_000, mount={"/": DiskMount()}),
        ]
    )
    assert reader.latest(LatestQuery(table="disk_mount", since=SECONDS)) == [
        Latest("alpha", "/", START + 46_000, {"used_percent": 2.0, "state": "ok", "device": "", "inodes_used": 7}),
        Latest("beta", "/", START + 42_000, {"used_percent": 5.0}),
    ]
    assert reader.latest(LatestQuery(table="disk", since=SECONDS, hosts=("alpha",))) == [
        Latest("alpha", None, START + 46_000, {"read_bytes_per_second": 4, "write_bytes_per_second": 6}),
    ]
    assert reader.latest(LatestQuery(table="disk_mount", since=SECONDS + 60)) == []
    assert reader.latest(LatestQuery(table="disk_mount", since=0, hosts=())) == []
    assert reader.latest(LatestQuery(table="battery", since=1e300)) == []


def test_text_and_flags(store: Store, sample: Make) -> None:
    writer, reader = store
    up, down = NetworkInterface(link="up", speed_bits_per_second=10**9), NetworkInterface(link="", sent_bytes=0)
    writer.write(
        [
            sample("battery", START, mains=True),
            sample("battery", START + 1000, mains=False),
            sample("network", START, interface={"eth0": up, "lo": down}),
        ]
    )
    flags = SeriesQuery(table="battery", field="mains", start=SECONDS, end=SECONDS + 60, every=60)
    assert reader.series(flags)[0].points == [Point(START, 0.5, 0, 1)]
    text = SeriesQuery(table="network_interface", field="link", start=SECONDS, end=SECONDS + 60, every=None)
    assert [(one.key, one.points[0].value) for one in reader.series(text)] == [("eth0", "up"), ("lo", "")]
    assert rows(reader, "network_interface", fields=("link", "sent_bytes")) == [
        (START, "alpha", "eth0", "up", None),
        (START, "alpha", "lo", "", 0),
    ]
    assert rows(reader, "battery", fields=("mains",)) == [(START, "alpha", 1), (START + 1000, "alpha", 0)]


NUMBERS = ["0", "-0", "1E5", "1e+5", "1e-7", " 2.50", "12345678901234567890", "1e-400", f"0.{'1' * 400}"]
"""As JSON may say them, our publishers do not."""


def test_numbers_as_other_programs_write_them(store: Store) -> None:
    writer, reader = store
    head = '{"v":1,"host":"alpha","subsystem":"cpu","session":"2026-01-01T00:00:00Z"'
    samples = [
        decode(
            HostTopic("alpha", "cpu"),
            f'{head},"timestamp":"2026-02-02T02:00:{second:02}Z","sequence":{second + 1},"interval":2,'
            f'"user_percent":{number},"steal_percent":1}}'.encode(),
            now=datetime.fromtimestamp(SECONDS, UTC),
        )
        for second, number in enumerate(NUMBERS)
    ]
    for part in (samples, samples[:1]):  # among others, and alone
        writer.write(part)
    found = rows(reader, "cpu", fields=("user_percent", "steal_percent"))
    assert [row[2:] for row in found] == [(float(number), 1.0) for number in NUMBERS]


def test_events(store: Store, sample: Make) -> None:
    writer, reader = store
    fired = sample(
        "event",
        START,
        sequence=1,
        event_id="alpha/disk_full/mount=/@1769997599.000:fired",
        rule="disk_full",
        labels="mount=/",
        kind="fired",
        before="ok",
        level="critical",
        value=97.5,
        limit=95.0,
        summary='/ is "full", {97.5 %}',
        told=True,
        flapping=False,
    )
    resolved = sample("event", START + 1, sequence=2, kind="resolved", value_text="ok", told=False, why="nobody")
    other = sample("event", START, "beta", kind="fired", level="warning")
    assert writer.write([fired, resolved]).rows == 2
    assert writer.write([fired, other, resolved]).rejected == ()  # as from a replay
    columns = ("rule", "labels", "kind", "level", "value", "value_text", "limit", "summary", "told", "flapping", "why")
    assert rows(reader, "event", fields=columns) == [
        (
            START,
            "alpha",
            "disk_full",
            "mount=/",
            "fired",
            "critical",
            97.5,
            None,
            95.0,
            '/ is "full", {97.5 %}',
            1,
            0,
            None,
        ),
        (START, "beta", None, None, "fired", "warning", None, None, None, None, None, None, None),
        (START + 1, "alpha", None, None, "resolved", None, None, "ok", None, None, 0, None, "nobody"),
    ]
    assert [len(row) for row in rows(reader, "event")] == [2 + len(TABLES["event"].fields)] * 3
    assert reader.count(RowQuery(table="event", start=SECONDS, end=SECONDS + 1)) == 3
    found = reader.series(SeriesQuery(table="event", field="value", start=SECONDS, end=SECONDS + 1, every=None))
    assert [(one.host, one.points) for one in found] == [("alpha", [Point(START, 97.5, 97.5, 97.5)])]
    assert [one.sequence for batch in reader.numbers("event", SECONDS, SECONDS + 1, ("alpha",)) for one in batch] == [
        1,
        2,
    ]
    assert reader.hosts() == [Host("alpha", None, None), Host("beta", None, None)]


def test_nothing_is_there(store: Store) -> None:
    _, reader = store
    assert reader.hosts() == []
    assert rows(reader, "cpu") == []
    assert reader.count(RowQuery(table="cpu", start=0, end=1)) == 0
    assert reader.series(SeriesQuery(table="cpu", field="user_percent", start=0, end=1, every=60)) == []


@pytest.mark.parametrize("server", ["influx_server", "influx3_server"])
def test_a_store_that_is_not_there(server: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    missing: InfluxOptions = request.getfixturevalue(server).options("nowhere")
    for reader in (EmbeddedReader(tmp_path / "none"), InfluxReader(missing)):
        with pytest.raises(StorageError) as caught:
            reader.open()
        assert "\n" not in str(caught.value)


def numbered(make: Make, host: str, second: int, sequence: int, session: int) -> Sample:
    one = make("cpu", START + second * 1000, host, sequence, user_percent=1.0)
    one.envelope.session = datetime.fromtimestamp(session, UTC)
    return one


@pytest.fixture
def counted(store: Store, sample: Make) -> Reader:
    """Two hosts, one of them in two sessions and with gaps, and a third that fell silent; in no order."""
    writer, reader = store
    batch = [numbered(sample, "alpha", second, second + 1, SECONDS) for second in range(5000) if second % 7]
    batch += [numbered(sample, "alpha", 5000 + second, second + 1, SECONDS + 5000) for second in range(10)]
    batch += [numbered(sample, "beta", second, second + 1, SECONDS - 60) for second in range(0, 5000, 2)]
    batch += [numbered(sample, "gamma", -90_000, 3, SECONDS - 99_000)]
    random.Random(3).shuffle(batch)  # noqa: S311 - no secret
    writer.write(batch)
    return reader


@pytest.mark.parametrize("hosts", [None, ("alpha",), ("beta", "nobody"), ()])
@pytest.mark.parametrize(("start", "end"), [(0, 10**10), (SECONDS + 100, SECONDS + 200), (SECONDS + 6000, 10**10)])
def test_numbers(counted: Reader, hosts: tuple[str, ...] | None, start: float, end: float) -> None:
    batches = list(counted.numbers("cpu", start, end, hosts))
    assert all(0 < len(batch) <= 4096 for batch in batches)
    found = [one for batch in batches for one in batch]
    assert [one.timestamp for one in found] == sorted(one.timestamp for one in found)
    assert {type(value) for one in found for value in one} <= {int, str}
    same(("numbers", hosts, start, end), sorted(found))
    if (hosts, start) == (("alpha",), SECONDS + 100):
        assert sorted(found) == [
            Number("alpha", START, second + 1, START + second * 1000) for second in range(100, 200) if second % 7
        ]


def test_the_last_number_of_each_host(counted: Reader) -> None:
    alpha = Number("alpha", START + 5_000_000, 10, START + 5_009_000)
    beta = Number("beta", START - 60_000, 4999, START + 4_998_000)
    gamma = Number("gamma", START - 99_000_000, 3, START - 90_000_000)
    assert counted.last_numbers("cpu", 0) == [alpha, beta, gamma]
    assert counted.last_numbers("cpu", SECONDS) == [alpha, beta]
    assert counted.last_numbers("cpu", SECONDS + 5000) == [alpha]
    assert counted.last_numbers("memory", 0) == []


def test_numbers_that_make_no_sense(store: Store) -> None:
    _, reader = store
    with pytest.raises(UsageError, match="ask for cpu"):
        list(reader.numbers("cpu_core", 0, 1))
    with pytest.raises(UsageError, match="did you mean cpu"):
        reader.last_numbers("cpuu", 0)
    with pytest.raises(UsageError, match="no bounds"):
        list(reader.numbers("cpu", 1, 1))
