"""What the database holds.

    cpu, cpu_core, …    one wide table per entry of TABLES: `id`, then its fields; a subsystem's own table also has
                        `session` (milliseconds), `sequence` and `interval` (seconds) of its messages
    _minute_cpu, …      for each of them, minutes that were summed up: `id`, `rows` (raw rows in it), and for each
                        field that has a mean its `_mean`, `_minimum`, `_maximum` and `_count`
    _table              number of each table, and `raw_start`: its raw rows of earlier minutes have been deleted
    _device             number of each device in its table; its id is table << 12 | device
    _touched            minutes with raw rows that are not summed up yet
    _host               what a host's retained `status` and `info` said

The id of a row is its moment in milliseconds << 12 | number of its device: rows lie in the order of time without
another index. No subsystem's name begins with an underscore, so ours never meet theirs.

Every name in a statement comes from TABLES or stands here; every value is a parameter.
"""

import math
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from hostpulse.bus.fields import MAXIMUM_ENTRIES, Field, Table
from hostpulse.bus.messages import TABLES

__all__ = [
    "APPLICATION",
    "DEVICE_BITS",
    "DEVICE_MASK",
    "DEVICE_SEEN_STEP",
    "ENVELOPE",
    "FORMAT",
    "LATEST_MOMENT",
    "MINUTE",
    "TableInfo",
    "clamp_moment",
    "floor_minute",
    "minute_table",
    "quoted",
    "read_tables",
    "summed_fields",
    "upgrade",
]

APPLICATION = 0x68706C73
"""`hpls`, in the header of the file."""

FORMAT = 1
"""Version of what is described above. A column or table more is the same format."""

DEVICE_BITS = 12
DEVICE_MASK = MAXIMUM_ENTRIES - 1
DEVICE_SEEN_STEP = 3_600_000
"""`last_seen` of a device is kept to the hour, in milliseconds, so that live samples do not write it each time."""
LATEST_MOMENT = 1 << (63 - DEVICE_BITS)
"""Milliseconds from which on an id would not fit into 64 bits."""

MINUTE = 60_000
"""A minute in milliseconds."""

ENVELOPE = MappingProxyType({"session": "INTEGER", "sequence": "INTEGER", "interval": "REAL"})
"""What a subsystem's own table also holds of each message."""

_SQL_TYPES = MappingProxyType({float: "REAL", int: "INTEGER", bool: "INTEGER", str: "TEXT"})

_OWN_TABLES = """
    CREATE TABLE IF NOT EXISTS _table (
        number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, raw_start INTEGER NOT NULL DEFAULT 0
    );
    CREATE TABLE IF NOT EXISTS _device (
        id INTEGER PRIMARY KEY, host TEXT NOT NULL, key TEXT NOT NULL, last_seen INTEGER NOT NULL
    );
    CREATE UNIQUE INDEX IF NOT EXISTS _device_name ON _device (id >> 12, host, key);
    CREATE TABLE IF NOT EXISTS _touched (
        minute INTEGER, "table" INTEGER, PRIMARY KEY (minute, "table")
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS _host (name TEXT PRIMARY KEY, online INTEGER, info TEXT) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class TableInfo:
    """A table as it stands in this database.

    Attributes:
        table: its entry in TABLES.
        number: of the table; the ids of its devices begin with it.
    """

    table: Table
    number: int

    @property
    def first_device(self) -> int:
        """Id of device 0 of the table."""
        return self.number << DEVICE_BITS


def quoted(name: str) -> str:
    """Return the name of a table or column as it stands in a statement."""
    return '"' + name.replace('"', '""') + '"'


def minute_table(table: Table) -> str:
    """Return the name of the table of a table's minutes."""
    return f"_minute_{table.name}"


def summed_fields(table: Table) -> tuple[Field, ...]:
    """Return the fields that are summed up."""
    return tuple(field for field in table.fields if field.has_mean)


def clamp_moment(seconds: float) -> int:
    """Return seconds since the epoch as milliseconds that fit into an id."""
    return min(max(round(seconds * 1000), 0), LATEST_MOMENT - 1) if math.isfinite(seconds) else 0


def floor_minute(milliseconds: int) -> int:
    """Return the start of the minute of a moment."""
    return milliseconds - milliseconds % MINUTE


def upgrade(connection: sqlite3.Connection) -> None:
    """Create what the database lacks: all of it, or the tables and columns of a newer hostpulse.

    To be called in a transaction; `executescript` would end it.
    """
    for statement in filter(str.strip, _OWN_TABLES.split(";")):
        connection.execute(statement)
    for table in TABLES.values():
        _create(connection, table.name, dict(_raw_columns(table)))
        _create(connection, minute_table(table), dict(_minute_columns(table)))
        connection.execute("INSERT OR IGNORE INTO _table (name) VALUES (?)", (table.name,))
    connection.execute(f"PRAGMA application_id = {APPLICATION}")
    connection.execute(f"PRAGMA user_version = {FORMAT}")


def read_tables(connection: sqlite3.Connection) -> dict[str, TableInfo]:
    """Return the tables of this database that this hostpulse knows, by name."""
    rows = connection.execute("SELECT name, number FROM _table ORDER BY number")
    return {name: TableInfo(TABLES[name], number) for name, number in rows if name in TABLES}


def _raw_columns(table: Table) -> Iterator[tuple[str, str]]:
    if table.map is None:
        yield from ENVELOPE.items()
    for field in table.fields:
        yield field.name, _SQL_TYPES[field.type]


def _minute_columns(table: Table) -> Iterator[tuple[str, str]]:
    yield "rows", "INTEGER"
    for field in summed_fields(table):
        yield f"{field.name}_mean", "REAL"
        yield f"{field.name}_minimum", _SQL_TYPES[field.type]
        yield f"{field.name}_maximum", _SQL_TYPES[field.type]
        yield f"{field.name}_count", "INTEGER"


def _create(connection: sqlite3.Connection, name: str, columns: Mapping[str, str]) -> None:
    """Create a table, or add the columns that it lacks."""
    definitions = {column: f"{quoted(column)} {sql_type}" for column, sql_type in columns.items()}
    body = ", ".join(("id INTEGER PRIMARY KEY", *definitions.values()))
    connection.execute(f"CREATE TABLE IF NOT EXISTS {quoted(name)} ({body})")
    present = {column for _, column, *_ in connection.execute(f"PRAGMA table_info({quoted(name)})")}
    for column, definition in definitions.items():
        if column not in present:
            connection.execute(f"ALTER TABLE {quoted(name)} ADD COLUMN {definition}")
