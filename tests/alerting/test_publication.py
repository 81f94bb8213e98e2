"""What MQTT is told, without a broker: what was deleted before it was sent, and devices in great numbers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hostpulse.bus.messages import DiskMount
from hostpulse.consumer.alerting.journal import JOURNAL_FILE, Journal
from hostpulse.consumer.alerting.publication import Publication
from hostpulse.consumer.alerting.role import AlertRole
from hostpulse.consumer.alerts import load_rules, parse_source

from .conftest import NOW, transition
from .support import RULES, TOPICS, batch, message


class Broker:
    """Keeps what is retained, and counts the rest."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.events = 0

    def publish(self, topic: str, payload: bytes, retain: bool) -> bool:  # noqa: FBT001  as the receiver is called
        if retain:
            self.kept[topic] = payload
        self.events += not retain
        return True


@pytest.fixture
def open_journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / JOURNAL_FILE)


@pytest.fixture
def role(open_journal: Journal) -> Iterator[AlertRole]:
    rules = load_rules([parse_source(RULES.name, RULES.text)])
    role = AlertRole(TOPICS, rules, open_journal, wall=lambda: NOW)
    role.open()
    yield role
    role.close()


def publication(role: AlertRole, journal: Journal, broker: Broker) -> Publication:
    return Publication(TOPICS, journal, alerts=role, publish=broker.publish, unacknowledged=lambda: 0, wall=lambda: NOW)


def test_events_that_were_deleted_before_they_were_sent_are_counted(
    role: AlertRole, open_journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    broker = Broker()
    telling = publication(role, open_journal, broker)
    open_journal.commit(b"", [transition(moment=NOW + number) for number in range(5)], [], NOW)
    open_journal.prune(before=0, keep=2)
    for _ in range(3):
        telling.advance()
    assert broker.events == 2
    (record,) = caplog.records
    assert record.getMessage() == "3 events grew old in the journal and were deleted before the broker had them"


def test_a_thousand_alerts_at_once_are_told_and_known_again(role: AlertRole, open_journal: Journal) -> None:
    broker = Broker()
    telling = publication(role, open_journal, broker)
    full = {f"/{number}": DiskMount(used_percent=95) for number in range(100)}
    role.take(batch(message("disk", 0, host=f"web-{number}", mount=full) for number in range(10)))
    while telling.waiting:
        telling.advance()
    assert (broker.events, len(broker.kept)) == (1000, 1000)
    kept = dict(broker.kept)
    stranger = TOPICS.alert("web-1", "disk_full", "/gone")
    broker.kept.clear()
    telling.take(batch([*kept.items(), (stranger, kept[TOPICS.alert("web-1", "disk_full", "/1")])], range(1001)))
    for _ in range(3):
        telling.advance()
    assert broker.kept == {stranger: b""}
