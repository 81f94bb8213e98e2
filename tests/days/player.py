"""Plays what came to a broker through the engine of the alerts."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from hostpulse.bus.codec import decode
from hostpulse.bus.topics import HostTopic
from hostpulse.consumer.alerts import Engine, Rule, Transition

from .recording import Arrival

__all__ = ["impatient", "line_of", "play"]

_TICK_SECONDS = 10.0


def play(rules: Iterable[Sequence[Rule]], host: str, arrivals: Iterable[Arrival]) -> list[list[Transition]]:
    """Return what happens, by each of several sets of rules. Messages are taken as the role `alerts` takes them.

    Args:
        rules: the sets.
        host: whose messages these are.
        arrivals: in order.
    """
    engines = [Engine(one) for one in rules]
    found: list[list[Transition]] = [[] for _ in engines]
    clock = 0.0
    for received, leaf, payload in arrivals:
        clock = clock or received
        while clock + _TICK_SECONDS <= received:
            clock += _TICK_SECONDS
            for number, engine in enumerate(engines):
                found[number] += engine.tick(clock)
        if leaf == "status":
            for engine in engines:
                engine.status(host, online=payload == b"online", received=received)
            continue
        sample = decode(HostTopic(host, leaf), payload, now=datetime.fromtimestamp(received, UTC))
        for number, engine in enumerate(engines):
            found[number] += engine.take(sample, received)
    return found


def impatient(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Return rules that fire at the first value beyond a limit, as if they had no `for`."""
    return tuple(
        replace(rule, bounds={level: replace(bound, hold=0.0) for level, bound in rule.bounds.items()})
        for rule in rules
    )


def line_of(transition: Transition) -> str:
    """Return a transition in a line: when, rule, label, level, what."""
    moment = datetime.fromtimestamp(transition.moment, UTC).strftime("%H:%M")
    labels = [f"{name}={value}" for name, value in transition.labels.items()]
    told = [] if transition.told else [f"({transition.why})"]
    return " ".join([moment, transition.rule, *labels, transition.level, transition.kind, *told])
