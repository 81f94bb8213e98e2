"""From gaps to requests: few, and none larger than a publisher takes."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from hostpulse.bus.replay import MAXIMUM_REPLAY_MESSAGES, ReplayRequest

from .runs import Gap

__all__ = ["Question", "questions"]

_NEAR = 16  # messages between two gaps that are asked for with them: that costs less than a question more


class Question(NamedTuple):
    """A request, and the gaps that it is for."""

    request: ReplayRequest
    gaps: list[Gap]


def questions(subsystem: str, session: datetime, gaps: Iterable[Gap]) -> Iterator[Question]:
    """Yield requests for all gaps of a session.

    Args:
        subsystem: whose messages.
        session: start of the publisher.
        gaps: lowest first.
    """
    near: list[Gap] = []
    for gap in gaps:
        if near and (gap.first - near[-1].end > _NEAR or gap.end - near[0].first > MAXIMUM_REPLAY_MESSAGES):
            yield from _split(subsystem, session, near)
            near = []
        near.append(gap)
    if near:
        yield from _split(subsystem, session, near)


def _split(subsystem: str, session: datetime, gaps: list[Gap]) -> Iterator[Question]:
    end = gaps[-1].end
    for first in range(gaps[0].first, end, MAXIMUM_REPLAY_MESSAGES):
        last = min(first + MAXIMUM_REPLAY_MESSAGES, end) - 1
        yield Question(ReplayRequest(session=session, subsystem=subsystem, first=first, last=last), gaps)
