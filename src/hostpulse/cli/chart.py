"""A chart of one series out of block characters."""

import math
import sys
from collections.abc import Sequence

__all__ = ["chart"]

_EIGHTHS = " ▁▂▃▄▅▆▇█"
_LARGEST = sys.float_info.max / 4  # of two such numbers the difference is still a number


def chart(values: Sequence[float | None], *, height: int, lowest: float, highest: float) -> list[str]:
    """Return the rows of a chart, the topmost first, one column for each value; None leaves its column empty.

    Args:
        values: what to draw.
        height: rows.
        lowest: value at the bottom.
        highest: value at the top.
    """
    bottom = _bounded(lowest)
    span = (_bounded(highest) - bottom) or 1.0
    # At least one eighth, so that a value at the bottom can be told from none.
    levels = [
        None if value is None or math.isnan(value) else max(1, round((_bounded(value) - bottom) / span * height * 8))
        for value in values
    ]
    rows = []
    for row in range(height - 1, -1, -1):
        filled = (0 if level is None else min(8, max(0, level - row * 8)) for level in levels)
        rows.append("".join(_EIGHTHS[eighths] for eighths in filled))
    return rows


def _bounded(value: float) -> float:
    return min(max(value, -_LARGEST), _LARGEST)
