"""The writer of a history in InfluxDB."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.domain.write_precision import WritePrecision
from influxdb_client.rest import ApiException

from hostpulse.bus.codec import Sample
from hostpulse.bus.fields import Table

from ..errors import TooOldError, UnstorableError
from ..interface import Maintenance, RejectedLine, Written
from ..options import InfluxOptions
from ..stored import StoredRows
from .answer import read_answer
from .connection import Server, connect, detect, is_hidden, reported
from .delivery import Refusal, deliver
from .downsampling import summing_up
from .encoder import Encoder
from .flux import Flux
from .line_protocol import tag_value, text_value
from .lines import Lines
from .printing import Encoded
from .row_encoder import RowEncoder
from .schema import HOST_MEASUREMENT, INFO, LATEST_MOMENT, LONGEST_TEXT, ONLINE, clamp_moment, to_datetime
from .setup import Prepared, Setup, check_retention, find_bucket, retention_of
from .sql_queries import SqlQueries
from .version3 import Version3

__all__ = ["InfluxWriter", "Kept"]

_log = logging.getLogger(__name__)

_BATCH_MESSAGES = 5000
_BODIES_AT_ONCE = 2  # a server takes one in on about one of its cores; a receiver has no more batches on their way
_SUMMING_SECONDS = 600.0  # InfluxDB sums up some million values in that time, and nobody waits for an answer
_MILLISECONDS: Any = WritePrecision.MS  # a plain string, whatever its annotation says
_CONTROL = frozenset(map(chr, (*range(0x20), *range(0x7F, 0xA0))))


Send = Callable[[Lines], list[Refusal]]
"""Stores lines; returns those that the server refuses, and raises the client's errors."""


class _Parts(NamedTuple):
    """What an open writer consists of."""

    client: InfluxDBClient
    workers: ThreadPoolExecutor  # threads that wait for the server
    send: Send
    send_minutes: Send
    send_notes: Send
    server: Server
    prepare: Callable[[], Prepared] | None  # None where the server has no buckets
    prepared: Prepared | None  # by `open`


class Kept(NamedTuple):
    """What can be seen of the buckets.

    Attributes:
        bucket: id of that of raw rows; None if it cannot be seen.
        raw: seconds that raw rows are kept; None for ever, or if that cannot be seen.
        minutes: seconds that minutes are kept; None as above.
    """

    bucket: str | None
    raw: float | None
    minutes: float | None


