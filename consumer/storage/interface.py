"""What a store can do, whatever it is made of.

Moments that are asked for are seconds since the epoch, as everywhere; moments that are given back are whole
milliseconds since the epoch, which is exact and the same in every store. Ranges hold their start and not their end.

A store raises `StorageError` where a person has to mend something, and its `StorageUnavailableError` where trying
again may do. A query that makes no sense is a `UsageError`, raised when the query is made.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from difflib import get_close_matches
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from hostpulse.bus.codec import Sample
from hostpulse.bus.errors import UsageError
from hostpulse.bus.fields import Field, Table
from hostpulse.bus.messages import TABLES

from .errors import TooManyDevicesError, UnstorableError

__all__ = [
    "Host",
    "Latest",
    "LatestQuery",
    "Maintenance",
    "Number",
    "Point",
    "Reader",
    "RejectedLine",
    "Row",
    "RowQuery",
    "Series",
    "SeriesQuery",
    "Value",
    "Writer",
    "Written",
    "check_numbers",
    "field_named",
    "table_named",
]

_SHORTEST_BUCKET = 0.001
_LONGEST_BUCKET = 366 * 86400

Value = float | str | None
"""A stored value: a number, a flag as 0 or 1, text; None where it is not known."""

Row = tuple[Value, ...]
"""A row of a table: timestamp in milliseconds, host, the key if the table has one, the fields."""


@dataclass(frozen=True, slots=True)
class RejectedLine:
    """A row that a store has no way to hold. The rest of its message is stored.

    Attributes:
        index: of its message in the batch.
        line: the row as it would have been sent; as much as there is of it.
        error: says why.
    """

    index: int
    line: bytes
    error: UnstorableError


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a batch.

    Attributes:
        rows: how many rows were stored; a message gives one, and one for each entry of its maps.
        refused: what had to be left out, one for each table; the rest of the batch is stored.
        rejected: rows that can never be stored, to be kept elsewhere; the rest of the batch is stored.
    """

    rows: int
    refused: tuple[TooManyDevicesError, ...] = ()
    rejected: tuple[RejectedLine, ...] = ()


@dataclass(frozen=True, slots=True)
class Maintenance:
    """What a slice of maintenance did.

    Attributes:
        rolled_up: minutes of a table that were summed up.
        deleted: rows that were deleted because of their age.
        more: whether work is left that could be done now.
    """

    rolled_up: int
    deleted: int
    more: bool


@dataclass(frozen=True, slots=True)
class Host:
    """A machine with history.

    Attributes:
        name: as in the messages, not escaped.
        online: what its `status` said last; None if it never said anything.
        info: what its `info` said last: JSON text, as it came and not checked; None if it never said anything.
    """

    name: str
    online: bool | None
    info: str | None


class Point(NamedTuple):
    """One point of a series.

    `timestamp` is in milliseconds: the start of the bucket, or the moment of a raw value. `value` is the mean of the
    bucket, or the raw value, of which minimum and maximum are copies.
    """

    timestamp: int
    value: float | str
    minimum: float | str
    maximum: float | str


class Number(NamedTuple):
    """Which message a row came with.

    Attributes:
        host: name of the machine.
        session: start of its publisher, milliseconds since the epoch.
        sequence: number of the message in its subsystem and session.
        timestamp: when it was sampled, milliseconds since the epoch.
    """

    host: str
    session: int
    sequence: int
    timestamp: int


@dataclass(frozen=True, slots=True)
class Series:
    """One field of one device in the order of time. Buckets without a value are absent."""

    host: str
    key: str | None
    points: list[Point]


@dataclass(frozen=True, slots=True)
class Latest:
    """The last known value of each field of one device.

    Attributes:
        host: name of the machine.
        key: of the device; None in a subsystem's own table.
        timestamp: milliseconds, of its last row.
        values: by name of the field; one that is not known is absent.
    """

    host: str
    key: str | None
    timestamp: int
    values: dict[str, float | str]


def table_named(name: str) -> Table:
    """Return the table of that name.

    Raises:
        UsageError: there is none; says which one comes nearest.
    """
    found = TABLES.get(name)
    if found is None:
        raise UsageError(f"there is no table {name!r}{_nearest(name, TABLES)}")
    return found


