"""What a broker loses comes back: real brokers, a publisher of its own process, a real store."""

import logging
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from hostpulse.bus.codec import NO_INTERVAL, encode
from hostpulse.bus.messages import Event
from hostpulse.bus.replay import decode_replay_request
from hostpulse.bus.topics import Topics
from hostpulse.consumer.delivery import read_account
from hostpulse.consumer.storage import Reader
from hostpulse.consumer.storage.influxdb import InfluxReader, InfluxWriter

from ...brokers import Broker
from ...influxdb import InfluxServer
from .support import (
    HOST,
    RunningConsumer,
    consumer_options,
    embedded,
    eventually,
    highest,
    missing,
    published,
    publishing,
    running,
    stored,
)

MakeBroker = Callable[..., Broker]


def nothing_missing(reader: Callable[[], Reader]) -> None:
    eventually(lambda: not missing(stored(reader)), what=lambda: missing(stored(reader)))


def store_some(stack: ExitStack, broker: Broker, directory: Path, reader: Callable[[], Reader], **options: Any) -> int:
    """Run a consumer and, once it listens, a publisher, which stays; return how far the consumer came.

    The publisher has sent ten messages more when it returns, and nobody has received them.
    """
    with RunningConsumer(broker, directory / "consumer", **options):
        stack.enter_context(publishing(broker, directory / "publisher"))
        eventually(lambda: has_stored(reader, 4))
    before = highest(stored(reader))
    eventually(lambda: published(directory / "publisher") >= before + 10)
    return before


def has_stored(reader: Callable[[], Reader], number: int) -> bool:
    return highest(stored(reader)) >= number


