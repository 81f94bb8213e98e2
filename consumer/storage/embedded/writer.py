"""The writer of the embedded store."""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from hostpulse.bus.codec import Sample
from hostpulse.bus.fields import MAXIMUM_ENTRIES

from ..errors import TooManyDevicesError
from ..interface import Maintenance, Written
from .connection import check_format, connect, reported, transaction
from .lock import WriterLock
from .retention import Retention, RetentionPeriods
from .rollup import Rollup
from .rows import RowBuilder, TableRows
from .schema import clamp_moment, read_tables, upgrade

__all__ = ["EmbeddedWriter"]

_JOURNAL_BYTES = 16 << 20  # what the write-ahead log is cut to after it had to grow
_BATCH_MESSAGES = 500
_PRAGMAS = f"""
    PRAGMA synchronous = FULL;
    PRAGMA fullfsync = ON;
    PRAGMA secure_delete = FAST;
    PRAGMA journal_size_limit = {_JOURNAL_BYTES};
"""


class _Parts(NamedTuple):
    """What an open writer consists of."""

    connection: sqlite3.Connection
    tables: dict[str, TableRows]
    builder: RowBuilder
    rollup: Rollup
    retention: Retention


class EmbeddedWriter:
    """Writes a history into one SQLite file; a `Writer`.

    For one thread at a time. Readers work beside it, in this and in other processes; a second writer is refused.

    Args:
        path: of the database, which `open` creates with its directory where they lack.
        retention: seconds for which raw rows are kept; None for ever.
        rollup_retention: seconds for which minutes that were summed up are kept, at least as long; None for ever.
        maximum_entries: new entries of one host in one map in a day; None for any number.

    Raises:
        UsageError: the retention makes no sense.
    """

    def __init__(
        self,
        path: Path,
        *,
        retention: float | None,
        rollup_retention: float | None,
        maximum_entries: int | None = None,
    ) -> None:
        self._path = path
        self._maximum_entries = maximum_entries
        self._periods = RetentionPeriods(retention, rollup_retention)
        self._lock = WriterLock(path)
        self._open: _Parts | None = None

    @property
    def batch_messages(self) -> int:
        """How many messages a write should have where more wait; a commit is dear, rows are not."""
        return _BATCH_MESSAGES

    def open(self) -> Self:
        """Take the lock and open the database, creating or upgrading it.

        Raises:
            StorageUnavailableError: another writer has it, or the disk is full.
            StorageError: the directory cannot be written, or the database is damaged, not ours or of a newer format.
        """
        if self._open is None:
            with reported(self._path):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._lock.acquire()
                try:
                    self._open = self._connect()
                except BaseException:
                    self._lock.release()
                    raise
        return self

    def close(self) -> None:
        """Close the database and let go of the lock; may be called twice."""
        parts, self._open = self._open, None
        try:
            if parts is not None:
                with reported(self._path):
                    parts.connection.close()
        finally:
            self._lock.release()

    def write(self, samples: Sequence[Sample]) -> Written:
        """Store a batch in one transaction; durable on return.

        Returns:
            How many rows were stored, and what was refused because a table cannot tell more devices apart.

        Raises:
            StorageError: nothing of the batch is stored; it can be written again.
        """
        stored = 0
        refused: list[TooManyDevicesError] = []
        with self._changing() as parts:
            parts.builder.add(samples)
            for table in parts.tables.values():
                taken = table.take()
                if taken.rows:
                    parts.connection.executemany(taken.insert, taken.rows)
                    parts.rollup.touch(table.info, taken.rows)
                    stored += len(taken.rows)
                if taken.refused is not None:
                    refused.append(taken.refused)
        return Written(stored, tuple(refused))

    def submit(self, pieces: Iterable[Sequence[Sample]]) -> Future[Written]:
        """Store a batch as `write` does: here it is done on return.

        Raises:
            StorageError: nothing of the batch is stored; it can be written again.
        """
        stored: Future[Written] = Future()
        samples = list(chain.from_iterable(pieces))  # outside the transaction: making them may take a while, or fail
        stored.set_result(self.write(samples) if samples else Written(0))
        return stored

    def hosts(self, now: float) -> set[str]:
        """Return the hosts that have samples within the retention, and those that have only said their status.

        Args:
            now: seconds since the epoch.

        Raises:
            StorageError: they cannot be read.
        """
        since = self._periods.raw_start(clamp_moment(now))
        with self._working() as parts:
            found = parts.connection.execute(
                "SELECT host FROM _device WHERE last_seen >= ? "
                "UNION SELECT name FROM _host WHERE name NOT IN (SELECT host FROM _device)",
                (since,),
            )
            return {host for (host,) in found}

    def note_host(self, host: str, *, online: bool | None = None, info: str | None = None) -> None:
        """Remember what a host's retained `status` or `info` says; None leaves what is known.

        Raises:
            TooManyDevicesError: of a new host, where there are 4096 already.
            StorageError: nothing was remembered.
        """
        name, info = _storable(host), None if info is None else _storable(info)
        with self._changing() as parts:
            changed = parts.connection.execute(
                "UPDATE _host SET online = coalesce(?, online), info = coalesce(?, info) WHERE name = ?",
                (online, info, name),
            )
            if changed.rowcount:
                return
            [hosts] = parts.connection.execute("SELECT count(*) FROM _host").fetchone()
            if hosts >= MAXIMUM_ENTRIES:
                raise TooManyDevicesError(table="_host", rows=1, host=name, key=None, limit=MAXIMUM_ENTRIES)
            parts.connection.execute("INSERT INTO _host (name, online, info) VALUES (?, ?, ?)", (name, online, info))

    def maintain(self, now: float) -> Maintenance:
        """Sum up a slice of the minutes that are over and delete a slice of what is too old.

        Args:
            now: seconds since the epoch.

        Raises:
            StorageError: it was not done, or not all; it can be done again.
        """
        moment = clamp_moment(now)
        with self._changing() as parts:
            rolled_up, more_minutes = parts.rollup.run(moment)
        with self._working() as parts:
            deleted, more_rows = parts.retention.run(moment)
        return Maintenance(rolled_up, deleted, more_minutes or more_rows)

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def _working(self) -> Iterator[_Parts]:
        """Give the parts; after an error, forget what they remember of the database, which may say otherwise now."""
        parts = self._open
        if parts is None:
            raise RuntimeError("the writer is not open")
        try:
            with reported(self._path):
                yield parts
        except BaseException:
            parts.rollup.forget()
            for table in parts.tables.values():
                table.take()
                table.devices.forget()
            raise

    @contextlib.contextmanager
    def _changing(self) -> Iterator[_Parts]:
        with self._working() as parts, transaction(parts.connection):
            yield parts

    def _connect(self) -> _Parts:
        connection = connect(self._path, "rwc")
        try:
            if not check_format(connection, self._path):
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only before the first page is written
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_PRAGMAS)
            with transaction(connection):
                upgrade(connection)
            return self._assemble(connection)
        except BaseException:
            connection.close()
            raise

    def _assemble(self, connection: sqlite3.Connection) -> _Parts:
        tables = {
            name: TableRows(connection, info, self._maximum_entries) for name, info in read_tables(connection).items()
        }
        return _Parts(
            connection=connection,
            tables=tables,
            builder=RowBuilder(tables),
            rollup=Rollup(connection, [table.info for table in tables.values()]),
            retention=Retention(connection, self._periods, [(table.info, table.devices) for table in tables.values()]),
        )


def _storable(text: str) -> str:
    """Return the text with what is not Unicode, such as a topic may bring, written out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
