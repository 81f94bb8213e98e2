import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from hostpulse.bus.codec import Sample
from hostpulse.bus.messages import NetworkInterface
from hostpulse.consumer.storage import RowQuery, SeriesQuery
from hostpulse.consumer.storage.embedded import EmbeddedReader, EmbeddedWriter, open_reader, open_writer
from hostpulse.consumer.storage.embedded import retention as retention_module

SECONDS = 1_769_997_600  # a whole hour
START = SECONDS * 1000
HOUR = 3600
Make = Callable[..., Sample]


def settle(writer: EmbeddedWriter, now: float) -> int:
    """Maintain until nothing is left; return how many slices deleted something."""
    slices = 0
    while (done := writer.maintain(now)).more:
        slices += bool(done.deleted)
    return slices


def moments(reader: EmbeddedReader, table: str = "cpu") -> list[int]:
    query = RowQuery(table=table, start=0, end=10**10, fields=())
    return [(int(row[0]) - START) // 1000 for batch in reader.rows(query) for row in batch]  # type: ignore[arg-type]


def minutes(reader: EmbeddedReader, every: float = 60) -> list[tuple[int, object]]:
    query = SeriesQuery(table="cpu", field="user_percent", start=SECONDS - 10**6, end=SECONDS + 10**7, every=every)
    return [((p.timestamp - START) // 1000, p.value) for series in reader.series(query) for p in series.points]


def test_raw_rows_and_rollups_go_at_their_own_age(path: Path, sample: Make) -> None:
    with (
        open_writer(path, retention=HOUR, rollup_retention=3 * HOUR) as writer,
        open_reader(path) as reader,
    ):
        writer.write([sample("cpu", START + 1000 * n, user_percent=float(n // 60)) for n in range(0, 2 * HOUR, 10)])
        settle(writer, SECONDS + 2 * HOUR)
        assert moments(reader) == list(range(HOUR, 2 * HOUR, 10))
        every_minute = [(60 * n, float(n)) for n in range(120)]
        assert minutes(reader) == every_minute
        assert reader.count(RowQuery(table="cpu", start=SECONDS, end=SECONDS + 3 * HOUR)) == 360
        settle(writer, SECONDS + 4 * HOUR)
        assert moments(reader) == []
        assert minutes(reader) == every_minute[60:]
        settle(writer, SECONDS + 6 * HOUR)
        assert minutes(reader) == []


def test_where_raw_rows_have_gone_minutes_stand_in(path: Path, sample: Make) -> None:
    with open_writer(path, retention=HOUR, rollup_retention=None) as writer, open_reader(path) as reader:
        writer.write([sample("cpu", START + 1000 * n, user_percent=1.0) for n in range(0, 2 * HOUR, 10)])
        settle(writer, SECONDS + 2 * HOUR)
        found = minutes(reader, every=10)
        assert [moment for moment, _ in found] == [*range(0, HOUR, 60), *range(HOUR, 2 * HOUR, 10)]
        assert {value for _, value in found} == {1.0}


def test_what_is_not_summed_up_yet_stays(path: Path, sample: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hostpulse.consumer.storage.embedded.rollup._SLICE_MARKS", 10)
    with open_writer(path, retention=HOUR, rollup_retention=None) as writer, open_reader(path) as reader:
        writer.write([sample("cpu", START + 60_000 * n, user_percent=float(n)) for n in range(40)])
        wanted = [(60 * n, float(n)) for n in range(40)]
        left = []
        more = True
        while more:
            more = writer.maintain(SECONDS + 10 * HOUR).more
            left.append(len(moments(reader)))
            assert minutes(reader) == wanted
        assert left[:4] == [30, 20, 10, 0]


def test_late_samples_do_not_spoil_minutes_whose_raw_rows_have_gone(path: Path, sample: Make) -> None:
    with open_writer(path, retention=HOUR, rollup_retention=None) as writer, open_reader(path) as reader:
        writer.write([sample("cpu", START + 1000 * n, user_percent=float(n)) for n in range(60)])
        settle(writer, SECONDS + 5 * HOUR)
        assert moments(reader) == []
        late = [
            sample("cpu", START + 500, user_percent=1e6),
            sample("cpu", START + 500, "beta", user_percent=7.0),
        ]
        writer.write(late)
        writer.write(late)
        settle(writer, SECONDS + 5 * HOUR)
        assert moments(reader) == []
        assert minutes(reader) == [(0, 29.5), (0, 7.0)]


def test_deleting_goes_by_whole_minutes_in_slices(path: Path, sample: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention_module, "_SLICE_ROWS", 100)
    with open_writer(path, retention=HOUR, rollup_retention=None) as writer, open_reader(path) as reader:
        writer.write([sample("cpu", START + 1000 * n, user_percent=1.0) for n in range(1200)])
        writer.write([sample("cpu", START + 250, f"host {n}", user_percent=1.0) for n in range(300)])
        more, deleted = True, 0
        while more:
            slice_ = writer.maintain(SECONDS + 9 * HOUR)
            more, deleted = slice_.more, deleted + slice_.deleted
            assert len(moments(reader)) == 1500 - deleted
            assert not moments(reader) or moments(reader)[0] % 60 == 0
            assert slice_.deleted <= 360
        assert deleted == 1500


def test_space_is_given_back(path: Path, sample: Make) -> None:
    with open_writer(path, retention=HOUR, rollup_retention=HOUR) as writer:
        for first in range(0, 80_000, 10_000):
            writer.write([sample("cpu", START + n, user_percent=n / 7) for n in range(first, first + 10_000)])
        assert writer._open is not None
        writer._open.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        before = path.stat().st_size
        slices = settle(writer, SECONDS + 9 * HOUR)
        writer._open.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert path.stat().st_size < before * 0.6
        assert slices > 0


def test_devices_that_are_gone_make_room(path: Path, sample: Make) -> None:
    interface = NetworkInterface(received_bytes=1)
    with open_writer(path, retention=HOUR, rollup_retention=2 * HOUR) as writer, open_reader(path) as reader:
        flood = {f"veth{n}": interface for n in range(4095)}
        writer.write([sample("network", START, "old", interface=flood)])
        writer.note_host("old", online=False)
        writer.write([sample("network", START, interface={"eth0": interface})])
        later = START + 4 * HOUR * 1000
        new = [sample("network", later, interface={"eth0": interface, "eth1": interface})]
        assert len(writer.write(new).refused) == 1
        settle(writer, SECONDS + 4 * HOUR)
        assert [host.name for host in reader.hosts()] == ["alpha"]
        assert writer.write(new).refused == ()
        query = RowQuery(table="network_interface", start=0, end=10**10, fields=())
        found = sorted(row[1:] for batch in reader.rows(query) for row in batch)  # type: ignore[type-var]
        assert found == [("alpha", "eth0"), ("alpha", "eth1")]


def test_a_device_that_still_has_a_row_keeps_its_number(path: Path, sample: Make) -> None:
    with open_writer(path, retention=HOUR, rollup_retention=HOUR) as writer, open_reader(path) as reader:
        for hour in range(10):
            writer.write([sample("cpu", START + hour * HOUR * 1000, user_percent=1.0)])
            writer.write([sample("cpu", START + hour * HOUR * 1000, f"guest {hour}", user_percent=2.0)])
            settle(writer, SECONDS + hour * HOUR + 300)
        connection = sqlite3.connect(path)
        names = {name for (name,) in connection.execute("SELECT host FROM _device WHERE id >> 12 = 1")}
        [number] = connection.execute("SELECT id & 4095 FROM _device WHERE host = 'alpha'").fetchone()
        connection.close()
        assert "alpha" in names
        assert number == 0
        assert {"guest 8", "guest 9"} <= names
        assert "guest 2" not in names
        query = RowQuery(table="cpu", start=0, end=10**10, fields=())
        assert {row[1] for batch in reader.rows(query) for row in batch} <= names


def test_a_device_whose_rows_could_not_go_yet_keeps_its_number(path: Path, sample: Make) -> None:
    with open_writer(path, retention=HOUR, rollup_retention=HOUR) as writer, open_reader(path) as reader:
        writer.write([sample("cpu", START, user_percent=1.0)])
        assert writer._open is not None
        writer._open.retention.run(START + 9 * HOUR * 1000)  # without summing up before
        assert moments(reader) == [0]
        assert [host.name for host in reader.hosts()] == ["alpha"]
        settle(writer, SECONDS + 11 * HOUR)
        assert reader.hosts() == []


def test_for_ever(writer: EmbeddedWriter, reader: EmbeddedReader, sample: Make) -> None:
    writer.write([sample("cpu", START, user_percent=1.0)])
    settle(writer, SECONDS + 10**9)
    assert moments(reader) == [0]
    assert minutes(reader) == [(0, 1.0)]
