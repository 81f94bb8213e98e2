"""The reader of a history in InfluxDB."""

import contextlib
import math
import time
from collections.abc import Callable, Generator, Iterator
from operator import itemgetter
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.query_api import QueryApi
from influxdb_client.domain.dialect import Dialect

from hostpulse.bus.errors import UsageError
from hostpulse.bus.fields import Table
from hostpulse.bus.messages import TABLES

from ..errors import StorageError
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
    field_named,
)
from ..options import InfluxOptions
from .answer import Columns, read_answer
from .connection import connect, detect, reported
from .flux import Flux
from .minutes import COMBINED, Buckets, completed
from .minutes import COUNT as _COUNT
from .minutes import MAXIMUM as _MAXIMUM
from .minutes import MINIMUM as _MINIMUM
from .minutes import SUM as _SUM
from .rows import TEXTS, TooManyRowsError, collect_rows, converter, moment_of, whole_number
from .schema import (
    AGGREGATE_TAG,
    ENVELOPE,
    HOST_MEASUREMENT,
    INFO,
    LATEST_MOMENT,
    LEASE_MEASUREMENT,
    MINUTE,
    ONLINE,
    PRESENT,
    clamp_moment,
)
from .setup import find_bucket
from .slices import in_slices

__all__ = ["InfluxReader"]

_SLICE_VALUES = 200_000
_FEWEST_ROWS = 1_000
_NUMBERS = ENVELOPE[:2]
_BATCH_ROWS = 4_096
_MINUTES = "minutes_"
_PARTS = {_SUM: "sum", _COUNT: "count", _MINIMUM: "min", _MAXIMUM: "max"}
_OF_MINUTES = {_SUM: "sum", _COUNT: "sum", _MINIMUM: "min", _MAXIMUM: "max"}
_DIALECT = Dialect(header=True, delimiter=",", comment_prefix="#", annotations=["datatype"], date_time_format="RFC3339")

Query = RowQuery | SeriesQuery | LatestQuery
Device = tuple[str, str | None]


class _Parts(NamedTuple):
    """What an open reader consists of."""

    client: InfluxDBClient
    query: QueryApi
    has_minutes: bool  # that can be seen, to stand in for raw rows that have gone


