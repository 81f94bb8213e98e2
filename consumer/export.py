"""Rows of the history as CSV or JSON lines, in constant memory.

What comes from the bus is not to be trusted: text that a spreadsheet would run as a formula gets an apostrophe in
front, as spreadsheets themselves write such text.
"""

import csv
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Protocol

import msgspec

from .storage import Reader, Row, RowQuery, Value

__all__ = ["FORMATS", "Sink", "export_csv", "export_json_lines"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_TEXT_COLUMNS_FROM = 1  # behind the timestamp


class Sink(Protocol):
    """Where text goes."""

    def write(self, text: str, /) -> int:
        """Write a piece."""
        ...


def _timestamp(milliseconds: Value) -> str:
    moment = _EPOCH + timedelta(milliseconds=float(milliseconds or 0))
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _cell(value: Value) -> Value:
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return f"'{value}"
    return value


def _counted(reader: Reader, query: RowQuery, advance: Callable[[int], None]) -> Iterator[list[Row]]:
    for rows in reader.rows(query):
        yield rows
        advance(len(rows))


def export_csv(reader: Reader, query: RowQuery, sink: Sink, advance: Callable[[int], None]) -> None:
    """Write a header and all rows of a query as CSV (RFC 4180, but lines end in a newline alone).

    Args:
        reader: the history.
        query: what to write.
        sink: where to.
        advance: called with the number of rows written since the last call.
    """
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(query.columns)
    for rows in _counted(reader, query, advance):
        writer.writerows((_timestamp(row[0]), *map(_cell, row[_TEXT_COLUMNS_FROM:])) for row in rows)


def export_json_lines(reader: Reader, query: RowQuery, sink: Sink, advance: Callable[[int], None]) -> None:
    """Write all rows of a query as one JSON object per line; what is not known is absent. Arguments as above."""
    columns = query.columns[_TEXT_COLUMNS_FROM:]
    encode = msgspec.json.Encoder().encode
    for rows in _counted(reader, query, advance):
        for row in rows:
            values = zip(columns, row[_TEXT_COLUMNS_FROM:], strict=True)
            record = {"timestamp": _timestamp(row[0])} | {name: value for name, value in values if value is not None}
            sink.write(encode(record).decode() + "\n")


FORMATS = {"csv": export_csv, "jsonl": export_json_lines}
