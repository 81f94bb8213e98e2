"""The disk, the file and the rights are wrong for real."""

import os
import random
import re
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hostpulse.bus.codec import Sample
from hostpulse.bus.messages import TABLES
from hostpulse.consumer.storage import NoHistoryError, RowQuery, StorageError, StorageUnavailableError
from hostpulse.consumer.storage.embedded import EmbeddedReader, EmbeddedWriter, open_reader, open_writer

START = 1_770_000_000_000
Make = Callable[..., Sample]
Run = Callable[..., str]


def sequences(reader: EmbeddedReader) -> list[int]:
    """The user_percent of the cpu rows, where these tests put a number."""
    query = RowQuery(table="cpu", start=0, end=10**10, fields=("user_percent",))
    return [int(row[2]) for batch in reader.rows(query) for row in batch if isinstance(row[2], float)]


def numbered(sample: Make, first: int, count: int) -> list[Sample]:
    return [sample("cpu", START + n, sequence=n + 1, user_percent=float(n)) for n in range(first, first + count)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "disk"
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(directory)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


def fill(writer: EmbeddedWriter, sample: Make) -> int:
    """Write until it fails; return how many samples were acknowledged."""
    for first in range(0, 200_000, 200):
        try:
            writer.write(numbered(sample, first, 200))
        except StorageUnavailableError as error:
            assert re.match(r"the disk of .*history\.sqlite is full; make room", str(error))  # noqa: PT017
            return first
    pytest.fail("the disk never filled up")


def test_a_full_disk_loses_nothing_and_recovers(small_disk: Path, sample: Make) -> None:
    path = small_disk / "history.sqlite"
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(900_000))
    with open_writer(path, retention=None, rollup_retention=None) as writer, open_reader(path) as reader:
        acknowledged = fill(writer, sample)
        assert sequences(reader) == list(range(acknowledged))
        ballast.unlink()
        writer.write(numbered(sample, acknowledged, 200))
        assert sequences(reader) == list(range(acknowledged + 200))


def test_a_full_disk_at_the_start(small_disk: Path) -> None:
    with pytest.raises(OSError, match="No space"):
        (small_disk / "ballast").write_bytes(bytes(3_000_000))
    with pytest.raises(StorageUnavailableError, match="is full"):
        open_writer(small_disk / "history.sqlite", retention=None, rollup_retention=None)


def test_a_database_that_cannot_grow(writer: EmbeddedWriter, reader: EmbeddedReader, sample: Make) -> None:
    assert writer._open is not None
    writer._open.connection.execute("PRAGMA max_page_count = 200")
    acknowledged = fill(writer, sample)
    assert acknowledged > 0
    assert sequences(reader) == list(range(acknowledged))
    writer._open.connection.execute("PRAGMA max_page_count = 100000")
    writer.write(numbered(sample, acknowledged, 200))
    assert sequences(reader) == list(range(acknowledged + 200))


KILLED = """
import sys
from pathlib import Path
from datetime import UTC, datetime, timedelta
from hostpulse.bus.codec import Envelope, Sample
from hostpulse.bus.messages import Cpu
from hostpulse.consumer.storage.embedded import open_writer

path, first = Path(sys.argv[1]), int(sys.argv[2])
start = datetime.fromtimestamp(1_770_000_000, UTC)
with open_writer(path, retention=None, rollup_retention=None) as writer:
    while True:
        batch = [
            Sample(
                Envelope(v=1, host="alpha", subsystem="cpu", timestamp=start + timedelta(milliseconds=number),
                         sequence=number + 1, session=start, interval=1.0),
                Cpu(user_percent=float(number)),
            )
            for number in range(first, first + 50)
        ]
        writer.write(batch)
        first += 50
        print(first, flush=True)
        writer.maintain(1_780_000_000)
"""