def field_named(table: Table, name: str) -> Field:
    """Return the field of that name.

    Raises:
        UsageError: the table has none; says which one comes nearest.
    """
    found = table.field(name)
    if found is None:
        raise UsageError(f"{table.name} has no field {name!r}{_nearest(name, [item.name for item in table.fields])}")
    return found


def check_numbers(subsystem: str, start: float, end: float) -> None:
    """Look whether messages of a subsystem can be asked for in a range.

    Raises:
        UsageError: there is no such subsystem, or the range is empty.
    """
    if table_named(subsystem).map is not None:
        raise UsageError(
            f"{subsystem} is a part of a message and has no numbers; ask for {TABLES[subsystem].subsystem}"
        )
    _check_range(start, end)


def _nearest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    nearest = get_close_matches(name, names, n=1)
    return f"; did you mean {nearest[0]}?" if nearest else f"; there are {', '.join(names) or 'none'}"


def _check_range(start: float, end: float) -> None:
    if not (math.isfinite(start) and math.isfinite(end) and start < end):
        raise UsageError(f"the time range from {start} to {end} is empty or has no bounds; give a start before its end")


@dataclass(frozen=True, slots=True, kw_only=True)
class RowQuery:
    """Rows of one table, as they were written.

    Attributes:
        table: name of the table.
        start: seconds since the epoch, included.
        end: seconds since the epoch, not included.
        hosts: only of these; None for all.
        keys: only of the devices with these keys; None for all.
        fields: only these, in this order; None for all in the order of the table.

    Raises:
        UsageError: there is no such table or field, or the range is empty.
    """

    table: str
    start: float
    end: float
    hosts: tuple[str, ...] | None = None
    keys: tuple[str, ...] | None = None
    fields: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        table = table_named(self.table)
        for name in self.fields or ():
            field_named(table, name)
        _check_range(self.start, self.end)

    @property
    def field_names(self) -> tuple[str, ...]:
        """The fields that are meant."""
        return tuple(field.name for field in TABLES[self.table].fields) if self.fields is None else self.fields

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of the rows."""
        key = TABLES[self.table].key
        return ("timestamp", "host", *(() if key is None else (key,)), *self.field_names)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesQuery:
    """One field over time.

    Attributes:
        table: name of the table.
        field: name of the field.
        start: seconds since the epoch, included.
        end: seconds since the epoch, not included.
        every: width of a bucket in seconds, to the millisecond; buckets begin at multiples of it since the epoch, and
            the first and the last are whole ones even if the range cuts into them. None for the values as they were
            written.
        hosts: only of these; None for all.
        keys: only of the devices with these keys; None for all.
        maximum_points: of all series together; a query that finds more is a `UsageError`.

    Raises:
        UsageError: there is no such table or field, the range is empty, or what has no mean is to be aggregated.
    """

    table: str
    field: str
    start: float
    end: float
    every: float | None
    hosts: tuple[str, ...] | None = None
    keys: tuple[str, ...] | None = None
    maximum_points: int = 100_000

    def __post_init__(self) -> None:
        column = field_named(table_named(self.table), self.field)
        _check_range(self.start, self.end)
        if self.every is None:
            return
        if not _SHORTEST_BUCKET <= self.every <= _LONGEST_BUCKET:
            raise UsageError(
                f"a bucket cannot be {self.every} seconds wide; give {_SHORTEST_BUCKET} to {_LONGEST_BUCKET}"
            )
        if column.type is str:
            raise UsageError(f"{self.table} {self.field} is text and has no mean; ask for the values as they are")
        if not column.has_mean:
            raise UsageError(f"{self.table} {self.field} is of single events and has no mean; ask for them as they are")


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestQuery:
    """The last known values of a table.

    Attributes:
        table: name of the table.
        since: seconds since the epoch; what was last said before it is not looked for.
        hosts: only of these; None for all.
        keys: only of the devices with these keys; None for all.

    Raises:
        UsageError: there is no such table, or `since` is no moment.
    """

    table: str
    since: float
    hosts: tuple[str, ...] | None = None
    keys: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        table_named(self.table)
        if not math.isfinite(self.since):
            raise UsageError(f"the history cannot be searched back to {self.since}; give a moment")


class Writer(Protocol):
    """The one writer of a history. For one thread at a time; a context manager that opens and closes."""

    @property
    def batch_messages(self) -> int:
        """How many messages a write should have where more wait: beyond that, a message gets no cheaper."""
        ...

    def open(self) -> Self:
        """Make the store ready, creating or upgrading what is there; does nothing while it is open.

        Raises:
            StorageUnavailableError: not now; it may be called again.
            StorageError: not until a person mends something.
        """
        ...

    def close(self) -> None:
        """Let go of the store. What was written stays; may be called twice, and `open` may follow."""
        ...

    def write(self, samples: Sequence[Sample]) -> Written:
        """Store a batch, in any order; durable on return.

        Writing a sample again changes nothing; of two that differ and have one moment, the store keeps the values
        of the first or of the last. After an error the batch counts as not stored and can be written again.
        """
        ...

    def submit(self, pieces: Iterable[Sequence[Sample]]) -> Future[Written]:
        """Begin to store a batch as `write` does; what is submitted is stored in its order, one after the other.

        A store that has to be waited for does it in the background, and the next batch may be submitted meanwhile.

        Args:
            pieces: of the batch, which may be made while they are taken: what is small enough for the cache of a
                processor is made and used up there. All are taken on return.

        Returns:
            What becomes of it, or the error of `write`; one that is known at once is raised instead.
        """
        ...

    def hosts(self, now: float) -> set[str] | None:
        """Return the hosts that raw rows, or a status without any rows, are kept of; None if they cannot be read.

        Args:
            now: seconds since the epoch.

        Raises:
            StorageUnavailableError: not now.
        """
        ...

    def note_host(self, host: str, *, online: bool | None = None, info: str | None = None) -> None:
        """Remember what a host's retained `status` or `info` says; None leaves what is known.

        Args:
            host: name of the machine, not escaped.
            online: what `status` says.
            info: JSON text, stored as it is.

        Raises:
            UnstorableError: the store has no way to hold that name.
        """
        ...

    def maintain(self, now: float) -> Maintenance:
        """Do a bounded slice of the work that keeps the history small and fast: summing up minutes, deleting.

        Args:
            now: seconds since the epoch.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class Reader(Protocol):
    """Reads a history beside its writer. For one thread at a time; a context manager that opens and closes."""

    def open(self) -> Self:
        """Make the store ready for queries.

        Raises:
            NoHistoryError: there is nothing to read yet.
        """
        ...

    def close(self) -> None:
        """Let go of the store; may be called twice, and `open` may follow."""
        ...

    def hosts(self) -> list[Host]:
        """Return every host that has history or ever said its status, by name."""
        ...

    def rows(self, query: RowQuery) -> Iterator[list[Row]]:
        """Yield batches of rows in the order of time, in constant memory.

        The columns are `query.columns`. Rows of one moment come in no particular order. Rows that are written or
        deleted meanwhile may or may not be among them.
        """
        ...

    def count(self, query: RowQuery) -> int:
        """Return about how many rows `rows` would yield, fast enough for a progress bar."""
        ...

    def series(self, query: SeriesQuery) -> list[Series]:
        """Return one field over time, a series for each device that has a value, by host and key.

        Where raw rows have gone by retention, minutes that were summed up stand in for them, unless raw values are
        asked for.

        Raises:
            UsageError: more than `query.maximum_points`.
        """
        ...

    def latest(self, query: LatestQuery) -> list[Latest]:
        """Return the last known value of each field of each device, by host and key.

        The fields of a table may come in different messages, so a value may be older than the last row.
        """
        ...

    def numbers(
        self, subsystem: str, start: float, end: float, hosts: tuple[str, ...] | None = None
    ) -> Iterator[list[Number]]:
        """Yield batches of the numbers of stored messages in the order of time, in constant memory.

        Args:
            subsystem: whose messages.
            start: seconds since the epoch, included.
            end: seconds since the epoch, not included.
            hosts: only of these; None for all.

        Raises:
            UsageError: there is no such subsystem, or the range is empty.
        """
        ...

    def last_numbers(self, subsystem: str, since: float) -> list[Number]:
        """Return the newest number of each host by name; hosts that have said nothing since then are left out.

        Args:
            subsystem: whose messages.
            since: seconds since the epoch.

        Raises:
            UsageError: there is no such subsystem, or `since` is no moment.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
