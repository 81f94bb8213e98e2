"""The queries of a history in InfluxDB 2, in Flux."""

import contextlib
from collections.abc import Generator
from operator import itemgetter
from typing import Any

from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.domain.dialect import Dialect

from hostpulse.bus.fields import Table
from hostpulse.bus.messages import TABLES

from ..interface import Host, Latest, LatestQuery, Number, Point, Row, RowQuery, SeriesQuery, field_named
from ..options import InfluxOptions
from .answer import Columns, read_answer
from .flux import Flux
from .minutes import COMBINED
from .minutes import COUNT as _COUNT
from .minutes import MAXIMUM as _MAXIMUM
from .minutes import MINIMUM as _MINIMUM
from .minutes import SUM as _SUM
from .queries import Device, Points, Query, Sums, by_name, known_of, too_many
from .rows import TEXTS, TooManyRowsError, collect_rows, converter, moment_of, whole_number
from .schema import AGGREGATE_TAG, ENVELOPE, HOST_MEASUREMENT, LATEST_MOMENT, LEASE_MEASUREMENT, MINUTE, PRESENT
from .setup import find_bucket

__all__ = ["FluxQueries"]

_NUMBERS = ENVELOPE[:2]
_MINUTES = "minutes_"
_PARTS = {_SUM: "sum", _COUNT: "count", _MINIMUM: "min", _MAXIMUM: "max"}
_OF_MINUTES = {_SUM: "sum", _COUNT: "sum", _MINIMUM: "min", _MAXIMUM: "max"}
_DIALECT = Dialect(header=True, delimiter=",", comment_prefix="#", annotations=["datatype"], date_time_format="RFC3339")