def test_killed_while_writing_every_acknowledged_batch_is_there(
    path: Path, start_python: Callable[..., subprocess.Popen[str]]
) -> None:
    acknowledged = 0
    for _ in range(5):
        child = start_python(KILLED, path, acknowledged)
        assert child.stdout is not None
        for _ in range(random.randint(1, 40)):  # noqa: S311 - any moment will do
            acknowledged = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        acknowledged = max([acknowledged, *map(int, child.communicate()[0].split())])
        with open_reader(path) as reader:
            found = sequences(reader)
        assert found[:acknowledged] == list(range(acknowledged))
        assert len(found) in {acknowledged, acknowledged + 50}  # the last may be stored and not yet acknowledged
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_a_newer_format_is_refused(path: Path) -> None:
    open_writer(path, retention=None, rollup_retention=None).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    for attempt in (
        lambda: open_writer(path, retention=None, rollup_retention=None),
        lambda: open_reader(path),
    ):
        with pytest.raises(StorageError, match="format 2 of a newer hostpulse, this one knows 1; install the newer"):
            attempt()


def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "photos.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE photos (name TEXT)")
    connection.close()
    before = path.read_bytes()
    for attempt in (
        lambda: open_writer(path, retention=None, rollup_retention=None),
        lambda: open_reader(path),
    ):
        with pytest.raises(StorageError, match="another program"):
            attempt()
    assert path.read_bytes() == before


def test_what_is_no_database_is_damaged(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database, not at all" * 400)
    for attempt in (
        lambda: open_writer(path, retention=None, rollup_retention=None),
        lambda: open_reader(path),
    ):
        with pytest.raises(StorageError, match=r"history\.sqlite cannot be used .*damaged: move it away"):
            attempt()


def test_pages_that_were_overwritten_are_damage(path: Path, sample: Make) -> None:
    with open_writer(path, retention=None, rollup_retention=None) as writer:
        writer.write(numbered(sample, 0, 5000))
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xff" * (size - size // 2))
    with pytest.raises(StorageError, match="damaged"), open_reader(path) as reader:
        sequences(reader)


def test_no_history_yet(path: Path) -> None:
    with pytest.raises(NoHistoryError, match=r"no history in .*history\.sqlite yet; start"):
        open_reader(path)
    assert not path.parent.exists()
    path.parent.mkdir()
    path.touch()  # a writer that was killed as it began
    with pytest.raises(NoHistoryError):
        open_reader(path)
    open_writer(path, retention=None, rollup_retention=None).close()
    open_reader(path).close()


REPORT = """
def told(attempt):
    try:
        attempt().close()
        print("fine")
    except StorageError as error:
        print(error)
path = Path(sys.argv[1])
"""


def test_a_directory_that_cannot_be_written(open_directory: Path, run_unprivileged: Run) -> None:
    data = open_directory / "data"
    data.mkdir()
    data.chmod(0o555)
    path = data / "history.sqlite"
    told = run_unprivileged(REPORT + "told(lambda: open_writer(path, retention=None, rollup_retention=None))", path)
    data.chmod(0o755)
    assert told.startswith(f"{path} cannot be read or written")
    assert f"give this user read and write access to {data}" in told


def test_a_directory_that_cannot_be_made(open_directory: Path, run_unprivileged: Run) -> None:
    open_directory.chmod(0o555)
    path = open_directory / "data" / "history.sqlite"
    told = run_unprivileged(REPORT + "told(lambda: open_writer(path, retention=None, rollup_retention=None))", path)
    assert told.startswith(f"{path} cannot be read or written (Permission denied)")


def test_a_directory_that_cannot_be_entered(open_directory: Path, run_unprivileged: Run) -> None:
    path = open_directory / "data" / "history.sqlite"
    open_writer(path, retention=None, rollup_retention=None).close()
    path.parent.chmod(0o000)
    told = run_unprivileged(REPORT + "told(lambda: open_reader(path))", path)
    path.parent.chmod(0o755)
    assert told.startswith(f"{path} cannot be read or written (Permission denied)")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="takes two users")
