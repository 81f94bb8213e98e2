"""What the buckets hold.

    <bucket>            a measurement per entry of TABLES, with the tags `host` and the table's key, and its fields:
                        every number a float, a flag 1 or 0, text a string. A subsystem's own measurement also has
                        `session` (milliseconds), `sequence` and `interval` (seconds) of its messages; an entry of a
                        map that says nothing has `present`, because a point needs a field, and so has a row
                        of a subsystem's own measurement that was imported without the numbers of its message.
                        `hostpulse_host`: what a host's retained `status` and `info` said.
                        `hostpulse_lease`: which of several consumers looks for what is missing; see `lease`.
    <bucket>_minutes    the same measurements and tags with the fields that have a mean, a point for each minute and
                        each value of the further tag `aggregate`: `mean`, `minimum`, `maximum`, `sum`, `count`

Timestamps are milliseconds.
"""

import math
from datetime import UTC, datetime, timedelta

__all__ = [
    "AGGREGATES",
    "AGGREGATE_TAG",
    "ENVELOPE",
    "HOST_MEASUREMENT",
    "INFO",
    "LATEST_MOMENT",
    "LEASE_MEASUREMENT",
    "LONGEST_TEXT",
    "MINUTE",
    "ONLINE",
    "PRESENT",
    "RESERVED",
    "clamp_moment",
    "to_datetime",
]

MINUTE = 60_000
"""Milliseconds."""

LATEST_MOMENT = 9_214_646_400_000
"""Milliseconds since the epoch that no sample reaches: 2262, where 64-bit nanoseconds end."""

ENVELOPE = ("session", "sequence", "interval")
"""Fields that a subsystem's own measurement has of each message. Every message has a sequence."""

PRESENT = "present"
"""Field of an entry that says nothing, or of a row that does not know the number of its message."""

HOST_MEASUREMENT = "hostpulse_host"
ONLINE = "online"
INFO = "info"

LEASE_MEASUREMENT = "hostpulse_lease"

LONGEST_TEXT = 131_072
"""Characters of the longest text: as much as the reader takes in one cell of CSV."""

AGGREGATE_TAG = "aggregate"
AGGREGATES = {"mean": "mean", "minimum": "min", "maximum": "max", "sum": "sum", "count": "count"}
"""Values of the tag `aggregate`, and the Flux function of each."""

RESERVED = frozenset({"time", "_field", "_measurement", "_time", "_value", "_start", "_stop"})
"""Names that neither a tag nor a field may have."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def clamp_moment(seconds: float) -> int:
    """Return seconds since the epoch as milliseconds that InfluxDB can hold."""
    return round(min(max(seconds * 1000, 0), LATEST_MOMENT)) if math.isfinite(seconds) else 0


def to_datetime(milliseconds: int) -> datetime:
    """Return milliseconds since the epoch as a moment."""
    return _EPOCH + timedelta(milliseconds=milliseconds)
