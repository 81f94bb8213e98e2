"""The default rules stay silent on machines that are well: made-up days of five kinds, and a real recording.

`days.json` holds what the days are made of, so that a change of the generator shows: the number of messages, and of
each value that a rule judges the least, the middle and the greatest. `--update-golden` writes it anew.
"""

import json
import lzma
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec
import pytest

from hostpulse.bus.codec import Sample, decode
from hostpulse.bus.topics import Topics
from hostpulse.consumer.alerts import Engine, Rule, Transition, load_rules

from .days import KINDS, Arrival, day
from .support import FOLDER, defaults, rules

GOLDEN = FOLDER / "days.json"
RECORDING = FOLDER / "recorded.jsonl.xz"
TICK = 10.0
HOTTEST = {"laptop": 80, "home server": 55, "GPU box": 80, "Raspberry Pi": 70}


@cache
def whole_day(kind: str) -> list[Arrival]:
    return list(day(kind))


def play(all_rules: Iterable[Rule], arrivals: Iterable[Arrival]) -> list[Transition]:
    engine = Engine(all_rules)
    found: list[Transition] = []
    clock = 0.0
    for received, sample in arrivals:
        clock = clock or received
        while clock + TICK <= received:
            clock += TICK
            found += engine.tick(clock)
        if sample is None:
            engine.status("laptop", online=False, received=received)
        else:
            found += engine.take(sample, received)
    return found


def judged(samples: Iterable[Sample]) -> dict[str, list[float]]:
    """Return the values that a rule of the defaults judges, by metric."""
    wanted = {(rule.table.subsystem, rule.table.map, rule.field.name) for rule in load_rules([defaults()])}
    values: dict[str, list[float]] = defaultdict(list)
    for sample in samples:
        subsystem = sample.envelope.subsystem
        for name, entries, field in wanted:
            if name != subsystem:
                continue
            maps = getattr(sample.fields, entries) if entries else {"": sample.fields}
            for row in maps.values() if maps is not msgspec.UNSET else ():
                value = getattr(row, field)
                if isinstance(value, float | int):
                    values[f"{subsystem}.{f'{entries}.' if entries else ''}{field}"].append(value)
    return values


def outline(arrivals: list[Arrival]) -> dict[str, Any]:
    samples = [sample for _, sample in arrivals if sample is not None]
    ranges = {
        name: [round(number, 1) for number in (min(values), statistics.median(values), max(values))]
        for name, values in sorted(judged(samples).items())
    }
    return {"messages": len(samples), "metrics": ranges}


@pytest.mark.parametrize("kind", KINDS)
def test_a_day_without_an_alert(kind: str) -> None:
    assert play(load_rules([defaults()]), whole_day(kind)) == []


@pytest.mark.parametrize("kind", HOTTEST)
def test_rules_with_lower_limits_would_have_fired(kind: str) -> None:
    lower = rules(f'[rule.hot]\nmetric = "cpu.temperature_celsius"\nwarning = {{ above = {HOTTEST[kind]} }}')
    assert any(transition.told for transition in play(lower, whole_day(kind)))


def test_the_days_are_what_they_were(request: pytest.FixtureRequest) -> None:
    made = {kind: outline(whole_day(kind)) for kind in KINDS}
    if request.config.getoption("--update-golden"):
        GOLDEN.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    assert json.loads(GOLDEN.read_text(encoding="utf-8")) == made


def recorded() -> Iterator[Arrival]:
    """Yield what a real publisher sent, as it came."""
    topics = Topics()
    with lzma.open(RECORDING, "rt", encoding="utf-8") as file:
        for line in file:
            payload = line.encode()
            envelope = msgspec.json.decode(payload)
            topic = topics.parse(topics.sample(envelope["host"], envelope["subsystem"]))
            sample = decode(topic, payload, now=datetime(2100, 1, 1, tzinfo=UTC))
            yield Arrival(sample.envelope.timestamp.timestamp() + 0.01, sample)


def test_a_real_recording_without_an_alert() -> None:
    arrivals = list(recorded())
    seconds = arrivals[-1].received - arrivals[0].received
    assert seconds > 38 * 60
    assert {sample.envelope.subsystem for _, sample in arrivals if sample is not None} >= {"cpu", "memory", "disk"}
    assert play(load_rules([defaults()]), arrivals) == []
