"""From the lines of an answer to rows."""

from collections.abc import Callable, Iterable
from datetime import datetime
from operator import itemgetter
from typing import Any

from hostpulse.bus.fields import Field
from hostpulse.bus.messages import TABLES
from hostpulse.bus.times import to_milliseconds

from ..interface import Row, RowQuery
from .answer import Columns

__all__ = ["TEXTS", "TooManyRowsError", "collect_rows", "converter", "moment_of"]

TEXTS = "texts"
"""Name of the result that holds text, a line for each value: what pivoted answers cannot say is an empty text."""

Answer = Iterable[tuple[Columns, list[str]]]
Converter = Callable[[str], Any]


class TooManyRowsError(Exception):
    """A slice of time holds more rows than fit."""


def converter(field: Field) -> Converter:
    """Return what makes a value of a field from a cell."""
    if field.type is str:
        return str
    return float if field.type is float else _whole_number


def moment_of(text: str) -> int:
    """Return a cell of time as milliseconds since the epoch."""
    return to_milliseconds(datetime.fromisoformat(text))


def collect_rows(query: RowQuery, answer: Answer, most: int | None) -> list[Row]:
    """Return the rows of an answer in the order of time.

    Args:
        query: what was asked for.
        answer: its numbers pivoted, its text in a result of its own.
        most: number of rows that fit; None for any.

    Raises:
        TooManyRowsError: more.
    """
    table = TABLES[query.table]
    if any(field.type is str for field in table.fields):
        rows = _merged(query, answer, most)
    else:
        rows = _plain(query, answer, most)
    rows.sort(key=itemgetter(0))
    return rows


def _plain(query: RowQuery, answer: Answer, most: int | None) -> list[Row]:
    converters = _converters(query)
    names = _device(query)
    rows: list[Row] = []
    moments: dict[str, int] = {}
    known: Columns | None = None
    places: tuple[int, ...] = ()
    width = len(names)
    for columns, line in answer:
        if columns is not known:
            known = columns
            # A field that no row has is no column; the first cell of a line is always empty.
            places = tuple(columns.places.get(name, 0) for name in ("_time", *names, *query.field_names))
        time, *cells = [line[place] for place in places]
        moment = moments.get(time)
        if moment is None:
            moment = moments[time] = moment_of(time)
        values = [convert(cell) if cell else None for convert, cell in zip(converters, cells[width:], strict=True)]
        if len(rows) == most:
            raise TooManyRowsError
        rows.append((moment, *cells[:width], *values))
    return rows


def _merged(query: RowQuery, answer: Answer, most: int | None) -> list[Row]:
    converters = _converters(query)
    names = _device(query)
    fields = {name: place for place, name in enumerate(query.field_names)}
    rows: dict[tuple[Any, ...], list[Any]] = {}
    for columns, line in answer:
        places = columns.places
        device = (moment_of(line[places["_time"]]), *(line[places[name]] for name in names))
        row = rows.get(device)
        if row is None:
            if len(rows) == most:
                raise TooManyRowsError
            row = rows[device] = [None] * len(fields)
        if columns.result == TEXTS:
            place = fields.get(line[places["_field"]])
            if place is not None:
                row[place] = line[places["_value"]]
            continue
        for name, place in fields.items():
            if name in places and line[places[name]]:
                row[place] = converters[place](line[places[name]])
    return [(*device, *row) for device, row in rows.items()]


def _converters(query: RowQuery) -> list[Converter]:
    fields = {field.name: field for field in TABLES[query.table].fields}
    return [converter(fields[name]) for name in query.field_names]


def _device(query: RowQuery) -> tuple[str, ...]:
    key = TABLES[query.table].key
    return ("host",) if key is None else ("host", key)


def _whole_number(cell: str) -> int:
    return int(float(cell))
