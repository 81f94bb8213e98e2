"""The parts together: what a start knows, what a token may not, and what the consumer says of itself."""

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from influxdb_client.domain.authorization import Authorization
from influxdb_client.domain.permission import Permission
from influxdb_client.domain.permission_resource import PermissionResource

from hostpulse.bus.codec import NO_INTERVAL, decode, encode
from hostpulse.bus.messages import Consumer, Event
from hostpulse.bus.mqtt import Batch
from hostpulse.bus.replay import decode_replay_request
from hostpulse.bus.topics import HostTopic, Topics
from hostpulse.consumer.dead_letter import DeadLetterFile
from hostpulse.consumer.delivery import Delivery, Group, Patience
from hostpulse.consumer.delivery.account import ACCOUNT_FILE
from hostpulse.consumer.health import Health
from hostpulse.consumer.service import account
from hostpulse.consumer.storage.embedded import EmbeddedReader, EmbeddedWriter
from hostpulse.consumer.storage.influxdb import InfluxOptions, InfluxReader, InfluxWriter
from hostpulse.consumer.store import StoreRole
from hostpulse.consumer.stores import HISTORY_FILE

from ...influxdb import InfluxServer
from ..conftest import NOW, Clock, message
from .test_tracker import envelope, seen

SESSION = datetime.fromtimestamp(NOW - 3600, UTC)


class Right:
    """The right of one of a group, given and taken by the test."""

    ours = False

    def hold(self) -> bool:
        return self.ours

    def close(self) -> None:
        self.ours = False


class Life:
    """One life of a consumer: its store and its account."""

    def __init__(self, directory: Path, clock: Clock, *, group: Group | None = None) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self.clock = clock
        self.writer = EmbeddedWriter(directory / HISTORY_FILE, retention=None, rollup_retention=None)
        self.delivery = Delivery(
            Topics(),
            self.publish,
            lambda: EmbeddedReader(directory / HISTORY_FILE),
            directory,
            group=group,
            wall=lambda: NOW + clock.seconds - 1000,
            clock=clock,
            patience=Patience(grace=10.0, waits=(20.0, 20.0)),
        )
        letters = DeadLetterFile(directory / "dead-letter.jsonl")
        self.role = StoreRole(Topics(), self.writer, letters, delivery=self.delivery, wall=lambda: NOW, monotonic=clock)

    def publish(self, topic: str, payload: bytes) -> bool:
        self.sent.append((topic, payload))
        return True

    def take(self, *numbers: int, status: bytes | None = None) -> None:
        topics = [b"hostpulse/web-1/cpu"] * len(numbers)
        payloads = [message(sequence=number, age=3000 - 2 * number, load_average_1m=1.0) for number in numbers]
        if status is not None:
            topics.append(b"hostpulse/web-1/status")
            payloads.append(status)
        self.role.take(Batch(topics, payloads, set()))

    def take_event(self, number: int, *, days_ago: float) -> None:
        payload = encode(
            Event(kind="fired"),
            host="web-1",
            subsystem="event",
            timestamp=NOW - days_ago * 86_400,
            sequence=number,
            session=NOW - 90 * 86_400,
            interval=NO_INTERVAL,
        )
        self.role.take(Batch([b"hostpulse/web-1/event"], [payload], set()))

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds / 5)):
            self.clock.seconds += 5
            self.delivery.idle()

    @property
    def asked(self) -> list[tuple[int, int]]:
        requests = [decode_replay_request(payload) for topic, payload in self.sent if topic.endswith("/replay")]
        return [(one.first, one.last) for one in requests]

    def end(self) -> None:
        self.delivery.close()
        self.writer.close()


@pytest.fixture
def live(tmp_path: Path, clock: Clock) -> Iterator[Callable[[], Life]]:
    lives: list[Life] = []

    def begin() -> Life:
        if lives:
            lives[-1].end()
        lives.append(Life(tmp_path, clock))
        return lives[-1]

    yield begin
    lives[-1].end()