def test_a_killed_broker_without_persistence_loses_nothing(
    make_broker: MakeBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    broker = make_broker("mosquitto")
    reader = embedded(tmp_path / "consumer")
    with ExitStack() as stack:
        before = store_some(stack, broker, tmp_path, reader)
        broker.kill()
        broker.start()
        with RunningConsumer(broker, tmp_path / "consumer"):
            eventually(lambda: has_stored(reader, before + 12))
            assert missing(stored(reader)), "the broker was to lose something"
            nothing_missing(reader)
            eventually(lambda: any("came after all" in record.message for record in caplog.records))
    told = [record.message for record in caplog.records if record.name.endswith("delivery.report")]
    assert len(told) == 2, told
    assert f"{HOST}: " in told[0]
    account = read_account(tmp_path / "consumer")
    assert account is not None
    assert (account.missing, account.losses) == ([], [])


def test_a_wiped_broker_loses_nothing(make_broker: MakeBroker, tmp_path: Path) -> None:
    broker = make_broker("nats-server")
    reader = embedded(tmp_path / "consumer")
    with ExitStack() as stack:
        before = store_some(stack, broker, tmp_path, reader)
        broker.kill()
        shutil.rmtree(broker._directory / "store")
        broker.start()
        with RunningConsumer(broker, tmp_path / "consumer"):
            eventually(lambda: has_stored(reader, before + 12))
            assert missing(stored(reader)), "the broker was to lose something"
            nothing_missing(reader)


def test_a_queue_that_overflows_loses_nothing(make_broker: MakeBroker, tmp_path: Path) -> None:
    broker = make_broker("mosquitto", window=10, settings="max_queued_messages 100")
    reader = embedded(tmp_path / "consumer")
    with ExitStack() as stack:
        before = store_some(stack, broker, tmp_path, reader)
        eventually(lambda: published(tmp_path / "publisher") >= before + 50)  # and as many of four other subsystems
        with RunningConsumer(broker, tmp_path / "consumer"):
            eventually(lambda: has_stored(reader, before + 52))
            assert missing(stored(reader)), "the broker was to drop something"
            nothing_missing(reader)


@contextmanager
def telling_of_alerts(broker: Broker) -> Iterator[Callable[[int], None]]:
    """Give what sends an event of a number; it also answers those who ask for events of the host."""
    now = time.time()
    topics = Topics()
    ready = threading.Event()

    def send(number: int) -> None:
        payload = encode(
            Event(kind="fired", rule="host_silent", level="critical", told=True),
            host=HOST,
            subsystem="event",
            timestamp=now + number,
            sequence=number,
            session=now,
            interval=NO_INTERVAL,
        )
        client.publish(topics.sample(HOST, "event"), payload, qos=1)

    def asked(_client: Client, _userdata: object, message: MQTTMessage) -> None:
        request = decode_replay_request(bytes(message.payload))
        if request.subsystem == "event":
            for number in range(request.first, request.last + 1):
                send(number)

    client = Client(CallbackAPIVersion.VERSION2, client_id="alerts")
    client.on_message = asked
    client.on_subscribe = lambda *_: ready.set()
    client.connect("127.0.0.1", broker.port)
    client.subscribe(topics.replay(HOST), qos=1)
    client.loop_start()
    try:
        assert ready.wait(30)
        yield send
    finally:
        client.disconnect()
        client.loop_stop()


@pytest.mark.parametrize("is_there", [False, True], ids=["its host is away", "its host is there"])
def test_an_event_that_is_lost_comes_from_who_sent_it(
    make_broker: MakeBroker, tmp_path: Path, *, is_there: bool
) -> None:
    broker = make_broker("mosquitto")
    reader = embedded(tmp_path / "consumer")
    with ExitStack() as stack:
        stack.enter_context(RunningConsumer(broker, tmp_path / "consumer"))
        if is_there:
            stack.enter_context(publishing(broker, tmp_path / "publisher"))
            eventually(lambda: has_stored(reader, 2))
        send = stack.enter_context(telling_of_alerts(broker))
        for number in (1, 2, 5):
            send(number)
        eventually(lambda: highest(stored(reader), "event") == 5)
        nothing_missing(reader)
        [numbers] = [found for (_, subsystem, _), found in stored(reader).items() if subsystem == "event"]
        assert numbers == [1, 2, 3, 4, 5]


@contextmanager
def listening(broker: Broker) -> Iterator[list[tuple[str, int]]]:
    """Receive the samples of cpu: session and number of each."""
    found: list[tuple[str, int]] = []
    ready = threading.Event()

    def received(_client: Client, _userdata: object, message: MQTTMessage) -> None:
        one = msgspec.json.decode(message.payload)
        found.append((one["session"], one["sequence"]))

    client = Client(CallbackAPIVersion.VERSION2, client_id="listener")
    client.on_message = received
    client.on_subscribe = lambda *_: ready.set()
    client.connect("127.0.0.1", broker.port)
    client.subscribe(f"hostpulse/{HOST}/cpu", qos=1)
    client.loop_start()
    try:
        assert ready.wait(90)
        yield found
    finally:
        client.disconnect()
        client.loop_stop()


def test_two_consumers_that_ask_are_answered_once(make_broker: MakeBroker, tmp_path: Path) -> None:
    broker = make_broker("mosquitto")
    names = ("one", "two")
    readers = [embedded(tmp_path / name) for name in names]
    with ExitStack() as whole:
        with ExitStack() as stack:
            for name in names:  # before there is anything: a new consumer does not ask for what was before it
                stack.enter_context(RunningConsumer(broker, tmp_path / name, client_id=name))
            whole.enter_context(publishing(broker, tmp_path / "publisher"))
            for reader in readers:
                eventually(lambda reader=reader: highest(stored(reader)) >= 4)
        before = max(highest(stored(reader)) for reader in readers)
        eventually(lambda: published(tmp_path / "publisher") >= before + 10)
        broker.kill()
        broker.start()
        found = whole.enter_context(listening(broker))
        for name in names:
            whole.enter_context(RunningConsumer(broker, tmp_path / name, client_id=name))
        for reader in readers:
            eventually(lambda reader=reader: highest(stored(reader)) >= before + 12)
            nothing_missing(reader)
    times = Counter(found)
    assert min(number for _, number in times) <= before + 1, "the listener was to see the answer"
    assert {number: count for number, count in times.items() if count > 1} == {}


@pytest.fixture
def bucket(influx_server: InfluxServer) -> Iterator[Any]:
    options = influx_server.options(f"repair-{time.time_ns()}")
    yield options
    influx_server.forget(options)


def test_with_influxdb_nothing_is_lost_either(make_broker: MakeBroker, tmp_path: Path, bucket: Any) -> None:
    broker = make_broker("mosquitto")

    def reader() -> Reader:
        return InfluxReader(bucket)

    with ExitStack() as stack:
        before = store_some(stack, broker, tmp_path, reader, influxdb=bucket)
        broker.kill()
        broker.start()
        with RunningConsumer(broker, tmp_path / "consumer", influxdb=bucket):
            eventually(lambda: has_stored(reader, before + 12))
            assert missing(stored(reader)), "the broker was to lose something"
            nothing_missing(reader)


@pytest.mark.timeout(600)
def test_a_group_finds_together_what_none_of_its_members_sees(
    make_broker: MakeBroker, tmp_path: Path, bucket: Any
) -> None:
    """A member is killed, then the broker, which forgets what it kept for that member."""
    broker = make_broker("mosquitto")
    options = consumer_options(broker, tmp_path / "consumers", influxdb=bucket, share="store")
    text = msgspec.json.encode(options)
    # The bucket is made beforehand, as `hostpulse influxdb setup` does: of several that start at once, one may make it.
    raw, minutes = options.retention_seconds, options.rollup_retention_seconds
    with InfluxWriter(bucket, retention=raw, rollup_retention=minutes) as writer:
        assert writer.prepared is not None

    def reader() -> Reader:
        return InfluxReader(bucket)

    with ExitStack() as stack:
        members = [stack.enter_context(running("hostpulse.consumer", text)) for _ in range(3)]
        marks = tmp_path / "consumers" / "share-store"
        eventually(lambda: len(list(marks.glob("*.subscribed"))) == 3)
        stack.enter_context(publishing(broker, tmp_path / "publisher"))
        eventually(lambda: has_stored(reader, 10))
        nothing_missing(reader)  # three members store everything, each in its own time
        for one in members:
            one.send_signal(signal.SIGSTOP)  # the broker queues for all of them
        before = published(tmp_path / "publisher")
        eventually(lambda: published(tmp_path / "publisher") >= before + 8)
        members[0].kill()
        broker.kill()
        broker.start()
        for one in members[1:]:
            one.send_signal(signal.SIGCONT)
        eventually(lambda: has_stored(reader, before + 12))
        assert missing(stored(reader)), "the broker was to lose something"
        nothing_missing(reader)
