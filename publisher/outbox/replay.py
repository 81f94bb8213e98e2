"""Answering consumers that ask for messages once more."""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from math import inf
from typing import NamedTuple

from hostpulse.bus.errors import MessageError
from hostpulse.bus.messages import FROM_CONSUMERS
from hostpulse.bus.replay import decode_replay_request
from hostpulse.bus.times import to_milliseconds

from .log import Log
from .message import Message
from .ranges import Ranges
from .segment import Piece, Segment

__all__ = ["Replay"]

_logger = logging.getLogger(__name__)

# A message costs the publisher some 50 µs, so an answer costs half a percent of one CPU, and an hour of the default
# subsystems takes a minute and a half; live data and what was never sent go first.
_MESSAGES_PER_SECOND = 100.0
_STEP_SECONDS = 0.2
# Reading and checking a piece of 64 KiB costs half a millisecond; this is how much of that somebody who asks for
# what is not there can make us do.
_PIECES_PER_STEP = 8
_MOST_PENDING = 64
_REPEAT_SECONDS = 30.0  # what was answered is not answered again: others may have asked for the same at this moment
_MOST_REMEMBERED = 256
_COMPLAINT_SECONDS = 60.0


class _Wanted(NamedTuple):
    """Messages of one session and subsystem: first sequence, and the one behind the last."""

    session: int
    subsystem: str
    first: int
    end: int


class Replay:
    """Takes requests and finds the messages in the log, at a bounded rate and in bounded memory.

    Args:
        clock: monotonic seconds.

    Attributes:
        sent: messages that were sent again.
        unavailable: messages that were asked for and are no longer there.
        ignored: requests that could not be used, or that there was no room for.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._pending: deque[_Wanted] = deque()
        self._answered: deque[tuple[float, _Wanted]] = deque()
        self._search: _Search | None = None
        self._next_step = 0.0
        self._messages_left = 0
        self._pieces_left = 0
        self._next_complaint = 0.0
        self._complaints = 0
        self.sent = 0
        self.unavailable = 0
        self.ignored = 0

    # Requests

    def ask(self, payload: bytes) -> None:
        """Take a request as it came from the bus."""
        try:
            request = decode_replay_request(payload)
        except MessageError as error:
            self._ignore(f"unusable ({error.kind}: {error})")
            return
        if request.subsystem in FROM_CONSUMERS:  # not for us: a consumer sent those, and may have them
            return
        session = to_milliseconds(request.session)
        for first, end in self._not_under_way(session, request.subsystem, request.first, request.last + 1):
            if len(self._pending) >= _MOST_PENDING:
                self._ignore(f"too many at once, {_MOST_PENDING} wait already")
                return
            self._pending.append(_Wanted(session, request.subsystem, first, end))

    def _not_under_way(self, session: int, subsystem: str, first: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield what of a range is neither waiting for its answer nor was answered just now."""
        oldest = self._clock() - _REPEAT_SECONDS
        while self._answered and self._answered[0][0] < oldest:
            self._answered.popleft()
        known = Ranges()
        waiting = [*self._pending, *(one for _, one in self._answered)]
        if self._search is not None:
            waiting.append(self._search.wanted)
        for wanted in waiting:
            if (wanted.session, wanted.subsystem) == (session, subsystem):
                known.add(wanted.first, wanted.end)
        return known.missing(first, end)

    def _ignore(self, reason: str) -> None:
        self.ignored += 1
        self._complaints += 1
        now = self._clock()
        if now >= self._next_complaint:
            self._next_complaint = now + _COMPLAINT_SECONDS
            _logger.warning("%d replay requests were ignored, the last one: %s", self._complaints, reason)
            self._complaints = 0

    # Answers

    @property
    def busy(self) -> bool:
        """Whether there is something to answer."""
        return self._search is not None or bool(self._pending)

    def seconds_until_due(self) -> float:
        """Return how long nothing is to be done; infinity as long as nobody asks."""
        return max(0.0, self._next_step - self._clock()) if self.busy else inf

    def next(self, log: Log | None) -> Message | None:
        """Return a message to send again; None if there is none now.

        Args:
            log: where they are; None where there is none.
        """
        now = self._clock()
        if now >= self._next_step:
            self._next_step = now + _STEP_SECONDS
            self._messages_left = round(_MESSAGES_PER_SECOND * _STEP_SECONDS)
            self._pieces_left = _PIECES_PER_STEP
        while self._messages_left and self._pieces_left and (search := self._search_on(log)) is not None:
            for message in search.steps:
                if message is not None:
                    self._messages_left -= 1
                    self.sent += 1
                    return message
                self._pieces_left -= 1
                if not self._pieces_left:
                    return None
            self._finish(search)
        return None

    def _search_on(self, log: Log | None) -> "_Search | None":
        if self._search is None and self._pending:
            self._search = _Search(log, self._pending.popleft())
        return self._search

    def _finish(self, search: "_Search") -> None:
        wanted = search.wanted
        self.unavailable += wanted.end - wanted.first - search.found.total
        self._search = None
        self._answered.append((self._clock(), wanted))
        if len(self._answered) > _MOST_REMEMBERED:
            self._answered.popleft()


class _Search:
    """Finds one range in the log, piece by piece.

    Attributes:
        wanted: the range.
        steps: yields the messages to send again, oldest first, and None after each piece that was read.
        found: the sequences that are there; those among them that were not sent yet follow without being asked for.
    """

    def __init__(self, log: Log | None, wanted: _Wanted) -> None:
        self._log = log
        self.wanted = wanted
        self.steps = iter(()) if log is None else self._run(log)
        self.found = Ranges()

    def _run(self, log: Log) -> Iterator[Message | None]:
        segments: list[Segment] = []
        # From the newest on back to where the range begins: what is asked for is mostly recent.
        for segment in reversed(log.segments.copy()):
            if not segment.indexed:
                yield from (None for _ in _pieces(segment))
            bounds = segment.bounds(self.wanted.session, self.wanted.subsystem)
            if bounds is not None and bounds.lowest < self.wanted.end and bounds.highest >= self.wanted.first:
                segments.append(segment)
            if bounds is not None and bounds.exact and bounds.lowest <= self.wanted.first:
                break
        for segment in reversed(segments):
            yield from self._read(log, segment)

    def _read(self, log: Log, segment: Segment) -> Iterator[Message | None]:
        for piece in _pieces(segment):
            for record in piece.records:
                if self._is_new(record.message):
                    self.found.add(record.message.sequence, record.message.sequence + 1)
                    if record.number in log.done:
                        yield record.message
            yield None

    def _is_new(self, message: Message) -> bool:
        wanted = self.wanted
        return (
            message.session == wanted.session
            and wanted.first <= message.sequence < wanted.end
            and message.subsystem == wanted.subsystem
            and message.sequence not in self.found
        )


def _pieces(segment: Segment) -> Iterator[Piece]:
    """Yield the pieces of a file, as far as it can be read: it may have been deleted meanwhile."""
    try:
        yield from segment.pieces()
    except OSError as error:
        _logger.debug("outbox file %s: %s", segment.path, error.strerror)
