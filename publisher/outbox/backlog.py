"""Reading from the log what has not been sent, oldest first."""

import logging
from collections import deque
from collections.abc import Container

from .log import Log
from .message import Record
from .segment import Segment

__all__ = ["Backlog"]

_logger = logging.getLogger(__name__)


class Backlog:
    """A place in the log that only goes on; holds one piece of one file.

    What is in memory is always newer than what is only here, so nothing that was passed over comes back.

    Args:
        log: what is read.

    Attributes:
        lost: how many messages could not be read.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._number = 0  # none below it waits
        self._segment: Segment | None = None
        self._offset = 0
        self._readable = True
        self._records: deque[Record] = deque()
        self._unreported = 0
        self.lost = 0

    def take(self, elsewhere: Container[int]) -> Record | None:
        """Return the next record that is to be sent; None where there is none.

        Args:
            elsewhere: numbers that are sent from memory, or are on their way.
        """
        record = self._find(elsewhere)
        if record is not None:
            self._number = record.number + 1
            self._records.popleft()
        return record

    def peek(self, elsewhere: Container[int]) -> Record | None:
        """Return what `take` would return, and leave it there."""
        return self._find(elsewhere)

    def _find(self, elsewhere: Container[int]) -> Record | None:
        while True:
            number = self._next_number(elsewhere)
            if number >= self._log.next_number:
                self._report()
                return None
            if self._reach(number):
                return self._records[0]
            self._log.finish(number)
            self._unreported += 1
            self.lost += 1

    def _next_number(self, elsewhere: Container[int]) -> int:
        number = self._log.done.first_missing(self._number)
        while number in elsewhere:
            number = self._log.done.first_missing(number + 1)
        return number

    def _reach(self, number: int) -> bool:
        """Have the first record be that of a number; return whether there is one."""
        segment = self._log.segment_of(number)
        if segment is not self._segment:
            self._report()
            self._segment, self._offset, self._readable = segment, 0, True
            self._records.clear()
        while True:
            while self._records and self._records[0].number < number:
                self._records.popleft()
            if self._records:
                return self._records[0].number == number
            if segment is None or not self._read(segment):
                return False

    def _read(self, segment: Segment) -> bool:
        """Read on; return whether there was anything."""
        if not self._readable:
            return False
        try:
            piece = segment.read(self._offset)
        except OSError as error:
            _logger.warning("outbox file %s cannot be read: %s", segment.path, error.strerror)
            self._readable = False
            return False
        self._offset = piece.end
        self._records.extend(record for record in piece.records if not record.is_state)
        return bool(piece.records) or not piece.last

    def _report(self) -> None:
        if self._unreported:
            where = "" if self._segment is None else f" in {self._segment.path}"
            _logger.warning("outbox: %d messages%s cannot be read and are lost", self._unreported, where)
            self._unreported = 0
