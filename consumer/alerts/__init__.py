"""Alerts: rules over samples, without MQTT, files or a clock of their own.

    rules = load_rules([parse_source("alerts.toml", text), ...])
    engine = Engine(rules, state)
    transitions = engine.take(sample, received)      with each message
    transitions = engine.tick(now)                   every few seconds
    state = engine.dump()                            after each call that gave transitions

Samples move levels; the clock sees only what is absent, stale or to be said again. So what was once sampled gives
the same transitions whenever it is played.
"""

from .engine import Engine, UnknownAlertError
from .load import RulesError, Source, load_rules, parse_source
from .model import Level, Rule
from .silence import MOST_PATTERNS, Patterns, Silence
from .state import StateError
from .transition import Alert, Kind, Transition, instance_path

__all__ = [
    "MOST_PATTERNS",
    "Alert",
    "Engine",
    "Kind",
    "Level",
    "Patterns",
    "Rule",
    "RulesError",
    "Silence",
    "Source",
    "StateError",
    "Transition",
    "UnknownAlertError",
    "instance_path",
    "load_rules",
    "parse_source",
]
