"""The queries. Text of ours, names and values of others only as parameters.

Conditions on tags are written out with `or`: InfluxDB answers those from its index, and a `contains` not.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from .schema import to_datetime

__all__ = ["Flux"]


class Flux:
    """A query that grows, with its parameters.

    Attributes:
        parameters: values by their names.
    """

    def __init__(self) -> None:
        self.parameters: dict[str, Any] = {}

    def bind(self, value: str | datetime) -> str:
        """Return the name that stands for a value in the text."""
        name = f"parameter_{len(self.parameters)}"
        self.parameters[name] = value
        return name

    def source(self, bucket: str, start: int, end: int, *conditions: str) -> str:
        """Return the text of the points of a range.

        Args:
            bucket: its name.
            start: milliseconds since the epoch, included.
            end: milliseconds since the epoch, not included; without it, the range would end now.
            conditions: all of which have to hold; an empty one holds.
        """
        condition = " and ".join(filter(None, conditions))
        return (
            f"from(bucket: {self.bind(bucket)})"
            f" |> range(start: {self.bind(to_datetime(start))}, stop: {self.bind(to_datetime(end))})"
            f"{condition and f' |> filter(fn: (r) => {condition})'}"
        )

    def is_any(self, column: str, values: Iterable[str] | None) -> str:
        """Return the condition that a column has one of some values; empty if it may have any.

        Args:
            column: a name of the contract.
            values: one at least; None for any.
        """
        if values is None:
            return ""
        return f"({' or '.join(f'r[{chr(34)}{column}{chr(34)}] == {self.bind(value)}' for value in values)})"
