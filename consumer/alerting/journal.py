"""The journal of the alerts: one SQLite file that holds all that must survive a crash.

    meta        the engine's state, an overview for people, and the session under which events are published
    entry       every transition, in order: the log that everybody reads who tells others of it
    host        the last sequence and the last moment that an event of a host was given
    position    how far each reader of the log has come, and what it has to remember beside that
    command     what people have asked for (an acknowledgement, a silence), and the answer

A batch of messages changes the engine's state and adds entries in one transaction, before it is acknowledged. So a
crash between any two steps leaves either both or neither, and the broker sends the batch again. Who tells others (the
topics, each route of notifications) moves its position when it has, and begins there after a crash.
"""

import contextlib
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from msgspec import Struct

from ..alerts import Alert, Silence, Transition
from ..storage import StorageError
from ..storage.embedded.connection import check_format, connect, reported, transaction

__all__ = ["JOURNAL_FILE", "Entry", "Journal", "NoJournalError", "Overview"]

JOURNAL_FILE = "alerts.db"

_APPLICATION = 0x68706C61  # `hpla`, in the header of the file
_FORMAT = 1
_MILLISECONDS = 1000
_SCHEMA = """
    CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE entry (
        number INTEGER PRIMARY KEY AUTOINCREMENT, host TEXT NOT NULL, sequence INTEGER NOT NULL,
        timestamp INTEGER NOT NULL, transition BLOB NOT NULL
    );
    CREATE UNIQUE INDEX entry_of_host ON entry (host, sequence);
    CREATE TABLE host (name TEXT PRIMARY KEY, sequence INTEGER NOT NULL, timestamp INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE position (
        reader TEXT PRIMARY KEY, number INTEGER NOT NULL, memory BLOB NOT NULL DEFAULT x''
    ) WITHOUT ROWID;
    CREATE TABLE command (id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, request BLOB NOT NULL, answer BLOB);
"""
_PRAGMAS = "PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA journal_size_limit = 16777216;"
_TRANSITION = msgspec.json.Decoder(Transition)
_encode = msgspec.json.encode


class NoJournalError(StorageError):
    """No consumer has evaluated alerts here."""


class Entry(Struct, frozen=True, kw_only=True, gc=False):
    """One transition in the log.

    Attributes:
        number: in the log; it grows and is never given twice.
        sequence: of the event among those of its host, from 1.
        timestamp: of the event, seconds since the epoch by the consumer's clock; no two of a host have the same.
        transition: what happened.
    """

    number: int
    sequence: int
    timestamp: float
    transition: Transition


class Overview(Struct, frozen=True, kw_only=True):
    """What there is, for people.

    Attributes:
        moment: as of when, seconds since the epoch; 0 before the first commit.
        alerts: those that are not ok, the longest first.
        silences: those that have not ended.
    """

    moment: float = 0.0
    alerts: list[Alert] = []
    silences: list[Silence] = []


_OVERVIEW = msgspec.json.Decoder(Overview)


