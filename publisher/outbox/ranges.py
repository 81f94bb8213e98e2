"""A set of numbers that is kept as ranges."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

__all__ = ["Ranges"]


class Ranges:
    """A set of natural numbers, cheap as long as they lie together.

    A range is its first number and the one behind its last.

    Attributes:
        total: how many numbers are in it.
    """

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._ends: list[int] = []
        self.total = 0

    def __len__(self) -> int:
        """Return how many ranges there are."""
        return len(self._firsts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self._firsts, self._ends, strict=True))

    def __contains__(self, number: int) -> bool:
        return self.first_missing(number) != number

    def add(self, first: int, end: int) -> None:
        """Add the numbers from `first` to the one before `end`."""
        if first >= end:
            return
        if self._ends and first == self._ends[-1]:  # mostly they come in order
            self._ends[-1] = end
            self.total += end - first
            return
        # All that touch it become one.
        low = bisect_left(self._ends, first)
        high = bisect_right(self._firsts, end)
        before = sum(self._ends[index] - self._firsts[index] for index in range(low, high))
        if low < high:
            first, end = min(first, self._firsts[low]), max(end, self._ends[high - 1])
        self._firsts[low:high] = [first]
        self._ends[low:high] = [end]
        self.total += end - first - before

    def first_missing(self, number: int) -> int:
        """Return the lowest number from that one on that is not in it."""
        index = bisect_right(self._firsts, number) - 1
        return self._ends[index] if index >= 0 and self._ends[index] > number else number

    def count(self, first: int, end: int) -> int:
        """Return how many from `first` to the one before `end` are in it."""
        low = bisect_right(self._ends, first)
        high = bisect_left(self._firsts, end)
        return sum(min(end, self._ends[index]) - max(first, self._firsts[index]) for index in range(low, high))

    def missing(self, first: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the ranges from `first` to the one before `end` that are not in it."""
        while (first := self.first_missing(first)) < end:
            index = bisect_right(self._firsts, first)
            following = self._firsts[index] if index < len(self._firsts) else end
            yield first, min(following, end)
            first = following
