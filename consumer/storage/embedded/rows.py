"""From samples to the rows of each table. This is the message path: what can be prepared once, is."""

import sqlite3
from collections.abc import Iterable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

from msgspec import UNSET

from hostpulse.bus.codec import Sample
from hostpulse.bus.fields import MAXIMUM_ENTRIES, Fields
from hostpulse.bus.times import to_milliseconds

from ..errors import TooManyDevicesError
from ..limit import EntryLimit
from .devices import Devices
from .schema import DEVICE_BITS, ENVELOPE, TableInfo, quoted

__all__ = ["RowBuilder", "TableRows", "Taken"]

_session_of = lru_cache(maxsize=4096)(to_milliseconds)  # a host has one until its publisher starts anew


class _Gathered(NamedTuple):
    """What is known of rows that wait to be taken."""

    ids: list[int]
    envelopes: list[tuple[Any, ...]]
    structs: list[Fields]


class Taken(NamedTuple):
    """The rows of one table that were gathered.

    Attributes:
        insert: statement that stores such a row. Two rows of one id are a sample that came again, or one from a clock
            that was set back: what is there stays, what it lacks is taken from the newcomer.
        rows: the id, and a value for each column that any of them knows.
        refused: says which were refused; None if none were.
    """

    insert: str
    rows: list[tuple[Any, ...]]
    refused: TooManyDevicesError | None


class TableRows:
    """Gathers the rows of one table.

    Args:
        connection: of the writer.
        info: the table.
        maximum_entries: new devices of one host in a day; None for any number.

    Attributes:
        info: the table.
        devices: its devices.
    """

    def __init__(self, connection: sqlite3.Connection, info: TableInfo, maximum_entries: int | None) -> None:
        self.info = info
        self._maximum_entries = maximum_entries
        self.devices = Devices(connection, info, EntryLimit(maximum_entries))
        self._getters = [(field.name, attrgetter(field.name)) for field in info.table.fields]
        self._gathered = _Gathered([], [], [])
        self._refused: TooManyDevicesError | None = None

    def add(self, moment: int, host: str, key: str, envelope: tuple[Any, ...], fields: Fields) -> None:
        """Gather a row.

        Args:
            moment: of the sample, milliseconds since the epoch.
            host: name of the machine.
            key: of the device; empty in a subsystem's own table.
            envelope: values of `ENVELOPE` in a subsystem's own table, else empty.
            fields: struct of the table's fields.
        """
        number = self.devices.number(host, key, moment)
        if number is None:
            self._refuse(host, key)
            return
        ids, envelopes, structs = self._gathered
        ids.append(moment << DEVICE_BITS | number)
        envelopes.append(envelope)
        structs.append(fields)

    def take(self) -> Taken:
        """Return the rows gathered since the last call.

        They are put together by columns: of those that a table has, a machine knows some.
        """
        (ids, envelopes, structs), refused = self._gathered, self._refused
        self._gathered, self._refused = _Gathered([], [], []), None
        if not ids:
            return Taken("", [], refused)
        columns: list[Sequence[Any]] = [ids, *zip(*envelopes, strict=True)]
        names = [] if self.info.table.map is not None else [*ENVELOPE]
        for name, value_of in self._getters:
            values = [value_of(struct) for struct in structs]
            unknown = values.count(UNSET)
            if unknown == len(values):
                continue
            names.append(name)
            columns.append([None if value is UNSET else value for value in values] if unknown else values)
        return Taken(_insert_statement(self.info.table.name, tuple(names)), list(zip(*columns, strict=True)), refused)

    def _refuse(self, host: str, key: str) -> None:
        first = self._refused
        is_of_host = first.is_of_host if first else not self.devices.is_full
        self._refused = TooManyDevicesError(
            table=self.info.table.name,
            rows=first.rows + 1 if first else 1,
            host=first.host if first else host,
            key=first.key if first else key or None,
            limit=(is_of_host and self._maximum_entries) or MAXIMUM_ENTRIES,
            is_of_host=is_of_host,
        )


class RowBuilder:
    """Gathers the rows of samples.

    Args:
        tables: every table by name.
    """

    def __init__(self, tables: dict[str, TableRows]) -> None:
        own = {table.info.table.subsystem: table for table in tables.values() if table.info.table.map is None}
        self._plans = {
            subsystem: (
                table,
                [
                    (part, attrgetter(part.info.table.map))
                    for part in tables.values()
                    if part.info.table.subsystem == subsystem and part.info.table.map is not None
                ],
            )
            for subsystem, table in own.items()
        }

    def add(self, samples: Iterable[Sample]) -> None:
        """Gather the rows of samples in the tables."""
        plans = self._plans
        for sample in samples:
            envelope, fields = sample.envelope, sample.fields
            own, maps = plans[envelope.subsystem]
            moment = to_milliseconds(envelope.timestamp)
            host = envelope.host
            context = (_session_of(envelope.session), envelope.sequence, envelope.interval)
            own.add(moment, host, "", context, fields)
            for part, map_of in maps:
                entries = map_of(fields)
                if entries is not UNSET:
                    for key, entry in entries.items():
                        part.add(moment, host, key, (), entry)


@lru_cache(maxsize=1024)
def _insert_statement(table: str, names: tuple[str, ...]) -> str:
    columns = [quoted(name) for name in names]
    marks = ", ".join("?" * (len(columns) + 1))
    merged = ", ".join(f"{column} = coalesce({column}, excluded.{column})" for column in columns)
    action = f"UPDATE SET {merged}" if columns else "NOTHING"
    return (
        f"INSERT INTO {quoted(table)} ({', '.join(('id', *columns))}) VALUES ({marks}) "  # noqa: S608 - TABLES
        f"ON CONFLICT (id) DO {action}"
    )
