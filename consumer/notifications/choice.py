"""Which of all that happens is for a route."""

from collections.abc import Collection, Mapping

from ..alerts import Kind, Transition
from ..alerts.selection import Globs
from .options import RouteOptions

__all__ = ["Choice"]

_LEVELS = {"ok": 0, "warning": 1, "critical": 2}
_BETTER = frozenset({Kind.EASED, Kind.RESOLVED})


class Choice:
    """Chooses by level, host, rule and tag; that an alert got better only where it was told before.

    Args:
        options: of the route.
        tags: of each rule, by its name; rules without any may be missing.
    """

    def __init__(self, options: RouteOptions, tags: Mapping[str, Collection[str]]) -> None:
        self._least = _LEVELS[options.level]
        self._hosts = Globs(options.hosts)
        self._rules = Globs(options.rules)
        self._tags = frozenset(options.tags)
        self._tags_of = tags
        self._resolved = options.resolved

    def takes(self, transition: Transition, told: set[str]) -> bool:
        """Return whether it is to be told, and keep account of what has been.

        Args:
            transition: the next one; they come in order.
            told: instances of the alerts that were told on this route and have not ended; is changed.
        """
        instance = transition.instance
        takes = transition.told and (
            self._tells_end(transition) if instance in told and transition.kind in _BETTER else self._is_for(transition)
        )
        if transition.kind is Kind.RESOLVED:
            told.discard(instance)
        elif takes:
            told.add(instance)
        return takes

    def _tells_end(self, transition: Transition) -> bool:
        return self._resolved or transition.kind is not Kind.RESOLVED

    def _is_for(self, transition: Transition) -> bool:
        return (
            transition.kind is not Kind.RESOLVED
            and _LEVELS.get(transition.level, 0) >= self._least
            and self._hosts.match(transition.host)
            and self._rules.match(transition.rule)
            and (not self._tags or not self._tags.isdisjoint(self._tags_of.get(transition.rule, ())))
        )
