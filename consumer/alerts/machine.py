"""Levels, holds and hysteresis: where a sample moves an instance. It knows no clock but that of the samples."""

from .flapping import recent, recovery_seconds
from .model import Bound, Level, Reading, Rule
from .state import Instance

__all__ = ["forget_holds", "next_level"]

_LEVELS = (Level.WARNING, Level.CRITICAL)
_USUAL_SECONDS = 86400.0


def forget_holds(instance: Instance) -> None:
    """Let nothing count as held: what was in a gap is not known."""
    instance.over = {}
    instance.under = {}


def next_level(rule: Rule, instance: Instance, value: Reading, moment: float) -> Level:
    """Note for how long the value has been beyond and back, and return the level that follows.

    Args:
        rule: of the instance.
        instance: its holds are brought up to date, its level is not.
        value: what is judged.
        moment: of the sample, seconds since the epoch.
    """
    _note(rule, instance, value, moment)
    for level in reversed(_LEVELS):
        if level <= instance.level:
            break
        since = instance.over.get(level)
        if since is not None and moment - since >= rule.bounds[level].hold:
            return level
    return _recovered(rule, instance, moment)


def _note(rule: Rule, instance: Instance, value: Reading, moment: float) -> None:
    over, under, known = instance.over, instance.under, instance.known
    applies = rule.only_if is None or rule.only_if.holds(known)
    for level in _LEVELS:
        bound = rule.bounds.get(level)
        if bound is None:  # the level of one that was absent, or of a rule that has changed
            over.pop(level, None)
            under.setdefault(level, moment)
            continue
        if bound.changed_from and level not in instance.changed_from:
            _learn_what_is_usual(bound, instance, level, value, moment)
        may_fire = applies and (not bound.changed_from or level in instance.changed_from)
        if may_fire and bound.is_beyond(value, known):
            over.setdefault(level, moment)
            under.pop(level, None)
            continue
        over.pop(level, None)
        if not may_fire or bound.is_back(value, known):
            under.setdefault(level, moment)
        else:
            under.pop(level, None)


def _learn_what_is_usual(bound: Bound, instance: Instance, level: Level, value: Reading, moment: float) -> None:
    """Note that a device is well as a rule: at first sight, or for a day."""
    if value not in bound.changed_from:
        instance.under.pop(level, None)
    elif instance.value is None or moment - instance.under.get(level, moment) >= _USUAL_SECONDS:
        instance.changed_from = [*instance.changed_from, level]


def _recovered(rule: Rule, instance: Instance, moment: float) -> Level:
    """Return the highest level, from the present one down, that has not been good for long enough."""
    if instance.level is Level.OK:
        return Level.OK
    instance.episodes = recent(instance.episodes, moment)
    needed = recovery_seconds(rule.recover, instance.episodes)
    for level in reversed(_LEVELS):
        if level > instance.level:
            continue
        since = instance.under.get(level)
        if since is None or moment - since < needed:
            return level
    return Level.OK
