"""The default rules stay silent on five machines that are well, for a day each.

The days are made up (`kinds`), and recorded by the real publisher: what is played here is, byte by byte, what it sent
while the machines' files moved. No such machine exists; tests/alerts/test_healthy.py has a recording of one that does.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hostpulse.consumer.alerts import load_rules

from ..alerts.support import defaults
from .kinds import KINDS
from .levels import DAY
from .player import impatient, line_of, play
from .recorder import START, record
from .recording import Arrival, load, recording_of

HOUR = 3600.0
MEASURED = {"cpu_percent", "memory_bytes", "duration_seconds", "sent_bytes", "outbox_bytes"}
"""What the publisher says of itself that is never the same twice: the last two are as long as the others are."""

TEMPTING = {
    "desktop": {"disk_full"},
    "laptop": {"clock_skew", "cpu_hot", "sensor_hot"},
    "raspberry-pi": {"clock_skew"},
    "server": {"file_system_stalled"},
    "vm": {"clock_skew", "memory_low"},
}
"""Rules that a day brings beyond a limit, though not for long enough."""


@pytest.mark.parametrize("name", KINDS)
def test_a_day_without_an_alert(name: str) -> None:
    rules = load_rules([defaults()])
    arrivals = list(load(recording_of(name)))
    assert arrivals[0].received < START + 1
    assert arrivals[-1].received > START + DAY - 3700  # the laptop is asleep by then
    happened, at_once = play([rules, impatient(rules)], name, arrivals)
    assert [line_of(one) for one in happened] == []
    assert {one.rule for one in at_once} == TEMPTING[name]


@pytest.mark.parametrize("name", KINDS)
def test_an_hour_recorded_anew_is_what_was_kept(name: str, tmp_path: Path) -> None:
    kept = [one for one in load(recording_of(name)) if one.received < START + HOUR]
    anew = record(KINDS[name], tmp_path, end=HOUR)
    # In which order messages of a moment come depends on how long its collectors took.
    found = sorted(comparable(one) for one in anew)
    expected = sorted(comparable(one) for one in kept)
    assert found == expected, f"if that is meant to be so: PYTHONPATH=src python -m tests.days {name}"


def comparable(arrival: Arrival) -> Arrival:
    """Return a message without what the publisher has measured of itself."""
    if arrival.leaf != "publisher":
        return arrival
    message = msgspec.json.decode(arrival.payload)
    return arrival._replace(payload=msgspec.json.encode(without(message, MEASURED)))


def without(value: Any, names: Iterable[str]) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: without(inner, names) for name, inner in value.items() if name not in names}
