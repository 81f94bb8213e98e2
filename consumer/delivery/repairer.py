"""When to ask for what is missing, how often, and when to give it up."""

import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple, Protocol

from hostpulse.bus.messages import EVENT
from hostpulse.bus.replay import MAXIMUM_REPLAY_MESSAGES, ReplayRequest

from .account import Loss
from .questions import questions
from .report import Reporter
from .runs import Gap, Wait
from .tracker import Stream, Tail, Tracker

__all__ = ["PATIENCE", "Patience", "Repairer", "Verify"]

_QUESTIONS_PER_HOST = 8  # in a round: an outage leaves a gap in each subsystem
_QUESTIONS = 200
_MOST_HOSTS = 20_000
_MOST_TAILS = 10_000
_VERIFICATIONS = 8  # in a round: each is a query
_ANSWERED_PER_SECOND = 100.0  # by a publisher
_OLDEST = timedelta(days=8)  # a publisher keeps a week, unless it is told otherwise


class Patience(NamedTuple):
    """How long things may take.

    Attributes:
        grace: seconds that a gap must stand, and its host send nothing else that is missing, before it is asked for:
            messages overtake each other, and a publisher sends what an outage left behind the live data.
        waits: seconds after each question; when the last is over, what has not come is lost.
    """

    grace: float = 15.0
    waits: tuple[float, ...] = (45.0, 90.0, 180.0, 300.0)


PATIENCE = Patience()


class Verify(Protocol):
    """Notes what the history has of a gap."""

    def __call__(self, stream: Stream, gap: Gap) -> bool:
        """Return whether the history could be read."""
        ...


