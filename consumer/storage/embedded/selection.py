"""What a query means in this database: which devices, and which of the columns are there."""

import json
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from ..interface import LatestQuery, RowQuery, SeriesQuery
from .schema import DEVICE_MASK, TableInfo, quoted, read_tables

__all__ = ["Selection", "select"]


@dataclass(frozen=True, slots=True)
class Selection:
    """Devices of one table in a range of time.

    Attributes:
        info: the table.
        devices: number of each device that is meant, with its host and, if the table has one, its key.
        present: columns of the table in this database, which an older hostpulse may have made.
        parameters: of the statements in `queries`.
    """

    info: TableInfo
    devices: dict[int, tuple[str, ...]]
    present: frozenset[str]
    parameters: dict[str, Any]


def select(
    connection: sqlite3.Connection, query: RowQuery | SeriesQuery | LatestQuery, start: int, end: int
) -> Selection | None:
    """Return what is meant; None if nothing of it can be there.

    Args:
        connection: in a transaction.
        query: whose table, hosts and keys are meant.
        start: milliseconds since the epoch, included.
        end: milliseconds since the epoch, not included.
    """
    info = read_tables(connection).get(query.table)
    if info is None:
        return None
    devices = _devices(connection, info, query.hosts, query.keys)
    if not devices:
        return None
    [raw_start] = connection.execute("SELECT raw_start FROM _table WHERE number = ?", (info.number,)).fetchone()
    columns = connection.execute(f"PRAGMA table_info({quoted(info.table.name)})")
    parameters = {
        "start": start,
        "end": end,
        "devices": None if query.hosts is None and query.keys is None else json.dumps(list(devices)),
        "table": info.number,
        "raw_start": raw_start,
    }
    return Selection(info, devices, frozenset(name for _, name, *_ in columns), parameters)


def _devices(
    connection: sqlite3.Connection, info: TableInfo, hosts: Collection[str] | None, keys: Collection[str] | None
) -> dict[int, tuple[str, ...]]:
    rows = connection.execute(
        "SELECT id, host, key FROM _device WHERE id BETWEEN ? AND ? ORDER BY host, key",
        (info.first_device, info.first_device | DEVICE_MASK),
    )
    return {
        device & DEVICE_MASK: (host,) if info.table.key is None else (host, key)
        for device, host, key in rows
        if (hosts is None or host in hosts) and (keys is None or key in keys)
    }
