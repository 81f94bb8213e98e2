"""A hundred thousand messages of strangers at a real consumer, and what is good between them."""

import contextlib
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import psutil
import pytest

from hostpulse.bus.codec import MAXIMUM_MESSAGE_BYTES
from hostpulse.bus.mqtt import MqttOptions
from hostpulse.consumer.dead_letter import DEAD_LETTER_FILE, DeadLetterFile
from hostpulse.consumer.service import ConsumerOptions
from hostpulse.consumer.storage import RowQuery
from hostpulse.consumer.storage.embedded import EmbeddedReader
from hostpulse.consumer.stores import HISTORY_FILE

from ..brokers import Broker
from ..bus.clients import eventually, subscribe_and_leave
from .conftest import NOW, message

HOSTS = 5  # that are stored
MALFORMED = 100_000
STRANGERS = 20_000
REPEATED = 3
MOST_LINES = 150
GROWTH_MIB = 64
SECONDS = 200
CPU = b"hostpulse/good-1/cpu"
BEGIN = time.time() - 86_400
GOOD = message(host="good-1", age=NOW - BEGIN, load_average_1m=1)
LONG = b"x" * 65_000


class Kind(NamedTuple):
    """Messages of one kind.

    Attributes:
        topic: where they go.
        payload: what they are.
        share: how often they come, beside others; what is large comes seldom.
    """

    topic: bytes
    payload: bytes
    share: int = 20


def of(**changes: bytes) -> bytes:
    """Return a good message with some values replaced, as JSON text."""
    found = GOOD
    for name, value in changes.items():
        begin = b'"%b":' % name.encode()
        before, _, after = found.partition(begin)
        found = before + begin + value + after[re.search(rb",|}$", after).start() :]  # type: ignore[union-attr]
    assert found != GOOD
    return found


KINDS: dict[str, Kind] = {
    "oversized": Kind(CPU, GOOD[:-1] + b" " * MAXIMUM_MESSAGE_BYTES + b"}", 1),
    "deeply nested": Kind(CPU, GOOD[:-1] + b',"x":' + b"[" * 100_000, 1),
    "nested objects": Kind(CPU, GOOD[:-1] + b',"x":' + b'{"a":' * 1500),
    "utf-16": Kind(CPU, GOOD.decode().encode("utf-16")),
    "latin-1": Kind(CPU, GOOD.replace(b"good-1", b"g\xf6\xf6d")),
    "control characters": Kind(CPU, GOOD.replace(b"good-1", b"good\x1b[2J-1")),
    "nul": Kind(CPU, GOOD.replace(b"good-1", b"good-1\0")),
    "nothing": Kind(CPU, b""),
    "binary": Kind(CPU, bytes(range(256))),
    "not an object": Kind(CPU, b"[1, 2, 3]"),
    "host is a number": Kind(CPU, of(host=b"17")),
    "sequence is text": Kind(CPU, of(sequence=b'"1"')),
    "value is a list": Kind(CPU, of(load_average_1m=b"[1]")),
    "huge integer": Kind(CPU, of(sequence=b"9" * 400)),
    "interval without end": Kind(CPU, of(interval=b"1e999")),
    "not a number": Kind(CPU, of(load_average_1m=b"NaN")),
    "duplicate keys": Kind(CPU, GOOD[:-1] + b',"host":"good-2"}'),
    "truncated": Kind(CPU, GOOD[:-10]),
    "lone surrogate": Kind(CPU, of(host=b'"\\ud800"')),
    "wrong version": Kind(CPU, of(v=b"2")),
    "1970": Kind(CPU, of(timestamp=b'"1970-01-01T00:00:00Z"')),
    "9999": Kind(CPU, of(timestamp=b'"9999-12-31T23:59:59Z"')),
    "of year 1, an offset": Kind(CPU, of(session=b'"0001-01-01T00:00:00+23:59"')),
    "another host's name": Kind(b"hostpulse/good-2/cpu", GOOD),
    "unknown subsystem": Kind(b"hostpulse/good-1/nonsense", GOOD),
    "a status that is none": Kind(b"hostpulse/good-1/status", b"\x1b]0;owned\x07"),
    "an inventory that is none": Kind(b"hostpulse/good-1/info", b'{"v":1,"host":"good-2"}'),
    "dots": Kind(b"hostpulse/../cpu", GOOD),
    "a part that is too long": Kind(b"hostpulse/" + b"x" * 300 + b"/cpu", GOOD),
    "64 KiB of topic": Kind(b"hostpulse/" + LONG + b"/cpu", GOOD, 1),
    "an empty part": Kind(b"hostpulse//cpu", GOOD),
    "a space": Kind(b"hostpulse/a b/cpu", GOOD),
    "plus": Kind(b"hostpulse/+/cpu", GOOD),
    "hash": Kind(b"hostpulse/good-1/#", GOOD),
    "nul in the topic": Kind(b"hostpulse/a\0b/cpu", GOOD),
    "control characters in the topic": Kind(b"hostpulse/a\x1b[2J\n/cpu", GOOD),
    "a topic that is not UTF-8": Kind(b"hostpulse/\xff/cpu", GOOD),
    "a surrogate in the topic": Kind(b"hostpulse/\xed\xa0\x80/cpu", GOOD),
    "$SYS": Kind(b"$SYS/broker/cpu", GOOD),
    "elsewhere": Kind(b"hostpulse/a/b/c/d", GOOD),
}


