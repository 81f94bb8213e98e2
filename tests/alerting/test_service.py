"""The role `alerts` as a process at a real broker: what it tells MQTT, across crashes of either side."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hostpulse.bus.alert import AlertState, encode_alert_state
from hostpulse.bus.codec import decode
from hostpulse.bus.messages import DiskMount
from hostpulse.bus.replay import ReplayRequest, encode_replay_request
from hostpulse.bus.times import format_timestamp
from hostpulse.bus.topics import Topics
from hostpulse.consumer.alerting.commands import Forget, encode_request
from hostpulse.consumer.alerting.journal import JOURNAL_FILE, Journal
from hostpulse.consumer.alerting.service import AlertOptions

from ..brokers import Broker
from ..bus.clients import Collector, Feeder, eventually
from .support import RULES, TOPICS, message

DISK = "hostpulse/web-1/alert/disk_full/_x2F"
SILENT = "hostpulse/web-1/alert/host_silent/host"


class Role:
    """The role in a process of its own."""

    def __init__(self, options: AlertOptions, log: Path) -> None:
        self.options = options
        self._log = log
        self.process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """Start it, without waiting for anything."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "hostpulse.consumer.alerting"], stdin=subprocess.PIPE, stderr=log
            )
        assert self.process.stdin
        self.process.stdin.write(msgspec.json.encode(self.options))
        self.process.stdin.close()

    def start(self) -> None:
        before = self.output.count("connected to broker")
        self.begin()
        eventually(lambda: self.output.count("connected to broker") > before)

    @property
    def output(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(90) == 0
        assert "Traceback" not in self.output


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Role]]:
    roles: list[Role] = []

    def start(broker: Broker, name: str = "data", log: str = "log", **changes: Any) -> Role:
        options = AlertOptions(
            host="home", mqtt=broker.options("alerts"), data_dir=str(tmp_path / name), rules=(RULES,), **changes
        )
        role = Role(options, tmp_path / log)
        role.start()
        roles.append(role)
        return role

    yield start
    for role in roles:
        role.end()


class Sampler:
    """A host that sends samples of now."""

    def __init__(self, broker: Broker, topics: Topics) -> None:
        self._topics = topics
        self._feeder = Feeder(broker.options("web-1"))
        self._start = round(time.time(), 3)
        self._sequence = 0
        self._host = "web-1" if topics is TOPICS else "büro 1"

    def disk(self, percent: float, mount: str = "/") -> None:
        self._sequence += 1
        _, payload = message(
            "disk",
            time.time() - self._start,
            host=self._host,
            start=self._start,
            sequence=self._sequence,
            mount={mount: DiskMount(used_percent=percent)},
        )
        self._feeder.send([payload], topic=self._topics.sample(self._host, "disk"))

    def close(self) -> None:
        self._feeder.close()


@contextmanager
def sampling(broker: Broker, topics: Topics = TOPICS) -> Iterator[Sampler]:
    sampler = Sampler(broker, topics)
    try:
        yield sampler
    finally:
        sampler.close()


def over(moment: float) -> bytes:
    """Return the state of an alert that has been over since a moment."""
    return encode_alert_state(
        AlertState(
            v=1,
            host="web-1",
            rule="disk_full",
            labels={"mount": "/"},
            level="ok",
            since=format_timestamp(moment),
            summary="it is over",
        )
    )


def events(collector: Collector) -> list[tuple[str, str, int]]:
    """Return what events say: kind, labels and sequence."""
    found = [
        json.loads(payload)
        for topic, payload in zip(collector.topics, collector.payloads, strict=True)
        if topic.endswith(b"/event")
    ]
    return [(one["kind"], one.get("labels", ""), one["sequence"]) for one in found]


def states(collector: Collector) -> dict[str, Any]:
    """Return the last state of each alert."""
    return {
        topic.decode(): json.loads(payload) if payload else None
        for topic, payload in zip(collector.topics, collector.payloads, strict=True)
        if topic.split(b"/")[-3:-2] == [b"alert"]
    }


