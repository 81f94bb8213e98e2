"""A rule made ready for speed, with its instances; and the rules about one table."""

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

from msgspec import UNSET

from .model import Rule
from .state import Instance

__all__ = ["STALE_INTERVALS", "Key", "Plan", "Watch"]

STALE_INTERVALS = 3.0
"""How many intervals without a value make an instance stale."""

_LEAST_INTERVALS = 1.5  # or values that come in time would never count as held

Key = tuple[str, str | None]
"""Host, and key of the device; None where a host has one only."""


class Watch:
    """One rule, ready for speed, and its instances by host and key; None for those that it does not look at."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.read: Callable[[Any], Any] = attrgetter(rule.field.name)
        self.references = tuple((name, attrgetter(name)) for name in rule.references)
        self.quiet = rule.quiet()
        self.instances: dict[Key, Instance | None] = {}

    def stale_seconds(self, instance: Instance) -> float:
        """Return how long values may be away before the instance is stale."""
        if self.rule.stale_after is None:
            return STALE_INTERVALS * instance.interval
        return max(self.rule.stale_after, _LEAST_INTERVALS * instance.interval)

    def known_instances(self) -> list[Instance]:
        """Return those that there are."""
        return [instance for instance in self.instances.values() if instance is not None]

    def forget_passed_over(self) -> None:
        """Forget the devices that it does not look at; each is looked at anew when it comes."""
        self.instances = {key: instance for key, instance in self.instances.items() if instance is not None}


class Plan:
    """The rules about one table: what `take` does with a row of it."""

    def __init__(self, entries: str | None, watches: Sequence[Watch]) -> None:
        self._entries = entries
        self.watches = watches

    def rows(self, fields: Any) -> Iterable[tuple[str | None, Any]]:
        """Return the rows of the table in a message, each with its key."""
        if self._entries is None:
            return ((None, fields),)
        entries: Any = getattr(fields, self._entries)
        rows: Iterable[tuple[str | None, Any]] = () if entries is UNSET else entries.items()
        return rows
