"""Saying what is missing: a line for a host when it begins, one when all is back, one for what is lost."""

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from hostpulse.bus.times import format_timestamp

from .account import Loss
from .runs import Gap

__all__ = ["Reporter"]

_log = logging.getLogger(__name__)

_LINES = 10  # in a period; what is beyond is counted
_PERIOD_SECONDS = 60.0
_PARTS = 5
_LONGEST_NAME = 100


class _Part(NamedTuple):
    """Numbers of a subsystem, and the moments between which they were sampled."""

    subsystem: str
    first: int
    last: int
    messages: int
    since: datetime
    until: datetime


class Reporter:
    """Says what changes, in few lines.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._told: dict[str, int] = {}  # how many were missing of each host, at most
        self._lost: set[str] = set()  # hosts of these that have lost something since
        self._period_ends = 0.0
        self._lines = 0
        self._unsaid = 0

    def update(self, missing: Mapping[str, Sequence[tuple[str, Gap]]], losses: Sequence[Loss]) -> None:
        """Say what is new.

        Args:
            missing: the gaps of each host that were asked for, with their subsystems.
            losses: what was given up since the last call.
        """
        if self._clock() >= self._period_ends:
            self._period_ends, self._lines = self._clock() + _PERIOD_SECONDS, 0
            if self._unsaid:
                self._unsaid, count = 0, self._unsaid
                _log.warning("and %d more lines about messages that are missing, back or lost", count)
        for host, gaps in missing.items():
            count = sum(gap.size for _, gap in gaps)
            if host not in self._told:
                parts = [_Part(name, gap.first, gap.end - 1, gap.size, gap.since, gap.until) for name, gap in gaps]
                self._say(logging.WARNING, f"{_shown(host)}: {_described(parts)} missing and asked for")
            self._told[host] = max(count, self._told.get(host, 0))
        lost: defaultdict[str, list[_Part]] = defaultdict(list)
        for loss in losses:
            lost[loss.host].append(_Part(loss.subsystem, loss.first, loss.last, loss.messages, loss.since, loss.until))
        for host, parts in lost.items():
            self._lost.add(host)
            self._say(logging.ERROR, f"{_shown(host)}: {_described(parts)} lost; its publisher does not have them")
        for host in [host for host in self._told if host not in missing]:
            count = self._told.pop(host)
            if host not in self._lost:
                self._say(logging.INFO, f"{_shown(host)}: the {_counted(count)} missing came after all")
            self._lost.discard(host)

    def _say(self, level: int, text: str) -> None:
        if self._lines < _LINES:
            self._lines += 1
            _log.log(level, "%s", text)
        else:
            self._unsaid += 1


def _shown(host: str) -> str:
    return ascii(host[:_LONGEST_NAME])[1:-1]


def _counted(count: int) -> str:
    return "1 message that was" if count == 1 else f"{count} messages that were"


def _described(parts: Sequence[_Part]) -> str:
    """Return how many there are of what, and from when, with the verb."""
    by_subsystem: dict[str, list[_Part]] = {}
    for part in parts:
        by_subsystem.setdefault(part.subsystem, []).append(part)
    names = [
        f"{name} {min(part.first for part in some)} to {max(part.last for part in some)}"
        for name, some in sorted(by_subsystem.items())
    ]
    more = f" and {len(names) - _PARTS} more" if len(names) > _PARTS else ""
    count = sum(part.messages for part in parts)
    since = format_timestamp(min(min(part.since, part.until) for part in parts).timestamp())
    until = format_timestamp(max(max(part.since, part.until) for part in parts).timestamp())
    messages = "1 message" if count == 1 else f"{count} messages"
    listed = ", ".join(names[:_PARTS])
    return f"{messages} ({listed}{more}), sampled between {since} and {until}, {'is' if count == 1 else 'are'}"