def kept(broker: Broker) -> dict[str, Any]:
    """Return the states that the broker has kept."""
    with (
        Collector(broker.options("late"), ["hostpulse/#", "last/#"]) as late,
        Feeder(broker.options("last")) as feeder,
    ):
        feeder.send([b"last"], topic="last/last")
        eventually(lambda: b"last" in late.payloads)
        return states(late)


def test_a_full_disk_is_told_and_over(broker: Broker, start: Callable[..., Role]) -> None:
    start(broker)
    with sampling(broker) as host, Collector(broker.options("listener"), ["hostpulse/#"]) as listener:
        host.disk(50)
        host.disk(95.5)
        eventually(lambda: events(listener) == [("fired", "mount=/", 1)])
        eventually(lambda: DISK in states(listener))
        state = states(listener)[DISK]
        assert (state["level"], state["value"], state["limit"], state["labels"]) == (
            "warning",
            95.5,
            90,
            {"mount": "/"},
        )
        host.disk(40)
        eventually(lambda: len(events(listener)) == 2)
        eventually(lambda: states(listener)[DISK]["level"] == "ok")
        assert events(listener) == [("fired", "mount=/", 1), ("resolved", "mount=/", 2)]
        for topic, payload in zip(listener.topics, listener.payloads, strict=True):
            if topic.endswith(b"/event"):
                decode(TOPICS.parse(topic.decode()), payload, now=datetime.now(UTC))  # as every store does
    assert kept(broker)[DISK]["level"] == "ok"


def test_killed_again_and_again_it_tells_everything_in_order(broker: Broker, start: Callable[..., Role]) -> None:
    role = start(broker)
    steps = 8
    with sampling(broker) as host, Collector(broker.options("listener"), ["hostpulse/+/event"]) as listener:
        for number in range(steps):
            if number % 2:
                role.kill()  # maybe before the broker has all of the last event, maybe after
            host.disk(95 if number % 2 == 0 else 40)
            if number % 2:
                role.start()
            eventually(lambda number=number: len(set(events(listener))) > number)
        role.end()
        found = events(listener)
    # What comes twice has the same number, so whoever stores it has it once.
    assert list(dict.fromkeys(found)) == [
        ("resolved" if number % 2 else "fired", "mount=/", number + 1) for number in range(steps)
    ]


def test_a_broker_that_has_lost_everything_gets_the_states_again(
    make_broker: Callable[..., Broker], start: Callable[..., Role]
) -> None:
    broker = make_broker("mosquitto")  # which keeps nothing
    start(broker)
    with sampling(broker) as host:
        host.disk(95)
        eventually(lambda: kept(broker).get(DISK, {}).get("level") == "warning")
    broker.kill()
    broker.start()
    eventually(lambda: kept(broker).get(DISK, {}).get("level") == "warning")


def test_states_of_alerts_that_nobody_knows_are_cleared(broker: Broker, start: Callable[..., Role]) -> None:
    with Feeder(broker.options("somebody")) as feeder:
        feeder.send([b'{"v":1,"level":"critical"}'], topic=SILENT, retain=True)
        feeder.send([over(time.time() - 60)], topic=DISK, retain=True)
        feeder.send([over(time.time() - 8 * 86400)], topic=f"{DISK}old", retain=True)  # of a disk that was unplugged
        feeder.send([b'"nonsense"'], topic="hostpulse/web-9/alert/x/y", retain=True)
    start(broker)
    eventually(lambda: set(kept(broker)) == {DISK})


def test_a_prefix_of_several_parts_may_look_like_an_alert(broker: Broker, start: Callable[..., Role]) -> None:
    topics = Topics("home/alert/x")
    with Feeder(broker.options("somebody")) as feeder:
        feeder.send([b"online"], topic=topics.status("büro 1"), retain=True)
        feeder.send([b'{"v":1,"level":"critical"}'], topic=topics.alert("büro 1", "cold", None), retain=True)
    start(broker, prefix=topics.prefix)
    with Collector(broker.options("listener"), [topics.everything]) as listener, sampling(broker, topics) as host:
        host.disk(95, mount="/")
        eventually(lambda: events(listener) == [("fired", "mount=/", 1)])
        eventually(lambda: states(listener).get(topics.alert("büro 1", "cold", None), 1) is None)
        eventually(lambda: topics.alert("büro 1", "disk_full", "/") in states(listener))
        statuses = [payload for topic, payload in zip(listener.topics, listener.payloads, strict=True)
                    if topic == topics.status("büro 1").encode()]  # fmt: skip
        assert statuses == [b"online"]


