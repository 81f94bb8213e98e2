"""Ranges of time that hold about as many rows as fit into memory."""

from collections.abc import Callable, Iterator

from ..interface import Row
from .rows import TooManyRowsError

__all__ = ["in_slices"]

_FIRST_WIDTH = 60_000  # milliseconds
_GROWTH = 8
_SHRINKING = 4
_EXCESS = 4


def in_slices(
    start: int,
    end: int,
    read: Callable[[int, int, int | None], list[Row]],
    first: Callable[[int, int], int | None],
    *,
    target: int,
) -> Iterator[list[Row]]:
    """Yield the rows of a range, slice by slice.

    A slice is as wide as the one before suggests; one that turns out to hold far too much is dropped and cut. Where
    there is nothing, the next row is looked for.

    Args:
        start: milliseconds since the epoch, included.
        end: milliseconds since the epoch, not included.
        read: returns the rows of a range, and raises `TooManyRowsError` when there are more than its third argument.
        first: returns the moment of the first row of a range; None if there is none.
        target: rows that a slice should hold; it holds four times as many at most, or one millisecond.
    """
    width = _FIRST_WIDTH
    while start < end:
        stop = min(start + width, end)
        try:
            rows = read(start, stop, _EXCESS * target if stop - start > 1 else None)
        except TooManyRowsError:
            width = max((stop - start) // _SHRINKING, 1)
            continue
        if rows:
            yield rows
            start = stop
            width = max(round(width * min(max(target / len(rows), 1 / _SHRINKING), _GROWTH)), 1)
            continue
        if stop >= end:
            return
        next_row = first(stop, end)
        if next_row is None:
            return
        start = next_row
