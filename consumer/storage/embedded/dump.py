"""All that a history holds, page by page, for another store."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hostpulse.bus.fields import Table
from hostpulse.bus.messages import TABLES

from ..interface import Value
from ..stored import AGGREGATES, Device, Page, StoredRow, StoredRows
from .connection import check_format, connect
from .reader import EmbeddedReader
from .rollup import minute_columns, summed_up
from .schema import (
    DEVICE_BITS,
    DEVICE_MASK,
    ENVELOPE,
    TableInfo,
    minute_table,
    quoted,
    read_tables,
    summed_fields,
)

__all__ = ["EmbeddedDump"]

# ruff: noqa: S608 - names come from TABLES

_PAGE_ROWS = 20_000
_PAGE_VALUES = 400_000
_OF_A_FIELD = 4  # mean, minimum, maximum, count


_Values = Sequence[Value]


class EmbeddedDump(EmbeddedReader):
    """Reads everything from a history, beside its writer if it has one; it may lie where nothing can be written.

    The position of a page is the id of its last row: a page goes on where another one ended, even in another process.
    Rows that come late, behind the position, are not seen.

    Args:
        path: of the database.
    """

    def tables(self) -> list[Table]:
        """Return the tables that are there, in the order of the contract."""
        with self._snapshot() as connection:
            there = read_tables(connection)
        return [table for name, table in TABLES.items() if name in there]

    def unknown_tables(self) -> list[str]:
        """Return the names of tables of a newer hostpulse, which this one cannot read."""
        with self._snapshot() as connection:
            names = [name for (name,) in connection.execute("SELECT name FROM _table ORDER BY name")]
        return [name for name in names if name not in TABLES]

    def newest(self) -> int | None:
        """Return the moment of the newest row, milliseconds since the epoch; None if there is none."""
        with self._snapshot() as connection:
            found = [
                connection.execute(f"SELECT max(id) FROM {quoted(name)}").fetchone()[0]
                for info in read_tables(connection).values()
                for name in (info.table.name, minute_table(info.table))
            ]
        return max((row_id >> DEVICE_BITS for row_id in found if row_id is not None), default=None)

    def raw_start(self, table: Table) -> int:
        """Return the minute before which raw rows have been deleted, milliseconds since the epoch."""
        with self._snapshot() as connection:
            found = connection.execute("SELECT raw_start FROM _table WHERE name = ?", (table.name,)).fetchone()
        return int(found[0])

    def left(self, table: Table, after: int, *, minutes: bool) -> int:
        """Return how many rows there are behind a position; without an index on anything else, by counting them."""
        name = minute_table(table) if minutes else table.name
        with self._snapshot() as connection:
            [count] = connection.execute(f"SELECT count(*) FROM {quoted(name)} WHERE id > ?", (after,)).fetchone()
        return int(count)

    def pages(self, table: Table, after: int) -> Iterator[Page]:
        """Yield the rows of a table behind a position, -1 for all."""
        numbers = [field.name for field in table.fields if field.type is not str]
        if table.map is None:
            numbers = [*ENVELOPE, *numbers]
        texts = [field.name for field in table.fields if field.type is str]
        for found, devices in self._found(table, table.name, [*numbers, *texts], after):
            rows: list[StoredRow] = [(row[0] >> DEVICE_BITS, devices[row[0] & DEVICE_MASK], row[1:]) for row in found]
            yield Page([StoredRows(table, tuple(numbers), tuple(texts), rows)], len(rows), found[-1][0])

    def minute_pages(self, table: Table, after: int) -> Iterator[Page]:
        """Yield the minutes of a table behind a position, -1 for all, and at last those that are not summed up yet."""
        columns = minute_columns(table)[1:]
        for found, devices in self._found(table, minute_table(table), columns, after):
            after = found[-1][0]
            yield Page(_aggregates(table, found, devices), len(found), after)
        for minute in self._touched(table):
            with self._snapshot() as connection:
                rows, devices = self._sum_up(connection, table, minute)
            if rows:
                yield Page(_aggregates(table, rows, devices), 0, after)

    def _found(
        self, table: Table, name: str, columns: Sequence[str], after: int
    ) -> Iterator[tuple[list[Any], dict[int, Device]]]:
        limit = min(_PAGE_ROWS, max(_PAGE_VALUES // (len(columns) + 1), 1))
        while True:
            with self._snapshot() as connection:
                present = {column for _, column, *_ in connection.execute(f"PRAGMA table_info({quoted(name)})")}
                wanted = ", ".join(quoted(column) if column in present else "NULL" for column in columns)
                found = connection.execute(
                    f"SELECT id{wanted and ', '}{wanted} FROM {quoted(name)} WHERE id > ? ORDER BY id LIMIT ?",
                    (after, limit),
                ).fetchall()
                devices = _devices(connection, read_tables(connection)[table.name])
            if found:
                after = found[-1][0]
                yield found, devices
            if len(found) < limit:
                return

    def _touched(self, table: Table) -> list[int]:
        with self._snapshot() as connection:
            number = read_tables(connection)[table.name].number
            rows = connection.execute('SELECT minute FROM _touched WHERE "table" = ? ORDER BY minute', (number,))
            return [minute for (minute,) in rows]

    def _sum_up(self, connection: sqlite3.Connection, table: Table, minute: int) -> tuple[list[Any], dict[int, Device]]:
        """Return what a minute comes to, as the writer will sum it up."""
        [raw_start] = connection.execute("SELECT raw_start FROM _table WHERE name = ?", (table.name,)).fetchone()
        rows = connection.execute(summed_up(table), {"minute": minute}).fetchall()
        if minute < raw_start:  # what is there was made from more
            known = f"SELECT id FROM {quoted(minute_table(table))} WHERE id >= ? AND id < ?"
            bounds = (minute << DEVICE_BITS, (minute + 1) << DEVICE_BITS)
            there = {row_id for (row_id,) in connection.execute(known, bounds)}
            rows = [row for row in rows if row[0] not in there]
        return rows, _devices(connection, read_tables(connection)[table.name])

    def _connect(self) -> sqlite3.Connection:
        """Connect; where SQLite cannot make its files beside the database and there are none, nobody writes to it."""
        try:
            return super()._connect()
        except sqlite3.OperationalError:
            if Path(f"{self._path}-wal").exists():
                raise
            connection = connect(self._path, "ro&immutable=1")
            try:
                check_format(connection, self._path)
            except BaseException:
                connection.close()
                raise
            return connection


def _devices(connection: sqlite3.Connection, info: TableInfo) -> dict[int, Device]:
    rows = connection.execute(
        "SELECT id, host, key FROM _device WHERE id BETWEEN ? AND ?",
        (info.first_device, info.first_device | DEVICE_MASK),
    )
    return {device & DEVICE_MASK: host if info.table.key is None else (host, key) for device, host, key in rows}


def _aggregates(table: Table, found: Iterable[Sequence[Any]], devices: dict[int, Device]) -> list[StoredRows]:
    """Return rows of minutes, those of each aggregate together; without the devices of which no number is known."""
    names = tuple(field.name for field in summed_fields(table))
    blocks: dict[str, list[StoredRow]] = {aggregate: [] for aggregate in AGGREGATES}
    for row_id, _, *values in found:
        counts: _Values = [count or None for count in values[3::_OF_A_FIELD]]
        if not any(counts):
            continue
        means = values[0::_OF_A_FIELD]
        of_row: dict[str, _Values] = {
            "mean": means,
            "minimum": values[1::_OF_A_FIELD],
            "maximum": values[2::_OF_A_FIELD],
            "sum": [None if mean is None else mean * count for mean, count in zip(means, counts, strict=True)],
            "count": counts,
        }
        for aggregate, rows in blocks.items():
            rows.append((row_id >> DEVICE_BITS, devices[row_id & DEVICE_MASK], of_row[aggregate]))
    return [StoredRows(table, names, (), rows, aggregate) for aggregate, rows in blocks.items() if rows]
