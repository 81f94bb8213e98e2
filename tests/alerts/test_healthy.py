"""The default rules stay silent on machines that are well: a real one, recorded, and one with GPUs, made up.

Five more kinds of machines, each for a day as the publisher tells it: tests/days.
"""

import lzma
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import msgspec
import pytest

from hostpulse.bus.codec import decode
from hostpulse.bus.topics import Topics
from hostpulse.consumer.alerts import Engine, Rule, Transition, load_rules

from .gpu_day import Arrival, gpu_day
from .support import FOLDER, defaults, rules

RECORDINGS = {"recorded.jsonl.xz": 38 * 60, "recorded_busy.jsonl.xz": 2 * 3600}  # and how many seconds they last
TICK = 10.0


def play(all_rules: Iterable[Rule], arrivals: Iterable[Arrival]) -> list[Transition]:
    engine = Engine(all_rules)
    found: list[Transition] = []
    clock = 0.0
    for received, sample in arrivals:
        clock = clock or received
        while clock + TICK <= received:
            clock += TICK
            found += engine.tick(clock)
        found += engine.take(sample, received)
    return found


def test_a_day_of_gpus_without_an_alert() -> None:
    assert play(load_rules([defaults()]), gpu_day()) == []


def test_rules_with_lower_limits_would_have_fired() -> None:
    lower = rules(
        """
        [rule.hot]
        metric = "gpu_device.temperature_celsius"
        reduce = "mean"
        window = "15m"
        warning = { above = 78.5 }
        """
    )
    assert {one.labels["gpu"] for one in play(lower, gpu_day()) if one.told} == {"GPU-2", "GPU-3"}


def recorded(name: str) -> Iterator[Arrival]:
    """Yield what a real publisher sent, as it came."""
    topics = Topics()
    with lzma.open(FOLDER / name, "rt", encoding="utf-8") as file:
        for line in file:
            payload = line.encode()
            envelope = msgspec.json.decode(payload)
            topic = topics.parse(topics.sample(envelope["host"], envelope["subsystem"]))
            sample = decode(topic, payload, now=datetime(2100, 1, 1, tzinfo=UTC))
            yield Arrival(sample.envelope.timestamp.timestamp() + 0.01, sample)


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_real_recording_without_an_alert(name: str) -> None:
    arrivals = list(recorded(name))
    assert arrivals[-1].received - arrivals[0].received > RECORDINGS[name]
    assert {sample.envelope.subsystem for _, sample in arrivals} >= {"cpu", "memory", "disk"}
    assert play(load_rules([defaults()]), arrivals) == []
