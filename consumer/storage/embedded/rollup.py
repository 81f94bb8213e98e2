"""Minutes that are summed up, so that long ranges are read fast and are kept when the raw rows have gone.

A minute that gets a row is marked in `_touched`, in the transaction of the row, and the mark goes in the transaction
that sums the minute up: killed at any moment, nothing is lost and nothing counted twice. Late samples of an outage
mark their minutes like any others, which are then summed up again.
"""

import json
import sqlite3
from collections.abc import Iterable
from types import MappingProxyType
from typing import Any

from hostpulse.bus.fields import Table

from .schema import DEVICE_BITS, DEVICE_MASK, MINUTE, TableInfo, minute_table, quoted, summed_fields

__all__ = ["Rollup", "minute_columns", "summed_up"]

_FUNCTIONS = MappingProxyType({"mean": "avg", "minimum": "min", "maximum": "max", "count": "count"})

_MINUTE_IDS = MINUTE << DEVICE_BITS
_GRACE = 5_000  # milliseconds in which the last samples of a minute may still be under way
_SLICE_MARKS = 64
_SLICE_ROWS = 2_000  # rows of minutes; each stands for about 30 raw rows
_REMEMBERED = 10_000  # marks; far more than live minutes have, and small


class Rollup:
    """Marks minutes and sums them up.

    Args:
        connection: of the writer.
        tables: every table.
    """

    def __init__(self, connection: sqlite3.Connection, tables: Iterable[TableInfo]) -> None:
        self._connection = connection
        self._statements = {info.number: (info.table.name, *_statements(info)) for info in tables}
        self._numbers = json.dumps(list(self._statements))  # another version of hostpulse may have marked its own
        self._marked: set[tuple[int, int]] = set()

    def touch(self, info: TableInfo, rows: Iterable[tuple[Any, ...]]) -> None:
        """Mark the minutes of rows, in the transaction that stores them."""
        marks = {(row[0] // _MINUTE_IDS * MINUTE, info.number) for row in rows} - self._marked
        if marks:
            self._connection.executemany('INSERT OR IGNORE INTO _touched (minute, "table") VALUES (?, ?)', marks)
            if len(self._marked) > _REMEMBERED:
                self._marked.clear()
            self._marked |= marks

    def forget(self) -> None:
        """Drop what was remembered, because a transaction was undone."""
        self._marked.clear()

    def run(self, now: int) -> tuple[int, bool]:
        """Sum up a slice of the minutes that are over, the oldest first, in the caller's transaction.

        Args:
            now: milliseconds since the epoch.

        Returns:
            How many minutes of a table were summed up, and whether more are waiting.
        """
        marks = self._connection.execute(
            'SELECT minute, "table" FROM _touched WHERE minute <= ? AND "table" IN (SELECT value FROM json_each(?)) '
            'ORDER BY minute, "table" LIMIT ?',
            (now - MINUTE - _GRACE, self._numbers, _SLICE_MARKS),
        ).fetchall()
        done: list[tuple[int, int]] = []
        rows = 0
        for minute, number in marks:
            rows += self._sum_up(minute, number)
            done.append((minute, number))
            if rows >= _SLICE_ROWS:
                break
        self._connection.executemany('DELETE FROM _touched WHERE minute = ? AND "table" = ?', done)
        self._marked.difference_update(done)
        return len(done), len(done) < len(marks) or len(marks) == _SLICE_MARKS

    def _sum_up(self, minute: int, number: int) -> int:
        """Sum up one minute of a table; return how many rows that made."""
        name, renewing, filling = self._statements[number]
        [raw_start] = self._connection.execute("SELECT raw_start FROM _table WHERE name = ?", (name,)).fetchone()
        # Where raw rows have been deleted, those of late samples are not all of their minute: they may give a device
        # that has none its row, and not replace what was made from all of them.
        statement = renewing if minute >= raw_start else filling
        return self._connection.execute(statement, {"minute": minute}).rowcount


def minute_columns(table: Table) -> list[str]:
    """Return the columns of a table's minutes, in the order of `summed_up`."""
    names = [f"{field.name}_{aggregate}" for field in summed_fields(table) for aggregate in _FUNCTIONS]
    return ["id", "rows", *names]


def summed_up(table: Table) -> str:
    """Return the statement that sums up `:minute`: a row for each device."""
    values = [f"(:minute << {DEVICE_BITS}) | (id & {DEVICE_MASK})", "count(*)"]
    values += [
        f"{function}({quoted(field.name)})" for field in summed_fields(table) for function in _FUNCTIONS.values()
    ]
    return (
        f"SELECT {', '.join(values)} FROM {quoted(table.name)} "  # noqa: S608 - names come from TABLES
        f"WHERE id >= (:minute << {DEVICE_BITS}) AND id < ((:minute + {MINUTE}) << {DEVICE_BITS}) "
        f"GROUP BY id & {DEVICE_MASK}"
    )


def _statements(info: TableInfo) -> tuple[str, str]:
    """Return the statements that sum up a minute, replacing the rows that are there or leaving them."""
    columns = ", ".join(map(quoted, minute_columns(info.table)))
    body = f"INTO {quoted(minute_table(info.table))} ({columns}) {summed_up(info.table)}"
    return f"INSERT OR REPLACE {body}", f"INSERT OR IGNORE {body}"
