"""Minutes that were summed up, in the place of raw rows that have gone.

Raw rows go by retention, and a history that was imported may have minutes from further back than rows. Which ones have
gone is not to be known; but a bucket of time of which minutes count more values than there are rows has lost some.
"""

import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType

from .schema import MINUTE

__all__ = ["COMBINED", "COUNT", "MAXIMUM", "MINIMUM", "SUM", "Bucket", "Buckets", "completed"]

SUM, COUNT, MINIMUM, MAXIMUM = "sum", "count", "minimum", "maximum"

COMBINED: Mapping[str, Callable[[float, float], float]] = MappingProxyType(
    {SUM: operator.add, COUNT: operator.add, MINIMUM: min, MAXIMUM: max}
)
"""How two parts of a bucket of time become one: InfluxDB gives one for each of its shards."""

Bucket = dict[str, float]
"""Sum, count, minimum and maximum of the values in a bucket of time."""

Buckets = dict[int, Bucket]
"""Buckets by their start, milliseconds since the epoch."""


def completed(raw: Buckets, minutes: Buckets, every: int) -> Buckets:
    """Return the buckets of a device, from its raw rows or from the minutes, whichever know more.

    Args:
        raw: from raw rows.
        minutes: from minutes; minute by minute where those do not fit into the buckets.
        every: width of a bucket in milliseconds.
    """
    if every % MINUTE == 0:
        more = {start: one for start, one in minutes.items() if one[COUNT] > raw.get(start, _EMPTY)[COUNT]}
        return raw | more
    buckets = dict(raw)
    for minute, one in minutes.items():
        first, last = minute // every, (minute + MINUTE - 1) // every
        if any(bucket * every in raw for bucket in range(first, last + 1)):
            continue  # it has not gone; a late sample alone is not all of its minute, but nothing tells it apart
        known = buckets.get(first * every)
        buckets[first * every] = one if known is None else _joined(known, one)
    return buckets


_EMPTY: Bucket = {COUNT: 0}


def _joined(one: Bucket, other: Bucket) -> Bucket:
    return {name: combine(one[name], other[name]) for name, combine in COMBINED.items()}
