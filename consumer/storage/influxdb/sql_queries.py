"""The queries of a history in InfluxDB 3, in SQL.

A table of the contract is one of the database, and a row is a row. What no row ever had is no column, and is nothing.
"""

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any

from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.rest import ApiException

from hostpulse.bus.fields import Field
from hostpulse.bus.messages import TABLES

from ..interface import Host, Latest, LatestQuery, Number, Point, Row, RowQuery, SeriesQuery, field_named
from ..options import InfluxOptions
from .minutes import COMBINED, COUNT, MAXIMUM, MINIMUM, SUM, Buckets
from .queries import Device, Points, Query, Sums, by_name, known_of, too_many
from .rows import TooManyRowsError
from .schema import AGGREGATE_TAG, ENVELOPE, HOST_MEASUREMENT, INFO, LATEST_MOMENT, MINUTE, ONLINE
from .sql import MOMENT, Catalog, Found, Sql, in_parts, quoted

__all__ = ["SqlQueries"]

_NUMBERS = ENVELOPE[:2]
_ARE_NUMBERED = tuple(f"{name} IS NOT NULL" for name in _NUMBERS)  # else another program has written it
_OF_RAW = {SUM: "SUM", COUNT: "COUNT", MINIMUM: "MIN", MAXIMUM: "MAX"}
_OF_MINUTES = {SUM: "SUM", COUNT: "SUM", MINIMUM: "MIN", MAXIMUM: "MAX"}