def test_the_state_of_a_host_that_is_forgotten_is_over(
    broker: Broker, start: Callable[..., Role], tmp_path: Path
) -> None:
    start(broker)
    with sampling(broker) as host:
        host.disk(95)
        eventually(lambda: kept(broker).get(DISK, {}).get("level") == "warning")
    with Journal(tmp_path / "data" / JOURNAL_FILE).open() as journal:
        journal.ask(encode_request(Forget(host="web-1")), time.time())
    eventually(lambda: kept(broker).get(DISK, {}).get("level") == "ok")


def test_a_question_for_a_host_that_cannot_be_is_passed_over(
    broker: Broker, start: Callable[..., Role], tmp_path: Path
) -> None:
    start(broker)
    with Journal(tmp_path / "data" / JOURNAL_FILE).open() as journal:
        session = datetime.fromtimestamp(journal.session, UTC)
    question = encode_replay_request(ReplayRequest(session=session, subsystem="event", first=1, last=9))
    with sampling(broker) as host, Collector(broker.options("listener"), ["hostpulse/+/event"]) as listener:
        with Feeder(broker.options("somebody")) as feeder:
            feeder.send([question], topic="hostpulse/_xED_xA0_x80/replay")  # the escape of half a character
        host.disk(95)
        eventually(lambda: events(listener) == [("fired", "mount=/", 1)])


def test_what_happened_while_the_broker_was_away_follows(
    make_broker: Callable[..., Broker], start: Callable[..., Role], tmp_path: Path
) -> None:
    broker = make_broker("mosquitto", persistent=True)
    with sampling(broker) as host:
        role = start(broker)
        host.disk(95)
        eventually(lambda: "warning fired" in role.output)
    role.kill()
    broker.kill()
    with Journal(tmp_path / "data" / JOURNAL_FILE).open() as journal:
        journal.move("topics", 0)  # as if the broker had acknowledged nothing
    broker.start()
    with Collector(broker.options("listener"), ["hostpulse/+/event"]) as listener:
        role.start()
        eventually(lambda: events(listener) == [("fired", "mount=/", 1)])


def test_events_that_somebody_missed_are_sent_again(broker: Broker, start: Callable[..., Role], tmp_path: Path) -> None:
    start(broker)
    with sampling(broker) as host, Collector(broker.options("listener"), ["hostpulse/+/event"]) as listener:
        for percent in (95, 40, 95):
            host.disk(percent)
        eventually(lambda: len(events(listener)) == 3)
        with Journal(tmp_path / "data" / JOURNAL_FILE).open() as journal:
            session = datetime.fromtimestamp(journal.session, UTC)
        with Feeder(broker.options("somebody")) as feeder:
            for subsystem in ("cpu", "event"):
                request = ReplayRequest(
                    session=session,
                    subsystem=subsystem,
                    first=2,
                    last=9,
                )
                feeder.send([b"nonsense", encode_replay_request(request)], topic=TOPICS.replay("web-1"))
        eventually(lambda: len(events(listener)) == 5)
        assert events(listener)[3:] == events(listener)[1:3]


def test_of_two_with_one_data_dir_one_works_and_the_other_takes_over(
    broker: Broker, start: Callable[..., Role], tmp_path: Path
) -> None:
    first = start(broker)
    assert first.process
    pid = first.process.pid
    second = Role(first.options, tmp_path / "second")
    second.begin()
    try:
        eventually(lambda: f"another consumer evaluates the alerts (process {pid})" in second.output)
        assert "connected" not in second.output
        first.kill()
        eventually(lambda: "connected to broker" in second.output)
        with sampling(broker) as host:
            host.disk(95)
            eventually(lambda: "warning fired" in second.output)
    finally:
        second.end()
