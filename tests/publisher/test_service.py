import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from hostpulse.bus.codec import decode
from hostpulse.bus.fields import Fields
from hostpulse.bus.messages import Cpu, Memory, Publisher, System
from hostpulse.bus.mqtt import MqttOptions, Publication
from hostpulse.bus.topics import Topics
from hostpulse.publisher.collectors.base import Collector
from hostpulse.publisher.collectors.registry import Choice
from hostpulse.publisher.health import HealthCollector
from hostpulse.publisher.outbox import Message, Outbox, OutboxOptions
from hostpulse.publisher.schedule import CollectorState, Entry, Reading
from hostpulse.publisher.service import PublisherOptions, PublisherService

NOBODY = MqttOptions(host="127.0.0.1", port=1, client_id="test")


class Silent(Collector):
    def __init__(self, subsystem: str) -> None:
        self.name = self.subsystem = subsystem

    def read(self) -> Fields:
        raise AssertionError("nobody asks")


@pytest.fixture
def service(bare: Any) -> PublisherService:
    made = PublisherService(PublisherOptions(host="a host", interval=2.0, mqtt=NOBODY), bare.machine)
    made._session_start = 1_773_480_000_000
    return made


def reading(subsystem: str, timestamp: float, fields: Fields | None = None) -> Reading:
    return Reading(Silent(subsystem), fields or Cpu(load_average_1m=1.0), timestamp, 2.0)


@pytest.fixture
def envelopes(service: PublisherService) -> Callable[..., list[Any]]:
    def understand(*readings: Reading) -> list[Any]:
        found = []
        for one in readings:
            message = service._message(one)
            topic = Topics().parse(message.topic)
            found.append(decode(topic, message.payload, now=datetime(2026, 3, 15, tzinfo=UTC)).envelope)
            assert (message.session, message.sequence) == (1_773_480_000_000, found[-1].sequence)
            assert (message.subsystem, message.timestamp) == (found[-1].subsystem, milliseconds(found[-1]))
        return found

    return understand


def milliseconds(envelope: Any) -> int:
    return round(envelope.timestamp.timestamp() * 1000)


def test_sequence_is_counted_per_subsystem_from_1(envelopes: Callable[..., list[Any]]) -> None:
    start = 1_773_480_001.0
    found = envelopes(
        reading("cpu", start), reading("cpu", start + 1), reading("memory", start, Memory()), reading("cpu", start + 2)
    )
    assert [(one.subsystem, one.sequence) for one in found] == [("cpu", 1), ("cpu", 2), ("memory", 1), ("cpu", 3)]
    assert {one.host for one in found} == {"a host"}
    assert {one.session.timestamp() for one in found} == {1_773_480_000.0}


def test_no_two_messages_of_a_subsystem_have_one_timestamp(envelopes: Callable[..., list[Any]]) -> None:
    start = 1_773_480_001.0
    offsets = (0.0, 0.0, 0.0, 0.0004, 0.001, 0.0011, -0.005, 0.0, 0.5, 2.0, 1.9996)
    stamps = [milliseconds(one) for one in envelopes(*(reading("cpu", start + offset) for offset in offsets))]
    assert stamps == sorted(set(stamps))
    assert all(0 <= stamp - round((start + offset) * 1000) <= 20 for stamp, offset in zip(stamps, offsets, strict=True))
    (other,) = envelopes(reading("memory", start, Memory()))
    assert milliseconds(other) == round(start * 1000)


def test_clock_that_is_set_back_is_followed(envelopes: Callable[..., list[Any]]) -> None:
    found = envelopes(reading("cpu", 1_773_480_100.0), reading("cpu", 1_773_480_050.0))
    assert milliseconds(found[1]) == 1_773_480_050_000


def test_what_is_no_message_ends_nothing_and_leaves_no_gap(
    service: PublisherService, caplog: pytest.LogCaptureFixture
) -> None:
    good: Any = System(hostname="fine")
    bad: Any = object()  # a collector's fault
    for fields in (good, bad, bad, good):
        service._put_out(reading("system", 1_773_480_001.0, fields))
    assert [record.levelno for record in caplog.records] == [logging.ERROR]  # said once
    assert "system" in caplog.text
    sent: list[Publication] = []
    service._outbox.send(lambda: 40, lambda one: sent.append(one) or len(sent))  # type: ignore[func-returns-value]
    assert not any(one.retain for one in sent)
    assert [msgspec.json.decode(one.payload)["sequence"] for one in sent] == [1, 2]


def test_greeting_is_retained_and_tells_intervals(service: PublisherService) -> None:
    status, info = service._greeting()
    assert status == Publication("hostpulse/a_x20host/status", b"online", retain=True)
    assert (info.topic, info.retain) == ("hostpulse/a_x20host/info", True)
    told = msgspec.json.decode(info.payload)
    assert told["host"] == "a host"
    assert (told["intervals"]["cpu"], told["intervals"]["disk_mounts"], told["intervals"]["publisher"]) == (
        2.0,
        30.0,
        30.0,
    )


def test_own_health_can_be_switched_off(bare: Any) -> None:
    options = PublisherOptions(host="h", interval=2.0, mqtt=NOBODY, choice=Choice(disable=("publisher", "cpu")))
    names = [entry.collector.name for entry in PublisherService(options, bare.machine)._schedule.entries]
    assert "memory" in names
    assert not {"publisher", "cpu", "cpu_clock"} & set(names)


# --- health


def test_health(clocks: Any) -> None:
    outbox = Outbox(None, OutboxOptions(), clocks.clock, memory_messages=2)
    entries = [Entry(Silent("cpu"), 2.0), Entry(Silent("disk"), 2.0)]
    health = HealthCollector(clocks.clock, outbox=outbox, connections=lambda: 3, entries=lambda: entries)
    for sequence, text in enumerate((b"a", b"bb", b"ccc"), 1):
        outbox.add(Message("p/h/cpu", text, session=1, sequence=sequence, timestamp=round(clocks.wall * 1000)))
    outbox.store()
    rooms = iter((1, 0))
    outbox.send(lambda: next(rooms), lambda _: 1)
    outbox.acknowledge(1)
    clocks.advance(1.25)
    entries[0].state, entries[0].duration = CollectorState.OK, 0.0001234
    entries[1].state = CollectorState.STALLED
    found = health.read()
    assert isinstance(found, Publisher)
    assert found.cpu_percent is UNSET
    assert (found.outbox_messages, found.outbox_bytes, found.outbox_age_seconds) == (1, 3, 1.2)
    assert (found.sent_messages, found.sent_bytes, found.dropped_messages, found.connections) == (1, 2, 1, 3)
    assert {name: (one.state, one.duration_seconds) for name, one in found.collector.items()} == {  # type: ignore[union-attr]
        "cpu": ("ok", 0.000123),
        "disk": ("stalled", UNSET),
    }
    # no Python is smaller than 4 MiB; 64 GiB is more than any machine that runs the tests gives to one
    assert 4 * 2**20 < found.memory_bytes < 64 * 2**30  # type: ignore[operator]


def test_own_cpu_time(clocks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = Outbox(None, OutboxOptions(), clocks.clock)
    health = HealthCollector(clocks.clock, outbox=outbox, connections=lambda: 0, entries=list)

    class Times:
        user, system = 1.0, 0.5

    monkeypatch.setattr("os.times", Times)
    health.read()
    Times.user, Times.system = 1.25, 0.75
    clocks.advance(10)
    assert health.read().cpu_percent == 5.0
    clocks.advance(10, suspended=100)
    assert health.read().cpu_percent is UNSET
