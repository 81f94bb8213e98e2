"""The reader of a history in InfluxDB."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, NamedTuple, Self

from influxdb_client.client.influxdb_client import InfluxDBClient

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
from .connection import connect, detect, reported
from .flux_queries import FluxQueries
from .minutes import COUNT, MAXIMUM, MINIMUM, SUM, completed
from .queries import Points, Queries, Query, by_name
from .rows import converter
from .schema import LATEST_MOMENT, clamp_moment
from .slices import in_slices
from .sql_queries import SqlQueries

__all__ = ["InfluxReader"]

_SLICE_VALUES = 200_000
_FEWEST_ROWS = 1_000
_BATCH_ROWS = 4_096


class _Parts(NamedTuple):
    """What an open reader consists of."""

    client: InfluxDBClient
    queries: Queries


class InfluxReader:
    """Reads a history from its buckets in InfluxDB 2, or its databases in InfluxDB 3; a `Reader`.

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
            StorageError: the token, the organisation or the bucket is wrong, or it is no InfluxDB.
        """
        if self._open is None:
            client = connect(self._options)
            try:
                with self._reported():
                    queries = self._queries_of(client)
                    queries.probe()
            except BaseException:
                client.close()
                raise
            self._open = _Parts(client, queries)
        return self

    def close(self) -> None:
        """Close the connection; may be called twice."""
        parts, self._open = self._open, None
        if parts is not None:
            parts.client.close()

    def hosts(self) -> list[Host]:
        """Return every host that has history or ever said its status, by name."""
        with self._reported():
            return self._queries.hosts()

    def rows(self, query: RowQuery) -> Iterator[list[Row]]:
        """Yield batches of at most 4096 rows in the order of time; see `Reader`."""
        queries = self._queries
        yield from self._in_batches(query, queries.rows, len(query.columns))

    def count(self, query: RowQuery) -> int:
        """Return about how many rows `rows` would yield; see `Reader`."""
        queries = self._queries
        start, end = clamp_moment(query.start), clamp_moment(query.end)
        if _means_nothing(query) or start >= end:
            return 0
        with self._reported():
            return queries.count(query, start, end)

    def series(self, query: SeriesQuery) -> list[Series]:
        """Return one field over time, a series for each device that has a value, by host and key; see `Reader`.

        Raises:
            UsageError: more than `query.maximum_points`.
        """
        queries = self._queries
        if _means_nothing(query):
            return []
        with self._reported():
            found = _as_written(queries, query) if query.every is None else _averaged(queries, query, query.every)
        return [
            Series(*device, [points[moment] for moment in sorted(points)])
            for device, points in sorted(found.items(), key=by_name)
        ]

    def latest(self, query: LatestQuery) -> list[Latest]:
        """Return the last known value of each field of each device, by host and key; see `Reader`."""
        queries = self._queries
        start = clamp_moment(query.since)
        if _means_nothing(query) or start >= LATEST_MOMENT:
            return []
        with self._reported():
            return queries.latest(query, start)

    def numbers(
        self, subsystem: str, start: float, end: float, hosts: tuple[str, ...] | None = None
    ) -> Iterator[list[Number]]:
        """Yield batches of at most 4096 numbers in the order of time; see `Reader`."""
        check_numbers(subsystem, start, end)
        queries = self._queries
        query = RowQuery(table=subsystem, start=start, end=end, hosts=hosts, fields=())
        for batch in self._in_batches(query, queries.numbers, len(Number._fields)):
            part: list[Any] = batch
            yield [Number(host, session, sequence, moment) for moment, host, session, sequence in part]

    def last_numbers(self, subsystem: str, since: float) -> list[Number]:
        """Return the newest number of each host by name; see `Reader`."""
        check_numbers(subsystem, since, math.nextafter(since, math.inf))
        queries = self._queries
        start = clamp_moment(since)
        if start >= LATEST_MOMENT:
            return []
        with self._reported():
            return queries.last_numbers(subsystem, start)

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _in_batches(
        self, query: RowQuery, read: Callable[[RowQuery, int, int, int | None], list[Row]], width: int
    ) -> Iterator[list[Row]]:
        """Yield what a query reads of its range, in slices of time that fit into memory.

        Args:
            query: what is meant.
            read: returns rows of a range.
            width: values in each of them.
        """
        if _means_nothing(query):
            return
        queries = self._queries

        def read_slice(start: int, end: int, most: int | None) -> list[Row]:
            with self._reported():
                return read(query, start, end, most)

        def first(start: int, end: int) -> int | None:
            with self._reported():
                return queries.first(query, start, end)

        target = max(_SLICE_VALUES // width, _FEWEST_ROWS)
        for rows in in_slices(clamp_moment(query.start), clamp_moment(query.end), read_slice, first, target=target):
            for place in range(0, len(rows), _BATCH_ROWS):
                yield rows[place : place + _BATCH_ROWS]

    @property
    def _queries(self) -> Queries:
        if self._open is None:
            raise RuntimeError("the reader is not open")
        return self._open.queries

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        with reported(self._options, f"read bucket {self._options.bucket!r}", wall=self._wall):
            yield

    def _queries_of(self, client: InfluxDBClient) -> Queries:
        server = detect(client)
        if server.is_version_3:
            return SqlQueries(client, self._options)
        if server.has_flux:
            return FluxQueries(client, self._options)
        raise StorageError(
            f"what answers at {self._options.url} is no InfluxDB 2 or 3 ({server.description}), so it is write only: "
            "hostpulse stores there and cannot read from there; query it with its own tools, or set influxdb.url "
            "to an InfluxDB"
        )


def _means_nothing(query: Query) -> bool:
    no_keys = query.keys is not None and (not query.keys or TABLES[query.table].key is None)
    return no_keys or (query.hosts is not None and not query.hosts)


def _as_written(queries: Queries, query: SeriesQuery) -> Points:
    start, end = clamp_moment(query.start), clamp_moment(query.end)
    return queries.points(query, start, end) if start < end else {}


def _averaged(queries: Queries, query: SeriesQuery, seconds: float) -> Points:
    """Return the buckets of a range, of which the first and the last are whole ones."""
    every = round(seconds * 1000)
    start = clamp_moment(query.start) // every * every
    end = min(-(-clamp_moment(query.end) // every) * every, LATEST_MOMENT)
    if start >= end:
        return {}
    raw, minutes = queries.sums(query, start, end, every)
    extreme = converter(field_named(TABLES[query.table], query.field))
    return {
        device: {
            moment: Point(moment, parts[SUM] / parts[COUNT], extreme(str(parts[MINIMUM])), extreme(str(parts[MAXIMUM])))
            for moment, parts in completed(raw.get(device, {}), minutes.get(device, {}), every).items()
        }
        for device in raw.keys() | minutes.keys()
    }
