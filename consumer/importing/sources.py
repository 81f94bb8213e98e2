"""Where a history comes from."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from hostpulse.bus.errors import HostpulseError, UsageError
from hostpulse.bus.fields import Table

from ..storage import Host
from ..storage.embedded.dump import EmbeddedDump
from ..storage.interface import table_named
from ..storage.stored import Page
from .csv_rows import CsvRows, table_of

__all__ = ["CsvSource", "EmbeddedSource", "Part", "Source", "source_of"]

_MAGIC = b"SQLite format 3\0"
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one table of a source, or its minutes.

    Attributes:
        name: of this part in its source.
        table: whose rows.
        minutes: whether they are minutes that were summed up.
        start: position before the first row.
        pages: gives the rows behind a position.
        left: returns about how many rows there are behind a position.
        whole_from: milliseconds since the epoch, of the minute from which on the rows are all that there were.
    """

    name: str
    table: Table
    minutes: bool
    start: int
    pages: Callable[[int], Iterator[Page]]
    left: Callable[[int], int]
    whole_from: int = 0


class Source(Protocol):
    """A history that can be read again from where it was left."""

    @property
    def path(self) -> Path:
        """The file."""
        ...

    @property
    def has_minutes(self) -> bool:
        """Whether it has minutes that were summed up."""
        ...

    @property
    def identity(self) -> str:
        """What changes when a position in it means nothing any more."""
        ...

    def opened(self) -> contextlib.AbstractContextManager[object]:
        """Give the source ready to be read.

        Raises:
            HostpulseError: it cannot be read.
        """
        ...

    def parts(self) -> Sequence[Part]:
        """Return its parts, minutes before the rows of their table."""
        ...

    def hosts(self) -> tuple[Sequence[Host], int | None]:
        """Return what hosts said of themselves, and when it was so, milliseconds since the epoch; None if unknown."""
        ...

    def left_out(self) -> Sequence[str]:
        """Return the names of what it holds and cannot be read."""
        ...


def source_of(path: Path, history_file: str, table: str | None) -> Source:
    """Return the source that a path names.

    Args:
        path: a database, a directory that holds one, or a CSV file.
        history_file: name of the database in such a directory.
        table: of a CSV file; None to know it by its columns.

    Raises:
        HostpulseError: it is none of these, or cannot be read.
    """
    with _readable(path):
        if path.is_dir():
            path /= history_file
        if not path.is_file():
            raise UsageError(f"there is no file {path}; name a {history_file}, a directory that has one, or a CSV file")
        with path.open("rb") as file:
            is_database = file.read(len(_MAGIC)) == _MAGIC
    if not is_database:
        return CsvSource(path, table)
    if table is not None:
        raise UsageError(f"--table is for CSV files, {path} is a database")
    return EmbeddedSource(path)


class EmbeddedSource:
    """An embedded store; a `Source`.

    Args:
        path: of the database.
    """

    has_minutes = True

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._dump = EmbeddedDump(self.path)

    @property
    def identity(self) -> str:
        """What tells this database from one that took its place."""
        with _readable(self.path):
            status = self.path.stat()
        return f"{status.st_dev} {status.st_ino}"

    def opened(self) -> contextlib.AbstractContextManager[object]:
        """Give the database opened."""
        return self._dump

    def parts(self) -> Sequence[Part]:
        """Return for each table its minutes and its rows."""
        dump = self._dump
        parts = []
        for table in dump.tables():
            if any(field.has_mean for field in table.fields):
                parts.append(
                    Part(
                        f"minutes of {table.name}",
                        table,
                        minutes=True,
                        start=-1,
                        pages=partial(dump.minute_pages, table),
                        left=partial(dump.left, table, minutes=True),
                    )
                )
            parts.append(
                Part(
                    table.name,
                    table,
                    minutes=False,
                    start=-1,
                    pages=partial(dump.pages, table),
                    left=partial(dump.left, table, minutes=False),
                    whole_from=dump.raw_start(table),
                )
            )
        return parts

    def hosts(self) -> tuple[Sequence[Host], int | None]:
        """Return what hosts said, as of the newest row."""
        return self._dump.hosts(), self._dump.newest()

    def left_out(self) -> Sequence[str]:
        """Return the tables of a newer hostpulse."""
        return self._dump.unknown_tables()


class CsvSource:
    """A CSV file as `export` writes them; a `Source`. The position is the number of the last row, from 1.

    Args:
        path: of the file.
        table: name of the table; None to know it by the columns.
    """

    has_minutes = False

    def __init__(self, path: Path, table: str | None) -> None:
        self.path = path.absolute()
        self._table = None if table is None else table_named(table)
        self._rows: CsvRows | None = None

    @property
    def identity(self) -> str:
        """What tells this file from another and from what it was before."""
        with _readable(self.path):
            status = self.path.stat()
        return f"{status.st_dev} {status.st_ino} {status.st_size} {status.st_mtime_ns}"

    @contextlib.contextmanager
    def opened(self) -> Iterator[object]:
        """Look at the header."""
        with _readable(self.path):
            self._rows = CsvRows(self.path, lambda columns: self._table or table_of(columns, self.path))
            yield self

    def parts(self) -> Sequence[Part]:
        """Return the only part."""
        rows = self._rows
        if rows is None:
            raise RuntimeError("the source is not open")
        table = rows.table
        return [Part(table.name, table, minutes=False, start=0, pages=rows.pages, left=self._left)]

    def hosts(self) -> tuple[Sequence[Host], int | None]:
        """Return none: it says nothing of them."""
        return (), None

    def left_out(self) -> Sequence[str]:
        """Return nothing."""
        return ()

    def _left(self, position: int) -> int:
        """Return the number of lines, which is that of rows where no text has lines of its own."""
        with _readable(self.path), self.path.open("rb") as file:
            lines = sum(block.count(b"\n") for block in iter(lambda: file.read(_BLOCK), b""))
        return max(lines - 1 - position, 0)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what the system says inside into a line about a file."""
    try:
        yield
    except OSError as error:
        if error.filename is not None and Path(error.filename) != path:
            raise
        raise HostpulseError(f"cannot read {path}: {error.strerror or error}") from None