def test_what_was_lost_while_no_consumer_ran_is_asked_for(live: Callable[[], Life]) -> None:
    first = live()
    first.take(1, 2, 3, status=b"online")
    first.wait(60)
    second = live()
    second.take(10, status=b"online")
    second.wait(20)
    assert first.asked == []
    assert second.asked == [(4, 9)]
    [(topic, payload)] = second.sent
    assert topic == "hostpulse/web-1/replay"
    request = decode_replay_request(payload)
    assert (request.session, request.subsystem) == (SESSION, "cpu")
    second.take(*range(4, 10))
    second.wait(10)
    assert second.delivery.missing_messages == 0
    assert second.delivery.recovered_messages == 6


def test_an_event_that_was_lost_weeks_after_the_one_before_is_asked_for(live: Callable[[], Life]) -> None:
    """Whether its host is there or not: the consumer that evaluates the rules has it."""
    first = live()
    first.take_event(7, days_ago=20)
    first.wait(60)
    second = live()
    second.take_event(9, days_ago=0)
    second.wait(20)
    [(topic, payload)] = second.sent
    assert topic == "hostpulse/web-1/replay"
    request = decode_replay_request(payload)
    assert (request.session, request.subsystem) == (datetime.fromtimestamp(NOW - 90 * 86_400, UTC), "event")
    assert second.asked == [(8, 8)]
    second.take_event(8, days_ago=1)
    second.wait(10)
    assert (second.delivery.missing_messages, second.delivery.recovered_messages) == (0, 1)


def test_a_killed_consumer_has_the_rest_from_its_history(tmp_path: Path, clock: Clock) -> None:
    """Its account is older than what it has stored, or was never written."""
    for known in (False, True):
        directory = tmp_path / str(known)
        killed = Life(directory, clock)
        killed.take(1, 2, status=b"online")
        if known:
            killed.wait(60)
            assert (directory / ACCOUNT_FILE).exists()
        killed.take(3, 6)
        killed.writer.close()
        next_life = Life(directory, clock)
        next_life.take(7, status=b"online")
        next_life.wait(20)
        assert next_life.asked == ([(4, 5)] if known else [])
        before = len(next_life.asked)
        next_life.take(9)
        next_life.wait(20)
        # Where both are due at once, near gaps are one question; when the older one is due again is left to chance.
        asked = set(next_life.asked[before:])
        assert asked in ([{(4, 8)}, {(8, 8)}, {(8, 8), (4, 5)}] if known else [{(8, 8)}])
        next_life.end()


def test_an_account_is_not_written_over_before_it_was_read(live: Callable[[], Life], tmp_path: Path) -> None:
    first = live()
    first.take(1, 5, status=b"offline")
    first.wait(20)
    second = live()
    before = (tmp_path / ACCOUNT_FILE).read_bytes()
    second.wait(600)
    assert (tmp_path / ACCOUNT_FILE).read_bytes() == before
    third = live()
    third.take(status=b"online")
    third.wait(20)
    assert third.asked == [(2, 4)]


def test_a_member_remembers_what_publishers_told_until_the_account_is_its_own(tmp_path: Path, clock: Clock) -> None:
    """Else the end of a start is lost whose publisher told of it while the member that kept account was dead."""
    right = Right()
    life = Life(tmp_path, clock, group=Group(right))
    life.delivery.told("web-1", {SESSION: {"cpu": 6, "nonsense": 6}})
    life.delivery.told("a stranger", {SESSION: {"cpu": 6}})
    life.take(1, 2, 3, status=b"online")
    life.wait(60)
    assert life.asked == []
    right.ours = True
    life.wait(60)
    assert life.asked == [(4, 6)]
    life.take(4, 5, 6, 7)
    life.delivery.told("web-1", {SESSION: {"cpu": 7}})
    life.wait(60)
    assert life.asked == [(4, 6)]
    life.end()


