"""What people and programs read."""

import re
import time
from typing import Any

import msgspec

from hostpulse.consumer.alerting.journal import Entry
from hostpulse.consumer.alerts import Kind, Transition
from hostpulse.consumer.notifications.notification import Notification, notification_of

from .conftest import resolved, transition

NOW = time.time()


def notification(*transitions: Transition, first: int = 1) -> Notification:
    entries = [
        Entry(number=number, sequence=number, timestamp=one.moment, transition=one)
        for number, one in enumerate(transitions, first)
    ]
    return notification_of("ops", NOW, entries)


def title(*transitions: Transition, now: float = NOW) -> str:
    return notification(*transitions).title(now)


def at(age: float = 0.0, **changes: Any) -> Transition:
    return transition(**{"moment": NOW - age, "since": NOW - age} | changes)


def test_one_alert_is_the_title() -> None:
    assert title(at()) == "[warning] / of web-1 is 91.5 % full, 8 GiB are left"
    assert title(at(level="critical", summary="/data is 97 % full")) == "[critical] web-1: /data is 97 % full"
    assert title(at(level="critical", kind=Kind.REPEATED)).startswith("[still critical] ")
    assert title(resolved(moment=NOW)).startswith("[resolved] ")
    assert title(at(kind=Kind.NO_DATA)).startswith("[no data] ")
    assert title(at(kind=Kind.ACKNOWLEDGED)).startswith("[acknowledged] ")
    assert title(at(summary="")) == "[warning] web-1/disk_full/mount=/"


def test_several_are_counted() -> None:
    story = [at(), at(level="critical", kind=Kind.ESCALATED), resolved(moment=NOW)]
    assert title(*story) == "3 alerts: 1 critical, 1 warning, 1 resolved"
    assert notification(*story).worst == "critical"
    assert notification(at(), resolved()).worst == "warning"
    assert notification(resolved()).worst == "resolved"


def test_the_body_has_a_line_for_each() -> None:
    lines = notification(at(flapping=True), at(60, host="web-2", summary="x")).body(NOW, 1000).splitlines()
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d \[warning\] / of web-1 is 91\.5 % full, 8 GiB are left "
        r"\(web-1/disk_full/mount=/, flapping\)",
        lines[0],
    )
    assert lines[1].endswith("[warning] web-2: x (web-2/disk_full/mount=/)")


def test_what_is_told_late_says_when_it_was() -> None:
    assert title(at(2 * 3600)).endswith("8 GiB are left (2h ago)")
    line = notification(at(2 * 3600)).body(NOW, 1000)
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(2h ago\) \[warning\] ", line)
    assert "ago" not in title(at(200)) + notification(at(200)).body(NOW, 1000)


def test_what_has_no_room_is_counted() -> None:
    body = notification(*[at(host=f"web-{number}", summary="x" * 50) for number in range(20)]).body(NOW, 500)
    assert len(body) <= 500
    lines = body.splitlines()
    assert lines[-1] == f"and {20 - len(lines) + 1} more: hostpulse alerts history"
    assert len(notification(at(summary="x" * 50)).body(NOW, 20)) == 20


def test_names_from_the_bus_cannot_steer_the_reader() -> None:
    hostile = at(summary="web-1\nSubject: \x1b[2J\u202e evil", labels={"mount": "/a\nb"})
    assert "\n" not in title(hostile)
    text = notification(hostile).body(NOW, 1000)
    assert "\n" not in text
    assert text.isprintable()


def test_the_id_is_of_route_journal_and_entries() -> None:
    story = [at(), at()]
    same = notification(*story)
    assert same.id == notification(*story).id
    assert re.fullmatch(r"[0-9a-f]{32}", same.id)
    entries = list(same.entries)
    others = [
        notification(*story, first=2),
        notification(at()),
        notification_of("other", NOW, entries),
        notification_of("ops", NOW + 1, entries),
    ]
    assert len({same.id, *(other.id for other in others)}) == 5


def test_the_document_is_the_same_at_each_attempt() -> None:
    one = notification(at(), resolved(value=None, limit="read_only"))
    assert one.document() == one.document()
    found = msgspec.json.decode(one.document())
    assert (found["v"], found["id"], found["route"]) == (1, one.id, "ops")
    first = one.entries[0].transition
    assert found["alerts"][0] == {"id": first.id, "instance": first.instance} | msgspec.to_builtins(first)
    assert found["alerts"][1]["value"] is None