class SqlQueries:
    """See `Queries`.

    Args:
        client: whose token is used.
        options: names the databases.
    """

    def __init__(self, client: InfluxDBClient, options: InfluxOptions) -> None:
        self._client = client
        self._bucket = options.bucket
        self._minutes = options.rollup_bucket
        self._catalog = Catalog(client)

    def probe(self) -> None:
        """See whether the token may read, and whether there is a database."""
        Sql().ask(self._client, self._bucket, "SELECT 1")

    def hosts(self) -> list[Host]:
        """Return every host that has history or ever said its status, by name."""
        names = self.host_names(0) | self._host_names(self._minutes, 0)
        notes: dict[str, dict[str, str]] = {name: {} for name in names}
        known = self._catalog.columns(self._bucket, HOST_MEASUREMENT, wanted=(ONLINE, INFO))
        fields = [name for name in (ONLINE, INFO) if name in known]
        for row in self._last(HOST_MEASUREMENT, ["host"], fields, 0):
            note = notes.setdefault(row["host"], {})  # it may have come just now
            for name in fields:
                if name in row:
                    note.setdefault(name, str(row[name]))
        return [Host(name, *known_of(notes[name])) for name in sorted(notes)]

    def host_names(self, start: int) -> set[str]:
        """Return the hosts that have rows since a moment, or said something of themselves."""
        return self._host_names(self._bucket, start)

    def rows(self, query: RowQuery, start: int, end: int, most: int | None) -> list[Row]:
        """Return rows of a range in the order of time."""
        keys = _keys(query)
        fields = {field.name: field for field in TABLES[query.table].fields}
        wanted = [fields[name] for name in query.field_names]
        columns = self._catalog.columns(self._bucket, query.table, wanted=query.field_names)
        names = [*keys, *(field.name for field in wanted if field.name in columns)]
        return [
            (row["moment"], *(row[key] for key in keys), *(_value(field, row.get(field.name)) for field in wanted))
            for row in self._ordered(query, (start, end), most, names)
        ]

    def numbers(self, query: RowQuery, start: int, end: int, most: int | None) -> list[Row]:
        """Return moment, host, session and sequence of the messages of a range."""
        if not self._catalog.columns(self._bucket, query.table, wanted=_NUMBERS).issuperset(_NUMBERS):
            return []
        return [
            (row["moment"], row["host"], *(int(row[name]) for name in _NUMBERS))
            for row in self._ordered(query, (start, end), most, ["host", *_NUMBERS], *_ARE_NUMBERED)
        ]

    def first(self, query: RowQuery, start: int, end: int) -> int | None:
        """Return the moment of the first row of a range."""
        found = self._selected(query.table, (start, end), f"MIN({MOMENT}) AS moment", query)
        return min((row["moment"] for row in found if "moment" in row), default=None)

    def count(self, query: RowQuery, start: int, end: int) -> int:
        """Return how many rows there are in a range."""
        found = self._selected(query.table, (start, end), "COUNT(*) AS number", query)
        return sum(row["number"] for row in found)

    def points(self, query: SeriesQuery, start: int, end: int) -> Points:
        """Return the values of a field in a range as they were written."""
        if query.field not in self._catalog.columns(self._bucket, query.table, wanted=[query.field]):
            return {}
        field = field_named(TABLES[query.table], query.field)
        rows = self._selected(
            query.table,
            (start, end),
            _listed([f"{MOMENT} AS moment", *map(quoted, [*_keys(query), query.field])]),
            query,
            f"{quoted(query.field)} IS NOT NULL",
            after=f"LIMIT {query.maximum_points + 1:d}",
        )
        if len(rows) > query.maximum_points:
            raise too_many(query)
        found: Points = {}
        for row in rows:
            value: Any = _value(field, row[query.field])
            found.setdefault(_device(query, row), {})[row["moment"]] = Point(row["moment"], value, value, value)
        return found

    def sums(self, query: SeriesQuery, start: int, end: int, every: int) -> Sums:
        """Return the buckets of a range."""
        found = Sums({}, {})
        bounds = (start, end)
        if query.field in self._catalog.columns(self._bucket, query.table, wanted=[query.field]):
            functions = [f"{function}({quoted(query.field)}) AS {name}" for name, function in _OF_RAW.items()]
            for row in self._grouped(query, bounds, every, functions, most=query.maximum_points):
                for name in _OF_RAW:
                    _add(found.raw, query, row, name, row[name])
        if query.field in self._catalog.columns(self._minutes, query.table, wanted=[query.field]):
            functions = [f"{function}({quoted(query.field)}) AS {function}" for function in set(_OF_MINUTES.values())]
            width = every if every % MINUTE == 0 else MINUTE
            of_minutes = self._grouped(query, bounds, width, functions, tags=[AGGREGATE_TAG], database=self._minutes)
            for row in of_minutes:
                name = row[AGGREGATE_TAG]
                if name in _OF_MINUTES:
                    _add(found.minutes, query, row, name, row[_OF_MINUTES[name]])
        starts = ((device, moment // every * every) for sums in found for device in sums for moment in sums[device])
        if len(set(starts)) > query.maximum_points:
            raise too_many(query)
        return found

    def latest(self, query: LatestQuery, start: int) -> list[Latest]:
        """Return the last known value of each field of each device since a moment."""
        all_fields = {field.name: field for field in TABLES[query.table].fields}
        columns = self._catalog.columns(self._bucket, query.table, wanted=all_fields)
        fields = {name: field for name, field in all_fields.items() if name in columns}
        moments: dict[Device, int] = {}
        values: dict[Device, dict[str, Any]] = {}
        for row in self._last(query.table, _keys(query), list(fields), start, query):
            device = _device(query, row)
            moments[device] = max(moments.get(device, 0), row["moment"])
            known = values.setdefault(device, {})
            for name, field in fields.items():
                if name in row:
                    known.setdefault(name, _value(field, row[name]))
        return [Latest(*device, moment, values[device]) for device, moment in sorted(moments.items(), key=by_name)]

    def last_numbers(self, subsystem: str, start: int) -> list[Number]:
        """Return the newest number of each host since a moment."""
        if not self._catalog.columns(self._bucket, subsystem, wanted=_NUMBERS).issuperset(_NUMBERS):
            return []
        found: dict[str, Number] = {}
        for row in self._last(subsystem, ["host"], _NUMBERS, start, None, *_ARE_NUMBERED):
            session, sequence = (int(row[name]) for name in _NUMBERS)
            found.setdefault(row["host"], Number(row["host"], session, sequence, row["moment"]))
        return [found[host] for host in sorted(found)]

    def _ordered(
        self, query: RowQuery, bounds: tuple[int, int], most: int | None, columns: Sequence[str], *conditions: str
    ) -> list[Found]:
        """Return columns of rows in the order of time.

        Raises:
            TooManyRowsError: there are more than `most`.
        """
        after = "" if most is None else f"ORDER BY time LIMIT {most + 1:d}"
        what = _listed([f"{MOMENT} AS moment", *map(quoted, columns)])
        rows = self._selected(query.table, bounds, what, query, *conditions, after=after)
        if most is not None and len(rows) > most:
            raise TooManyRowsError
        rows.sort(key=itemgetter("moment"))
        return rows

    def _grouped(
        self,
        query: SeriesQuery,
        bounds: tuple[int, int],
        every: int,
        functions: Iterable[str],
        *,
        most: int | None = None,
        tags: Sequence[str] = (),
        database: str | None = None,
    ) -> list[Found]:
        """Return functions of a field for each bucket of time, each device, and each value of further tags."""
        groups = [f"{MOMENT} / {every:d} * {every:d} AS moment", *map(quoted, [*_keys(query), *tags])]
        numbers = _listed(map(str, range(1, len(groups) + 1)))
        return self._selected(
            query.table,
            bounds,
            _listed([*groups, *functions]),
            query,
            f"{quoted(query.field)} IS NOT NULL",
            after=f"GROUP BY {numbers}" + ("" if most is None else f" LIMIT {most + 1:d}"),
            database=database,
        )

    def _last(
        self,
        table: str,
        keys: Sequence[str],
        fields: Sequence[str],
        start: int,
        query: LatestQuery | None = None,
        *conditions: str,
    ) -> list[Found]:
        """Return the last row of each device and the last value of each field; the first that is found counts."""
        names = list(map(quoted, keys))
        last = [f"selector_last({quoted(name)}, time)['value'] AS {quoted(name)}" for name in fields]
        what = _listed([*names, f"MAX({MOMENT}) AS moment", *last])
        bounds = (start, LATEST_MOMENT)
        return self._selected(table, bounds, what, query, *conditions, after=f"GROUP BY {_listed(names)}")

    def _selected(
        self,
        table: str,
        bounds: tuple[int, int],
        what: str,
        query: Query | None,
        *conditions: str,
        after: str = "",
        database: str | None = None,
    ) -> list[Found]:
        """Return what is found of a table; nothing where it is not there, or another program has made it.

        Where it has to be asked for in parts, what is newest comes first.
        """
        database = database or self._bucket
        keys = ["host"] if query is None else _keys(query)
        if not self._catalog.columns(database, table, wanted=keys).issuperset(keys):
            return []

        def ask(start: int, end: int) -> list[Found]:
            sql = Sql()
            wanted = () if query is None else (query.hosts, query.keys)
            chosen = (sql.is_any(key, values) for key, values in zip(keys, wanted, strict=False))
            where = sql.where(start, end, *(f"{quoted(key)} IS NOT NULL" for key in keys), *chosen, *conditions)
            text = f"SELECT {what} FROM {quoted(table)} {where} {after}"  # noqa: S608 - names of the contract
            return sql.ask(self._client, database, text)

        try:
            return [row for part in in_parts(*bounds, ask) for row in part]
        except ApiException:
            self._catalog.forget()  # the database may be another one than that which was there
            raise

    def _host_names(self, database: str, start: int) -> set[str]:
        tables = self._catalog.tables(database)
        names = [name for name in (*TABLES, HOST_MEASUREMENT) if "host" in tables.get(name, ())]
        if not names:
            return set()

        def ask(first: int, last: int) -> list[Found]:
            where = Sql().where(first, last, "host IS NOT NULL")
            parts = [f"SELECT host FROM {quoted(name)} {where}" for name in names]  # noqa: S608 - names of the contract
            return Sql().ask(self._client, database, f"SELECT DISTINCT host FROM ({' UNION ALL '.join(parts)})")  # noqa: S608 - as above

        return {row["host"] for part in in_parts(start, LATEST_MOMENT, ask) for row in part}


def _keys(query: Query) -> list[str]:
    """Return the columns that name a device."""
    key = TABLES[query.table].key
    return ["host"] if key is None else ["host", key]


def _device(query: Query, row: Found) -> Device:
    key = TABLES[query.table].key
    return row["host"], None if key is None else row[key]


def _value(field: Field, value: Any) -> Any:
    """Return a value of a field, every number of which is stored as a float."""
    if value is None or field.type is str:
        return value
    return value if field.type is float else int(value)


def _add(sums: dict[Device, Buckets], query: Query, row: Found, name: str, value: float) -> None:
    """Add a part of a bucket of time; a range that is asked for in parts may cut through one."""
    known = sums.setdefault(_device(query, row), {}).setdefault(row["moment"], {})
    known[name] = COMBINED[name](known[name], value) if name in known else value


def _listed(parts: Iterable[str]) -> str:
    return ", ".join(parts)
