"""Silences: what somebody does not want to hear of for a while."""

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, Struct

from .selection import Globs

__all__ = ["MOST_PATTERNS", "Patterns", "Silence"]

MOST_PATTERNS = 64

Patterns = Annotated[tuple[str, ...], Meta(max_length=MOST_PATTERNS)]


class Silence(Struct, frozen=True, kw_only=True):
    """Which alerts nobody is told of, until when and why. An alert has to match everything that is given.

    Attributes:
        id: names it; a silence with the same one takes its place.
        hosts: patterns of hosts; empty for all.
        rules: patterns of rules; empty for all.
        labels: patterns by name of the label; an alert without that label is not meant.
        until: seconds since the epoch.
        comment: why, and who said so.
    """

    id: str
    hosts: Patterns = ()
    rules: Patterns = ()
    labels: dict[str, Patterns] = {}
    until: float
    comment: str = ""

    def covers(self, host: str, rule: str, labels: Mapping[str, str]) -> bool:
        """Return whether it is about an alert."""
        return (
            Globs(self.hosts).match(host)
            and Globs(self.rules).match(rule)
            and all(name in labels and Globs(patterns).match(labels[name]) for name, patterns in self.labels.items())
        )
