import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from hostpulse.bus import messages
from hostpulse.bus.codec import Sample
from hostpulse.bus.messages import SUBSYSTEMS, TABLES, CpuCore, DiskDevice, DiskMount
from hostpulse.consumer.storage import (
    Host,
    Maintenance,
    RowQuery,
    StorageUnavailableError,
    TooManyDevicesError,
)
from hostpulse.consumer.storage.embedded import EmbeddedReader, EmbeddedWriter, open_reader, open_writer

START = 1_770_000_000_000  # a whole minute
Make = Callable[..., Sample]

VALUES = {
    float: st.floats(allow_nan=False, allow_infinity=False, width=64),
    int: st.integers(0, 2**63 - 1),
    bool: st.booleans(),
    str: st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
}
KEYS = st.sampled_from(["a", "/", "/var/lib", "'; DROP TABLE cpu; --", "\x00", "☃"])


def everything(reader: EmbeddedReader, table: str) -> list[tuple[Any, ...]]:
    query = RowQuery(table=table, start=0, end=10**10)
    return [row for batch in reader.rows(query) for row in batch]


def fields_of(table: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={field.name: VALUES[field.type] for field in TABLES[table].fields})


@st.composite
def samples(draw: st.DrawFn) -> tuple[str, str, dict[str, Any], dict[str, dict[str, dict[str, Any]]]]:
    subsystem = draw(st.sampled_from(sorted(SUBSYSTEMS)))
    maps = {
        table.map: draw(st.dictionaries(KEYS, fields_of(table.name), max_size=3))
        for table in TABLES.values()
        if table.subsystem == subsystem and table.map and draw(st.booleans())
    }
    return subsystem, draw(st.sampled_from(["alpha", "béta", 'x"; --'])), draw(fields_of(subsystem)), maps


def struct_of(subsystem: str, map_name: str) -> Any:
    """Return the struct of a map's entries, by the custom of its name."""
    return getattr(messages, subsystem.capitalize() + map_name.capitalize())


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(batch=st.lists(samples(), max_size=12))
def test_what_is_written_is_read_back_in_order_and_once(
    batch: list[Any], tmp_path_factory: pytest.TempPathFactory, sample: Make
) -> None:
    made: list[Sample] = []
    expected: dict[str, list[tuple[Any, ...]]] = {name: [] for name in TABLES}
    for index, (subsystem, host, own, maps) in enumerate(batch):
        moment = START + index * 7
        structs = {
            name: {key: struct_of(subsystem, name)(**entry) for key, entry in entries.items()}
            for name, entries in maps.items()
        }
        made.append(sample(subsystem, moment, host, index + 1, **own, **structs))
        expected[subsystem].append((moment, host, *(own.get(field.name) for field in TABLES[subsystem].fields)))
        for name, entries in maps.items():
            table = TABLES[f"{subsystem}_{name}"]
            for key, entry in entries.items():
                expected[table.name].append((moment, host, key, *(entry.get(field.name) for field in table.fields)))
    path = tmp_path_factory.mktemp("store") / "history.sqlite"
    with open_writer(path, retention=None, rollup_retention=None) as writer, open_reader(path) as reader:
        rows = sum(map(len, expected.values()))
        assert writer.write(list(reversed(made))).rows == rows
        writer.write(made)
        for name, wanted in expected.items():
            found = everything(reader, name)
            assert sorted(found, key=lambda row: row[:3]) == sorted(wanted, key=lambda row: row[:3])
            assert [row[0] for row in found] == sorted(row[0] for row in wanted)


def test_session_sequence_and_interval_are_kept_beside_the_columns(
    writer: EmbeddedWriter, path: Path, sample: Make
) -> None:
    writer.write([sample("cpu", START, sequence=42, utilization_percent=1.5)])
    with sqlite3.connect(path) as connection:
        row = connection.execute("SELECT session, sequence, interval, utilization_percent FROM cpu").fetchone()
    connection.close()
    assert row == (1_767_225_600_000, 42, 2.0, 1.5)
    assert "session" not in TABLES["cpu"].columns


def test_two_samples_of_one_moment_complete_each_other(
    writer: EmbeddedWriter, reader: EmbeddedReader, sample: Make
) -> None:
    writer.write([sample("cpu", START, utilization_percent=1.0, user_percent=2.0)])
    writer.write([sample("cpu", START, sequence=2, utilization_percent=9.0, system_percent=3.0)])
    query = RowQuery(
        table="cpu",
        start=0,
        end=10**10,
        fields=("utilization_percent", "user_percent", "system_percent", "iowait_percent"),
    )
    assert list(reader.rows(query)) == [[(START, "alpha", 1.0, 2.0, 3.0, None)]]


def test_a_flood_of_new_devices_leaves_the_rest_of_the_batch(
    writer: EmbeddedWriter, reader: EmbeddedReader, sample: Make
) -> None:
    mount = DiskMount(used_percent=1.0)
    writer.write([sample("disk", START, mount={"/": mount})])
    flood = {f"/{number}": mount for number in range(4096)}
    written = writer.write(
        [
            sample("disk", START + 1000, mount={**flood, "/": mount}, device={"sda": DiskDevice(busy_percent=1.0)}),
            sample("disk", START + 2000, mount={"/one more": mount, "/": mount}),
            sample("cpu", START + 2000, utilization_percent=1.0),
        ]
    )
    [refused] = written.refused
    assert (refused.table, refused.rows, refused.host, refused.key) == ("disk_mount", 2, "alpha", "/4095")
    assert "disk_mount holds its 4096 devices" in str(refused)
    assert "\n" not in str(refused)
    found = everything(reader, "disk_mount")
    assert len({row[2] for row in found}) == 4096
    assert [row[0] - START for row in found if row[2] == "/"] == [0, 1000, 2000]
    assert len(everything(reader, "disk_device")) == len(everything(reader, "cpu")) == 1
    assert written.rows == 4096 + 1 + 1 + 1 + 1 + 1


