"""What the reader asks a server, whatever the language: of InfluxDB 2 in Flux, of InfluxDB 3 in SQL."""

from typing import Any, NamedTuple, Protocol

import msgspec

from hostpulse.bus.errors import UsageError

from ..interface import Host, Latest, LatestQuery, Number, Point, Row, RowQuery, SeriesQuery
from .minutes import Buckets
from .schema import INFO, ONLINE

__all__ = ["Device", "Points", "Queries", "Query", "Sums", "by_name", "known_of", "too_many"]

Query = RowQuery | SeriesQuery | LatestQuery

Device = tuple[str, str | None]
"""Host and key."""

Points = dict[Device, dict[int, Point]]
"""By device and moment."""


class Sums(NamedTuple):
    """Buckets of time by device.

    Attributes:
        raw: from raw rows.
        minutes: from minutes; minute by minute where those do not fit into the buckets.
    """

    raw: dict[Device, Buckets]
    minutes: dict[Device, Buckets]


class Queries(Protocol):
    """The queries of an open reader. Moments and ranges are milliseconds since the epoch, ranges without their end.

    Everything raises the client's errors.
    """

    def probe(self) -> None:
        """Read nothing, to see whether it is permitted."""

    def hosts(self) -> list[Host]:
        """Return every host that has history or ever said its status, by name."""
        ...

    def rows(self, query: RowQuery, start: int, end: int, most: int | None) -> list[Row]:
        """Return rows of a range in the order of time.

        Raises:
            TooManyRowsError: there are more than `most`.
        """
        ...

    def numbers(self, query: RowQuery, start: int, end: int, most: int | None) -> list[Row]:
        """Return moment, host, session and sequence of the messages of a range in the order of time.

        Raises:
            TooManyRowsError: there are more than `most`.
        """
        ...

    def first(self, query: RowQuery, start: int, end: int) -> int | None:
        """Return the moment of the first row of a range; None if there is none."""
        ...

    def count(self, query: RowQuery, start: int, end: int) -> int:
        """Return about how many rows there are in a range."""
        ...

    def points(self, query: SeriesQuery, start: int, end: int) -> Points:
        """Return the values of a field in a range as they were written.

        Raises:
            UsageError: more than `query.maximum_points`.
        """
        ...

    def sums(self, query: SeriesQuery, start: int, end: int, every: int) -> Sums:
        """Return the buckets of a range, which begins and ends with whole ones.

        Raises:
            UsageError: more than `query.maximum_points`.
        """
        ...

    def latest(self, query: LatestQuery, start: int) -> list[Latest]:
        """Return the last known value of each field of each device since a moment, by host and key."""
        ...

    def last_numbers(self, subsystem: str, start: int) -> list[Number]:
        """Return the newest number of each host since a moment, by name."""
        ...


def by_name(item: tuple[Device, Any]) -> tuple[str, str]:
    """Return what sorts devices by host and key."""
    host, key = item[0]
    return host, key or ""


def known_of(note: dict[str, str]) -> tuple[bool | None, str | None]:
    """Return the status and the inventory of a host, from what was noted of it."""
    info = note.get(INFO)
    if info is not None and info.startswith('"'):
        info = msgspec.json.decode(info, type=str)
    return bool(float(note[ONLINE])) if ONLINE in note else None, info


def too_many(query: SeriesQuery) -> UsageError:
    """Return the error of a query that finds more points than it may."""
    return UsageError(
        f"{query.table} {query.field} has more than {query.maximum_points} points in this time; "
        "take wider buckets, a shorter time or fewer hosts"
    )