class InfluxWriter:
    """Writes a history into a bucket of InfluxDB 2, or a database of InfluxDB 3; a `Writer`.

    For one thread at a time; it has threads of its own, which wait for the server. Several writers, in this and in
    other processes, may share a bucket.

    Args:
        options: where the bucket is.
        retention: seconds for which raw rows are kept, an hour at least; None for ever.
        rollup_retention: seconds for which minutes that were summed up are kept, at least as long; None for ever.
        maximum_entries: new entries of one host in one map in a day; None for any number.
        wall: seconds since the epoch.

    Raises:
        UsageError: the retention makes no sense.
    """

    def __init__(
        self,
        options: InfluxOptions,
        *,
        retention: float | None,
        rollup_retention: float | None,
        maximum_entries: int | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        check_retention(retention, rollup_retention)
        self._options = options
        self._retention = retention
        self._rollup_retention = rollup_retention
        self._wall = wall
        self._encoder = Encoder(maximum_entries=maximum_entries)
        self._row_encoder = RowEncoder()
        self._open: _Parts | None = None
        self._making = threading.Lock()
        self._made = 0  # how often the bucket was made again

    @property
    def batch_messages(self) -> int:
        """How many messages a write should have where more wait: each costs the server a request."""
        return _BATCH_MESSAGES

    @property
    def server(self) -> Server:
        """What answers; only while open."""
        return self._parts.server

    @property
    def prepared(self) -> Prepared | None:
        """What `open` made ready; None where the server has no buckets. Only while open."""
        return self._parts.prepared

    @property
    def sums_up(self) -> bool:
        """Whether what answers sums up minutes, as `sum_up` asks it to; only while open."""
        return self._parts.server.has_flux

    def open(self) -> Self:
        """Look who answers, see whether the token may write, and make ready what it may.

        Raises:
            StorageUnavailableError: nobody answers, or not now.
            StorageError: the token, the organisation or the bucket is wrong.
        """
        if self._open is None:
            with self._reported():
                client = connect(self._options)
                try:
                    self._open = self._connect(client)
                except BaseException:
                    client.close()
                    raise
        return self

    def close(self) -> None:
        """Close the connection; may be called twice."""
        parts, self._open = self._open, None
        if parts is not None:
            parts.workers.shutdown(cancel_futures=True)
            parts.client.close()

    def write(self, samples: Sequence[Sample]) -> Written:
        """Store a batch; acknowledged by the server on return.

        Returns:
            How many rows were stored, and those that InfluxDB has no way to hold or refuses.

        Raises:
            StorageUnavailableError: not now; write it again, after `retry_after` if that is given.
            StorageError: not until a person mends something; write it again.
        """
        return self.submit((samples,)).result()

    def submit(self, pieces: Iterable[Sequence[Sample]]) -> Future[Written]:
        """Make lines of a batch, and store them in the background.

        Returns:
            What `write` returns or raises.
        """
        return self._parts.workers.submit(_written, self._encoder.encode(pieces), self._send)

    def write_rows(self, block: StoredRows) -> Written:
        """Store rows that come from another store; acknowledged by the server on return.

        Writing them again changes nothing. Minutes that were summed up go to their own bucket.

        Returns:
            How many rows were stored, and those that InfluxDB has no way to hold or refuses; their `index` is that of
            the row.

        Raises:
            StorageUnavailableError: not now; write it again, after `retry_after` if that is given.
            StorageError: not until a person mends something; write it again.
        """
        parts = self._parts
        encoded = self._row_encoder.encode(block)
        if block.aggregate is None:
            return _written(encoded, self._deliver)
        with self._reported(self._options.rollup_bucket):
            return _written(encoded, parts.send_minutes)

    def sum_up(self, table: Table, start: int, end: int) -> None:
        """Have InfluxDB sum up the minutes of a range as its task does; they replace what is there. Only if `sums_up`.

        Args:
            table: whose minutes.
            start: milliseconds since the epoch, of a whole minute, included.
            end: milliseconds since the epoch, of a whole minute, not included.

        Raises:
            StorageUnavailableError: not now; it can be done again.
            StorageError: the token may not do this.
        """
        options = self._options
        text = summing_up(
            options.bucket,
            options.rollup_bucket,
            [("start", "stop")],
            {table.name: table},
            answer="|> filter(fn: (r) => false)",
        )
        bounds = {"start": to_datetime(start), "stop": to_datetime(end)}
        purpose = f"read bucket {options.bucket!r} and write bucket {options.rollup_bucket!r}"
        with (
            reported(options, purpose, wall=self._wall),
            connect(replace(options, timeout=_SUMMING_SECONDS)) as client,
        ):
            response: Any = client.query_api().query_raw(text, params=bounds)
            for _ in read_answer(response):
                pass

    def kept(self) -> Kept:
        """Return what can be seen of the buckets.

        Raises:
            StorageError: they cannot be asked for.
        """
        parts, options = self._parts, self._options
        with self._reported():
            if not parts.server.has_flux:
                return Kept(None, None, None)
            raw = find_bucket(parts.client, options, options.bucket)
            minutes = find_bucket(parts.client, options, options.rollup_bucket)
        return Kept(None if raw is None else raw.id, retention_of(raw), retention_of(minutes))

    def hosts(self, now: float) -> set[str] | None:
        """Return the hosts in the bucket of raw rows; None where they cannot be asked for, or the token may not.

        Args:
            now: seconds since the epoch.

        Raises:
            StorageUnavailableError: not now.
        """
        server = self._parts.server
        if not (server.has_flux or server.is_version_3):
            return None
        start = 0 if self._retention is None else clamp_moment(now - self._retention)
        with self._reported():
            try:
                return self._hosts_by_sql(start) if server.is_version_3 else self._hosts_by_flux(start)
            except ApiException as error:
                if not is_hidden(error):
                    raise
                return None

    def note_host(
        self, host: str, *, online: bool | None = None, info: str | None = None, moment: int | None = None
    ) -> None:
        """Remember what a host's retained `status` or `info` says; None leaves what is known.

        InfluxDB 3 has it on its disk within a second; should it be killed before, the host has to say it again.

        Args:
            host: name of the machine, not escaped.
            online: what `status` says.
            info: JSON text, stored as it is.
            moment: when it said so, milliseconds since the epoch, so that what is known from later stays; now if None.

        Raises:
            TooOldError: that moment is too long ago.
            UnstorableError: InfluxDB has no way to hold that name or that text.
            StorageError: nothing was remembered.
        """
        values = []
        if online is not None:
            values.append(b"%b=%d" % (ONLINE.encode(), online))
        if info is not None:
            text = _one_line(_storable(info))
            if len(text) > LONGEST_TEXT:
                raise UnstorableError(f"an inventory of {len(text)} characters, the limit is {LONGEST_TEXT}")
            values.append(b"%b=%b" % (INFO.encode(), text_value(text, maximum=None)))
        if not values:  # a point needs a field, and that the host was heard of is worth one
            values.append(b"noted=1")
        start = b"%b,host=%b " % (HOST_MEASUREMENT.encode(), tag_value(_storable(host)))
        line = b"%b%b %d" % (start, b",".join(values), round(self._wall() * 1000) if moment is None else moment)
        for refusal in self._deliver(Lines([line]), self._parts.send_notes):
            error = TooOldError if refusal.is_too_old else UnstorableError
            raise error(f"InfluxDB refuses what {host[:100]!a} says: {refusal.reason}")

    def maintain(self, now: float) -> Maintenance:  # noqa: ARG002 - a `Writer` has it
        """Do nothing: a task of InfluxDB sums up minutes, and its retention deletes."""
        return Maintenance(0, 0, more=False)

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _parts(self) -> _Parts:
        if self._open is None:
            raise RuntimeError("the writer is not open")
        return self._open

    def _hosts_by_sql(self, start: int) -> set[str]:
        return SqlQueries(self._parts.client, self._options).host_names(start)

    def _hosts_by_flux(self, start: int) -> set[str]:
        flux = Flux()
        source = flux.source(self._options.bucket, start, LATEST_MOMENT)
        # The index answers this form of a query, without a look at the rows.
        text = f'{source} |> keep(columns: ["host"]) |> group() |> distinct(column: "host")'
        response: Any = self._parts.client.query_api().query_raw(text, params=flux.parameters)
        return {line[columns.places["_value"]] for columns, line in read_answer(response)}

    def _deliver(self, lines: Lines, send: Send | None = None) -> list[Refusal]:
        """Send lines, and wait for it."""
        return self._parts.workers.submit(self._send, lines, send).result()

    def _send(self, lines: Lines, send: Send | None = None) -> list[Refusal]:
        """Send lines; where the bucket has gone since `open`, make it again if the token may. For the workers."""
        parts = self._parts
        send = send or parts.send
        with self._reported():
            made = self._made
            try:
                return send(lines)
            except ApiException as error:
                if parts.prepare is None or not is_hidden(error):
                    raise
                with self._making:
                    if self._made == made:  # else somebody else has made it meanwhile
                        parts.prepare()  # raises what `send` did if nothing can be done
                        self._made += 1
                        bucket = self._options.bucket
                        _log.warning("InfluxDB bucket %s was gone, or could not be written for a while", bucket)
            return send(lines)

    @contextlib.contextmanager
    def _reported(self, bucket: str | None = None) -> Iterator[None]:
        options = self._options if bucket is None else replace(self._options, bucket=bucket)
        with reported(options, f"write bucket {options.bucket!r}", wall=self._wall):
            yield

    def _connect(self, client: InfluxDBClient) -> _Parts:
        options = self._options
        server = detect(client)
        # It has no thread before it has work.
        workers = ThreadPoolExecutor(max_workers=_BODIES_AT_ONCE, thread_name_prefix="influxdb")
        if server.is_version_3:
            samples, minutes = (Version3(client, options, name) for name in (options.bucket, options.rollup_bucket))
            samples.probe()
            # A note is a request of its own, and what many hosts say of themselves comes at once.
            notes = partial(samples.deliver, waits=False)
            return _Parts(client, workers, samples.deliver, minutes.deliver, notes, server, None, None)
        write = client.write_api(write_options=SYNCHRONOUS).write

        def post(bucket: str, body: bytes) -> None:
            write(bucket, options.org, body, write_precision=_MILLISECONDS)

        def send(bucket: str, lines: Lines) -> list[Refusal]:
            return deliver(lines, partial(post, bucket))

        to_bucket, to_minutes = partial(send, options.bucket), partial(send, options.rollup_bucket)
        if not server.has_flux:
            return _Parts(client, workers, to_bucket, to_minutes, to_bucket, server, None, None)
        setup = Setup(client, options, retention=self._retention, rollup_retention=self._rollup_retention)
        prepare = partial(setup.run, partial(post, options.bucket, b""))
        return _Parts(client, workers, to_bucket, to_minutes, to_bucket, server, prepare, prepare())


def _written(encoded: Encoded, send: Send) -> Written:
    """Send lines; return what became of them."""
    lines, owners, rejected = encoded
    refusals = send(lines) if lines else []
    for index, reason, is_too_old in refusals:
        error = (TooOldError if is_too_old else UnstorableError)(f"InfluxDB refuses a line: {reason}")
        rejected.append(RejectedLine(owners[index], lines[index], error))
    return Written(len(lines) - len(refusals), rejected=tuple(rejected))


def _storable(text: str) -> str:
    """Return the text with what is not Unicode, such as a topic may bring, written out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _one_line(text: str) -> str:
    """Return text without control characters: as it is, or as JSON, which begins with a quote; see `hosts`."""
    return msgspec.json.encode(text).decode() if text.startswith('"') or not _CONTROL.isdisjoint(text) else text