def test_a_table_without_fields_keeps_its_messages(
    writer: EmbeddedWriter, reader: EmbeddedReader, sample: Make
) -> None:
    writer.write([sample("sensors", START), sample("sensors", START + 1000, sequence=2)])
    assert everything(reader, "sensors") == [(START, "alpha"), (START + 1000, "alpha")]


def test_hosts_are_remembered(writer: EmbeddedWriter, reader: EmbeddedReader, sample: Make) -> None:
    writer.write([sample("cpu", START, "beta")])
    writer.note_host("alpha", online=True)
    writer.note_host("alpha", info='{"cores": 4}')
    writer.note_host("gamma", online=True)
    writer.note_host("gamma", online=False)
    assert reader.hosts() == [
        Host("alpha", online=True, info='{"cores": 4}'),
        Host("beta", online=None, info=None),
        Host("gamma", online=False, info=None),
    ]


def test_a_host_that_is_not_unicode_is_no_poison(writer: EmbeddedWriter, reader: EmbeddedReader) -> None:
    writer.note_host("\udcff", online=True, info="\udcfe")
    assert [(host.name, host.info) for host in reader.hosts()] == [("\\udcff", "\\udcfe")]


def test_hosts_are_bounded(writer: EmbeddedWriter, reader: EmbeddedReader) -> None:
    parts = writer._open
    assert parts is not None
    parts.connection.execute("BEGIN")
    parts.connection.executemany("INSERT INTO _host (name) VALUES (?)", [(f"h{number}",) for number in range(4096)])
    parts.connection.execute("COMMIT")
    with pytest.raises(TooManyDevicesError, match="one more"):
        writer.note_host("one more", online=True)
    writer.note_host("h17", online=True)
    assert len(reader.hosts()) == 4096


def test_a_constructor_has_no_effects(path: Path) -> None:
    EmbeddedWriter(path, retention=1, rollup_retention=1)
    EmbeddedReader(path)
    assert not path.parent.exists()


def test_closed_and_opened_again(path: Path, sample: Make) -> None:
    writer = EmbeddedWriter(path, retention=None, rollup_retention=None)
    with writer, writer:
        writer.write([sample("cpu", START)])
    writer.close()
    with pytest.raises(RuntimeError):
        writer.write([sample("cpu", START)])
    with writer, open_reader(path) as reader:
        writer.write([sample("cpu", START + 1)])
        assert len(everything(reader, "cpu")) == 2
        assert writer.maintain(START / 1000) == Maintenance(0, 0, more=False)


def test_a_second_writer_is_refused(writer: EmbeddedWriter, path: Path, sample: Make) -> None:
    second = EmbeddedWriter(path, retention=None, rollup_retention=None)
    with pytest.raises(StorageUnavailableError, match=r"another hostpulse writes to .*history\.sqlite; end it"):
        second.open()
    writer.write([sample("cpu", START)])
    writer.close()
    with second:
        second.write([sample("cpu", START)])


def test_a_lock_of_another_program_passes(
    writer: EmbeddedWriter, reader: EmbeddedReader, path: Path, sample: Make
) -> None:
    parts = writer._open
    assert parts is not None
    parts.connection.execute("PRAGMA busy_timeout = 0")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageUnavailableError, match="locked"):
        writer.write([sample("cpu", START)])
    other.close()
    writer.write([sample("cpu", START)])
    assert len(everything(reader, "cpu")) == 1


def test_what_one_subsystem_lacks_is_null(writer: EmbeddedWriter, reader: EmbeddedReader, sample: Make) -> None:
    writer.write(
        [sample("cpu", START, core={"0": CpuCore(frequency_hertz=5), "1": CpuCore(utilization_percent=UNSET)})]
    )
    assert everything(reader, "cpu_core") == [(START, "alpha", "0", None, 5), (START, "alpha", "1", None, None)]


def test_the_pragmas_hold(writer: EmbeddedWriter) -> None:
    parts = writer._open
    assert parts is not None
    wanted = {"journal_mode": "wal", "synchronous": 2, "auto_vacuum": 2, "secure_delete": 2, "user_version": 1}
    assert {name: parts.connection.execute(f"PRAGMA {name}").fetchone()[0] for name in wanted} == wanted


def test_a_batch_that_fails_half_way_leaves_nothing(
    writer: EmbeddedWriter, reader: EmbeddedReader, sample: Make
) -> None:
    good = sample("cpu", START, "new host", utilization_percent=1.0)
    bad = sample("cpu", START + 1, "another", utilization_percent=object())
    with pytest.raises(sqlite3.ProgrammingError):  # no decoder lets it through: a fault of ours
        writer.write([good, bad])
    assert everything(reader, "cpu") == []
    assert reader.hosts() == []
    assert writer.write([good]).rows == 1
    assert [row[1] for row in everything(reader, "cpu")] == ["new host"]
