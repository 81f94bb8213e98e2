"""A right that one of several programs has at a time, kept in the bucket that they share.

A point says who has it and until when. Who finds that it has run out writes itself into a new point and looks at the
next call whether it is still the one that is named: of two that do so at once, the later point counts. InfluxDB knows
no transactions, and clocks differ, so for moments two may have it, or none; it is for work that may be done twice.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.domain.dialect import Dialect
from influxdb_client.domain.write_precision import WritePrecision

from ..options import InfluxOptions
from .answer import read_answer
from .connection import connect, detect, reported
from .flux import Flux
from .line_protocol import tag_value, text_value
from .schema import LEASE_MEASUREMENT
from .sql import Catalog, Sql, quoted

__all__ = ["InfluxLease"]

_SECONDS = 60.0
_SETTLE_SECONDS = 3.0
_LOOK_BACK_SECONDS = 3600.0
_MILLISECONDS: Any = WritePrecision.MS  # a plain string, whatever its annotation says
_DIALECT = Dialect(header=True, delimiter=",", comment_prefix="#", annotations=["datatype"], date_time_format="RFC3339")


class InfluxLease:
    """A lease in a bucket of InfluxDB 2, or a database of InfluxDB 3.

    Args:
        options: where the bucket is; the token must be allowed to read and to write it.
        name: of what is leased.
        owner: unlike that of all others.
        wall: seconds since the epoch.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        options: InfluxOptions,
        *,
        name: str,
        owner: str,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._name = name
        self._owner = owner
        self._wall = wall
        self._clock = clock
        self._client: InfluxDBClient | None = None
        self._has_sql = False  # of what it is connected to
        self._claimed = -math.inf  # when we last wrote ourselves, monotonic seconds
        self._ours_until = -math.inf  # monotonic seconds

    def hold(self) -> bool:
        """Return whether it is ours now; try to get or to keep it.

        Raises:
            StorageError: that cannot be known.
        """
        now = self._clock()
        if now < self._ours_until - _SECONDS / 2:
            return True
        if now - self._claimed < _SETTLE_SECONDS:
            return False
        owner, until = self._read()
        left = until - self._wall()
        if owner == self._owner and left > 0:
            self._ours_until = now + left
            if left < _SECONDS / 2:
                self._write(self._wall() + _SECONDS)
            return True
        self._ours_until = -math.inf
        if left <= 0:
            self._write(self._wall() + _SECONDS)
            self._claimed = now
        return False

    def close(self) -> None:
        """Give it back, where it is ours, and close the connection; may be called twice."""
        client = self._client
        if client is None:
            return
        try:
            if self._clock() < self._ours_until:
                self._write(self._wall())
        finally:
            self._ours_until = -math.inf
            self._client = None
            client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> tuple[str, float]:
        """Return who has it and until when, seconds since the epoch."""
        now = self._wall()
        start = round((now - _LOOK_BACK_SECONDS) * 1000)
        end = round((now + 2 * _SECONDS) * 1000)  # a point from a clock that is far ahead is nobody's lease
        with self._reported("read"):
            client = self._connected()
            found = self._read_by_sql(client, start, end) if self._has_sql else self._read_by_flux(client, start, end)
        return found.get("owner", ""), float(found.get("until", "-inf")) / 1000

    def _read_by_flux(self, client: InfluxDBClient, start: int, end: int) -> dict[str, Any]:
        """Return the fields of the last point."""
        flux = Flux()
        source = flux.source(
            self._options.bucket,
            start,
            end,
            flux.is_any("_measurement", [LEASE_MEASUREMENT]),
            flux.is_any("lease", [self._name]),
        )
        response: Any = client.query_api().query_raw(f"{source} |> last()", dialect=_DIALECT, params=flux.parameters)
        return {
            line[columns.places["_field"]]: line[columns.places["_value"]] for columns, line in read_answer(response)
        }

    def _read_by_sql(self, client: InfluxDBClient, start: int, end: int) -> dict[str, Any]:
        """Return the fields of the last point."""
        bucket = self._options.bucket
        if not Catalog(client).columns(bucket, LEASE_MEASUREMENT, wanted=()):
            return {}
        sql = Sql()
        where = sql.where(start, end, sql.is_any("lease", [self._name]))
        text = f"SELECT owner, until FROM {quoted(LEASE_MEASUREMENT)} {where} ORDER BY time DESC LIMIT 1"  # noqa: S608 - names of ours
        return next(iter(sql.ask(client, bucket, text)), {})

    def _write(self, until: float) -> None:
        line = b"%b,lease=%b owner=%b,until=%d %d" % (
            LEASE_MEASUREMENT.encode(),
            tag_value(self._name),
            text_value(self._owner),
            round(until * 1000),
            round(self._wall() * 1000),
        )
        with self._reported("write"):
            write = self._connected().write_api(write_options=SYNCHRONOUS).write
            write(self._options.bucket, self._options.org, line, write_precision=_MILLISECONDS)

    def _connected(self) -> InfluxDBClient:
        if self._client is None:
            client = connect(self._options)
            try:
                self._has_sql = detect(client).is_version_3
            except BaseException:
                client.close()
                raise
            self._client = client
        return self._client

    @contextlib.contextmanager
    def _reported(self, purpose: str) -> Iterator[None]:
        with reported(self._options, f"{purpose} bucket {self._options.bucket!r}", wall=self._wall):
            yield
