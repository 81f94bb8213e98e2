"""From a real broker through the real receiver and role into both stores: whatever comes twice, late or in another
order, and wherever the consumer is killed, the rows are the same."""

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostpulse.bus.codec import encode
from hostpulse.bus.messages import TABLES, Cpu, CpuCore, Network, NetworkInterface
from hostpulse.bus.mqtt import Batch, MqttOptions, Receiver, Taking
from hostpulse.bus.topics import Topics
from hostpulse.consumer.dead_letter import DeadLetterFile
from hostpulse.consumer.service import ConsumerOptions
from hostpulse.consumer.storage import Reader, Row, RowQuery, Writer
from hostpulse.consumer.storage.embedded import EmbeddedReader, EmbeddedWriter
from hostpulse.consumer.storage.influxdb import InfluxReader, InfluxWriter
from hostpulse.consumer.store import StoreRole
from hostpulse.consumer.stores import HISTORY_FILE

from ..brokers import Broker
from ..bus.clients import Collector, Feeder, eventually, subscribe_and_leave
from ..bus.proxy import Proxy
from ..bus.test_receiver import acknowledged, delivered
from ..influxdb import InfluxServer
from .conftest import NOW

FILTER = Topics().all_hosts
DAY = 86_400


class Message(NamedTuple):
    topic: str
    payload: bytes


def messages_of(host: str, session: int, count: int, *, now: float = NOW) -> list[Message]:
    """What one run of a publisher sends: cpu with its cores, and network with an interface."""
    begin = now - DAY + 1000 * session
    found: list[Message] = []
    for sequence in range(1, count + 1):
        cpu = Cpu(
            load_average_1m=float(sequence),
            core={str(one): CpuCore(utilization_percent=sequence + one) for one in (0, 1)},
        )
        network = Network(
            interface={"a, b=c": NetworkInterface(sent_bytes=sequence, link="up" if sequence % 2 else "")}
        )
        for subsystem, fields in (("cpu", cpu), ("network", network)):
            payload = encode(
                fields,
                host=host,
                subsystem=subsystem,
                timestamp=begin + 2 * sequence,
                sequence=sequence,
                session=begin,
                interval=2,
            )
            found.append(Message(Topics().sample(host, subsystem), payload))
    return found


def all_rows(reader: Reader) -> dict[str, list[Row]]:
    """Return every row of every table, those of one moment sorted."""
    return {
        name: sorted(
            (row for rows in reader.rows(RowQuery(table=name, start=0, end=10**10)) for row in rows),
            key=lambda row: row[: 2 if table.key is None else 3],
        )
        for name, table in TABLES.items()
    }


class Interrupted:
    """Takes batches into a role, and breaks some off after they were stored and before they are acknowledged.

    Args:
        role: stores them.
        number: messages that the broker has.
        breaks: for each batch, whether it is one of those; after them all is well.
    """

    def __init__(self, role: StoreRole, number: int, breaks: list[bool]) -> None:
        self._role = role
        self._left = number
        self._breaks = iter(breaks)
        self._broken = False
        self._receiver: Receiver | None = None

    def take(self, batch: Batch) -> Taking | None:
        taking = self._role.take(batch)
        if taking is None:
            self._stored(batch)
            return None

        def finish() -> None:
            taking.finish()
            self._stored(batch)

        return Taking(taking.work, finish)

    def _stored(self, batch: Batch) -> None:
        assert self._receiver is not None
        self._broken = self._broken or next(self._breaks, False)
        if self._broken:
            self._receiver.stop()
            raise OSError("the connection ends before this is acknowledged")
        self._left -= len(batch.topics)
        if self._left <= 0:
            self._receiver.stop()

    def receive(self, options: MqttOptions, batch_messages: int) -> None:
        """Connect again and again, until everything is acknowledged."""
        while self._left > 0:
            self._broken = False
            self._receiver = Receiver(options, [FILTER], self.take, batch_messages=batch_messages, linger_seconds=0.02)
            self._receiver.run()


@contextlib.contextmanager
def both_stores(directory: Path, influx_server: InfluxServer) -> Iterator[list[tuple[Writer, Reader]]]:
    options = influx_server.options(f"redelivery-{directory.name}-{time.time_ns()}")
    path = directory / "history.db"
    try:
        yield [
            (EmbeddedWriter(path, retention=None, rollup_retention=None), EmbeddedReader(path)),
            (InfluxWriter(options, retention=None, rollup_retention=None), InfluxReader(options)),
        ]
    finally:
        influx_server.forget(options)
        shutil.rmtree(directory)


@st.composite
def disordered(draw: st.DrawFn) -> tuple[list[Message], list[Message]]:
    """Return what was sent, and the same in another order, some of it several times."""
    sessions = draw(
        st.lists(st.tuples(st.sampled_from(["web-1", "web 2"]), st.integers(0, 5)), min_size=1, max_size=4, unique=True)
    )
    sent = [one for host, session in sessions for one in messages_of(host, session, draw(st.integers(1, 4)))]
    again = draw(st.lists(st.sampled_from(sent), max_size=12))
    return sent, draw(st.permutations(sent + again))