class Publisher:
    """An MQTT client that sends what no client would."""

    def __init__(self, options: MqttOptions) -> None:
        self._socket = socket.create_connection((options.host, options.port), timeout=90)
        self._send(0x10, b"\0\4MQTT\4\2\0\x3c\0\0")
        assert self._socket.recv(4) == b"\x20\x02\0\0"
        self._answers = b""
        self._waiting = 0

    def publish(self, topic: bytes, payload: bytes, *, window: int = 100) -> None:
        """Send a message, and wait while too many have no acknowledgement."""
        self._waiting += 1
        self._send(0x32, len(topic).to_bytes(2, "big") + topic + b"\0\1" + payload)
        self.drain(window)

    def drain(self, left: int = 0) -> None:
        """Wait until all but some messages are acknowledged.

        Raises:
            ConnectionError: the broker has closed.
        """
        while self._waiting > left:
            data = self._socket.recv(65_536)
            if not data:
                raise ConnectionResetError("the broker has closed")
            self._answers += data
            whole = len(self._answers) // 4
            assert all(self._answers[4 * each] == 0x40 for each in range(whole)), self._answers
            self._answers = self._answers[4 * whole :]
            self._waiting -= whole

    def close(self) -> None:
        self._socket.close()

    def _send(self, first: int, body: bytes) -> None:
        length, size = b"", len(body)
        while True:
            size, digit = divmod(size, 128)
            length += bytes((digit | 128 if size else digit,))
            if not size:
                break
        self._socket.sendall(bytes((first,)) + length + body)


def refused(options: MqttOptions, kind: Kind) -> bool:
    """Tell whether the broker itself closes on messages of this kind."""
    publisher = Publisher(options)
    try:
        for _ in range(REPEATED):  # mosquitto acknowledges the first on $SYS, and closes then
            publisher.publish(kind.topic, kind.payload)
            publisher.drain()
    except ConnectionError:
        return True
    finally:
        publisher.close()
    return False


def is_ours(topic: bytes) -> bool:
    return topic.startswith(b"hostpulse/") and topic.count(b"/") == 2


def good(host: str, sequence: int) -> tuple[bytes, bytes]:
    age = NOW - BEGIN - sequence / 100  # each has a moment of its own
    payload = message(host=host, sequence=sequence, age=age, load_average_1m=sequence)
    return f"hostpulse/{host}/cpu".encode(), payload


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[MqttOptions], subprocess.Popen[bytes]]]:
    processes: list[subprocess.Popen[bytes]] = []

    def run(options: MqttOptions) -> subprocess.Popen[bytes]:
        told = ConsumerOptions(
            host="good-0",
            mqtt=options,
            data_dir=str(tmp_path / "data"),
            retention_seconds=10 * 365 * 86_400,
            rollup_retention_seconds=10 * 365 * 86_400,
            maximum_hosts=HOSTS,
        )
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen([sys.executable, "-m", "hostpulse.consumer"], stdin=subprocess.PIPE, stderr=log)
        processes.append(process)
        assert process.stdin
        process.stdin.write(msgspec.json.encode(told))
        process.stdin.close()
        return process

    yield run
    for process in processes:
        process.kill()
        process.wait()


def kept_and_dropped(directory: Path, log: str) -> int:
    """Return how many messages became dead letters: those in the files, and those that the log says went from them."""
    kept = sum(1 for _ in DeadLetterFile(directory / DEAD_LETTER_FILE).entries())
    return kept + sum(int(number) for number in re.findall(r"is full: its (\d+) oldest messages are dropped", log))


