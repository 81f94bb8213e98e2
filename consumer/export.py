"""Rows of the history as CSV or JSON lines, in constant memory.

What comes from the bus is not to be trusted: text that a spreadsheet would run as a formula gets an apostrophe in
front, as spreadsheets themselves write such text. So does text that has apostrophes in front of such a beginning, so
that one less is always what it was.
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Protocol

import msgspec

from hostpulse.bus.messages import TABLES

from .storage import Reader, Row, RowQuery, Value

__all__ = ["FORMATS", "CsvWriter", "Sink", "export_csv", "export_json_lines", "original_text", "safe_cell"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The last four are the first four in full width, which spreadsheets of East Asia take for the same.
_FORMULA = re.compile("'*[=+@\\t\\r\\n＝＋－＠-]")  # noqa: RUF001
_TEXT_COLUMNS_FROM = 1  # behind the timestamp


class Sink(Protocol):
    """Where text goes."""

    def write(self, text: str, /) -> int:
        """Write a piece."""
        ...


def safe_cell(value: Value) -> Value:
    """Return a value as a cell of a CSV file that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def original_text(cell: str) -> str:
    """Return the text that `safe_cell` made a cell of."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


class CsvWriter:
    """Writes rows as CSV: RFC 4180, but lines end in a newline alone.

    Args:
        sink: where to.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        # Python quotes a cell for the line ends that it writes itself, and a lone carriage return ends a line for many.
        self._writer = csv.writer(self, lineterminator="\r\n")

    def rows(self, rows: Iterable[Iterable[Value]]) -> None:
        """Write rows; what is not known is empty."""
        self._writer.writerows(rows)

    def write(self, line: str, /) -> int:
        """Take a line from Python's writer."""
        return self._sink.write(line[:-2] + "\n")


def _timestamp(milliseconds: Value) -> str:
    moment = _EPOCH + timedelta(milliseconds=float(milliseconds or 0))
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _counted(reader: Reader, query: RowQuery, advance: Callable[[int], None]) -> Iterator[list[Row]]:
    for rows in reader.rows(query):
        yield rows
        advance(len(rows))


def export_csv(reader: Reader, query: RowQuery, sink: Sink, advance: Callable[[int], None]) -> None:
    """Write a header and all rows of a query as CSV, see `CsvWriter`; a flag is 0 or 1.

    Args:
        reader: the history.
        query: what to write.
        sink: where to.
        advance: called with the number of rows written since the last call.
    """
    writer = CsvWriter(sink)
    writer.rows([query.columns])
    for rows in _counted(reader, query, advance):
        writer.rows((_timestamp(row[0]), *map(safe_cell, row[_TEXT_COLUMNS_FROM:])) for row in rows)


def export_json_lines(reader: Reader, query: RowQuery, sink: Sink, advance: Callable[[int], None]) -> None:
    """Write all rows of a query as one JSON object per line, values as they stood in the messages.

    What is not known is absent. Arguments as above.
    """
    columns = query.columns[_TEXT_COLUMNS_FROM:]
    flags = {field.name for field in TABLES[query.table].fields if issubclass(field.type, bool)}
    encode = msgspec.json.Encoder().encode
    for rows in _counted(reader, query, advance):
        for row in rows:
            record: dict[str, Value] = {"timestamp": _timestamp(row[0])}
            for name, value in zip(columns, row[_TEXT_COLUMNS_FROM:], strict=True):
                if value is not None:
                    record[name] = bool(value) if name in flags else value
            sink.write(encode(record).decode() + "\n")


FORMATS = MappingProxyType({"csv": export_csv, "jsonl": export_json_lines})