@pytest.fixture
def mosquitto(make_broker: Callable[..., Broker]) -> Broker:
    """One for all examples; each has sessions of its own at it."""
    return make_broker("mosquitto")


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    messages=disordered(),
    batch_messages=st.integers(1, 12),
    breaks=st.lists(st.booleans(), max_size=3),
)
def test_order_doubles_and_batches_make_no_difference(
    messages: tuple[list[Message], list[Message]],
    batch_messages: int,
    breaks: list[bool],
    *,
    mosquitto: Broker,
    influx_server: InfluxServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    sent, given_order = messages
    directory = tmp_path_factory.mktemp("redelivery")
    dead_letters = DeadLetterFile(directory / "dead-letter.jsonl")
    plain = directory / "plain.db"
    with EmbeddedWriter(plain, retention=None, rollup_retention=None) as writer, EmbeddedReader(plain) as reader:
        role = StoreRole(Topics(), writer, dead_letters, wall=lambda: NOW)
        for one in sent:
            role.take(Batch([one.topic.encode()], [one.payload], set()))
        expected = all_rows(reader)
    assert len(expected["cpu_core"]) == len(sent)
    with both_stores(directory, influx_server) as stores:
        clients = [mosquitto.options(f"{directory.name}-{kind}") for kind in ("embedded", "influxdb")]
        for client in clients:
            subscribe_and_leave(client, [FILTER])
        with Feeder(mosquitto.options("feeder")) as feeder:
            for one in given_order:
                feeder.send([one.payload], topic=one.topic)
        for client, (writer, reader) in zip(clients, stores, strict=True):
            with writer:
                role = StoreRole(Topics(), writer, dead_letters, wall=lambda: NOW)
                Interrupted(role, len(given_order), breaks).receive(client, batch_messages)
                with reader:
                    assert all_rows(reader) == expected
        assert not dead_letters.path.exists()


KILLED = """
import os, signal, sys, msgspec
from hostpulse.consumer.service import ConsumerOptions, StoreService
service = StoreService(msgspec.json.decode(sys.stdin.buffer.read(), type=ConsumerOptions))
submit = service._writer.submit
def store_and_die(pieces):
    samples = [sample for piece in pieces for sample in piece]
    work = submit([samples])
    if not samples:  # a batch of notes
        return work
    work.result()
    print(len(samples), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
service._writer.submit = store_and_die
service.run()
"""


@pytest.mark.parametrize("kind", ["embedded", "influxdb"])
def test_a_consumer_that_is_killed_between_storing_and_acknowledging(
    kind: str, broker: Broker, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    now = time.time()
    sent = [one for session in range(10) for one in messages_of("web-1", session, 20, now=now)]
    subscribe_and_leave(broker.options("store"), [FILTER])
    with Feeder(broker.options("feeder")) as feeder:
        for one in sent:
            feeder.send([one.payload], topic=one.topic)
    influxdb = None
    if kind == "influxdb":
        server: InfluxServer = request.getfixturevalue("influx_server")
        influxdb = server.options(f"killed-{time.time_ns()}")
        request.addfinalizer(lambda: server.forget(influxdb))
    with Proxy(broker.port) as proxy:
        options = msgspec.json.encode(
            ConsumerOptions(
                host="web-1",
                mqtt=broker.options("store", port=proxy.port),
                data_dir=str(tmp_path / "data"),
                influxdb=influxdb,
                retention_seconds=7 * DAY,
                rollup_retention_seconds=365 * DAY,
            )
        )
        killed = subprocess.run(
            [sys.executable, "-c", KILLED], input=options, stdout=subprocess.PIPE, timeout=120, check=False
        )
        assert killed.returncode == -9
        stored = int(killed.stdout)
        assert 0 < stored <= len(sent)
        assert acknowledged(proxy.conversations[0]) == []

        consumer = subprocess.Popen([sys.executable, "-m", "hostpulse.consumer"], stdin=subprocess.PIPE)
        assert consumer.stdin
        consumer.stdin.write(options)
        consumer.stdin.close()
        try:
            eventually(lambda: len(proxy.conversations) > 1 and len(acknowledged(proxy.conversations[1])) >= len(sent))
        finally:
            consumer.terminate()
            assert consumer.wait(90) == 0
        talk = proxy.conversations[1]
        assert acknowledged(talk) == delivered(talk)
    assert_nothing_is_left(broker)
    path = tmp_path / "data" / HISTORY_FILE
    with EmbeddedReader(path) if influxdb is None else InfluxReader(influxdb) as reader:
        rows = all_rows(reader)
    assert {name: len(found) for name, found in rows.items() if found} == {
        "cpu": 200,
        "cpu_core": 400,
        "network": 200,
        "network_interface": 200,
    }
    assert len({row[:2] for row in rows["cpu"]}) == 200


def assert_nothing_is_left(broker: Broker) -> None:
    """The session gets nothing but what is new."""
    with (
        Collector(broker.options("store"), [FILTER], linger_seconds=0.01) as collector,
        Feeder(broker.options("last")) as feeder,
    ):
        feeder.send([b"last"], topic="hostpulse/last/last")
        eventually(lambda: b"last" in collector.payloads)
    assert collector.payloads == [b"last"]