def test_another_user_may_read_beside_the_writer(open_directory: Path, run_unprivileged: Run, sample: Make) -> None:
    path = open_directory / "history.sqlite"
    with open_writer(path, retention=None, rollup_retention=None) as writer:
        writer.write([sample("cpu", START)])
        assert run_unprivileged(REPORT + "print(open_reader(path).hosts())", path).count("alpha") == 1


READING = """
import sys
from pathlib import Path
from hostpulse.consumer.storage import RowQuery
from hostpulse.consumer.storage.embedded import open_reader
with open_reader(Path(sys.argv[1])) as reader:
    query = RowQuery(table="cpu", start=0, end=10**10, fields=("user_percent",))
    seen = 0
    while seen < int(sys.argv[2]):
        found = [row[2] for batch in reader.rows(query) for row in batch]
        assert found == [float(number) for number in range(len(found))], "a hole or half a batch"
        assert len(found) >= seen and len(found) % 50 == 0
        seen = len(found)
print(seen)
"""


def test_a_reader_in_another_process_beside_the_writer(
    writer: EmbeddedWriter, path: Path, sample: Make, start_python: Callable[..., subprocess.Popen[str]]
) -> None:
    child = start_python(READING, path, 10_000)
    for first in range(0, 10_000, 50):
        writer.write(numbered(sample, first, 50))
    output, errors = child.communicate(timeout=200)
    assert errors == ""
    assert int(output) == 10_000


def test_an_older_schema_gets_the_tables_and_columns_it_lacks(path: Path, sample: Make) -> None:
    with open_writer(path, retention=None, rollup_retention=None) as writer:
        writer.write([sample("cpu", START, user_percent=1.0, system_percent=2.0)])
        writer.maintain(START / 1000 + 3600)
    connection = sqlite3.connect(path)
    connection.executescript("""
        ALTER TABLE cpu DROP COLUMN user_percent;
        ALTER TABLE _minute_cpu DROP COLUMN user_percent_mean;
        DROP TABLE memory; DROP TABLE _minute_memory; DELETE FROM _table WHERE name = 'memory';
    """)
    connection.close()
    query = RowQuery(table="cpu", start=0, end=10**10, fields=("user_percent", "system_percent"))
    with open_reader(path) as reader:  # before the writer was here
        assert list(reader.rows(query)) == [[(START, "alpha", None, 2.0)]]
        assert list(reader.rows(RowQuery(table="memory", start=0, end=10**10))) == []
        with open_writer(path, retention=None, rollup_retention=None) as writer:
            writer.write([sample("cpu", START + 1, user_percent=3.0), sample("memory", START, total_bytes=4)])
        assert [row for batch in reader.rows(query) for row in batch] == [
            (START, "alpha", None, 2.0),
            (START + 1, "alpha", 3.0, None),
        ]
        [[row]] = list(reader.rows(RowQuery(table="memory", start=0, end=10**10)))
        assert row[:3] == (START, "alpha", 4)


def test_columns_of_a_newer_hostpulse_do_no_harm(path: Path, sample: Make) -> None:
    open_writer(path, retention=None, rollup_retention=None).close()
    connection = sqlite3.connect(path)
    connection.executescript("""
        ALTER TABLE cpu ADD COLUMN quantum_percent REAL;
        CREATE TABLE quantum (id INTEGER PRIMARY KEY);
        INSERT INTO _table (name) VALUES ('quantum');
        INSERT INTO _touched (minute, "table") SELECT 0, number FROM _table WHERE name = 'quantum';
    """)
    connection.close()
    assert "quantum" not in TABLES
    with open_writer(path, retention=60, rollup_retention=3600) as writer, open_reader(path) as reader:
        writer.write(numbered(sample, 0, 1))
        assert sequences(reader) == [0]
        assert writer.maintain(START / 1000 + 100_000).rolled_up == 1
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT minute FROM _touched").fetchall() == [(0,)]
    connection.close()