class Repairer:
    """Asks for what is missing.

    Args:
        tracker: what is missing.
        ask: sends a request to a host; returns whether it was sent.
        verify: looks into the history.
        report: says what is missing, back and lost.
        certain: whether the tracker sees everything that is stored: then only what is to be given up is looked for
            in the history, else also what is to be asked for.
        clock: monotonic seconds.
        wall: aware time.
        patience: how long things may take.
        uniform: draws from an interval.

    Attributes:
        missing: messages that are missing now, at the last round.
        asked: messages that were asked for, each as often as that was.
        lost: messages that were given up.
    """

    def __init__(
        self,
        tracker: Tracker,
        *,
        ask: Callable[[str, ReplayRequest], bool],
        verify: Verify,
        report: Reporter,
        certain: bool,
        clock: Callable[[], float],
        wall: Callable[[], datetime],
        patience: Patience = PATIENCE,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._tracker = tracker
        self._ask = ask
        self._verify = verify
        self._report = report
        self._certain = certain
        self._clock = clock
        self._wall = wall
        self._patience = patience
        self._uniform = uniform
        self._online: dict[str, bool] = {}
        self._returned: set[str] = set()
        self._verifications = 0
        self._questions: defaultdict[str, int] = defaultdict(int)
        self._tails: list[tuple[float, Tail]] = []
        self.missing = 0
        self.asked = 0
        self.lost = 0

    def heard(self, host: str, *, online: bool) -> None:
        """Note what the status of a host says."""
        if online and not self._online.get(host) and self._tracker.known(host):
            self._returned.add(host)
        if host in self._online or self._tracker.known(host) or len(self._online) < _MOST_HOSTS:
            self._online[host] = online

    def round(self) -> list[Loss]:
        """Ask for what is due, and return what was given up."""
        now = self._clock()
        self._questions.clear()
        self._verifications = 0
        progress, self._tracker.progress = self._tracker.progress, set()
        returned, self._returned = self._returned, set()
        losses: list[Loss] = []
        for stream in list(self._tracker.broken.values()):
            host = stream.host
            for wait in self._waits(stream, now):
                if host in returned:
                    wait.asks, wait.due = 0, now + self._patience.grace
                elif host in progress:
                    wait.due = max(wait.due, now + self._patience.grace)
            losses += self._tend(stream, now)
        self._ask_for_tails(now)
        self._count(losses)
        return losses

    def _waits(self, stream: Stream, now: float) -> Iterator[Wait]:
        for _, gap in stream.gaps:
            if gap.lower.wait is None:
                gap.lower.wait = Wait(0, now + self._patience.grace)
            yield gap.lower.wait

    def _due(self, stream: Stream, now: float) -> list[tuple[datetime, Gap]]:
        return [(session, gap) for session, gap in stream.gaps if gap.lower.wait and gap.lower.wait.due <= now]

    def _tend(self, stream: Stream, now: float) -> list[Loss]:
        due = self._due(stream, now)
        if not due:
            return []
        doubtful = [gap for _, gap in due if not self._certain or self._is_hopeless(gap, now)]
        if doubtful:
            if self._verifications >= _VERIFICATIONS:
                return []  # in a later round
            self._verifications += 1
            if not self._look(stream, doubtful):
                due = [(session, gap) for session, gap in due if gap not in doubtful]
            else:
                due = self._due(stream, now)
        # From the highest on, for a gap that is closed makes one run of the two beside it.
        losses = [self._lose(stream, session, gap) for session, gap in reversed(due) if self._is_hopeless(gap, now)]
        # Events are answered for by a consumer, whether their host is there or not.
        if stream.subsystem == EVENT or self._online.get(stream.host):
            left = [(session, gap) for session, gap in self._due(stream, now) if not self._is_hopeless(gap, now)]
            self._ask_for(stream, left, now)
        return losses

    def _look(self, stream: Stream, gaps: list[Gap]) -> bool:
        """Look into the history for all of these gaps at once."""
        since = min(min(gap.since, gap.until) for gap in gaps)
        until = max(max(gap.since, gap.until) for gap in gaps)
        return self._verify(stream, gaps[0]._replace(since=since, until=until))

    def _is_hopeless(self, gap: Gap, now: float) -> bool:
        wait = gap.lower.wait
        if wait is None or wait.due > now:
            return False
        return wait.asks >= len(self._patience.waits) or self._wall() - max(gap.since, gap.until) > _OLDEST

    def _lose(self, stream: Stream, session: datetime, gap: Gap) -> Loss:
        self._tracker.close(stream, session, gap)
        self.lost += gap.size
        return Loss(
            at=self._wall(),
            host=stream.host,
            subsystem=stream.subsystem,
            session=session,
            first=gap.first,
            last=gap.end - 1,
            since=gap.since,
            until=gap.until,
        )

    def _ask_for(self, stream: Stream, due: list[tuple[datetime, Gap]], now: float) -> None:
        for session, gaps in groupby(due, key=itemgetter(0)):
            for question in questions(stream.subsystem, session, [gap for _, gap in gaps]):
                if not self._send(stream.host, question.request):
                    return
                answer = (question.request.last - question.request.first + 1) / _ANSWERED_PER_SECOND
                for gap in question.gaps:
                    wait = gap.lower.wait
                    if wait is not None and wait.due <= now:
                        patience = self._patience.waits[min(wait.asks, len(self._patience.waits) - 1)]
                        wait.due = now + answer + self._uniform(0.8, 1.2) * patience
                        wait.asks += 1

    def _send(self, host: str, request: ReplayRequest) -> bool:
        """Ask, if neither this host nor all of them were asked too much in this round."""
        if self._questions[host] >= _QUESTIONS_PER_HOST or sum(self._questions.values()) >= _QUESTIONS:
            return False
        if not self._ask(host, request):
            return False
        self._questions[host] += 1
        self.asked += request.last - request.first + 1
        return True

    def _ask_for_tails(self, now: float) -> None:
        room = _MOST_TAILS - len(self._tails)  # what waits for a host that is not there
        self._tails += [(now + self._patience.grace, tail) for tail in self._tracker.tails[:room]]
        self._tracker.tails.clear()
        self._tails = [(due, tail) for due, tail in self._tails if due > now or not self._ask_for_tail(tail)]

    def _ask_for_tail(self, tail: Tail) -> bool:
        if not self._online.get(tail.host) or not (self._certain or self._look_for_tail(tail)):
            return False
        first = self._tracker.first_unheard(tail)
        last = min(tail.last, first + MAXIMUM_REPLAY_MESSAGES - 1)
        if first > last:  # it has come meanwhile
            return True
        request = ReplayRequest(session=tail.session, subsystem=tail.subsystem, first=first, last=last)
        return self._send(tail.host, request)

    def _look_for_tail(self, tail: Tail) -> bool:
        """Look into the history for what has come of an end; return whether that could be done."""
        found = self._tracker.gap_of(tail, self._wall())
        if found is None:
            return True
        if self._verifications >= _VERIFICATIONS:
            return False  # in a later round
        self._verifications += 1
        return self._verify(*found)

    def _count(self, losses: list[Loss]) -> None:
        gaps: defaultdict[str, list[tuple[str, Gap]]] = defaultdict(list)
        self.missing = 0
        for stream in self._tracker.broken.values():
            for _, gap in stream.gaps:
                self.missing += gap.size
                if gap.lower.wait is not None and gap.lower.wait.asks:
                    gaps[stream.host].append((stream.subsystem, gap))
        self._report.update(gaps, losses)
