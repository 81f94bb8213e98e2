"""What the history says about messages that have come."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from hostpulse.bus.messages import EVENT, SUBSYSTEMS

from ..storage import Reader, StorageError, StorageUnavailableError
from .runs import Gap
from .tracker import UNTRACKED, Seen, Stream, Tracker

__all__ = ["History"]

_log = logging.getLogger(__name__)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MARGIN = timedelta(hours=1)  # a clock that was set while a message was missing
_FUTURE = timedelta(days=1)  # by which a sample may be ahead
_SELDOM = timedelta(days=30)  # how much further back a host's last event is looked for: there may be one in weeks
_SUBSYSTEMS = [name for name in SUBSYSTEMS if name not in UNTRACKED]


class History:
    """Notes in a tracker what the store has. What keeps it from reading is said once, and nothing else ends by it.

    Args:
        make_reader: returns a reader of the store, not open.
        tracker: what is told.
        wall: aware time.
    """

    def __init__(self, make_reader: Callable[[], Reader], tracker: Tracker, *, wall: Callable[[], datetime]) -> None:
        self._make_reader = make_reader
        self._tracker = tracker
        self._wall = wall
        self._reader: Reader | None = None
        self._trouble = ""
        self._silent = False
        self._moment = lru_cache(maxsize=4096)(_moment)

    def note_last(self, since: datetime) -> bool:
        """Note the newest message of each host and subsystem; return whether the history could be read."""

        def note(reader: Reader) -> None:
            for subsystem in _SUBSYSTEMS:
                start = since - _SELDOM if subsystem == EVENT else since
                for one in reader.last_numbers(subsystem, start.timestamp()):
                    seen = Seen(one.host, subsystem, _moment(one.session), one.sequence, _moment(one.timestamp))
                    self._tracker.note(seen)

        return self._read(note)

    def note_since(self, start: datetime) -> bool:
        """Note all messages that were sampled since a moment; return whether the history could be read."""

        def note(reader: Reader) -> None:
            for subsystem in _SUBSYSTEMS:
                self._note(reader, subsystem, start, self._wall() + _FUTURE)

        return self._read(note)

    def note_gap(self, stream: Stream, gap: Gap) -> bool:
        """Note what the history has of a gap; return whether it could be read."""
        start, end = sorted((gap.since, gap.until))
        latest = self._wall() + _FUTURE
        return self._read(
            lambda reader: self._note(
                reader, stream.subsystem, start - _MARGIN, min(end + _MARGIN, latest), (stream.host,)
            )
        )

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Say nothing inside of what keeps it from reading."""
        self._silent = True
        try:
            yield
        finally:
            self._silent = False

    def close(self) -> None:
        """Let go of the store."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def _note(
        self, reader: Reader, subsystem: str, start: datetime, end: datetime, hosts: tuple[str, ...] | None = None
    ) -> None:
        if start >= end:
            return
        for batch in reader.numbers(subsystem, start.timestamp(), end.timestamp(), hosts):
            for one in batch:
                seen = Seen(one.host, subsystem, self._moment(one.session), one.sequence, _moment(one.timestamp))
                self._tracker.note(seen)

    def _read(self, work: Callable[[Reader], None]) -> bool:
        """Do something with an open reader; return whether that could be done."""
        try:
            if self._reader is None:
                self._reader = self._make_reader().open()
            work(self._reader)
        except StorageError as error:
            self.close()
            self.complain(error)
            return False
        self._trouble = ""
        return True

    def complain(self, error: StorageError) -> None:
        """Say what an error of the store means for the account; once, not each time."""
        if self._silent or str(error) == self._trouble:
            return
        self._trouble = str(error)
        if isinstance(error, StorageUnavailableError):
            _log.warning("what is missing cannot be looked for in the history now: %s", error)
        else:
            _log.warning(
                "what is missing cannot be looked for in the history, so losses while no consumer ran are not seen, "
                "and none at all by consumers that share the storing: %s",
                error,
            )


def _moment(milliseconds: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=milliseconds)
