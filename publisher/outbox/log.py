"""The messages on disk: files of records, appended to with one write at a time, deleted oldest first."""

import logging
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from math import inf
from pathlib import Path

from hostpulse.bus.lock import FileLock

from ..clock import Clock
from .appender import Appender
from .message import Message, pack, pack_state
from .options import OutboxOptions
from .ranges import Ranges
from .recovery import recover
from .retention import Retention
from .segment import Segment

__all__ = ["Log", "LogUnavailableError"]

_logger = logging.getLogger(__name__)

_SMALLEST_SEGMENT = 64 * 1024
_LARGEST_SEGMENT = 4 * 1024 * 1024
_SEGMENTS = 64  # of all that is kept by size and by age, what one file has: it is deleted at once
_RANGES_IN_A_STATE = 16  # there are two while an outage is made up for, more only where connections keep breaking
_STATE_SECONDS = 10.0  # after which what is done is written though no message is


class LogUnavailableError(Exception):
    """The log cannot be used now; the text says why."""


class Log:
    """Messages in files, each under a number, and which of them are done: acknowledged or given up.

    Unless the options want it, nothing is forced to the disk: what was written survives the end of this process, and
    the kernel writes it out within half a minute. What is damaged costs the messages that were there and no others.

    Args:
        directory: its own; made by `open`.
        options: bounds.
        clock: the clocks.

    Attributes:
        segments: the files, oldest first.
        done: numbers that need not be sent any more.
        next_number: what the next message gets.
    """

    def __init__(self, directory: Path, options: OutboxOptions, clock: Clock) -> None:
        self._directory = directory
        self._age_seconds = options.age_seconds
        self._clock = clock
        self._lock = FileLock(directory / "lock")
        self._retention = Retention(options, clock)
        self._appender = Appender(options.sync_seconds)
        self._segment_bytes = min(max(options.size_bytes // _SEGMENTS, _SMALLEST_SEGMENT), _LARGEST_SEGMENT)
        self._stated = 0  # how many numbers were done when that was last written
        self._stated_at = 0.0
        self.segments: list[Segment] = []
        self.done = Ranges()
        self.next_number = 1

    def open(self) -> None:
        """Take the directory and find out what is in it.

        Raises:
            LogUnavailableError: another publisher has it, or it cannot be read or written.
        """
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            if not self._lock.acquire():
                holder = self._lock.holder() or "unknown"
                raise LogUnavailableError(f"another publisher (pid {holder}) uses it; give each a data_dir of its own")
            self.segments = Segment.find(self._directory)
            self.done, self.next_number = recover(self.segments)
        except OSError as error:
            self._lock.release()
            raise _unavailable(error) from error
        self._stated = self.done.total
        self._stated_at = self._clock.boottime()

    def append(self, messages: Sequence[Message]) -> int:
        """Write messages behind all others, in one go, and what is done with them.

        Returns:
            The number of the first.

        Raises:
            LogUnavailableError: they are not kept; the disk may be full.
        """
        first = self.next_number
        self.next_number += len(messages)
        records = b"".join(pack(number, message) for number, message in enumerate(messages, first))
        try:
            self._write(records, first)
        except OSError as error:
            # Some may be in the file. Their numbers are not used again, so that nobody takes one for another.
            self.done.add(first, self.next_number)
            raise _unavailable(error) from error
        for message in messages:
            self.segments[-1].note(message)
        return first

    def _write(self, records: bytes, first: int) -> None:
        now = self._clock.boottime()
        segment = self._segment_for(len(records), first, now)
        done = self.done.total
        stated = not segment.size or done != self._stated
        data = pack_state(first, self._ranges_to_state()) + records if stated else records
        self._appender.write(segment.path, segment.size, data)
        segment.grow(len(data), now)
        if stated:
            self._stated, self._stated_at = done, now
        self._appender.sync(now)

    def _segment_for(self, size: int, first: int, now: float) -> Segment:
        """Return the file to append to: the newest, or a new one where that is large or old."""
        newest = self.segments[-1] if self.segments else None
        if newest is not None and (
            not newest.size
            or (
                newest.size + size <= self._segment_bytes
                and newest.seconds_since_begin(now) < self._age_seconds / _SEGMENTS
            )
        ):
            return newest
        self._appender.close()
        self.segments.append(Segment.create(self._directory, first))
        return self.segments[-1]

    def _ranges_to_state(self) -> list[tuple[int, int]]:
        """Return what is done; where it is in many pieces, the oldest and the newest, for the rest is sent again."""
        ranges = list(self.done)
        half = _RANGES_IN_A_STATE // 2
        return ranges if len(ranges) <= _RANGES_IN_A_STATE else [*ranges[:half], *ranges[-half:]]

    def keep_up(self) -> None:
        """Write what is done and force what was written to the disk, where no message has done so for too long.

        Raises:
            LogUnavailableError: it could not be written.
        """
        now = self._clock.boottime()
        if self.done.total != self._stated and now - self._stated_at >= _STATE_SECONDS:
            self.append(())
        try:
            self._appender.sync(now)
        except OSError as error:
            self._appender.close()
            raise _unavailable(error) from error

    def make_room(self) -> Iterator[tuple[int, int]]:
        """Delete the oldest files as long as there are too many bytes, or they are too old.

        Yields:
            The numbers of each: first, and the one behind the last.

        Raises:
            LogUnavailableError: one could not be deleted.
        """
        for _ in range(self._retention.superfluous(self.segments)):
            oldest = self.segments[0]
            try:
                oldest.path.unlink(missing_ok=True)
            except OSError as error:
                raise _unavailable(error) from error
            del self.segments[0]
            yield oldest.first, self.segments[0].first

    @property
    def unfinished(self) -> int:
        """How many messages are not done."""
        return self.next_number - self.done.total

    @property
    def unfinished_bytes(self) -> int:
        """About how many bytes these have: of each file, their share."""
        ends = [*(segment.first for segment in self.segments[1:]), self.next_number]
        total = 0.0
        for segment, end in zip(self.segments, ends, strict=False):  # before the first message there is no file
            count = end - segment.first
            if count:
                total += segment.size * (count - self.done.count(segment.first, end)) / count
        return round(total)

    def segment_of(self, number: int) -> Segment | None:
        """Return the file that a message is in."""
        index = bisect_right(self.segments, number, key=lambda segment: segment.first) - 1
        return self.segments[index] if index >= 0 else None

    def finish(self, number: int) -> None:
        """Note that a message need not be sent any more."""
        self.done.add(number, number + 1)

    def close(self) -> None:
        """Write what is done, and let go of the directory."""
        try:
            if self.done.total != self._stated:
                self.append(())
            self._appender.sync(inf)
        except (LogUnavailableError, OSError) as error:
            _logger.warning("outbox %s: what was acknowledged could not be noted: %s", self._directory, error)
        self._appender.close()
        self._lock.release()


def _unavailable(error: OSError) -> LogUnavailableError:
    return LogUnavailableError(error.strerror or str(error))
