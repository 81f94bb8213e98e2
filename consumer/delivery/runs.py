"""Which numbers of a session have come: runs of numbers, with gaps between them."""

from bisect import bisect_right
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

__all__ = ["MOST_RUNS", "Gap", "Run", "Runs", "Wait"]

MOST_RUNS = 256
"""Runs of one session; where there are more, the oldest gap is forgotten."""


class Wait:
    """How a gap is waited for.

    Attributes:
        asks: how often its messages were asked for.
        due: when something is to be done about it, monotonic seconds.
    """

    __slots__ = ("asks", "due")

    def __init__(self, asks: int, due: float) -> None:
        self.asks = asks
        self.due = due

    def copy(self) -> "Wait":
        """Return another one that says the same."""
        return Wait(self.asks, self.due)


class Run:
    """Numbers that have all come; none at all where a session's first ones are missing.

    Attributes:
        first: the lowest.
        end: the one behind the highest.
        since: when the lowest was sampled.
        until: when the highest was sampled.
        wait: for the gap behind it, once somebody waits.
    """

    __slots__ = ("end", "first", "since", "until", "wait")

    def __init__(self, first: int, end: int, since: datetime, until: datetime, wait: Wait | None = None) -> None:
        self.first = first
        self.end = end
        self.since = since
        self.until = until
        self.wait = wait


class Gap(NamedTuple):
    """Numbers that have not come.

    Attributes:
        lower: the run before it.
        first: the lowest.
        end: the one behind the highest.
        since: when the number before it was sampled.
        until: when the number behind it was sampled.
    """

    lower: Run
    first: int
    end: int
    since: datetime
    until: datetime

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return self.end - self.first


class Runs:
    """The numbers of one session.

    Args:
        floor: lowest number that counts; what is below it is of no interest.
        moment: when about that was sampled.

    Attributes:
        forgotten: numbers that are no longer missed, because there were too many gaps.
    """

    def __init__(self, floor: int, moment: datetime) -> None:
        self._runs = [Run(floor, floor, moment, moment)]
        self.forgotten = 0

    def __len__(self) -> int:
        """Return how many runs there are."""
        return len(self._runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs)

    def __contains__(self, number: int) -> bool:
        index = bisect_right(self._runs, number, key=_first) - 1
        return index >= 0 and number < self._runs[index].end

    @property
    def top(self) -> Run:
        """The run of the highest number."""
        return self._runs[-1]

    def add(self, number: int, moment: datetime) -> int | None:
        """Note that a number has come.

        Returns:
            How often the gap that it has come into was asked for; None where it was not missing: it is new, known, or
            of no interest.
        """
        runs = self._runs
        index = bisect_right(runs, number, key=_first) - 1
        if index < 0 or number < runs[index].end:
            return None
        run = runs[index]
        following = runs[index + 1] if index + 1 < len(runs) else None
        asks = 0 if run.wait is None else run.wait.asks
        if number > run.end and (following is None or number + 1 < following.first):
            wait = None if following is None or run.wait is None else run.wait.copy()
            runs.insert(index + 1, Run(number, number + 1, moment, moment, wait))
            if len(runs) > MOST_RUNS:
                self.forgotten += runs[1].first - runs[0].end
                self.close(runs[0])
        elif number > run.end and following is not None:
            following.first, following.since = number, moment
        else:
            if run.first == run.end:
                run.since = moment
            run.end, run.until = number + 1, moment
            if following is not None and run.end == following.first:
                self.close(run)
        return None if following is None else asks

    def close(self, run: Run) -> None:
        """Take the gap behind a run for no gap."""
        index = self._runs.index(run)
        following = self._runs.pop(index + 1)
        if run.first == run.end:
            run.since = following.since
        run.end, run.until, run.wait = following.end, following.until, following.wait

    def gaps(self) -> Iterator[Gap]:
        """Yield the gaps, lowest first."""
        for lower, upper in pairwise(self._runs):
            yield Gap(lower, lower.end, upper.first, lower.until, upper.since)

    @classmethod
    def restored(cls, runs: list[Run]) -> "Runs":
        """Return what consists of these runs: at least one, lowest first, with a gap between each two."""
        made = cls(runs[0].first, runs[0].since)
        made._runs = runs
        return made


def _first(run: Run) -> int:
    return run.first
