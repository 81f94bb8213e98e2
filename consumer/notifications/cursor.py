"""How far a route has come in the journal: read from there, and moved when it is done."""

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ..alerting.journal import Entry, Journal
from ..storage import StorageError
from .memory import Memory

__all__ = ["READERS", "Cursor"]

_log = logging.getLogger(__name__)

READERS = "notify/"
"""What the names of routes begin with among the readers of the journal."""

_PAGE = 500
_UNSAVED_ENTRIES = 100
_UNSAVED_SECONDS = 600.0


class Cursor:
    """A route's place in the journal and what it remembers; of one thread.

    Args:
        path: of the journal.
        name: of the route.
        clock: monotonic seconds.

    Attributes:
        position: number of the last entry that the route is done with.
        memory: what it remembers.
        session: of the journal.
    """

    def __init__(self, path: Path, name: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._journal = Journal(path)
        self._name = name
        self._reader = READERS + name
        self._clock = clock
        self._is_known = False
        self._can_save = True
        self._saved = 0
        self._saved_at = clock()
        self.position = 0
        self.memory = Memory()
        self.session = 0.0

    def open(self) -> None:
        """Go to where the route was; when it is opened again, to where it is by now.

        Raises:
            StorageError: the journal cannot be read.
        """
        self._journal.open()
        if not self._is_known:
            self.session = self._journal.session
            position = self._journal.position(self._reader)
            self.position = self._saved = self._journal.last() if position is None else position
            self.memory = Memory.load(self._journal.memory(self._reader))
            self._is_known = True

    def close(self) -> None:
        """Write down what is not yet, and close the journal."""
        if self.position != self._saved:
            self._save()
        self._journal.close()

    def ahead(self) -> Iterator[Entry]:
        """Yield the entries that the route is not done with. Says so if some were deleted before.

        Raises:
            StorageError: the journal cannot be read.
        """
        last = self._journal.last()
        begin = after = self.position
        while page := self._journal.entries(after, _PAGE):
            if after == begin:
                self._report_deleted(page[0].number - begin - 1)
            yield from page
            after = page[-1].number
        if after == begin:
            self._report_deleted(last - begin)

    def _report_deleted(self, count: int) -> None:
        if count > 0:
            self.position += count
            text = "notifications on %s: %d entries of the journal grew old and were deleted before they were looked at"
            _log.warning(text, self._name, count)
            self._save()

    def skip(self, number: int, told: frozenset[str]) -> None:
        """Be done with entries of which none is for the route. They are written down many at a time.

        Args:
            number: of the last of them.
            told: instances of the alerts that were told and have not ended.
        """
        self.position = max(self.position, number)
        self.memory = Memory(told=told)
        behind = self.position - self._saved
        if behind >= _UNSAVED_ENTRIES or (behind and self._clock() - self._saved_at >= _UNSAVED_SECONDS):
            self._save()

    def begin(self, number: int) -> None:
        """Note before the first attempt of a notification how far it goes, so that later ones send the same.

        Args:
            number: of its last entry.
        """
        self.memory = Memory(told=self.memory.told, attempt=number)
        self._save()

    def done(self, number: int, told: frozenset[str]) -> None:
        """Be done with a notification.

        Args:
            number: of its last entry.
            told: instances of the alerts that were told and have not ended.
        """
        self.position = number
        self.memory = Memory(told=told)
        self._save()

    def _save(self) -> None:
        """Write it down. Where that fails the next time does it: what was sent is not to be sent again now."""
        try:
            self._journal.move(self._reader, self.position, self.memory.dump())
        except StorageError as error:
            if self._can_save:
                _log.warning("notifications on %s: %s; a restart now would tell some again", self._name, error)
            self._can_save = False
            return
        self._saved, self._saved_at, self._can_save = self.position, self._clock(), True
