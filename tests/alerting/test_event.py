from datetime import UTC, datetime

import msgspec
import pytest
from msgspec import UNSET

from hostpulse.bus.codec import MAXIMUM_MESSAGE_BYTES, NO_INTERVAL, decode, encode
from hostpulse.bus.fields import LONGEST_TEXT
from hostpulse.bus.messages import EVENT, Event
from hostpulse.bus.topics import HostTopic, escape
from hostpulse.consumer.alerting.event import event_of
from hostpulse.consumer.alerts import Kind, Transition

NOW = 1_770_000_000.0


def transition(**changes: object) -> Transition:
    made = Transition(
        host="web-1",
        rule="disk_full",
        labels={"mount": "/"},
        kind=Kind.ESCALATED,
        before="warning",
        level="critical",
        metric="disk_mount.used_percent",
        unit="%",
        value=97.5,
        limit=95.0,
        summary="/ is 97.5 % full",
        moment=NOW - 1.25,
        since=NOW - 61.25,
        flapping=False,
        told=True,
    )
    return msgspec.structs.replace(made, **changes)


def through_the_bus(event: Event, host: str) -> Event:
    payload = encode(
        event, host=host, subsystem=EVENT, timestamp=NOW, sequence=1, session=NOW - 60, interval=NO_INTERVAL
    )
    assert len(payload) <= MAXIMUM_MESSAGE_BYTES
    sample = decode(HostTopic(escape(host), EVENT), payload, now=datetime.fromtimestamp(NOW, UTC))
    assert sample.envelope.interval == NO_INTERVAL
    assert isinstance(sample.fields, Event)
    return sample.fields


def test_all_of_a_transition_is_in_its_event() -> None:
    event = event_of(transition(), timestamp=NOW)
    assert event == Event(
        event_id="web-1/disk_full/mount=/@1769999998.750:escalated",
        rule="disk_full",
        labels="mount=/",
        kind="escalated",
        before="warning",
        level="critical",
        metric="disk_mount.used_percent",
        unit="%",
        value=97.5,
        limit=95.0,
        summary="/ is 97.5 % full",
        duration_seconds=60.0,
        delay_seconds=1.25,
        flapping=False,
        told=True,
    )
    assert through_the_bus(event, "web-1") == event


def test_what_a_transition_does_not_say_is_absent() -> None:
    event = event_of(transition(labels={}, metric="", unit="", value=None, limit=None), timestamp=NOW)
    assert {event.labels, event.metric, event.unit, event.value, event.limit, event.why} == {UNSET}
    assert {event.value_text, event.limit_text} == {UNSET}


def test_words_stand_beside_numbers() -> None:
    event = event_of(
        transition(value="read_only", limit="read_only, stalled", told=False, why="silenced"), timestamp=NOW
    )
    assert (event.value, event.value_text) == (UNSET, "read_only")
    assert (event.limit, event.limit_text) == (UNSET, "read_only, stalled")
    assert (event.told, event.why) == (False, "silenced")


def test_a_clock_of_a_host_that_is_wrong() -> None:
    event = event_of(transition(moment=NOW + 30, since=NOW + 90), timestamp=NOW)
    assert (event.delay_seconds, event.duration_seconds) == (-30.0, 0.0)


def test_control_characters_are_left_to_the_rows_they_come_from() -> None:
    event = event_of(
        transition(labels={"mount": "/a\nb"}, summary="/a\nb\x1b\x9b is full", value="\x00"), timestamp=NOW
    )
    assert (event.labels, event.summary, event.value_text) == ("mount=/a�b", "/a�b�� is full", "�")
    assert event.event_id == "web-1/disk_full/mount=/a�b@1769999998.750:escalated"


@pytest.mark.parametrize("character", ["x", "☃", '"'])
def test_the_longest_texts_fit_into_a_message(character: str) -> None:
    host, rule = character * 255, "r" * 64
    labels = {"interface": character * 512}
    event = event_of(
        transition(host=host, rule=rule, labels=labels, summary=character * 9999, why=character * LONGEST_TEXT),
        timestamp=NOW,
    )
    assert event.summary == character * (LONGEST_TEXT - 1) + "…"
    assert event.event_id == f"{host}/{rule}/interface={labels['interface']}@1769999998.750:escalated", "it stays whole"
    assert through_the_bus(event, host) == event