def test_what_is_lost_is_counted_and_kept(live: Callable[[], Life], tmp_path: Path) -> None:
    one = live()
    one.take(1, 5, status=b"online")
    one.wait(120)
    assert (one.delivery.lost_messages, one.delivery.asked_messages) == (3, 6)
    assert one.delivery.missing_messages == 0
    two = live()
    two.take(6, status=b"online")
    two.wait(120)
    assert two.asked == []
    assert b'"losses":[{"at"' in (tmp_path / ACCOUNT_FILE).read_bytes()


def test_it_says_how_it_is(live: Callable[[], Life], clock: Clock) -> None:
    one = live()
    health = Health(
        Topics(),
        host="desk top",
        member="store",
        read=lambda member: account(one.role, one.delivery, member),
        publish=one.publish,
        wall=lambda: NOW,
        clock=clock,
    )
    one.take(1, 2, 5, status=b"online")
    one.take(6)
    one.role.take(Batch([b"hostpulse/web-1/cpu"], [b"{"], set()))
    one.wait(30)
    one.sent.clear()
    health.publish_if_due()
    health.publish_if_due()
    [(topic, payload)] = one.sent
    assert topic == "hostpulse/desk_x20top/consumer"
    found = decode(HostTopic("desk_x20top", "consumer"), payload, now=datetime.fromtimestamp(NOW, UTC))
    assert (found.envelope.sequence, found.envelope.interval) == (1, 30.0)
    fields = found.fields
    assert isinstance(fields, Consumer)
    assert (fields.missing_messages, fields.lost_messages, fields.recovered_messages) == (2, 0, 0)
    assert isinstance(fields.member, dict)
    member = fields.member["store"]
    assert (member.received_messages, member.stored_rows, member.dead_letter_messages) == (6, 4, 1)
    assert member.lag_seconds == 3000 - 2 * 6
    assert isinstance(member.memory_bytes, int)
    assert member.memory_bytes > 1_000_000
    clock.seconds += 30
    health.publish_if_due()
    assert b'"sequence":2' in one.sent[-1][1]


@pytest.fixture
def bucket(influx_server: InfluxServer) -> Iterator[InfluxOptions]:
    options = influx_server.options(f"delivery-{datetime.now(UTC).timestamp()}")
    yield options
    influx_server.forget(options)


def test_a_token_that_may_only_write_is_said_once_and_losses_are_seen_while_it_runs(
    influx_server: InfluxServer, bucket: InfluxOptions, tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with InfluxWriter(bucket, retention=None, rollup_retention=None), influx_server.client() as client:
        [found] = client.buckets_api().find_buckets(name=bucket.bucket).buckets
        resource = PermissionResource(type="buckets", id=found.id, org_id=found.org_id)
        made: Any = client.authorizations_api().create_authorization(
            authorization=Authorization(
                org_id=found.org_id, permissions=[Permission(action="write", resource=resource)]
            )
        )
    caplog.set_level(logging.WARNING)
    sent: list[str] = []

    def publish(topic: str, _payload: bytes) -> bool:
        sent.append(topic)
        return True

    delivery = Delivery(
        Topics(),
        publish,
        lambda: InfluxReader(influx_server.options(bucket.bucket, made.token)),
        tmp_path,
        wall=lambda: NOW,
        clock=clock,
        patience=Patience(grace=10.0, waits=(20.0,)),
    )
    delivery.begin()
    delivery.stored([envelope(seen(number)) for number in (1, 2, 9)])
    delivery.heard("web-1", online=True)
    for _ in range(30):
        clock.seconds += 5
        delivery.idle()
    delivery.close()
    assert sent == ["hostpulse/web-1/replay"]
    assert (delivery.missing_messages, delivery.lost_messages) == (6, 0)
    texts = [record.message for record in caplog.records if record.name.endswith("delivery.history")]
    assert len(texts) == 1
    assert "losses while no consumer ran are not seen" in texts[0]
