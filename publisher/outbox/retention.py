"""Which files of the log are to be deleted."""

from collections.abc import Sequence

from ..clock import Clock
from .options import OutboxOptions
from .segment import Segment

__all__ = ["Retention"]

_AGE_CHECK_SECONDS = 60.0
_TRUST_CLOCK_SECONDS = 600.0


class Retention:
    """Keeps the log within its bounds: the oldest files go, the newest stays.

    How old a file of this run is, clocks that never step tell. For one of a run before there is only the time on the
    wall, which is wrong by years on a machine that has just started without a clock of its own; so it is asked once,
    when somebody has had the time to set it. A file that seems to come from the future counts as new.

    Args:
        options: the bounds.
        clock: the clocks.
    """

    def __init__(self, options: OutboxOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._started = clock.boottime()
        self._next_age_check = self._started

    def superfluous(self, segments: Sequence[Segment]) -> int:
        """Return how many of the oldest files are to be deleted."""
        count = 0
        size = sum(segment.size for segment in segments)
        while count < len(segments) - 1 and size > self._options.size_bytes:
            size -= segments[count].size
            count += 1
        now = self._clock.boottime()
        if now >= self._next_age_check:
            self._next_age_check = now + _AGE_CHECK_SECONDS
            while count < len(segments) - 1 and self._is_too_old(segments[count], now):
                count += 1
        return count

    def _is_too_old(self, segment: Segment, now: float) -> bool:
        if segment.written is None:
            if now - self._started < _TRUST_CLOCK_SECONDS:
                return False
            segment.written = now - max(0.0, self._clock.wall() - segment.modified)
        return now - segment.written > self._options.age_seconds
