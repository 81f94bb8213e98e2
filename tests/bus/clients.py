"""What the tests of the bus drive connections with."""

import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Self

from paho.mqtt.client import Client, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion

from hostpulse.bus.mqtt import Batch, MqttOptions, Publication, Receiver, Session, Taking

PATIENCE = 90.0  # only ends a test that fails


def eventually(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen within {seconds} s"
        time.sleep(0.01)


class Collector:
    """A receiver in a thread that keeps what it takes. In a `with` block it has subscribed from the start."""

    def __init__(self, options: MqttOptions, filters: Iterable[str] = ("t/#",), **arguments: Any) -> None:
        self.batches: list[Batch] = []
        self.failures = 0
        self.fail: Callable[[], bool] = lambda: False
        self.error: BaseException | None = None
        arguments.setdefault("linger_seconds", 0.05)
        self.receiver = Receiver(options, list(filters), self.take, **arguments)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def take(self, batch: Batch) -> Taking | None:
        if self.fail():
            self.failures += 1
            raise OSError("the disk is full")
        self.batches.append(batch)
        return None

    def _had_subscribed(self) -> bool:
        """Whether something has come that the broker had kept, which it may send before it answers."""
        return bool(self.batches or self.failures)

    def _run(self) -> None:
        try:
            self.receiver.run()
        except BaseException as error:  # noqa: BLE001  the test sees it
            self.error = error

    @property
    def payloads(self) -> list[bytes]:
        return [payload for batch in self.batches for payload in batch.payloads]

    @property
    def topics(self) -> list[bytes]:
        return [topic for batch in self.batches for topic in batch.topics]

    @property
    def retained(self) -> list[bool]:
        return [index in batch.retained for batch in self.batches for index in range(len(batch.topics))]

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.receiver.stop()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "run() did not end"
        if self.error is not None:
            raise self.error

    def __enter__(self) -> Self:
        self.start()
        eventually(lambda: self.receiver.receiving or self._had_subscribed() or not self._thread.is_alive())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def subscribe_and_leave(options: MqttOptions, filters: Iterable[str] = ("t/#",)) -> None:
    """Have the broker keep a session, and what comes for it from now on."""
    subscribed = threading.Event()
    client = Client(CallbackAPIVersion.VERSION2, options.client_id, clean_session=False, protocol=MQTTv311)
    _log_in(client, options)

    def subscribe(client: Client, *_: Any) -> None:
        client.subscribe([(one, 1) for one in filters])

    client.on_connect = subscribe
    client.on_subscribe = lambda *_: subscribed.set()
    client.connect(options.host, options.port)
    client.loop_start()
    assert subscribed.wait(PATIENCE)
    connection: Any = client.socket()
    with socket.socket(fileno=os.dup(connection.fileno())) as until_its_end:
        client.disconnect()
        client.loop_stop()
        until_its_end.settimeout(PATIENCE)
        while until_its_end.recv(4096):  # what is sent before the broker has closed it may go there, and come late
            pass


def _log_in(client: Client, options: MqttOptions) -> None:
    if options.username is not None:
        client.username_pw_set(options.username, options.password)
    if options.tls:
        client.tls_set(options.ca_file)


class Feeder:
    """Plain paho with its thread, which publishes and waits for the broker's acknowledgements."""

    def __init__(self, options: MqttOptions) -> None:
        self._acknowledged: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._client = Client(CallbackAPIVersion.VERSION2, options.client_id, protocol=MQTTv311)
        self._client.max_inflight_messages = 100
        _log_in(self._client, options)
        self._client.on_publish = lambda _client, _data, number, *_: self._acknowledged.put(number)
        self._client.connect(options.host, options.port)
        self._client.loop_start()

    def send(self, payloads: Iterable[bytes], *, topic: str = "t/x", qos: int = 1, retain: bool = False) -> None:
        count = 0
        for payload in payloads:
            self._client.publish(topic, payload, qos, retain)
            count += 1
        for _ in range(count):
            self._acknowledged.get(timeout=PATIENCE)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def numbered(count: int, start: int = 0, size: int = 20) -> list[bytes]:
    return [f"{number:08}".encode().ljust(size, b".") for number in range(start, start + count)]


class Owner:
    """A session whose owner does nothing but care for it."""

    def __init__(self, options: MqttOptions, **arguments: Any) -> None:
        self.acknowledged: list[int] = []
        self.messages: list[tuple[str, bytes]] = []
        arguments.setdefault("on_acknowledged", self.acknowledged.append)
        arguments.setdefault("on_message", lambda topic, payload: self.messages.append((topic, payload)))
        self.session = Session(options, **arguments)
        self.longest_call = 0.0

    def until(self, condition: Callable[[], object], seconds: float = PATIENCE, *, step: float = 0.05) -> float:
        """Do what owners do until something is true; return how long that took."""
        start = time.monotonic()
        while not condition():
            assert time.monotonic() - start < seconds, f"it did not happen within {seconds} s"
            before = time.monotonic()
            self.session.service()
            self.longest_call = max(self.longest_call, time.monotonic() - before)
            if not condition():
                self.session.wait(step)
        return time.monotonic() - start

    def publish(self, payloads: Iterable[bytes], topic: str = "t/x") -> list[int]:
        numbers = []
        for payload in payloads:
            self.until(lambda: self.session.room)
            numbers.append(self.session.publish(Publication(topic, payload)))
        return numbers

    def __enter__(self) -> Self:
        self.session.open()
        self.until(lambda: self.session.connected)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.session.close(seconds=5)


def parse_packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Split an MQTT stream into first byte and body of each whole packet, in the plainest way there is."""
    position = 0
    while position < len(data):
        length, factor, cursor = 0, 1, position + 1
        while True:
            if cursor >= len(data):
                return
            length += data[cursor] % 128 * factor
            factor *= 128
            cursor += 1
            if data[cursor - 1] < 128:
                break
            if cursor - position > 4:
                raise ValueError("a length of more than four bytes")
        if cursor + length > len(data):
            return
        yield data[position], data[cursor : cursor + length]
        position = cursor + length
