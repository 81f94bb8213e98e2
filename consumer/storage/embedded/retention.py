"""Deleting what is older than it has to be kept, a chunk at a time, and giving the space back."""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from hostpulse.bus.errors import UsageError

from .connection import transaction
from .devices import Devices
from .schema import DEVICE_BITS, MINUTE, TableInfo, floor_minute, minute_table, quoted

__all__ = ["Retention", "RetentionPeriods"]

_SLICE_ROWS = 5_000
_SLICE_PAGES = 512  # 2 MiB
_SPARE_PAGES = 256
_SPARE_SHARE = 20  # one page in so many may stay free: tomorrow's rows need it
_DEVICES_EVERY = 3_600_000  # milliseconds between two looks for devices that are gone


@dataclass(frozen=True, slots=True)
class RetentionPeriods:
    """How long rows are kept, in seconds; None for ever.

    Raises:
        UsageError: a period is not positive, or minutes are to be kept for less long than what they are made from.
    """

    raw: float | None
    minutes: float | None

    def __post_init__(self) -> None:
        for period in (self.raw, self.minutes):
            if period is not None and not period > 0:
                raise UsageError(f"a retention of {period} seconds keeps nothing; give a longer one")
        if self.minutes is not None and (self.raw is None or self.raw > self.minutes):
            raise UsageError("rollups would be kept for less long than raw rows; make their retention the longer one")

    def raw_start(self, now: int) -> int:
        """Return the minute before which raw rows are too old, in milliseconds as is `now`."""
        return _cutoff(now, self.raw)

    def minutes_start(self, now: int) -> int:
        """Return the minute before which minutes are too old."""
        return _cutoff(now, self.minutes)


class Retention:
    """Deletes old rows, then the devices that have none left, and hosts that never had any.

    Args:
        connection: of the writer.
        periods: how long rows are kept.
        tables: every table and its devices.
    """

    def __init__(
        self, connection: sqlite3.Connection, periods: RetentionPeriods, tables: Iterable[tuple[TableInfo, Devices]]
    ) -> None:
        self._connection = connection
        self._periods = periods
        self._tables = list(tables)
        self._devices_due = 0
        self._silent: set[str] = set()  # hosts without devices at the last look

    def run(self, now: int) -> tuple[int, bool]:
        """Delete a slice of what is too old, in a transaction of its own.

        Args:
            now: milliseconds since the epoch.

        Returns:
            How many rows were deleted, and whether more may be waiting.
        """
        deleted = 0
        with transaction(self._connection):
            for info, _ in self._tables:
                if deleted < _SLICE_ROWS:
                    deleted += self._delete_raw(info, self._periods.raw_start(now), _SLICE_ROWS - deleted)
                if deleted < _SLICE_ROWS:
                    deleted += self._delete_minutes(info, self._periods.minutes_start(now), _SLICE_ROWS - deleted)
            if not deleted and now >= self._devices_due:
                self._remove_devices(now)
                self._remove_silent()
                self._devices_due = now + _DEVICES_EVERY
        return deleted, self._shrink() or deleted > 0

    def _delete_raw(self, info: TableInfo, cutoff: int, limit: int) -> int:
        """Delete raw rows of whole minutes that are summed up; about `limit` of them."""
        [waiting] = self._connection.execute(
            'SELECT min(minute) FROM _touched WHERE "table" = ? AND minute < ?', (info.number, cutoff)
        ).fetchone()
        end = self._chunk_end(info.table.name, cutoff if waiting is None else waiting, limit)
        if end is None:
            return 0
        self._connection.execute("UPDATE _table SET raw_start = max(raw_start, ?) WHERE number = ?", (end, info.number))
        return self._delete(info.table.name, end)

    def _delete_minutes(self, info: TableInfo, cutoff: int, limit: int) -> int:
        end = self._chunk_end(minute_table(info.table), cutoff, limit)
        return 0 if end is None else self._delete(minute_table(info.table), end)

    def _chunk_end(self, name: str, cutoff: int, limit: int) -> int | None:
        """Return the minute up to which a chunk reaches; None if no row is older than the cutoff."""
        first = self._first(name)
        if first is None or first >= cutoff:
            return None
        row = self._connection.execute(
            f"SELECT id >> {DEVICE_BITS} FROM {quoted(name)} WHERE id < ? ORDER BY id LIMIT 1 OFFSET ?",  # noqa: S608
            (cutoff << DEVICE_BITS, limit),
        ).fetchone()
        return cutoff if row is None else max(floor_minute(row[0]), floor_minute(first) + MINUTE)

    def _delete(self, name: str, end: int) -> int:
        statement = f"DELETE FROM {quoted(name)} WHERE id < ?"  # noqa: S608 - names come from TABLES
        return self._connection.execute(statement, (end << DEVICE_BITS,)).rowcount

    def _first(self, name: str) -> int | None:
        """Return the moment of the first row of a table."""
        [first] = self._connection.execute(f"SELECT min(id) FROM {quoted(name)}").fetchone()  # noqa: S608
        return None if first is None else int(first) >> DEVICE_BITS

    def _remove_devices(self, now: int) -> None:
        cutoff = min(self._periods.raw_start(now), self._periods.minutes_start(now))
        hosts: set[str] = set()
        for info, devices in self._tables:
            first = [self._first(name) for name in (info.table.name, minute_table(info.table))]
            if all(moment is None or moment >= cutoff for moment in first):
                hosts.update(devices.remove_unseen(cutoff))
        self._connection.executemany(
            "DELETE FROM _host WHERE name = ? AND name NOT IN (SELECT host FROM _device)", [(host,) for host in hosts]
        )

    def _remove_silent(self) -> None:
        """Remove hosts that said their status and have had no row since the last look: anybody can say one."""
        found = self._connection.execute("SELECT name FROM _host WHERE name NOT IN (SELECT host FROM _device)")
        silent = {name for (name,) in found}
        self._connection.executemany("DELETE FROM _host WHERE name = ?", [(name,) for name in silent & self._silent])
        self._silent = silent - self._silent

    def _shrink(self) -> bool:
        """Give a slice of free pages back to the system; return whether more should go."""
        [free] = self._connection.execute("PRAGMA freelist_count").fetchone()
        [pages] = self._connection.execute("PRAGMA page_count").fetchone()
        surplus: int = free - max(_SPARE_PAGES, pages // _SPARE_SHARE)
        if surplus <= 0:
            return False
        # `execute` would stop after the first page.
        self._connection.executescript(f"PRAGMA incremental_vacuum({min(surplus, _SLICE_PAGES)})")
        return surplus > _SLICE_PAGES


def _cutoff(now: int, period: float | None) -> int:
    """Return the minute before which rows are too old."""
    return 0 if period is None else max(floor_minute(now - round(period * 1000)), 0)
