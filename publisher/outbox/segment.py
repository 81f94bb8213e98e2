"""One file of the log."""

import re
from collections.abc import Iterator, Mapping
from io import RawIOBase
from pathlib import Path
from typing import NamedTuple

from .message import MAXIMUM_RECORD_BYTES, Message, Record, parse

__all__ = ["Bounds", "Piece", "Segment"]

_PIECE_BYTES = 65_536
_MOST_KEYS = 256  # of an index; a publisher that starts over and over would otherwise fill the memory with them
_NAME = re.compile(r"(\d{20})\.log", re.ASCII)


class Piece(NamedTuple):
    """What was read at once.

    Attributes:
        records: in order.
        records_end: where in the file the last of them ends.
        end: where the next piece begins.
        damaged: bytes that belong to no record.
        last: nothing follows.
    """

    records: list[Record]
    records_end: int
    end: int
    damaged: int
    last: bool


class Bounds(NamedTuple):
    """The lowest and highest sequence of a session and subsystem in a file; `exact` where they are known."""

    lowest: int
    highest: int
    exact: bool


class _Index:
    """Which messages a file may have: the lowest and highest sequence of each session and subsystem."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, str], tuple[int, int]] | None = {}

    def add(self, message: Message) -> None:
        if self._found is None:
            return
        key = (message.session, message.subsystem)
        sequence = message.sequence
        known = self._found.get(key)
        if known is not None:
            self._found[key] = (min(known[0], sequence), max(known[1], sequence))
        elif len(self._found) < _MOST_KEYS:
            self._found[key] = (sequence, sequence)
        else:
            self._found = None

    @property
    def highest(self) -> Mapping[tuple[int, str], int]:
        return {key: highest for key, (_, highest) in (self._found or {}).items()}

    def bounds(self, session: int, subsystem: str) -> Bounds | None:
        if self._found is None:
            return Bounds(0, 2**63, exact=False)
        found = self._found.get((session, subsystem))
        return None if found is None else Bounds(*found, exact=True)


class Segment:
    """A file of records: named after the number of its first message, only appended to, deleted as a whole.

    Attributes:
        path: the file.
        first: number of its first message.
        size: of the file in bytes.
        modified: when it was last written, seconds since the epoch by the clock of that time.
        written: when this process last wrote it, seconds that never step; None where it has not.
    """

    def __init__(self, path: Path, first: int, *, size: int = 0, modified: float = 0.0) -> None:
        self.path = path
        self.first = first
        self.size = size
        self.modified = modified
        self.written: float | None = None
        self._begun: float | None = None
        self._index: _Index | None = None

    @classmethod
    def create(cls, directory: Path, first: int) -> "Segment":
        """Return a new one; its file is made by the first write."""
        segment = cls(directory / f"{first:020}.log", first)
        segment._index = _Index()
        return segment

    @classmethod
    def find(cls, directory: Path) -> list["Segment"]:
        """Return those in a directory in order.

        Raises:
            OSError: it cannot be read.
        """
        found = []
        for path in directory.iterdir():
            if name := _NAME.fullmatch(path.name):
                status = path.stat()
                found.append(cls(path, int(name[1]), size=status.st_size, modified=status.st_mtime))
        return sorted(found, key=lambda segment: segment.first)

    @property
    def indexed(self) -> bool:
        """Whether it is known which messages it may have."""
        return self._index is not None

    def bounds(self, session: int, subsystem: str) -> Bounds | None:
        """Return which messages of a session and subsystem it may have; None for none. `pieces` finds it out."""
        return None if self._index is None else self._index.bounds(session, subsystem)

    @property
    def highest(self) -> Mapping[tuple[int, str], int]:
        """The highest sequence of each session and subsystem; of none where that is not known."""
        return {} if self._index is None else self._index.highest

    def grow(self, size: int, now: float) -> None:
        """Note that bytes were appended now."""
        self.size += size
        self.written = now
        if self._begun is None:
            self._begun = now

    def seconds_since_begin(self, now: float) -> float:
        """Return how long this process has written to it."""
        return 0.0 if self._begun is None else now - self._begun

    def note(self, message: Message) -> None:
        """Note a message that was appended."""
        if self._index is not None:
            self._index.add(message)

    def read(self, offset: int) -> Piece:
        """Return the records from an offset on, as many as fit a piece and one at least.

        Raises:
            OSError: the file cannot be read.
        """
        with self.path.open("rb", buffering=0) as file:
            piece = _read(file, offset, _PIECE_BYTES)
            return piece if piece.last or piece.end > offset else _read(file, offset, MAXIMUM_RECORD_BYTES)

    def pieces(self) -> Iterator[Piece]:
        """Yield all of it, and find out which messages it may have where that is not known.

        Raises:
            OSError: the file cannot be read.
        """
        index = _Index() if self._index is None else None
        offset, last = 0, False
        while not last:
            piece = self.read(offset)
            if index is not None:
                for record in piece.records:
                    if not record.is_state:
                        index.add(record.message)
            yield piece
            offset, last = piece.end, piece.last
        if self._index is None:
            self._index = index


def _read(file: RawIOBase, offset: int, size: int) -> Piece:
    file.seek(offset)
    data = file.read(size) or b""
    last = len(data) < size
    parsed = parse(data, last=last)
    return Piece(parsed.records, offset + parsed.records_end, offset + parsed.end, parsed.damaged, last)
