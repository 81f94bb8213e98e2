"""What rules would have told, from history."""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from hostpulse.bus.codec import Envelope, Sample
from hostpulse.bus.fields import Table
from hostpulse.bus.messages import SUBSYSTEMS, TABLES

from ..storage import Reader, Row, RowQuery
from .engine import Engine
from .metrics import HOST_TABLE
from .model import Rule
from .transition import Transition

__all__ = ["replay"]

_TICK_SECONDS = 10.0
_UNKNOWN_INTERVAL = 60.0
_MILLISECONDS = 1000
_SESSION = datetime(2020, 1, 1, tzinfo=UTC)


def replay(
    rules: Sequence[Rule], reader: Reader, *, start: float, end: float, hosts: tuple[str, ...] | None = None
) -> Iterator[Transition]:
    """Yield what would have happened, in order and in constant memory.

    History does not tell when messages came nor what interval they announced: it counts as the time since the one
    before, and no clock is wrong.

    Args:
        rules: to play.
        reader: open.
        start: seconds since the epoch, included.
        end: seconds since the epoch, not included.
        hosts: only of these; None for all.
    """
    engine = Engine(rules)
    clock = start
    for sample in _samples(rules, reader, start=start, end=end, hosts=hosts):
        moment = sample.envelope.timestamp.timestamp()
        while clock + _TICK_SECONDS <= moment:
            clock += _TICK_SECONDS
            yield from engine.tick(clock)
        yield from engine.take(sample, moment)
    while clock + _TICK_SECONDS <= end:
        clock += _TICK_SECONDS
        yield from engine.tick(clock)


@dataclass(frozen=True, slots=True)
class _Columns:
    """What is read of a table."""

    table: Table
    fields: tuple[str, ...]


def _columns(rules: Iterable[Rule]) -> Iterator[_Columns]:
    """Yield what the rules need of each table; for hosts themselves, something that every host says often."""
    needed: dict[str, dict[str, None]] = {}
    for rule in rules:
        if rule.table is HOST_TABLE:
            needed.setdefault("cpu", {}).setdefault("load_average_1m")
            needed.setdefault("battery", {}).setdefault("charge_percent")
        else:
            needed.setdefault(rule.table.name, {}).update(dict.fromkeys((rule.field.name, *rule.references)))
    for name, fields in needed.items():
        yield _Columns(TABLES[name], tuple(fields))


def _samples(
    rules: Iterable[Rule], reader: Reader, *, start: float, end: float, hosts: tuple[str, ...] | None
) -> Iterator[Sample]:
    """Yield a sample for each row, in the order of time."""
    rows = [
        _rows(
            reader,
            columns,
            RowQuery(table=columns.table.name, start=start, end=end, hosts=hosts, fields=columns.fields),
        )
        for columns in _columns(rules)
    ]
    sequences: Counter[tuple[str, str]] = Counter()
    intervals = _Intervals()
    for timestamp, columns, row in heapq.merge(*rows, key=lambda item: item[0]):
        host = str(row[1])
        sequences[host, columns.table.subsystem] += 1
        yield _sample(columns, row, sequences[host, columns.table.subsystem], intervals.after(columns, row, timestamp))


def _rows(reader: Reader, columns: _Columns, query: RowQuery) -> Iterator[tuple[int, _Columns, Row]]:
    for batch in reader.rows(query):
        for row in batch:
            timestamp = row[0]
            if isinstance(timestamp, float | int):
                yield int(timestamp), columns, row


class _Intervals:
    """Guesses what interval a message announced: the time since the one of its kind, or that before it, if shorter.

    A gap alone would make a long one; a new setting shows after two.
    """

    def __init__(self) -> None:
        self._last: dict[tuple[object, ...], tuple[int, float]] = {}

    def after(self, columns: _Columns, row: Row, timestamp: int) -> float:
        """Return the interval in seconds."""
        known = tuple(value is not None for value in row)
        kind = (columns.table.name, *row[1 : len(row) - len(columns.fields)], known)
        last = self._last.get(kind)
        if last is None:
            self._last[kind] = (timestamp, _UNKNOWN_INTERVAL)
            return _UNKNOWN_INTERVAL
        before, interval = last
        elapsed = max(timestamp - before, 1) / _MILLISECONDS
        self._last[kind] = (timestamp, elapsed)
        return min(elapsed, interval)


def _sample(columns: _Columns, row: Row, sequence: int, interval: float) -> Sample:
    table = columns.table
    values = zip(columns.fields, row[-len(columns.fields) :], strict=True)
    known = {name: value for name, value in values if value is not None}
    content: object = known if table.map is None else {table.map: {str(row[2]): known}}
    envelope = Envelope(
        v=1,
        host=str(row[1]),
        subsystem=table.subsystem,
        timestamp=datetime.fromtimestamp(float(row[0] or 0) / _MILLISECONDS, UTC),
        sequence=sequence,
        session=_SESSION,
        interval=interval,
    )
    return Sample(envelope, msgspec.convert(content, SUBSYSTEMS[table.subsystem], strict=False))
