"""Which alerts keep which others quiet, as a look-up."""

from collections import Counter
from collections.abc import Iterable, Mapping

from .model import Rule

__all__ = ["Inhibition"]


class Inhibition:
    """Counts the alerts of each rule that are at a level, by host and by device.

    An alert is kept quiet by those of the rules in its `inhibited_by` on the same host; where both rules tell
    devices apart by the same label, only by that of the same device.

    Args:
        rules: all of them, by name.
    """

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._inhibitors: dict[str, tuple[tuple[str, bool], ...]] = {
            rule.name: tuple(self._inhibitors_of(rule, rules)) for rule in rules.values()
        }
        self._by_host: Counter[tuple[str, str]] = Counter()
        self._by_device: Counter[tuple[str, str, str | None]] = Counter()

    @staticmethod
    def _inhibitors_of(rule: Rule, rules: Mapping[str, Rule]) -> Iterable[tuple[str, bool]]:
        for name in rule.inhibited_by:
            if name in rules:
                yield name, rule.table.key is not None and rule.table.key == rules[name].table.key

    def count(self, host: str, rule: str, key: str | None, step: int) -> None:
        """Note that an alert has left ok (1), or is back there (-1)."""
        self._by_host[host, rule] += step
        self._by_device[host, rule, key] += step

    def inhibitor(self, host: str, rule: str, key: str | None) -> str | None:
        """Return the name of a rule that keeps an alert quiet; None if none does."""
        for name, same_device in self._inhibitors[rule]:
            if self._by_device[host, name, key] if same_device else self._by_host[host, name]:
                return name
        return None
