"""Which messages of each host and subsystem have come."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from hostpulse.bus.codec import Envelope
from hostpulse.bus.messages import EVENT, FROM_CONSUMERS

from .runs import Gap, Runs

__all__ = ["UNTRACKED", "Seen", "Stream", "Tail", "Tracker"]

_log = logging.getLogger(__name__)

_MOST_STREAMS = 20_000
_MOST_GAPS = 100_000  # of all streams together: 20 MB
_MOST_SESSIONS = 4
_MOST_TAILS = 10_000
_SILENT_INTERVALS = 2.5  # a session whose end is further from the next one's begin may have said more
_TAIL_MARGIN = 10


UNTRACKED = frozenset({"consumer"})
"""Subsystems whose messages nobody keeps, so that they cannot be asked for."""


class Seen(NamedTuple):
    """A message that is stored.

    Attributes:
        host: name of the machine.
        subsystem: its subsystem.
        session: start of the publisher.
        sequence: its number.
        moment: when it was sampled.
        interval: seconds to the next one; None where that is not known.
    """

    host: str
    subsystem: str
    session: datetime
    sequence: int
    moment: datetime
    interval: float | None = None


class Tail(NamedTuple):
    """What a session may have said before it ended, and nobody has heard.

    Attributes:
        host: name of the machine.
        subsystem: whose messages.
        session: start of the publisher.
        first: lowest number.
        last: highest number that there can be, about.
    """

    host: str
    subsystem: str
    session: datetime
    first: int
    last: int


_Source = tuple[str, str]
"""Who numbers messages: the publisher of a host, or with `EVENT` the consumer that tells of it."""


class Stream:
    """The messages of one subsystem of a host.

    Attributes:
        host: name of the machine.
        subsystem: its name.
        session: the newest one.
        top: the run of the highest number of that session.
        sessions: numbers by session.
        interval: shortest seen, seconds.
    """

    __slots__ = ("host", "interval", "session", "sessions", "subsystem", "top")

    def __init__(self, host: str, subsystem: str, session: datetime, runs: Runs, interval: float | None) -> None:
        self.host = host
        self.subsystem = subsystem
        self.session = session
        self.sessions = {session: runs}
        self.top = runs.top
        self.interval = interval

    @property
    def gaps(self) -> Iterator[tuple[datetime, Gap]]:
        """The gaps of all its sessions."""
        for session, runs in self.sessions.items():
            for gap in runs.gaps():
                yield session, gap


class Tracker:
    """Takes the numbers of stored messages and knows which are missing, in bounded memory.

    Attributes:
        recovered: messages that came though they had been missing and were asked for.
        forgotten: messages that are no longer missed, because there were too many gaps.
        progress: hosts of which something has come that was missing; whoever looks takes them out.
        tails: ends of sessions that nobody has asked for yet; whoever asks takes them out.
        broken: streams with gaps.
    """

    def __init__(self) -> None:
        self._streams: dict[tuple[str, str], Stream] = {}
        self._known_since: dict[_Source, datetime] = {}  # the oldest session of each
        self._gaps: dict[tuple[str, str], int] = {}  # how many each of `broken` has
        self._gaps_total = 0
        self._full = False
        self._reported_forgotten = False
        self._asked_tails: set[tuple[str, str, datetime]] = set()
        self.recovered = 0
        self.forgotten = 0
        self.progress: set[str] = set()
        self.tails: list[Tail] = []
        self.broken: dict[tuple[str, str], Stream] = {}

    def add(self, envelopes: Iterable[Envelope]) -> None:
        """Note messages that are stored. This is the message path: mostly each is the one after the last."""
        stream_of = self._streams.get
        for envelope in envelopes:
            stream = stream_of((envelope.host, envelope.subsystem))
            if stream is not None:
                top = stream.top
                sequence = envelope.sequence
                if sequence == top.end and envelope.session == stream.session:
                    top.end = sequence + 1
                    top.until = envelope.timestamp
                    continue
            self.note(
                Seen(
                    envelope.host,
                    envelope.subsystem,
                    envelope.session,
                    envelope.sequence,
                    envelope.timestamp,
                    envelope.interval,
                )
            )

    def note(self, seen: Seen) -> None:
        """Note that a message is stored, whatever came before."""
        if seen.subsystem in UNTRACKED:
            return
        stream = self._streams.get((seen.host, seen.subsystem))
        if stream is None:
            self._begin(seen)
            return
        if seen.sequence == stream.top.end and seen.session == stream.session and seen.interval is None:
            stream.top.end, stream.top.until = seen.sequence + 1, seen.moment
            return
        if seen.interval is not None and (stream.interval is None or seen.interval < stream.interval):
            stream.interval = seen.interval
        runs = stream.sessions.get(seen.session)
        if runs is None:
            runs = self._begin_session(stream, seen)
            if runs is None:
                return
        forgotten = runs.forgotten
        is_tail = seen.session != stream.session and (seen.host, seen.subsystem, seen.session) in self._asked_tails
        self.recovered += is_tail and seen.sequence >= runs.top.end
        asks = runs.add(seen.sequence, seen.moment)
        if asks is not None:
            self.progress.add(seen.host)
            self.recovered += asks > 0
        if runs.forgotten > forgotten:
            self._forget(runs.forgotten - forgotten)
        stream.top = stream.sessions[stream.session].top
        self._judge(stream)

    def known(self, host: str) -> bool:
        """Return whether anything of the publisher of a host has been noted."""
        return (host, "") in self._known_since

    def expect(self, host: str, session: datetime, last: Mapping[str, int]) -> None:
        """Note what a publisher has of an earlier start, so that what nobody has heard of is asked for.

        Args:
            host: name of the machine.
            session: the start.
            last: the highest sequence of each subsystem.
        """
        known = self._known_since.get((host, ""))
        if known is None or session < known:
            return  # what a host said before it was met is not missed
        for subsystem, highest in last.items():
            if subsystem in FROM_CONSUMERS:
                continue
            stream = self._streams.get((host, subsystem))
            if stream is None or (len(stream.sessions) >= _MOST_SESSIONS and session < min(stream.sessions)):
                continue
            tail = Tail(host, subsystem, session, 1, highest)
            first = self.first_unheard(tail)
            if first <= highest and len(self.tails) < _MOST_TAILS:
                self.tails.append(tail._replace(first=first))
                if len(self._asked_tails) < _MOST_TAILS:  # who makes sessions up must not fill our memory
                    self._asked_tails.add((host, subsystem, session))

    def first_unheard(self, tail: Tail) -> int:
        """Return the lowest number of the end of a session that is above all that have come."""
        stream = self._streams.get((tail.host, tail.subsystem))
        runs = None if stream is None else stream.sessions.get(tail.session)
        return tail.first if runs is None else max(tail.first, runs.top.end)

    def gap_of(self, tail: Tail, until: datetime) -> tuple[Stream, Gap] | None:
        """Return the end of a session as if it were a gap; None where nothing of the subsystem was noted.

        Args:
            tail: the end.
            until: when the last of it was sampled, at the latest.
        """
        stream = self._streams.get((tail.host, tail.subsystem))
        if stream is None:
            return None
        runs = stream.sessions.get(tail.session)
        since = tail.session if runs is None else runs.top.until
        return stream, Gap(stream.top, self.first_unheard(tail), tail.last + 1, since, until)

    def restore(self, host: str, subsystem: str, session: datetime, runs: Runs) -> None:
        """Take what is known of a session from an earlier life; to be called before anything of it is noted."""
        stream = self._streams.get((host, subsystem))
        if stream is None:
            if not self._has_room():
                return
            stream = self._streams[host, subsystem] = Stream(host, subsystem, session, runs, None)
        else:
            stream.sessions[session] = runs
            stream.session = max(stream.sessions)
            stream.top = stream.sessions[stream.session].top
        self._know(_source(host, subsystem), session)
        self._judge(stream)

    def close(self, stream: Stream, session: datetime, gap: Gap) -> None:
        """Take the messages of a gap for lost, and wait for them no longer."""
        runs = stream.sessions[session]
        runs.close(gap.lower)
        stream.top = stream.sessions[stream.session].top
        self._judge(stream)

    def _begin(self, seen: Seen) -> None:
        if not self._has_room():
            return
        runs = Runs(self._floor(seen), seen.moment)
        runs.add(seen.sequence, seen.moment)
        self._know(_source(seen.host, seen.subsystem), seen.session)
        stream = Stream(seen.host, seen.subsystem, seen.session, runs, seen.interval)
        self._streams[seen.host, seen.subsystem] = stream
        self._judge(stream)

    def _begin_session(self, stream: Stream, seen: Seen) -> Runs | None:
        """Return the numbers of a session that is new to a stream; None where it is too old to be followed."""
        sessions = stream.sessions
        if len(sessions) >= _MOST_SESSIONS:
            oldest = min(sessions)
            if seen.session < oldest:
                return None
            self._forget(sum(gap.size for gap in sessions.pop(oldest).gaps()))
            self._asked_tails.discard((stream.host, stream.subsystem, oldest))
        if seen.session > stream.session:
            self._expect_tail(stream, seen.session)
        runs = sessions[seen.session] = Runs(self._floor(seen), seen.moment)
        self._know(_source(stream.host, stream.subsystem), seen.session)
        stream.session = max(sessions)
        return runs

    def _floor(self, seen: Seen) -> int:
        """Return the number that a session counts from: its first one, if its source was known before it began."""
        known = self._known_since.get(_source(seen.host, seen.subsystem))
        return 1 if known is not None and known < seen.session else seen.sequence

    def _know(self, source: _Source, session: datetime) -> None:
        known = self._known_since.get(source)
        if known is None or session < known:
            self._known_since[source] = session

    def _expect_tail(self, stream: Stream, session: datetime) -> None:
        """Remember that the session before a new one may have said more than we have heard."""
        silence = (session - stream.top.until).total_seconds()
        interval = stream.interval
        if interval is None or silence <= _SILENT_INTERVALS * interval or len(self.tails) >= _MOST_TAILS:
            return
        most = round(2 * silence / interval) + _TAIL_MARGIN
        first = stream.top.end
        self.tails.append(Tail(stream.host, stream.subsystem, stream.session, first, first + most - 1))
        self._asked_tails.add((stream.host, stream.subsystem, stream.session))

    def _judge(self, stream: Stream) -> None:
        """Keep the list of what has gaps."""
        key = stream.host, stream.subsystem
        gaps = sum(len(runs) - 1 for runs in stream.sessions.values())
        self._gaps_total += gaps - self._gaps.pop(key, 0)
        if gaps:
            self._gaps[key] = gaps
            self.broken[key] = stream
            if self._gaps_total > _MOST_GAPS:
                self._relieve()
        else:
            self.broken.pop(key, None)

    def _relieve(self) -> None:
        """Forget the gaps of whatever has most."""
        worst = self.broken[max(self._gaps, key=lambda key: self._gaps[key])]
        for runs in worst.sessions.values():
            for gap in list(runs.gaps()):
                self._forget(gap.size)
            while len(runs) > 1:
                runs.close(next(iter(runs)))
        worst.top = worst.sessions[worst.session].top
        self._judge(worst)

    def _forget(self, count: int) -> None:
        self.forgotten += count
        if count and not self._reported_forgotten:
            self._reported_forgotten = True
            _log.warning("more is missing than can be kept account of; %d messages are not asked for", count)

    def _has_room(self) -> bool:
        if len(self._streams) < _MOST_STREAMS:
            return True
        if not self._full:
            self._full = True
            _log.warning("more than %d subsystems of hosts; what is missing of others is not seen", _MOST_STREAMS)
        return False


def _source(host: str, subsystem: str) -> _Source:
    return host, EVENT if subsystem == EVENT else ""
