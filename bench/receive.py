"""CPU time of receiving: queued QoS 1 messages through the receiver, against plain paho in the same run.

    PYTHONPATH=src python bench/receive.py [messages] [runs]

Each broker queues the messages for a session that is away; then the session comes back. Plain paho gets them one by
one in on_message and acknowledges each; the receiver takes batches of 500 and acknowledges each batch. Prints
microseconds of CPU of this process for each message (the least of the runs) and messages in each second.
"""

import importlib
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from paho.mqtt.client import Client, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion

from hostpulse.bus.mqtt import Batch, MqttOptions, Receiver

_BYTES = 393
_BATCH = 500
_LINGER_SECONDS = 0.01  # the last batch is smaller, and would wait half a second
_TOPIC = "bench/host/cpu"


class Run(NamedTuple):
    """What receiving all messages once took, in seconds, and how many came."""

    cpu: float
    wall: float
    messages: int


def load_broker() -> Any:
    """Return the tests' `Broker`, which starts either program on a free port."""
    sys.path.append(str(Path(__file__).parents[1]))
    return importlib.import_module("tests.brokers").Broker


def paho(options: MqttOptions, *, clean: bool, **arguments: Any) -> Client:
    client = Client(CallbackAPIVersion.VERSION2, options.client_id, clean_session=clean, protocol=MQTTv311, **arguments)
    client.connect(options.host, options.port)
    return client


def leave_subscription(options: MqttOptions) -> None:
    client = paho(options, clean=False)
    client.on_connect = lambda *_: client.subscribe(_TOPIC, 1)
    client.on_subscribe = lambda *_: client.disconnect()
    client.loop_forever()


def queue_messages(options: MqttOptions, count: int) -> None:
    """Publish, and return when the broker has acknowledged everything."""
    client, done, left = paho(options, clean=True), threading.Event(), [count]

    def acknowledged(*_: Any) -> None:
        left[0] -= 1
        if not left[0]:
            done.set()

    client.on_publish = acknowledged
    client.loop_start()
    for first in range(0, count, 1000):
        for number in range(first, min(first + 1000, count)):
            client.publish(_TOPIC, b"%08d" % number + b"x" * (_BYTES - 8), 1)
        while count - left[0] < first - 2000:
            time.sleep(0.001)
    done.wait()
    client.disconnect()
    client.loop_stop()


def measure(receive: Callable[[], int]) -> Run:
    cpu, wall = time.process_time(), time.perf_counter()
    messages = receive()
    return Run(time.process_time() - cpu, time.perf_counter() - wall, messages)


def with_paho(options: MqttOptions, count: int) -> int:
    client, seen = paho(options, clean=False, manual_ack=True), set()

    def message(client: Client, _data: Any, message: Any) -> None:
        seen.add(message.payload[:8])
        client.ack(message.mid, 1)
        if len(seen) == count:
            client.disconnect()

    client.on_message = message
    client.loop_forever()
    return len(seen)


def with_receiver(options: MqttOptions, count: int) -> int:
    seen: set[bytes] = set()

    def take(batch: Batch) -> None:
        seen.update([payload[:8] for payload in batch.payloads])
        if len(seen) == count:
            receiver.stop()

    receiver = Receiver(options, [_TOPIC], take, batch_messages=_BATCH, linger_seconds=_LINGER_SECONDS)
    receiver.run()
    return len(seen)


def main(count: int, runs: int) -> None:
    broker_class = load_broker()
    ways = {"paho": with_paho, "receiver": with_receiver}
    print(f"{count} queued messages of {_BYTES} bytes, QoS 1, MQTT 3.1.1, the best of {runs} runs")
    for kind in ("mosquitto", "nats-server"):
        best: dict[str, Run] = {}
        with tempfile.TemporaryDirectory() as directory:
            broker = broker_class(kind, Path(directory) / "broker", window=2 * _BATCH)
            broker.start()
            try:
                for run in range(runs):
                    for name, receive in ways.items():
                        options = broker.options(f"{name}-{run}")
                        leave_subscription(options)
                        queue_messages(broker.options("feeder"), count)
                        result = measure(lambda receive=receive, options=options: receive(options, count))  # type: ignore[misc]
                        if result.messages != count:
                            raise RuntimeError(f"{result.messages} of {count} came")
                        best[name] = min(best.get(name, result), result)
            finally:
                broker.kill()
        for name, result in best.items():
            rate = count / result.wall
            print(f"{kind:12} {name:9} {result.cpu / count * 1e6:6.2f} us of CPU a message, {rate:8.0f} messages/s")
        print(f"{kind:12} paho takes {best['paho'].cpu / best['receiver'].cpu:.1f} times the CPU")


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    main(*given, *(100_000, 3)[len(given) :])
