"""The reader of the embedded store."""

import contextlib
import json
import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from hostpulse.bus.errors import UsageError
from hostpulse.bus.messages import TABLES

from ..errors import NoHistoryError
from ..interface import (
    Host,
    Latest,
    LatestQuery,
    Number,
    Point,
    Row,
    RowQuery,
    Series,
    SeriesQuery,
    check_numbers,
)
from . import queries
from .connection import check_format, connect, reported, transaction
from .schema import (
    DEVICE_BITS,
    DEVICE_MASK,
    DEVICE_SEEN_STEP,
    LATEST_MOMENT,
    MINUTE,
    clamp_moment,
    floor_minute,
    read_tables,
)
from .selection import Selection, select

__all__ = ["EmbeddedReader"]

_PAGE_ROWS = 4096
_EXACT_COUNT = 3_600_000  # milliseconds of raw rows that are counted one by one: at once even with many devices


class EmbeddedReader:
    """Reads a history from its SQLite file, beside the writer; a `Reader`.

    For one thread at a time; open as many as there are threads. Each call sees one state of the database, and none is
    kept between two batches of `rows`, so that the slowest of readers does not make the write-ahead log grow.

    Args:
        path: of the database.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: sqlite3.Connection | None = None

    def open(self) -> Self:
        """Open the database.

        Raises:
            NoHistoryError: there is none yet.
            StorageError: it cannot be read, is damaged, not ours or of a newer format.
        """
        if self._open is None:
            with reported(self._path):
                self._open = self._connect()
        return self

    def close(self) -> None:
        """Close the database; may be called twice."""
        connection, self._open = self._open, None
        if connection is not None:
            connection.close()

    def hosts(self) -> list[Host]:
        """Return every host that has history or ever said its status, by name."""
        with self._snapshot() as connection:
            return [
                Host(name, None if online is None else bool(online), info)
                for name, online, info in connection.execute(queries.HOSTS)
            ]

    def rows(self, query: RowQuery) -> Iterator[list[Row]]:
        """Yield batches of at most 4096 rows in the order of time; see `Reader`."""
        after = -1
        while True:
            with self._snapshot() as connection:
                selection = _select_rows(connection, query)
                if selection is None:
                    return
                found = connection.execute(
                    queries.page(selection.info.table, query.field_names, selection.present),
                    {**selection.parameters, "after": after, "limit": _PAGE_ROWS},
                ).fetchall()
            devices = selection.devices
            if found:
                after = found[-1][0]
                yield [(row[0] >> DEVICE_BITS, *devices[row[0] & DEVICE_MASK], *row[1:]) for row in found]
            if len(found) < _PAGE_ROWS:
                return

    def count(self, query: RowQuery) -> int:
        """Return how many rows `rows` would yield: exactly up to an hour, beyond it in whole minutes."""
        with self._snapshot() as connection:
            selection = _select_rows(connection, query)
            if selection is None:
                return 0
            parameters = selection.parameters
            statement = queries.count_rows(selection.info.table)
            if parameters["end"] - parameters["start"] > _EXACT_COUNT:
                statement = queries.count_minutes(selection.info.table)
                parameters = {**parameters, "start": floor_minute(parameters["start"])}
            [count] = connection.execute(statement, parameters).fetchone()
            return int(count)

    def series(self, query: SeriesQuery) -> list[Series]:
        """Return one field over time, a series for each device that has a value, by host and key; see `Reader`.

        Raises:
            UsageError: more than `query.maximum_points`.
        """
        start, end = clamp_moment(query.start), clamp_moment(query.end)
        every = None if query.every is None else round(query.every * 1000)
        if every is not None:
            start, end = start // every * every, min(-(-end // every) * every, LATEST_MOMENT - 1)
        with self._snapshot() as connection:
            selection = select(connection, query, start, end)
            if selection is None or query.field not in selection.present:
                return []
            found = connection.execute(
                _series_statement(query, every),
                {**selection.parameters, "every": every, "limit": query.maximum_points + 1},
            ).fetchall()
        if len(found) > query.maximum_points:
            raise UsageError(
                f"{query.table} {query.field} has more than {query.maximum_points} points in this time; "
                "take wider buckets, a shorter time or fewer hosts"
            )
        return _grouped(found, selection)

    def latest(self, query: LatestQuery) -> list[Latest]:
        """Return the last known value of each field of each device, by host and key; see `Reader`."""
        with self._snapshot() as connection:
            selection = select(connection, query, clamp_moment(query.since), LATEST_MOMENT - 1)
            if selection is None:
                return []
            table = selection.info.table
            names = [field.name for field in table.fields if field.name in selection.present]
            last = connection.execute(queries.last_rows(table, names), selection.parameters)
            ids = {row_id for row in last for row_id in row if row_id is not None}
            found = connection.execute(queries.rows_by_id(table, names), {"ids": json.dumps(list(ids))}).fetchall()
        values: dict[int, dict[str, float | str]] = {}
        moments: dict[int, int] = {}
        for row_id, *row in found:  # the newest first, so what is known already is newer
            number = row_id & DEVICE_MASK
            moments.setdefault(number, row_id >> DEVICE_BITS)
            known = values.setdefault(number, {})
            for name, value in zip(names, row, strict=True):
                if value is not None:
                    known.setdefault(name, value)
        return [
            Latest(*_host_and_key(device), moments[number], values[number])
            for number, device in selection.devices.items()
            if number in values
        ]

    def numbers(
        self, subsystem: str, start: float, end: float, hosts: tuple[str, ...] | None = None
    ) -> Iterator[list[Number]]:
        """Yield batches of at most 4096 numbers in the order of time; see `Reader`."""
        check_numbers(subsystem, start, end)
        query = RowQuery(table=subsystem, start=start, end=end, hosts=hosts, fields=())
        after = -1
        while True:
            with self._snapshot() as connection:
                selection = _select_rows(connection, query)
                if selection is None:
                    return
                found = connection.execute(
                    queries.numbers(selection.info.table),
                    {**selection.parameters, "after": after, "limit": _PAGE_ROWS},
                ).fetchall()
            devices = selection.devices
            if found:
                after = found[-1][0]
                yield [
                    Number(devices[row_id & DEVICE_MASK][0], session, sequence, row_id >> DEVICE_BITS)
                    for row_id, session, sequence in found
                ]
            if len(found) < _PAGE_ROWS:
                return

    def last_numbers(self, subsystem: str, since: float) -> list[Number]:
        """Return the newest number of each host by name; see `Reader`."""
        check_numbers(subsystem, since, math.nextafter(since, math.inf))
        start = clamp_moment(since)
        found: list[Number] = []
        with self._snapshot() as connection:
            info = read_tables(connection).get(subsystem)
            if info is None:
                return []
            bounds = {"first": info.first_device, "last": info.first_device | DEVICE_MASK}
            for device, host, seen in connection.execute(queries.DEVICES, bounds).fetchall():
                # Nothing of a device is newer than this, so the search is short however long it has been silent.
                end = seen + DEVICE_SEEN_STEP + 1
                row = connection.execute(
                    queries.last_number(info.table),
                    {"start": max(start, seen), "end": end, "device": device & DEVICE_MASK},
                ).fetchone()
                if row is not None:
                    found.append(Number(host, row[1], row[2], row[0] >> DEVICE_BITS))
        return found

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        """Give the connection in a transaction that sees one state of the database."""
        if self._open is None:
            raise RuntimeError("the reader is not open")
        with reported(self._path), transaction(self._open, "DEFERRED"):
            yield self._open

    def _connect(self) -> sqlite3.Connection:
        if not _exists(self._path):
            raise self._no_history()
        connection = connect(self._path, "ro")
        try:
            connection.execute("PRAGMA query_only = ON")
            written = check_format(connection, self._path)
        except BaseException:
            connection.close()
            raise
        if not written:
            connection.close()
            raise self._no_history()
        return connection

    def _no_history(self) -> NoHistoryError:
        return NoHistoryError(
            f"there is no history in {self._path} yet; start hostpulse up or hostpulse consume, or set data_dir"
        )


def _exists(path: Path) -> bool:
    """Return whether the file is there; unlike `Path.exists` in newer versions, raise if that cannot be known."""
    try:
        path.stat()
    except FileNotFoundError:
        return False
    return True


def _select_rows(connection: sqlite3.Connection, query: RowQuery) -> Selection | None:
    start, end = clamp_moment(query.start), clamp_moment(query.end)
    return select(connection, query, start, end)


def _series_statement(query: SeriesQuery, every: int | None) -> str:
    table = TABLES[query.table]
    if every is None:
        return queries.values(table, query.field)
    return queries.points(table, query.field, from_minutes=every % MINUTE == 0)


def _grouped(found: list[tuple[int, int, float, float, float]], selection: Selection) -> list[Series]:
    points: dict[int, list[Point]] = {}
    for number, *point in found:
        points.setdefault(number, []).append(Point._make(point))
    return [
        Series(*_host_and_key(device), points[number])
        for number, device in selection.devices.items()
        if number in points
    ]


def _host_and_key(device: tuple[str, ...]) -> tuple[str, str | None]:
    return device[0], device[1] if len(device) > 1 else None
