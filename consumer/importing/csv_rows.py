"""Rows of a CSV file as `export` writes them. What is there is checked: people edit such files."""

import csv
import math
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TextIO

from hostpulse.bus.errors import HostpulseError, UsageError
from hostpulse.bus.fields import Field, Table
from hostpulse.bus.messages import TABLES
from hostpulse.bus.times import to_milliseconds

from ..export import original_text
from ..storage.interface import Value
from ..storage.stored import Page, StoredRow, StoredRows

__all__ = ["CsvRows", "table_of"]

_PAGE_ROWS = 20_000
_LARGEST = 2**63
_INTEGER = re.compile(r"-?\d+", re.ASCII)
_SHOWN = 60
_FIRST_YEAR, _LAST_YEAR = 1970, 2261  # that InfluxDB can hold

Converter = Callable[[str], Value]


class CsvRows:
    """The rows of a file.

    Args:
        path: of the file, whose header is read.
        choose: returns the table of a file with certain columns.

    Raises:
        HostpulseError: the header is none of a table of ours.
        OSError: the file cannot be read.
    """

    def __init__(self, path: Path, choose: Callable[[Sequence[str]], Table]) -> None:
        self._path = path
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = next(self._lines(file), (1, []))[1]
        self.table = choose(header)
        self._check(header)
        self._columns = header
        own = 2 if self.table.key is None else 3
        fields = {field.name: field for field in self.table.fields}
        chosen = [(place, fields[name]) for place, name in enumerate(header) if place >= own]
        self._numbers = [(place, field) for place, field in chosen if field.type is not str]
        self._texts = [(place, field) for place, field in chosen if field.type is str]
        self._converters = [(place, field, _converter(field)) for place, field in (*self._numbers, *self._texts)]

    def pages(self, position: int) -> Iterator[Page]:
        """Yield the rows behind a position, which is the number of rows before.

        Raises:
            HostpulseError: a line is broken; names it.
            OSError: the file cannot be read.
        """
        numbers = tuple(field.name for _, field in self._numbers)
        texts = tuple(field.name for _, field in self._texts)
        with self._path.open(encoding="utf-8-sig", newline="") as file:
            lines = self._lines(file)
            next(lines)
            rows: list[StoredRow] = []
            number = 0
            for number, (line, cells) in enumerate(lines, 1):
                if number <= position:
                    continue
                rows.append(self._row(line, cells))
                if len(rows) == _PAGE_ROWS:
                    yield Page([StoredRows(self.table, numbers, texts, rows)], len(rows), number)
                    rows = []
            if rows:
                yield Page([StoredRows(self.table, numbers, texts, rows)], len(rows), number)

    def _lines(self, file: TextIO) -> Iterator[tuple[int, list[str]]]:
        """Yield the number of the last line of each row, and its cells."""
        reader = csv.reader(file, strict=True)
        try:
            for cells in reader:
                yield reader.line_num, cells
        except (csv.Error, UnicodeDecodeError) as error:
            raise self._broken(reader.line_num + isinstance(error, UnicodeDecodeError), str(error)) from None

    def _check(self, header: Sequence[str]) -> None:
        key = self.table.key
        begin = ["timestamp", "host", *([] if key is None else [key])]
        if list(header[: len(begin)]) != begin:
            raise self._broken(1, f"a file of {self.table.name} begins with {','.join(begin)}")
        names = header[len(begin) :]
        strangers = [name for name in names if self.table.field(name) is None]
        if strangers:
            raise self._broken(1, f"{self.table.name} has no field {strangers[0][:_SHOWN]!r}")
        if len(set(names)) < len(names):
            raise self._broken(1, "a column stands there twice")

    def _row(self, line: int, cells: Sequence[str]) -> StoredRow:
        if len(cells) != len(self._columns):
            raise self._broken(line, f"{len(cells)} cells in place of {len(self._columns)}")
        moment = _moment(cells[0])
        if moment is None:
            raise self._broken(line, f"timestamp {cells[0][:_SHOWN]!r} is no time such as 2026-03-14T09:26:53.589Z")
        for place in range(1, 2 if self.table.key is None else 3):
            if not cells[place]:
                raise self._broken(line, f"{self._columns[place]} is empty")
        host = original_text(cells[1])
        values: list[Value] = []
        for place, field, convert in self._converters:
            try:
                values.append(convert(cells[place]) if cells[place] else None)
            except ValueError:
                text = f"{field.name} {cells[place][:_SHOWN]!r} is no {_kind(field)}"
                raise self._broken(line, text) from None
        return moment, host if self.table.key is None else (host, original_text(cells[2])), values

    def _broken(self, line: int, reason: str) -> HostpulseError:
        return HostpulseError(f"{self._path} line {line}: {reason}; mend it, and the same command goes on")


def table_of(columns: Sequence[str], path: Path) -> Table:
    """Return the table that has these columns; of several, the one that the file is named after.

    Raises:
        UsageError: none has them, or several.
    """
    found = [table for table in TABLES.values() if _fits(table, columns)]
    named = [table for table in found if table.name == path.name.partition(".")[0]]
    if len(found) == 1 or named:
        return (named or found)[0]
    if found:
        names = " or ".join(table.name for table in found)
        raise UsageError(f"{path} may be of {names}: say which with --table")
    raise UsageError(f"{path} is no CSV file of hostpulse export: no table has the columns of its first line")


def _fits(table: Table, columns: Sequence[str]) -> bool:
    begin = ("timestamp", "host", *(() if table.key is None else (table.key,)))
    names = columns[len(begin) :]
    return tuple(columns[: len(begin)]) == begin and bool(names) and all(table.field(name) for name in names)


def _moment(text: str) -> int | None:
    """Return milliseconds since the epoch; None if the text is no time with an offset, or too far away."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    if found.tzinfo is None or not _FIRST_YEAR <= found.year <= _LAST_YEAR:
        return None
    moment = to_milliseconds(found)
    return moment if moment >= 0 else None  # an offset may put the first day of 1970 before it


def _converter(field: Field) -> Converter:
    if field.type is str:
        return original_text
    if field.type is bool:
        return _flag
    return _number if field.type is float else _whole


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or "_" in text:
        raise ValueError
    return value


def _whole(text: str) -> int:
    value = int(text) if _INTEGER.fullmatch(text) else -1
    if not 0 <= value < _LARGEST:
        raise ValueError
    return value


def _flag(text: str) -> int:
    return ("0", "1").index(text)


def _kind(field: Field) -> str:
    return {float: "number", int: "whole number", bool: "flag, which is 0 or 1"}.get(field.type, "text")