class FluxQueries:
    """See `Queries`.

    Args:
        client: whose token is used.
        options: names the buckets.
    """

    def __init__(self, client: InfluxDBClient, options: InfluxOptions) -> None:
        self._client = client
        self._options = options
        self._api = client.query_api()
        self._has_minutes = False  # that can be seen, to stand in for raw rows that have gone

    def probe(self) -> None:
        """See whether the token may read; and whether it sees minutes."""
        self._has_minutes = find_bucket(self._client, self._options, self._options.rollup_bucket) is not None
        for _ in self.ask(flux := Flux(), flux.source(self._options.bucket, 0, 1, "false")):
            pass

    def hosts(self) -> list[Host]:
        """Return every host that has history or ever said its status, by name."""
        names: set[str] = set()
        for bucket in self._buckets():
            flux = Flux()
            source = flux.source(bucket, 0, LATEST_MOMENT, f'r["_measurement"] != {flux.bind(LEASE_MEASUREMENT)}')
            text = f'{source} |> keep(columns: ["host"]) |> group() |> distinct(column: "host")'
            names.update(line[columns.places["_value"]] for columns, line in self.ask(flux, text))
        notes = self._notes()
        return [Host(name, *known_of(notes.get(name, {}))) for name in sorted(names)]

    def rows(self, query: RowQuery, start: int, end: int, most: int | None) -> list[Row]:
        """Return rows of a range in the order of time."""
        table = TABLES[query.table]
        # A row is there even if it has none of the fields that are asked for. Each message has a sequence, and what was
        # imported without it is marked; an entry of a map may consist of any of its fields.
        wanted = [field for field in table.fields if table.map is not None or field.name in query.field_names]
        marks = [PRESENT] if table.map is not None else [ENVELOPE[1], PRESENT]
        flux = Flux()
        numbers = flux.is_any("_field", [*(field.name for field in wanted if field.type is not str), *marks])
        text = (
            f"{self._source(flux, query, start, end, numbers)}"
            ' |> drop(columns: ["_start", "_stop", "_measurement"])'
            ' |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")'
            ' |> yield(name: "numbers")'
        )
        texts = [field.name for field in wanted if field.type is str]
        if texts:
            condition = flux.is_any("_field", texts)
            text += (
                f"\n{self._source(flux, query, start, end, condition)}"
                f' |> drop(columns: ["_start", "_stop", "_measurement"]) |> yield(name: "{TEXTS}")'
            )
        with contextlib.closing(self.ask(flux, text)) as answer:
            return collect_rows(query, answer, most)

    def numbers(self, query: RowQuery, start: int, end: int, most: int | None) -> list[Row]:
        """Return moment, host, session and sequence of the messages of a range."""
        flux = Flux()
        text = (
            f"{self._source(flux, query, start, end, flux.is_any('_field', _NUMBERS))}"
            ' |> keep(columns: ["_time", "host", "_field", "_value"])'
            ' |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")'
        )
        rows: list[Row] = []
        with contextlib.closing(self.ask(flux, text)) as answer:
            for columns, line in answer:
                if len(rows) == most:
                    raise TooManyRowsError
                places = columns.places
                cells = [line[places[name]] if name in places else "" for name in _NUMBERS]
                if all(cells):  # else another program has written it
                    numbers = map(whole_number, cells)
                    rows.append((moment_of(line[places["_time"]]), line[places["host"]], *numbers))
        rows.sort(key=itemgetter(0))
        return rows

    def first(self, query: RowQuery, start: int, end: int) -> int | None:
        """Return the moment of the first row of a range."""
        flux = Flux()
        marks = flux.is_any("_field", _row_marks(TABLES[query.table]))
        text = f"{self._source(flux, query, start, end, marks)} |> first()"
        return min((moment_of(line[columns.places["_time"]]) for columns, line in self.ask(flux, text)), default=None)

    def count(self, query: RowQuery, start: int, end: int) -> int:
        """Return how many rows there are; of a map, those that have its most frequent field."""
        flux = Flux()
        fields = _row_marks(TABLES[query.table])
        text = f"{self._source(flux, query, start, end, flux.is_any('_field', fields))} |> count()"
        counts: dict[Device, int] = {}
        for columns, line in self.ask(flux, text):
            device = _device(query, columns, line)
            counts[device] = max(counts.get(device, 0), int(line[columns.places["_value"]]))
        return sum(counts.values())

    def points(self, query: SeriesQuery, start: int, end: int) -> Points:
        """Return the values of a field in a range as they were written."""
        found: Points = {}
        flux = Flux()
        text = (
            f"{self._source(flux, query, start, end, flux.is_any('_field', [query.field]))}"
            ' |> drop(columns: ["_start", "_stop", "_measurement", "_field"])'
        )
        convert = converter(field_named(TABLES[query.table], query.field))
        room = query.maximum_points
        with contextlib.closing(self.ask(flux, text)) as answer:
            for columns, line in answer:
                room -= 1
                if room < 0:
                    raise too_many(query)
                value = convert(line[columns.places["_value"]])
                moment = moment_of(line[columns.places["_time"]])
                found.setdefault(_device(query, columns, line), {})[moment] = Point(moment, value, value, value)
        return found

    def sums(self, query: SeriesQuery, start: int, end: int, every: int) -> Sums:
        """Return the buckets of a range."""
        flux = Flux()
        aligned = every % MINUTE == 0
        texts = self._aggregated(flux, query, (start, end), every)
        if self._has_minutes:
            texts += self._aggregated(flux, query, (start, end), every if aligned else MINUTE, minutes=True)
        found = Sums({}, {})
        room = query.maximum_points
        with contextlib.closing(self.ask(flux, "\n".join(texts))) as answer:
            for columns, line in answer:
                name = columns.result.removeprefix(_MINUTES)
                sums, others = found if name == columns.result else reversed(found)
                device, moment = _device(query, columns, line), moment_of(line[columns.places["_time"]])
                known = sums.setdefault(device, {}).get(moment)
                if known is None:
                    room -= moment // every * every not in others.get(device, {})
                    if room < 0:
                        raise too_many(query)
                    known = sums[device][moment] = {}
                value = float(line[columns.places["_value"]])
                known[name] = COMBINED[name](known[name], value) if name in known else value
        return found

    def latest(self, query: LatestQuery, start: int) -> list[Latest]:
        """Return the last known value of each field of each device since a moment."""
        flux = Flux()
        text = f"{self._source(flux, query, start, LATEST_MOMENT)} |> last()"
        converters = {field.name: converter(field) for field in TABLES[query.table].fields}
        moments: dict[Device, int] = {}
        values: dict[Device, dict[str, float | str]] = {}
        for columns, line in self.ask(flux, text):
            places = columns.places
            device = _device(query, columns, line)
            moments[device] = max(moments.get(device, 0), moment_of(line[places["_time"]]))
            known = values.setdefault(device, {})
            name = line[places["_field"]]
            if name in converters:
                known[name] = converters[name](line[places["_value"]])
        return [Latest(*device, moment, values[device]) for device, moment in sorted(moments.items(), key=by_name)]

    def last_numbers(self, subsystem: str, start: int) -> list[Number]:
        """Return the newest number of each host since a moment."""
        flux = Flux()
        source = flux.source(
            self._options.bucket,
            start,
            LATEST_MOMENT,
            flux.is_any("_measurement", [subsystem]),
            flux.is_any("_field", _NUMBERS),
        )
        found: dict[str, dict[str, int]] = {}
        for columns, line in self.ask(flux, f"{source} |> last()"):
            places = columns.places
            known = found.setdefault(line[places["host"]], {"timestamp": moment_of(line[places["_time"]])})
            known[line[places["_field"]]] = whole_number(line[places["_value"]])
        return [Number(host, **found[host]) for host in sorted(found) if len(found[host]) == len(Number._fields) - 1]

    def _aggregated(
        self, flux: Flux, query: SeriesQuery, window: tuple[int, int], every: int, *, minutes: bool = False
    ) -> list[str]:
        """Return the statements that give sum, count, minimum and maximum of each bucket of a range."""
        statements = []
        for name, function in (_OF_MINUTES if minutes else _PARTS).items():
            field = flux.is_any("_field", [query.field])
            if minutes:
                condition = f"{field} and {flux.is_any(AGGREGATE_TAG, [name])}"
                source = self._source(flux, query, *window, condition, bucket=self._options.rollup_bucket)
            else:
                source = self._source(flux, query, *window, field)
            statements.append(
                f"{source} |> aggregateWindow(every: {every:d}ms, fn: {function}, createEmpty: false,"
                f' timeSrc: "_start") |> yield(name: "{_MINUTES if minutes else ""}{name}")'
            )
        return statements

    def _source(
        self, flux: Flux, query: Query, start: int, end: int, condition: str = "", *, bucket: str | None = None
    ) -> str:
        table = TABLES[query.table]
        return flux.source(
            bucket or self._options.bucket,
            start,
            end,
            flux.is_any("_measurement", [table.name]),
            flux.is_any("host", query.hosts),
            flux.is_any(table.key or "", None if table.key is None else query.keys),
            condition,
        )

    def _notes(self) -> dict[str, dict[str, str]]:
        """Return what each host said last: the values of fields by name."""
        flux = Flux()
        source = flux.source(self._options.bucket, 0, LATEST_MOMENT, flux.is_any("_measurement", [HOST_MEASUREMENT]))
        notes: dict[str, dict[str, str]] = {}
        for columns, line in self.ask(flux, f"{source} |> last()"):
            places = columns.places
            notes.setdefault(line[places["host"]], {})[line[places["_field"]]] = line[places["_value"]]
        return notes

    def _buckets(self) -> list[str]:
        names = [self._options.bucket]
        return [*names, self._options.rollup_bucket] if self._has_minutes else names

    def ask(self, flux: Flux, text: str) -> Generator[tuple[Columns, list[str]]]:
        """Yield the rows of an answer."""
        response: Any = self._api.query_raw(text, dialect=_DIALECT, params=flux.parameters)
        yield from read_answer(response)


def _row_marks(table: Table) -> list[str]:
    """Return the fields of which each row has one."""
    return [ENVELOPE[1], PRESENT] if table.map is None else [*(field.name for field in table.fields), PRESENT]


def _device(query: Query, columns: Columns, line: list[str]) -> Device:
    key = TABLES[query.table].key
    return line[columns.places["host"]], None if key is None else line[columns.places[key]]