class Journal:
    """An open journal, for one thread at a time; others open one of their own.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._session: float | None = None

    # Opening and closing

    def create(self, now: float) -> Self:
        """Open it, and make it where it is missing.

        Args:
            now: seconds since the epoch; names the session of a new one.

        Raises:
            StorageError: it cannot be used.
        """
        with reported(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connect("rwc")
            if not self._has_tables():
                connection = self._open()
                connection.execute("PRAGMA journal_mode = WAL")
                with transaction(connection):
                    for statement in _SCHEMA.split(";"):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA application_id = {_APPLICATION}")
                    connection.execute(f"PRAGMA user_version = {_FORMAT}")
                    self._set_meta("session", str(int(now * _MILLISECONDS)).encode())
        return self

    def open(self) -> Self:
        """Open one that is there.

        Raises:
            NoJournalError: there is none.
            StorageError: it cannot be used.
        """
        with reported(self.path):
            if not self.path.exists():
                raise NoJournalError(
                    f"there is no {self.path}: no consumer has evaluated alerts with this data_dir; start one with "
                    "`hostpulse up` or `hostpulse consume`"
                )
            self._connect("rw")
            if not self._has_tables():
                raise NoJournalError(f"{self.path} is empty: the consumer that made it has not come to its first alert")
        return self

    def close(self) -> None:
        """Close it; it may be opened again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = self._session = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _connect(self, mode: str) -> None:
        if self._connection is None:
            self._connection = connect(self.path, mode)
            self._connection.executescript(_PRAGMAS)

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RuntimeError(f"{self.path} is not open")
        return self._connection

    def _has_tables(self) -> bool:
        return check_format(self._open(), self.path, application=_APPLICATION, newest=_FORMAT)

    # What the engine needs

    @property
    def session(self) -> float:
        """When the journal was begun, seconds since the epoch: the session of all its events."""
        if self._session is None:  # asked for with each event
            with reported(self.path):
                self._session = int(self._meta("session") or b"0") / _MILLISECONDS
        return self._session

    def state(self) -> bytes:
        """Return the engine's state; empty at the first time.

        Raises:
            StorageError: it cannot be read.
        """
        with reported(self.path):
            return self._meta("state")

    def commit(
        self,
        state: bytes,
        transitions: Iterable[Transition],
        alerts: Sequence[Alert],
        now: float,
        silences: Sequence[Silence] = (),
        *,
        answers: Iterable[tuple[int, bytes]] = (),
    ) -> int:
        """Keep the state, what happened and what people are answered, all or nothing; durable on return.

        Args:
            state: of the engine.
            transitions: since the last commit, in order.
            alerts: those that are not ok.
            now: seconds since the epoch.
            silences: those that have not ended.
            answers: to requests, by their id.

        Returns:
            The number of the last entry.

        Raises:
            StorageError: nothing was kept.
        """
        connection = self._open()
        with reported(self.path), transaction(connection):
            self._set_meta("state", state)
            self._set_meta("overview", _encode(Overview(moment=now, alerts=list(alerts), silences=list(silences))))
            for transition in transitions:
                self._append(transition, int(now * _MILLISECONDS))
            for number, answer in answers:
                connection.execute("UPDATE command SET answer = ? WHERE id = ?", (answer, number))
            return self._last()

    def _append(self, transition: Transition, now: int) -> None:
        """Add an entry. No two of a host are of the same millisecond: host and moment are what tells events apart."""
        connection = self._open()
        [(sequence, timestamp)] = connection.execute(
            "INSERT INTO host VALUES (?1, 1, ?2) ON CONFLICT (name) DO UPDATE "
            "SET sequence = sequence + 1, timestamp = max(timestamp + 1, ?2) RETURNING sequence, timestamp",
            (transition.host, now),
        ).fetchall()
        connection.execute(
            "INSERT INTO entry (host, sequence, timestamp, transition) VALUES (?, ?, ?, ?)",
            (transition.host, sequence, timestamp, _encode(transition)),
        )

    # What those need who tell others

    def overview(self) -> Overview:
        """Return what there is, as of the last commit.

        Raises:
            StorageError: it cannot be read.
        """
        with reported(self.path):
            found = self._meta("overview")
        with self._readable():
            return _OVERVIEW.decode(found) if found else Overview()

    def entries(self, after: int, limit: int) -> list[Entry]:
        """Return the entries behind a number, oldest first.

        Args:
            after: number of an entry; 0 for the begin.
            limit: how many at most.

        Raises:
            StorageError: they cannot be read.
        """
        return self._entries("number > ? ORDER BY number LIMIT ?", (after, limit))

    def events(self, host: str, first: int, last: int, limit: int) -> list[Entry]:
        """Return the entries of a host by their sequence, as far as they are still there.

        Args:
            host: name of the machine.
            first: lowest sequence.
            last: highest one.
            limit: how many at most.

        Raises:
            StorageError: they cannot be read.
        """
        return self._entries(
            "host = ? AND sequence BETWEEN ? AND ? ORDER BY sequence LIMIT ?", (host, first, last, limit)
        )

    def last(self) -> int:
        """Return the number of the last entry; 0 before the first one.

        Raises:
            StorageError: it cannot be read.
        """
        with reported(self.path):
            return self._last()

    def position(self, reader: str) -> int | None:
        """Return the number of the last entry that a reader is done with; None for one that was never here.

        Raises:
            StorageError: it cannot be read.
        """
        with reported(self.path):
            found = self._open().execute("SELECT number FROM position WHERE reader = ?", (reader,)).fetchone()
            return None if found is None else int(found[0])

    def memory(self, reader: str) -> bytes:
        """Return what a reader remembers beside its position; empty for nothing.

        Raises:
            StorageError: it cannot be read.
        """
        with reported(self.path):
            found = self._open().execute("SELECT memory FROM position WHERE reader = ?", (reader,)).fetchone()
            return b"" if found is None else bytes(found[0])

    def move(self, reader: str, number: int, memory: bytes | None = None) -> None:
        """Note how far a reader has come; durable on return.

        Args:
            reader: its name.
            number: of the last entry that it is done with.
            memory: what it has to remember, kept with that or not at all; None leaves what there is.

        Raises:
            StorageError: it could not be kept.
        """
        with reported(self.path), transaction(self._open()):
            self._open().execute(
                "INSERT INTO position VALUES (?1, ?2, coalesce(?3, x'')) ON CONFLICT (reader) DO UPDATE "
                "SET number = ?2, memory = coalesce(?3, memory)",
                (reader, number, memory),
            )

    def forget(self, prefix: str, *, but: Collection[str]) -> None:
        """Forget readers that are there no more: should they come again, they begin anew.

        Args:
            prefix: what their names begin with.
            but: names of those that stay.

        Raises:
            StorageError: it could not be done.
        """
        with reported(self.path), transaction(self._open()):
            found = self._open().execute("SELECT reader FROM position").fetchall()
            gone = [(name,) for (name,) in found if name.startswith(prefix) and name not in but]
            self._open().executemany("DELETE FROM position WHERE reader = ?", gone)

    def prune(self, *, before: float, keep: int) -> int:
        """Delete old entries, and commands that were answered long ago; who has not read them has lost them.

        Args:
            before: entries with an older timestamp go, seconds since the epoch.
            keep: how many entries stay at most.

        Returns:
            How many entries were deleted.

        Raises:
            StorageError: it could not be done.
        """
        connection, oldest = self._open(), int(before * _MILLISECONDS)
        with reported(self.path), transaction(connection):
            # By number, so that what goes is a beginning of the log even where the clock was set back.
            [(newest, first_kept)] = connection.execute(
                "SELECT coalesce(max(number), 0), min(CASE WHEN timestamp >= ? THEN number END) FROM entry", (oldest,)
            ).fetchall()
            last = max(newest - keep, newest if first_kept is None else first_kept - 1)
            done = connection.execute("DELETE FROM entry WHERE number <= ?", (last,))
            connection.execute("DELETE FROM command WHERE at < ?", (before,))
            return done.rowcount

    # What people ask for

    def ask(self, request: bytes, now: float) -> int:
        """Leave a request for the consumer that evaluates the alerts; return its id.

        Args:
            request: what `commands` understands.
            now: seconds since the epoch.

        Raises:
            StorageError: it could not be left.
        """
        with reported(self.path), transaction(self._open()):
            cursor = self._open().execute("INSERT INTO command (at, request) VALUES (?, ?)", (now, request))
            return int(cursor.lastrowid or 0)

    def asked(self) -> list[tuple[int, float, bytes]]:
        """Return the requests without an answer: id, when it was left, and what.

        Raises:
            StorageError: they cannot be read.
        """
        with reported(self.path):
            found = self._open().execute("SELECT id, at, request FROM command WHERE answer IS NULL ORDER BY id")
            return [(int(number), float(at), bytes(request)) for number, at, request in found]

    def answer_to(self, number: int) -> bytes | None:
        """Return the answer to a request; None while there is none.

        Raises:
            StorageError: it cannot be read.
        """
        with reported(self.path):
            found = self._open().execute("SELECT answer FROM command WHERE id = ?", (number,)).fetchone()
            return None if found is None or found[0] is None else bytes(found[0])

    def withdraw(self, number: int) -> None:
        """Take a request back that was not answered.

        Raises:
            StorageError: it could not be done.
        """
        with reported(self.path), transaction(self._open()):
            self._open().execute("DELETE FROM command WHERE id = ? AND answer IS NULL", (number,))

    # The parts of these

    def _meta(self, name: str) -> bytes:
        found = self._open().execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return b"" if found is None else bytes(found[0])

    def _set_meta(self, name: str, value: bytes) -> None:
        self._open().execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def _last(self) -> int:
        # Not of the entries that are there: the last one may have been deleted for its age.
        found = self._open().execute("SELECT seq FROM sqlite_sequence WHERE name = 'entry'").fetchone()
        return 0 if found is None else int(found[0])

    def _entries(self, condition: str, parameters: tuple[object, ...]) -> list[Entry]:
        with reported(self.path):
            rows = (
                self._open()
                .execute(
                    f"SELECT number, sequence, timestamp, transition FROM entry WHERE {condition}",  # noqa: S608  ours
                    parameters,
                )
                .fetchall()
            )
        with self._readable():
            return [
                Entry(
                    number=number,
                    sequence=sequence,
                    timestamp=timestamp / _MILLISECONDS,
                    transition=_TRANSITION.decode(transition),
                )
                for number, sequence, timestamp, transition in rows
            ]

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        """Have what another version wrote, or nobody did, be an error about the file."""
        try:
            yield
        except msgspec.MsgspecError as error:
            raise StorageError(f"{self.path} cannot be read ({error}); move it away to begin anew") from None