class Flood:
    """What is sent, mixed, and how often.

    Args:
        broker: where to.
    """

    def __init__(self, broker: Broker) -> None:
        probe = broker.options("probe")
        self.closed_on = [name for name, kind in KINDS.items() if refused(probe, kind)]
        kinds = {name: kind for name, kind in KINDS.items() if name not in self.closed_on}
        order = [name for name, kind in kinds.items() for _ in range(kind.share)]
        self._order = [order[(each * 7919) % len(order)] for each in range(len(order))]  # well mixed
        self.sent: Counter[str] = Counter(dict.fromkeys(kinds, REPEATED))
        self.good: Counter[str] = Counter()
        self._publisher = Publisher(broker.options("stranger"))

    def close(self) -> None:
        self._publisher.close()

    @property
    def for_the_consumer(self) -> int:
        """How many malformed ones lie where the consumer listens."""
        return sum(count for name, count in self.sent.items() if is_ours(KINDS[name].topic))

    def send_good(self) -> None:
        for number in range(HOSTS):
            host = f"good-{number}"
            self.good[host] += 1
            self._publisher.publish(*good(host, self.good[host]))

    def send_malformed(self, until: int) -> None:
        """Send until there are so many, good ones between them; return when the broker has all."""
        for number in range(self.sent.total(), until):
            name = self._order[number % len(self._order)]
            self._publisher.publish(*KINDS[name][:2])
            self.sent[name] += 1
            if number % 100 == 0:
                self.send_good()
        self._publisher.drain()

    def send_strangers(self, count: int) -> None:
        """Send a message of each of so many hosts, none of which there is room for."""
        for number in range(count):
            self._publisher.publish(*good(f"stranger-{number}", 1))
        self.send_good()
        self._publisher.drain()


@pytest.mark.timeout(600)
def test_a_hundred_thousand_messages_of_strangers(
    broker: Broker, start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    options = broker.options("flooded")
    subscribe_and_leave(options, ["hostpulse/+/+"])
    data, log = tmp_path / "data", tmp_path / "log"
    with contextlib.closing(Flood(broker)) as flood:
        assert len(flood.closed_on) < len(KINDS) // 4, flood.closed_on
        consumer = start(options)

        def everything_is_there() -> bool:
            assert consumer.poll() is None, log.read_text()
            with EmbeddedReader(data / HISTORY_FILE) as reader:
                rows = sum(len(page) for page in reader.rows(RowQuery(table="cpu", start=0, end=1e10)))
            return rows == flood.good.total()

        flood.send_good()
        eventually((data / HISTORY_FILE).exists)
        flood.send_malformed(MALFORMED // 5)
        eventually(everything_is_there, SECONDS)
        process = psutil.Process(consumer.pid)
        before = process.memory_info().rss
        flood.send_malformed(MALFORMED)
        flood.send_strangers(STRANGERS)
        eventually(everything_is_there, SECONDS)
    after, cpu = process.memory_info().rss, process.cpu_times()
    consumer.terminate()
    assert consumer.wait(120) == 0
    text = log.read_text()
    size = sum(path.stat().st_size for path in data.glob(f"{DEAD_LETTER_FILE}*"))
    sys.stdout.write(
        f"\n{broker.kind}: {flood.sent.total():,} malformed, {flood.for_the_consumer:,} of them for the consumer, "
        f"{flood.good.total():,} good ones, {STRANGERS:,} hosts; RSS {before >> 20} MiB, then {after >> 20} MiB; "
        f"{cpu.user + cpu.system:.1f} s of CPU; dead letters {size >> 20} MiB; {len(text.splitlines())} lines of log; "
        f"the broker closes on: {', '.join(flood.closed_on)}\n"
    )
    assert after - before < GROWTH_MIB << 20
    assert size < 2 * (16 << 20) + (1 << 20)
    assert len(text.splitlines()) < MOST_LINES, text
    assert "\x1b" not in text
    with EmbeddedReader(data / HISTORY_FILE) as reader:
        assert {host.name for host in reader.hosts()} == set(flood.good)
    letters = Counter(one.letter.kind for one in DeadLetterFile(data / DEAD_LETTER_FILE).entries() if one.letter)
    counted = kept_and_dropped(data, text) - letters["too_many_hosts"]
    strangers = sum(int(number) for number in re.findall(r"(\d+) messages? \w+ not or not all stored", text))
    # nats-server gives a message again that is not acknowledged within 2 s; what cannot be used is counted each time.
    if broker.kind == "mosquitto":
        assert (counted, strangers) == (flood.for_the_consumer, STRANGERS)
    assert counted >= flood.for_the_consumer
    assert strangers >= STRANGERS
