"""Rows on their way from one store to another, without becoming messages again."""

from collections.abc import Sequence
from dataclasses import dataclass

from hostpulse.bus.fields import Table

from .interface import Value

__all__ = ["AGGREGATES", "Device", "Page", "StoredRow", "StoredRows"]

AGGREGATES = ("mean", "minimum", "maximum", "sum", "count")
"""What is kept of the values of a minute."""

Device = str | tuple[str, str]
"""The host in a subsystem's own table, else host and key."""

StoredRow = tuple[int, Device, Sequence[Value]]
"""Moment in milliseconds, device, values in the order of the columns: numbers, then texts."""


@dataclass(frozen=True, slots=True)
class StoredRows:
    """Rows of one table with the same columns.

    Attributes:
        table: whose rows.
        numbers: columns of numbers and flags, which are 0 or 1. In a subsystem's own table the envelope's `session`
            (milliseconds), `sequence` and `interval` (seconds) may be among them.
        texts: columns of text.
        rows: in any order.
        aggregate: which one of `AGGREGATES` the values are, where each row is a minute that was summed up; None where
            rows are as they were sampled.
    """

    table: Table
    numbers: tuple[str, ...]
    texts: tuple[str, ...]
    rows: Sequence[StoredRow]
    aggregate: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of a source, to be stored together.

    Attributes:
        blocks: the rows.
        rows: how many of the source they are.
        position: from which the source goes on behind them.
    """

    blocks: Sequence[StoredRows]
    rows: int
    position: int
