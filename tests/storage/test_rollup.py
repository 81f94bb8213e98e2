"""Minutes that are summed up, against sums in plain Python."""

import math
import random
import signal
import sqlite3
import subprocess
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostpulse.bus.codec import Sample
from hostpulse.consumer.storage import Point, SeriesQuery
from hostpulse.consumer.storage.embedded import EmbeddedReader, EmbeddedWriter, open_reader, open_writer

SECONDS = 1_769_997_600  # a whole hour
START = SECONDS * 1000
Make = Callable[..., Sample]
Facts = dict[tuple[str, int], float]


def in_plain_python(facts: Facts, every: float) -> dict[str, list[Point]]:
    """The buckets of (host, milliseconds) -> value."""
    buckets: defaultdict[str, defaultdict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    width = round(every * 1000)
    for (host, moment), value in facts.items():
        buckets[host][moment // width * width].append(value)
    return {
        host: [
            Point(start, math.fsum(found) / len(found), min(found), max(found)) for start, found in sorted(of.items())
        ]
        for host, of in buckets.items()
    }


def assert_same(reader: EmbeddedReader, facts: Facts, every: float) -> None:
    query = SeriesQuery(table="cpu", field="user_percent", start=SECONDS - 10**6, end=SECONDS + 10**6, every=every)
    found = {series.host: series.points for series in reader.series(query)}
    wanted = in_plain_python(facts, every)
    assert {host: [(p.timestamp, p.minimum, p.maximum) for p in points] for host, points in found.items()} == {
        host: [(p.timestamp, p.minimum, p.maximum) for p in points] for host, points in wanted.items()
    }
    for host, points in wanted.items():
        assert [p.value for p in found[host]] == pytest.approx([p.value for p in points], rel=1e-9, abs=1e-9)


def summed_up(path: Path) -> int:
    connection = sqlite3.connect(path)
    [count] = connection.execute("SELECT count(*) FROM _minute_cpu").fetchone()
    connection.close()
    return int(count)


def test_events_are_not_summed_up(path: Path, sample: Make) -> None:
    with open_writer(path, retention=3600, rollup_retention=7200) as writer, open_reader(path) as reader:
        writer.write([sample("event", START + second * 1000, value=float(second), told=True) for second in range(120)])
        while writer.maintain(SECONDS + 600).more:
            pass
        query = SeriesQuery(table="event", field="value", start=SECONDS, end=SECONDS + 600, every=None)
        assert len(reader.series(query)[0].points) == 120
        connection = sqlite3.connect(path)
        assert [name for _, name, *_ in connection.execute("PRAGMA table_info(_minute_event)")] == ["id", "rows"]
        connection.close()
        while writer.maintain(SECONDS + 3600 + 120).more:
            pass
        assert reader.series(query) == []


MOMENT = st.integers(0, 1200).map(lambda tenth: START + tenth * 900)  # 18 minutes
BATCH = st.lists(
    st.tuples(st.sampled_from(["alpha", "beta", "gamma"]), MOMENT, st.none() | st.integers(-5, 5).map(lambda n: n / 4)),
    max_size=30,
)


@settings(max_examples=30, deadline=None)
@given(steps=st.lists(BATCH | st.integers(0, 25), max_size=8), every=st.sampled_from([0.5, 7, 60, 90, 120, 300, 3600]))
def test_samples_in_any_order_and_maintenance_between(
    steps: list[list[tuple[str, int, float | None]] | int],
    every: float,
    tmp_path_factory: pytest.TempPathFactory,
    sample: Make,
) -> None:
    path = tmp_path_factory.mktemp("store") / "history.sqlite"
    facts: dict[tuple[str, int], float | None] = {}
    with open_writer(path, retention=None, rollup_retention=None) as writer, open_reader(path) as reader:
        for step in steps:
            if isinstance(step, int):
                writer.maintain(SECONDS + 60 * step)
            else:
                for host, moment, value in step:
                    if facts.get((host, moment)) is None:  # the first fact of a moment stays
                        facts[host, moment] = value
                writer.write(
                    [
                        sample("cpu", moment, host, **({} if value is None else {"user_percent": value}))
                        for host, moment, value in step
                    ]
                )
            assert_same(reader, {key: value for key, value in facts.items() if value is not None}, every)


def test_late_samples_of_an_outage_make_their_minutes_anew(
    writer: EmbeddedWriter, reader: EmbeddedReader, path: Path, sample: Make
) -> None:
    facts: Facts = {("alpha", START + 1000 * n): float(n % 37) for n in range(0, 7200, 2)}
    writer.write([sample("cpu", moment, host, user_percent=value) for (host, moment), value in facts.items()])
    while writer.maintain(SECONDS + 10_000).more:
        pass
    assert summed_up(path) == 120
    assert_same(reader, facts, 600)
    late: Facts = {("alpha", START + 1000 * n): 1000.0 + n for n in range(601, 1800, 2)}
    late |= {("beta", START + 1000 * n): float(n) for n in range(1000)}
    batch = [sample("cpu", moment, host, user_percent=value) for (host, moment), value in late.items()]
    facts |= late
    writer.write(batch)
    assert_same(reader, facts, 60)
    while writer.maintain(SECONDS + 10_000).more:
        writer.write(batch[:10])  # once more, while they are worked on
    assert summed_up(path) == 120 + 17
    assert_same(reader, facts, 60)


def test_the_rollups_alone_give_the_same(
    writer: EmbeddedWriter, reader: EmbeddedReader, path: Path, sample: Make
) -> None:
    facts: Facts = {(host, START + 700 * n): random.uniform(-1e6, 1e6) for n in range(3000) for host in "ab"}  # noqa: S311
    writer.write([sample("cpu", moment, host, user_percent=value) for (host, moment), value in facts.items()])
    assert writer.maintain(SECONDS + 10_000).rolled_up == 35
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM cpu")
    connection.commit()
    connection.close()
    for every in (60, 300, 3600):
        assert_same(reader, facts, every)


def test_a_minute_that_is_not_over_waits(writer: EmbeddedWriter, path: Path, sample: Make) -> None:
    writer.write([sample("cpu", START + 59_999, user_percent=1.0), sample("cpu", START + 86_000_000, user_percent=1.0)])
    assert writer.maintain(SECONDS + 60).rolled_up == 0
    assert summed_up(path) == 0
    assert writer.maintain(SECONDS + 70).rolled_up == 1
    assert summed_up(path) == 1
    assert writer.maintain(SECONDS + 70).rolled_up == 0


def test_a_slice_is_bounded(writer: EmbeddedWriter, path: Path, sample: Make) -> None:
    writer.write([sample("cpu", START + 60_000 * minute, user_percent=1.0) for minute in range(150)])
    done = []
    while (slice_ := writer.maintain(SECONDS + 100_000)).more:
        done.append(slice_.rolled_up)
    assert max(done) < 100
    assert summed_up(path) == 150


def test_text_has_no_rollup_and_flags_have(writer: EmbeddedWriter, reader: EmbeddedReader, sample: Make) -> None:
    writer.write(
        [
            sample("battery", START, mains=True),
            sample("battery", START + 1000, mains=False),
            sample("system", START, kernel="6.1", processes=5),
        ]
    )
    writer.maintain(SECONDS + 1000)
    query = SeriesQuery(table="battery", field="mains", start=SECONDS, end=SECONDS + 60, every=60)
    assert reader.series(query)[0].points == [Point(START, 0.5, 0, 1)]
    text = SeriesQuery(table="system", field="kernel", start=SECONDS, end=SECONDS + 60, every=None)
    assert reader.series(text)[0].points == [Point(START, "6.1", "6.1", "6.1")]


KILLED = """
import sys
from pathlib import Path
from datetime import UTC, datetime, timedelta
from hostpulse.bus.codec import Envelope, Sample
from hostpulse.bus.messages import Cpu
from hostpulse.consumer.storage.embedded import open_writer

start = datetime.fromtimestamp(1_769_997_600, UTC)
batch = 0
with open_writer(Path(sys.argv[1]), retention=None, rollup_retention=None) as writer:
    while True:  # each batch has a value for each of 40 minutes
        writer.write([
            Sample(
                Envelope(v=1, host="alpha", subsystem="cpu", sequence=1, session=start, interval=1.0,
                         timestamp=start + timedelta(minutes=minute, milliseconds=batch)),
                Cpu(user_percent=float(batch)),
            )
            for minute in range(40)
        ])
        batch += 1
        print(batch, flush=True)
        writer.maintain(1_780_000_000)
"""


def test_killed_at_any_moment_nothing_is_counted_twice_or_lost(
    path: Path, start_python: Callable[..., subprocess.Popen[str]]
) -> None:
    facts: Facts = {}
    for _ in range(4):
        child = start_python(KILLED, path)
        assert child.stdout is not None
        for _ in range(random.randint(1, 25)):  # noqa: S311 - any moment will do
            child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        child.communicate()
        with open_reader(path) as reader:
            raw = SeriesQuery(table="cpu", field="user_percent", start=0, end=10**10, every=None)
            facts = {("alpha", point.timestamp): float(point.value) for point in reader.series(raw)[0].points}
            assert len(facts) % 40 == 0
            assert_same(reader, facts, 60)
    with open_writer(path, retention=None, rollup_retention=None) as writer, open_reader(path) as reader:
        while writer.maintain(1_780_000_000).more:
            pass
        assert_same(reader, facts, 60)
    assert summed_up(path) == 40
