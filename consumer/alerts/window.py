"""Values over a window of time, kept in at most some sixty buckets however many there are."""

import math
import statistics
import sys
from itertools import combinations
from typing import Annotated

from msgspec import Meta, Struct

from .model import Reduction

__all__ = ["Bucket", "Window"]

_BUCKETS = 60
_MOST_BUCKETS = 2 * _BUCKETS  # a rule whose window has grown has buckets of the smaller one, too
_OF_COUNTERS = (Reduction.RATE, Reduction.INCREASE)
_COVERED = 0.8  # of the window has to be known before it says something


class Bucket(Struct, array_like=True, gc=False):
    """What is kept of the values of a part of the window; times in seconds since the epoch."""

    begin: float
    end: float
    last: float
    count: Annotated[float, Meta(ge=1)]  # a whole number, but one that no addition makes too large
    total: float
    minimum: float
    maximum: float
    increase: float


class Window(Struct, kw_only=True):
    """The buckets of one device, oldest first.

    Attributes:
        buckets: at most some sixty.
        slope: of `eta`: change per second over the buckets that are complete; None while there are too few.
    """

    buckets: list[Bucket] = []
    slope: float | None = None

    def clear(self) -> None:
        """Forget everything."""
        self.buckets = []
        self.slope = None

    def add(self, moment: float, value: float, span: float, reduction: Reduction) -> None:
        """Take a value.

        Args:
            moment: seconds since the epoch, later than those before.
            value: of the field.
            span: seconds of the window.
            reduction: what will be asked for.
        """
        buckets = self.buckets
        value = float(value)  # so that it is the same after a restart
        increase = 0.0
        if buckets and reduction in _OF_COUNTERS:
            before = buckets[-1].last
            increase = _finite(value - before) if value >= before else value  # a counter that fell began anew at 0
        if buckets and moment < buckets[-1].begin + span / _BUCKETS:
            bucket = buckets[-1]
            bucket.end = moment
            bucket.last = value
            bucket.count += 1
            bucket.total = _finite(bucket.total + value)
            bucket.minimum = min(bucket.minimum, value)
            bucket.maximum = max(bucket.maximum, value)
            bucket.increase = _finite(bucket.increase + increase)
            return
        self.buckets = [bucket for bucket in buckets if bucket.end > moment - span][-_MOST_BUCKETS:]
        if reduction is Reduction.ETA:
            self.slope = _trend(self.buckets)
        self.buckets.append(Bucket(moment, moment, value, 1.0, value, value, value, increase))

    def reduce(self, reduction: Reduction, span: float) -> float | None:
        """Return what the window says; None while too little of it is known."""
        buckets = self.buckets
        first, last = buckets[0], buckets[-1]
        if reduction is Reduction.INCREASE:
            return sum(bucket.increase for bucket in buckets)
        if last.end - first.begin < _COVERED * span:
            return None
        return self._of_whole(reduction)

    def _of_whole(self, reduction: Reduction) -> float | None:
        """Return what a window says of which enough is known."""
        buckets = self.buckets
        first, last = buckets[0], buckets[-1]
        result: float | None = last.last
        match reduction:
            case Reduction.MEAN:
                result = sum(bucket.total for bucket in buckets) / sum(bucket.count for bucket in buckets)
            case Reduction.MIN:
                result = min(bucket.minimum for bucket in buckets)
            case Reduction.MAX:
                result = max(bucket.maximum for bucket in buckets)
            case Reduction.RATE:
                elapsed = last.end - first.end
                result = sum(bucket.increase for bucket in buckets[1:]) / elapsed if elapsed > 0 else None
            case Reduction.ETA:
                slope = self.slope
                result = None if slope is None else last.last / -slope if slope < 0 else math.inf
            case _:
                pass
        return result


def _trend(buckets: list[Bucket]) -> float | None:
    """Return the change per second: the slower of that over all buckets and that over the later half of them.

    A single step in the middle moves the one, a step in the middle of the later half the other, and none both.
    """
    slopes = [_theil_sen(buckets), _theil_sen(buckets[len(buckets) // 2 :])]
    known = [slope for slope in slopes if slope is not None]
    return max(known) if len(known) == len(slopes) else None


def _theil_sen(buckets: list[Bucket]) -> float | None:
    """Return the median of the slopes between any two buckets, which outliers do not move."""
    slopes = [
        (later.last - earlier.last) / (later.end - earlier.end)
        for earlier, later in combinations(buckets, 2)
        if later.end > earlier.end
    ]
    slope = statistics.median(slopes) if slopes else math.nan
    return slope if math.isfinite(slope) else None


def _finite(value: float) -> float:
    """Return a value, or the largest one in place of what is too large: JSON has no word for infinity."""
    return max(-sys.float_info.max, min(sys.float_info.max, value))
