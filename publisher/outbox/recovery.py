"""What the files of a run before say: which messages are done, and where the numbers go on."""

import logging
import os
from collections.abc import Sequence
from typing import NamedTuple

from .message import HEADER_BYTES
from .ranges import Ranges
from .segment import Segment

__all__ = ["Recovered", "recover"]

_logger = logging.getLogger(__name__)


class Recovered(NamedTuple):
    """What was found.

    Attributes:
        done: numbers that need not be sent.
        next_number: the first that no message has.
    """

    done: Ranges
    next_number: int


class _Found(NamedTuple):
    state: list[tuple[int, int]] | None
    next_number: int


def recover(segments: Sequence[Segment]) -> Recovered:
    """Read from the newest file on back to the last state; mostly that is one file.

    What is damaged at the end of the newest is cut off, so that it is reported once.

    Raises:
        OSError: the newest file can be read and not be cut.
    """
    next_number = 1
    state: list[tuple[int, int]] = []
    for segment in reversed(segments):
        found = _read(segment, newest=segment is segments[-1])
        next_number = max(next_number, found.next_number)
        if found.state is not None:
            state = found.state
            break
    done = Ranges()
    for first, end in state:
        # Should messages have been lost that it knew of, their numbers are given out again.
        done.add(max(first, 0), min(end, next_number))
    done.add(0, segments[0].first if segments else next_number)
    return Recovered(done, next_number)


def _read(segment: Segment, *, newest: bool) -> _Found:
    """Return the last state in a file, and the number behind its last."""
    state: list[tuple[int, int]] | None = None
    next_number = segment.first
    readable = damaged = 0
    try:
        for piece in segment.pieces():
            damaged += piece.damaged
            for record in piece.records:
                next_number = max(next_number, record.number if record.is_state else record.number + 1)
                if record.is_state:
                    state = record.done()
            if piece.records:
                readable = piece.records_end
    except OSError as error:
        _logger.warning("outbox file %s cannot be read: %s", segment.path, error.strerror)
        return _Found(None, segment.first + segment.size // HEADER_BYTES + 1)  # it cannot have had more
    if damaged:
        _logger.warning("outbox file %s: %d of %d bytes are damaged", segment.path, damaged, segment.size)
    if newest and readable < segment.size:
        os.truncate(segment.path, readable)
        segment.size = readable
    return _Found(state, next_number)
