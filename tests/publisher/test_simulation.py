"""Synthetic hosts say what a machine could say."""

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import pytest
from msgspec import UNSET

from hostpulse.bus.codec import decode, encode
from hostpulse.bus.errors import UsageError
from hostpulse.bus.fields import Kind, Unit
from hostpulse.bus.messages import SUBSYSTEMS, TABLES
from hostpulse.bus.topics import Topics
from hostpulse.publisher.service import PublisherOptions
from hostpulse.publisher.simulation import SIMULATED, SimulationOptions, SimulationService
from hostpulse.publisher.simulation.collector import SyntheticCollector

from ..brokers import Broker

MOMENTS = [10.0 * number for number in range(100)]


def values(subsystem: str, field: str, seed: str = "1") -> list[float]:
    """Return one field at each of the moments."""
    collector = SyntheticCollector(subsystem, seed=seed, seconds=iter(MOMENTS).__next__)
    return [getattr(collector.read(), field) for _ in MOMENTS]


@pytest.mark.parametrize("subsystem", SIMULATED)
def test_every_field_is_there_and_passes_the_codec(subsystem: str) -> None:
    fields = SyntheticCollector(subsystem, seed="1", seconds=lambda: 12_345.0).read()
    assert isinstance(fields, SUBSYSTEMS[subsystem])
    assert all(value is not UNSET for value in msgspec.structs.asdict(fields).values())
    now = time.time()
    envelope = {"host": "a", "subsystem": subsystem, "timestamp": now, "sequence": 1, "session": now, "interval": 1}
    payload = encode(fields, **envelope)  # type: ignore[arg-type]
    parsed = Topics().parse(Topics().sample("a", subsystem))
    assert decode(parsed, payload, now=datetime.fromtimestamp(now, UTC)).fields == fields


@pytest.mark.parametrize("subsystem", SIMULATED)
def test_values_are_those_of_a_machine(subsystem: str) -> None:
    for field in TABLES[subsystem].fields:
        if field.type not in (int, float):
            continue
        found = values(subsystem, field.name)
        assert all(value >= 0 for value in found), field
        if field.unit is Unit.PERCENT:
            assert all(value <= 100 for value in found), field
        if field.kind is Kind.COUNTER:
            assert found == sorted(found), field


def test_used_memory_moves_below_its_total() -> None:
    used, total = values("memory", "used_bytes"), values("memory", "total_bytes")
    assert len(set(used)) > len(used) // 2
    assert len(set(total)) == 1
    assert max(used) < total[0]


def test_a_seed_makes_the_same_values_and_another_one_others() -> None:
    name = "utilization_percent"
    assert values("cpu", name) == values("cpu", name)
    assert values("cpu", name) != values("cpu", name, seed="2")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
def test_more_hosts_than_there_may_be_files(make_broker: Callable[..., Broker]) -> None:
    publisher = PublisherOptions(host="many", interval=1.0, mqtt=make_broker("mosquitto").options("many"))
    options = SimulationOptions(publisher=publisher, hosts=1, subsystems=("cpu",))
    service = SimulationService(options)
    service._options = msgspec.structs.replace(options, hosts=10**9)
    with pytest.raises(UsageError, match=r"raise ulimit -n"):
        service.run()
