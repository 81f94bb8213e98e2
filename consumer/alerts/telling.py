"""Transitions and alerts in words, from a rule and one of its instances."""

import math

from msgspec import Struct

from .flapping import is_flapping
from .model import Level, Reading, Rule
from .state import Instance
from .summary import reduced_unit, summary
from .transition import Alert, Kind, Transition

__all__ = ["alert_of", "end_of", "sayable", "transition_of"]

_SECONDS = "s"


class _Words(Struct, frozen=True):
    """What a transition and an alert both say."""

    unit: str
    value: float | str | None
    limit: float | str | None
    summary: str


def transition_of(rule: Rule, instance: Instance, kind: Kind, *, before: Level, moment: float, why: str) -> Transition:
    """Return what has happened.

    Args:
        rule: of the instance.
        instance: as it is now.
        kind: what happened.
        before: its level before.
        moment: seconds since the epoch.
        why: why nobody is told; "" where people are.
    """
    words = _words(rule, instance, max(before, instance.level), moment)
    return Transition(
        host=instance.host,
        rule=instance.rule,
        labels=instance.labels,
        kind=kind,
        before=before.word,
        level=instance.level.word,
        metric=rule.metric,
        unit=words.unit,
        value=words.value,
        limit=words.limit,
        summary=words.summary,
        moment=moment,
        since=instance.since,
        flapping=is_flapping(instance.episodes),
        told=not why,
        why=why,
    )


def alert_of(rule: Rule, instance: Instance, *, now: float, quiet: str) -> Alert:
    """Return how an instance is.

    Args:
        rule: of the instance.
        instance: one that is not ok.
        now: seconds since the epoch.
        quiet: why nobody is told now; "" where nothing speaks against it.
    """
    words = _words(rule, instance, instance.level, now)
    return Alert(
        host=instance.host,
        rule=instance.rule,
        labels=instance.labels,
        level=instance.level.word,
        metric=rule.metric,
        unit=words.unit,
        value=words.value,
        limit=words.limit,
        summary=words.summary,
        since=instance.since,
        told=instance.told.word,
        acknowledged=instance.acknowledged,
        stale=instance.stale,
        quiet=quiet,
    )


def end_of(instance: Instance, now: float, *, summary: str, why: str) -> Transition:
    """Return the end of an alert that is no longer looked at.

    Args:
        instance: as it was left.
        now: seconds since the epoch.
        summary: a sentence for people.
        why: why nobody is told; "" where people are.
    """
    return Transition(
        host=instance.host,
        rule=instance.rule,
        labels=instance.labels,
        kind=Kind.RESOLVED,
        before=instance.level.word,
        level=Level.OK.word,
        metric="",
        unit="",
        value=None,
        limit=None,
        summary=summary,
        moment=now,
        since=instance.since,
        flapping=False,
        told=not why,
        why=why,
    )


def sayable(value: Reading) -> float | str | None:
    """Return what was judged as it is kept and shown: a flag as a word, nothing for what is without end."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value
    return float(value) if math.isfinite(value) else None


def _words(rule: Rule, instance: Instance, level: Level, moment: float) -> _Words:
    bound = rule.bounds.get(level)
    value = instance.value
    limit: float | str | None = None
    if instance.absent:
        value, limit = moment - instance.seen, rule.absent
    elif bound is not None:
        limit = ", ".join(sorted(str(word).lower() for word in bound.words)) or bound.limit.value(instance.known)
    sentence = summary(
        rule,
        host=instance.host,
        key=instance.key,
        level=level,
        value=value,
        limit=limit,
        known=instance.known,
        missing=instance.absent,
    )
    return _Words(_SECONDS if instance.absent else reduced_unit(rule), value, limit, sentence)