class InfluxReader:
    """Reads a history from its buckets in InfluxDB 2; a `Reader`.

    For one thread at a time; open as many as there are threads.

    Args:
        options: where the bucket is.
        wall: seconds since the epoch.
    """

    def __init__(self, options: InfluxOptions, *, wall: Callable[[], float] = time.time) -> None:
        self._options = options
        self._wall = wall
        self._open: _Parts | None = None

    def open(self) -> Self:
        """Look who answers, and see whether the token may read.

        Raises:
            StorageUnavailableError: nobody answers, or not now.
            StorageError: the token, the organisation or the bucket is wrong, or it is no InfluxDB 2.
        """
        if self._open is None:
            client = connect(self._options)
            try:
                with self._reported():
                    self._open = self._connect(client)
                for _ in self._ask(flux := Flux(), flux.source(self._options.bucket, 0, 1, "false")):
                    pass
            except BaseException:
                self._open = None
                client.close()
                raise
        return self

    def close(self) -> None:
        """Close the connection; may be called twice."""
        parts, self._open = self._open, None
        if parts is not None:
            parts.client.close()

    def hosts(self) -> list[Host]:
        """Return every host that has history or ever said its status, by name."""
        names: set[str] = set()
        for bucket in self._buckets():
            flux = Flux()
            source = flux.source(bucket, 0, LATEST_MOMENT, f'r["_measurement"] != {flux.bind(LEASE_MEASUREMENT)}')
            text = f'{source} |> keep(columns: ["host"]) |> group() |> distinct(column: "host")'
            names.update(line[columns.places["_value"]] for columns, line in self._ask(flux, text))
        notes = self._notes()
        return [Host(name, *_known(notes.get(name, {}))) for name in sorted(names)]

    def rows(self, query: RowQuery) -> Iterator[list[Row]]:
        """Yield batches of at most 4096 rows in the order of time; see `Reader`."""
        self._query_api()
        if _means_nothing(query):
            return
        target = max(_SLICE_VALUES // len(query.columns), _FEWEST_ROWS)
        start, end = clamp_moment(query.start), clamp_moment(query.end)
        slices = in_slices(
            start,
            end,
            lambda first, last, most: self._slice(query, first, last, most),
            lambda first, last: self._first(query, first, last),
            target=target,
        )
        for rows in slices:
            for place in range(0, len(rows), _BATCH_ROWS):
                yield rows[place : place + _BATCH_ROWS]

    def count(self, query: RowQuery) -> int:
        """Return how many rows `rows` would yield; of a map, those that have its most frequent field."""
        start, end = clamp_moment(query.start), clamp_moment(query.end)
        if _means_nothing(query) or start >= end:
            return 0
        flux = Flux()
        fields = _row_marks(TABLES[query.table])
        text = f"{self._source(flux, query, start, end, flux.is_any('_field', fields))} |> count()"
        counts: dict[Device, int] = {}
        for columns, line in self._ask(flux, text):
            device = _device(query, columns, line)
            counts[device] = max(counts.get(device, 0), int(line[columns.places["_value"]]))
        return sum(counts.values())

    def series(self, query: SeriesQuery) -> list[Series]:
        """Return one field over time, a series for each device that has a value, by host and key; see `Reader`.

        Raises:
            UsageError: more than `query.maximum_points`.
        """
        start, end = clamp_moment(query.start), clamp_moment(query.end)
        self._query_api()
        if _means_nothing(query):
            return []
        found = self._raw_points(query, start, end) if query.every is None else self._buckets_of_time(query, start, end)
        return [
            Series(*device, [points[moment] for moment in sorted(points)])
            for device, points in sorted(found.items(), key=_by_name)
        ]

    def latest(self, query: LatestQuery) -> list[Latest]:
        """Return the last known value of each field of each device, by host and key; see `Reader`."""
        self._query_api()
        start = clamp_moment(query.since)
        if _means_nothing(query) or start >= LATEST_MOMENT:
            return []
        flux = Flux()
        text = f"{self._source(flux, query, start, LATEST_MOMENT)} |> last()"
        converters = {field.name: converter(field) for field in TABLES[query.table].fields}
        moments: dict[Device, int] = {}
        values: dict[Device, dict[str, float | str]] = {}
        for columns, line in self._ask(flux, text):
            places = columns.places
            device = _device(query, columns, line)
            moments[device] = max(moments.get(device, 0), moment_of(line[places["_time"]]))
            known = values.setdefault(device, {})
            name = line[places["_field"]]
            if name in converters:
                known[name] = converters[name](line[places["_value"]])
        return [Latest(*device, moment, values[device]) for device, moment in sorted(moments.items(), key=_by_name)]

    def numbers(
        self, subsystem: str, start: float, end: float, hosts: tuple[str, ...] | None = None
    ) -> Iterator[list[Number]]:
        """Yield batches of at most 4096 numbers in the order of time; see `Reader`."""
        check_numbers(subsystem, start, end)
        query = RowQuery(table=subsystem, start=start, end=end, hosts=hosts, fields=())
        self._query_api()
        if _means_nothing(query):
            return
        slices = in_slices(
            clamp_moment(start),
            clamp_moment(end),
            lambda first, last, most: self._numbers(query, first, last, most),
            lambda first, last: self._first(query, first, last),
            target=_SLICE_VALUES // len(Number._fields),
        )
        for found in slices:
            for place in range(0, len(found), _BATCH_ROWS):
                part: list[Any] = found[place : place + _BATCH_ROWS]
                yield [Number(host, session, sequence, moment) for moment, host, session, sequence in part]

    def last_numbers(self, subsystem: str, since: float) -> list[Number]:
        """Return the newest number of each host by name; see `Reader`."""
        check_numbers(subsystem, since, math.nextafter(since, math.inf))
        self._query_api()
        start = clamp_moment(since)
        if start >= LATEST_MOMENT:
            return []
        flux = Flux()
        source = flux.source(
            self._options.bucket,
            start,
            LATEST_MOMENT,
            flux.is_any("_measurement", [subsystem]),
            flux.is_any("_field", _NUMBERS),
        )
        found: dict[str, dict[str, int]] = {}
        for columns, line in self._ask(flux, f"{source} |> last()"):
            places = columns.places
            known = found.setdefault(line[places["host"]], {"timestamp": moment_of(line[places["_time"]])})
            known[line[places["_field"]]] = whole_number(line[places["_value"]])
        return [Number(host, **found[host]) for host in sorted(found) if len(found[host]) == len(Number._fields) - 1]

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _slice(self, query: RowQuery, start: int, end: int, most: int | None) -> list[Row]:
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
        with contextlib.closing(self._ask(flux, text)) as answer:
            return collect_rows(query, answer, most)

    def _numbers(self, query: RowQuery, start: int, end: int, most: int | None) -> list[Row]:
        flux = Flux()
        text = (
            f"{self._source(flux, query, start, end, flux.is_any('_field', _NUMBERS))}"
            ' |> keep(columns: ["_time", "host", "_field", "_value"])'
            ' |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")'
        )
        rows: list[Row] = []
        with contextlib.closing(self._ask(flux, text)) as answer:
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

    def _first(self, query: RowQuery, start: int, end: int) -> int | None:
        flux = Flux()
        marks = flux.is_any("_field", _row_marks(TABLES[query.table]))
        text = f"{self._source(flux, query, start, end, marks)} |> first()"
        return min((moment_of(line[columns.places["_time"]]) for columns, line in self._ask(flux, text)), default=None)

    def _raw_points(self, query: SeriesQuery, start: int, end: int) -> dict[Device, dict[int, Point]]:
        found: dict[Device, dict[int, Point]] = {}
        if start >= end:
            return found
        flux = Flux()
        text = (
            f"{self._source(flux, query, start, end, flux.is_any('_field', [query.field]))}"
            ' |> drop(columns: ["_start", "_stop", "_measurement", "_field"])'
        )
        convert = converter(field_named(TABLES[query.table], query.field))
        room = query.maximum_points
        with contextlib.closing(self._ask(flux, text)) as answer:
            for columns, line in answer:
                room -= 1
                if room < 0:
                    raise _too_many(query)
                value = convert(line[columns.places["_value"]])
                moment = moment_of(line[columns.places["_time"]])
                found.setdefault(_device(query, columns, line), {})[moment] = Point(moment, value, value, value)
        return found

    def _buckets_of_time(self, query: SeriesQuery, start: int, end: int) -> dict[Device, dict[int, Point]]:
        every = round((query.every or 0) * 1000)
        start, end = start // every * every, min(-(-end // every) * every, LATEST_MOMENT)
        if start >= end:
            return {}
        flux = Flux()
        aligned = every % MINUTE == 0
        texts = self._aggregated(flux, query, (start, end), every)
        if self._parts.has_minutes:
            texts += self._aggregated(flux, query, (start, end), every if aligned else MINUTE, minutes=True)
        raw: dict[Device, Buckets] = {}
        minutes: dict[Device, Buckets] = {}
        room = query.maximum_points
        with contextlib.closing(self._ask(flux, "\n".join(texts))) as answer:
            for columns, line in answer:
                name = columns.result.removeprefix(_MINUTES)
                sums, others = (raw, minutes) if name == columns.result else (minutes, raw)
                device, moment = _device(query, columns, line), moment_of(line[columns.places["_time"]])
                known = sums.setdefault(device, {}).get(moment)
                if known is None:
                    room -= moment // every * every not in others.get(device, {})
                    if room < 0:
                        raise _too_many(query)
                    known = sums[device][moment] = {}
                value = float(line[columns.places["_value"]])
                known[name] = COMBINED[name](known[name], value) if name in known else value
        extreme = converter(field_named(TABLES[query.table], query.field))
        return {
            device: {
                moment: Point(
                    moment,
                    parts[_SUM] / parts[_COUNT],
                    extreme(str(parts[_MINIMUM])),
                    extreme(str(parts[_MAXIMUM])),
                )
                for moment, parts in completed(raw.get(device, {}), minutes.get(device, {}), every).items()
            }
            for device in raw.keys() | minutes.keys()
        }

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
        for columns, line in self._ask(flux, f"{source} |> last()"):
            places = columns.places
            notes.setdefault(line[places["host"]], {})[line[places["_field"]]] = line[places["_value"]]
        return notes

    def _buckets(self) -> list[str]:
        names = [self._options.bucket]
        return [*names, self._options.rollup_bucket] if self._parts.has_minutes else names

    def _ask(self, flux: Flux, text: str) -> Generator[tuple[Columns, list[str]]]:
        with self._reported():
            response: Any = self._query_api().query_raw(text, dialect=_DIALECT, params=flux.parameters)
            yield from read_answer(response)

    @property
    def _parts(self) -> _Parts:
        if self._open is None:
            raise RuntimeError("the reader is not open")
        return self._open

    def _query_api(self) -> QueryApi:
        return self._parts.query

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        with reported(self._options, f"read bucket {self._options.bucket!r}", wall=self._wall):
            yield

    def _connect(self, client: InfluxDBClient) -> _Parts:
        server = detect(client)
        if not server.has_flux:
            raise StorageError(
                f"what answers at {self._options.url} is no InfluxDB 2 ({server.description}), so it is write only: "
                "hostpulse stores there and cannot read from there; query it with its own tools, or set influxdb.url "
                "to an InfluxDB 2"
            )
        minutes = find_bucket(client, self._options, self._options.rollup_bucket)
        return _Parts(client, client.query_api(), minutes is not None)


def _row_marks(table: Table) -> list[str]:
    """Return the fields of which each row has one."""
    return [ENVELOPE[1], PRESENT] if table.map is None else [*(field.name for field in table.fields), PRESENT]


def _means_nothing(query: Query) -> bool:
    no_keys = query.keys is not None and (not query.keys or TABLES[query.table].key is None)
    return no_keys or (query.hosts is not None and not query.hosts)


def _device(query: Query, columns: Columns, line: list[str]) -> Device:
    key = TABLES[query.table].key
    return line[columns.places["host"]], None if key is None else line[columns.places[key]]


def _by_name(item: tuple[Device, Any]) -> tuple[str, str]:
    host, key = item[0]
    return host, key or ""


def _known(note: dict[str, str]) -> tuple[bool | None, str | None]:
    """Return the status and the inventory of a host."""
    info = note.get(INFO)
    if info is not None and info.startswith('"'):
        info = msgspec.json.decode(info, type=str)
    return bool(float(note[ONLINE])) if ONLINE in note else None, info


def _too_many(query: SeriesQuery) -> UsageError:
    return UsageError(
        f"{query.table} {query.field} has more than {query.maximum_points} points in this time; "
        "take wider buckets, a shorter time or fewer hosts"
    )
