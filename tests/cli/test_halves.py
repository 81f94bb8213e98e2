"""`hostpulse publish` and `hostpulse consume`, each alone, with a broker of their own."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from ..brokers import Broker
from .support import STOP_SECONDS, Hostpulse, eventually


def at(broker: Broker) -> tuple[str, ...]:
    return ("--broker", "127.0.0.1", "--set", f"mqtt.port={broker.port}")


@contextmanager
def listening(port: int, username: str | None = None, password: str | None = None) -> Iterator[list[tuple[str, bytes]]]:
    """Receive everything with plain paho: topics and payloads as they come."""
    found: list[tuple[str, bytes]] = []
    ready: list[object] = []

    def received(_client: Client, _userdata: object, message: MQTTMessage) -> None:
        found.append((message.topic, bytes(message.payload)))

    client = Client(CallbackAPIVersion.VERSION2, client_id="listener")
    client.username_pw_set(username, password) if username else None
    client.on_message = received
    client.on_subscribe = lambda *_: ready.append(1)
    client.connect("127.0.0.1", port)
    client.subscribe("hostpulse/#", qos=1)
    client.loop_start()
    try:
        eventually(lambda: ready)
        yield found
    finally:
        client.disconnect()
        client.loop_stop()


def published(found: list[tuple[str, bytes]]) -> dict[str, list[int]]:
    """Return the sequence numbers that were published, by subsystem."""
    sequences: dict[str, list[int]] = {}
    for topic, payload in list(found):
        if topic.rpartition("/")[2] not in {"status", "info"}:
            message = json.loads(payload)
            sequences.setdefault(message["subsystem"], []).append(message["sequence"])
    return {name: sorted(numbers) for name, numbers in sequences.items()}


def test_a_killed_consumer_loses_nothing(hostpulse: Hostpulse, make_broker: Callable[..., Broker]) -> None:
    broker = make_broker("mosquitto")
    consumer = hostpulse.start("consume", *at(broker))
    consumer.says("connected to broker")
    with listening(broker.port) as found:
        publisher = hostpulse.start("publish", "--interval", "0.5", *at(broker))
        eventually(lambda: hostpulse.count() >= 3, what=lambda: publisher.output + consumer.output)
        consumer.end(signal.SIGKILL)
        missed = len(published(found)["cpu"])
        eventually(lambda: len(published(found)["cpu"]) >= missed + 4)
        consumer = hostpulse.start("consume", *at(broker))
        eventually(lambda: hostpulse.count() >= missed + 4, what=lambda: consumer.output)
        assert publisher.end(signal.SIGINT) == 0
        eventually(lambda: found[-1] == ("hostpulse/web-1/status", b"offline"))
        everything = published(found)
        eventually(lambda: hostpulse.count() == len(everything["cpu"]), what=lambda: (hostpulse.count(), everything))
    assert consumer.end(signal.SIGINT) == 0
    hostpulse.assert_nothing_is_missing()
    assert {name: numbers for (name, _), numbers in hostpulse.sequences().items()} == everything


def test_what_stands_on_the_command_line_is_no_secret(hostpulse: Hostpulse, make_broker: Callable[..., Broker]) -> None:
    broker = make_broker("mosquitto", password="geheim")
    login = {"HOSTPULSE_MQTT__USERNAME": "hostpulse", "HOSTPULSE_MQTT__PASSWORD": "geheim"}
    # Neither a place for temporary files nor a standard input is needed.
    running = hostpulse.start("publish", *at(broker), environment=login | {"TMPDIR": "/proc"}, preexec_fn=close_input)
    running.says("connected to broker")
    assert "geheim" not in " ".join(psutil.Process(running.process.pid).cmdline())
    assert running.end() == 0


def close_input() -> None:
    """Leave the process without a standard input; for what is between fork and exec."""
    os.close(0)


@pytest.mark.parametrize("command", ["publish", "consume"])
def test_a_broker_that_is_away_is_said_once_and_waited_for(
    hostpulse: Hostpulse, make_broker: Callable[..., Broker], command: str
) -> None:
    broker = make_broker("mosquitto")
    broker.stop()
    running = hostpulse.start(command, *at(broker))
    running.says("nothing listens there")
    time.sleep(3)  # further attempts
    assert len(running.output.splitlines()) == 1, running.output
    broker.start()
    running.says("connected to broker")
    began = time.monotonic()
    assert running.end() == 0
    assert time.monotonic() - began < STOP_SECONDS
    assert "Traceback" not in running.output


@pytest.mark.parametrize("command", ["publish", "consume"])
def test_a_wrong_password_is_said_once(hostpulse: Hostpulse, make_broker: Callable[..., Broker], command: str) -> None:
    broker = make_broker("mosquitto", password="secret")
    login = {"HOSTPULSE_MQTT__USERNAME": "hostpulse", "HOSTPULSE_MQTT__PASSWORD": "wrong"}
    running = hostpulse.start(command, *at(broker), environment=login)
    running.says("mqtt.password")
    time.sleep(3)  # further attempts
    (line,) = running.output.splitlines()
    assert f"broker 127.0.0.1:{broker.port}: " in line
    assert "wrong\n" not in line
    assert running.end() == 0


@pytest.mark.parametrize("command", ["publish", "consume"])
def test_without_any_broker(hostpulse: Hostpulse, command: str) -> None:
    done = hostpulse.run(command)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"hostpulse: no broker: set mqtt.host, or run `hostpulse up` (no embedded one runs for {hostpulse.data})"
    ]


def test_two_consumers_of_one_history(hostpulse: Hostpulse, make_broker: Callable[..., Broker]) -> None:
    broker = make_broker("mosquitto")
    first = hostpulse.start("consume", *at(broker))
    first.says("connected to broker")
    second = hostpulse.run("consume", *at(broker), "--set", "mqtt.client_id=another")
    assert second.returncode == 1
    (line,) = second.stderr.splitlines()
    assert line.startswith(f"ERROR another hostpulse writes to {hostpulse.history}")


def test_unusable_messages_are_set_aside(hostpulse: Hostpulse, make_broker: Callable[..., Broker]) -> None:
    broker = make_broker("mosquitto")
    consumer = hostpulse.start("consume", *at(broker))
    consumer.says("connected to broker")
    client = Client(CallbackAPIVersion.VERSION2, client_id="vandal")
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    bad = {
        "hostpulse/web-1/cpu": b"{",
        "hostpulse/web-1/nonsense": b"{}",
        "hostpulse/web-1/status": b"maybe",
        "hostpulse/web-1/info": b'{"v":1}',
    }
    for topic, payload in bad.items():
        client.publish(topic, payload, qos=1).wait_for_publish(30)
    publisher = hostpulse.start("publish", "--interval", "0.5", *at(broker))
    eventually(lambda: hostpulse.count() >= 2, what=lambda: publisher.output + consumer.output)
    client.disconnect()
    client.loop_stop()
    letters = [json.loads(line) for line in (hostpulse.data / "dead-letter.jsonl").read_text().splitlines()]
    assert {letter["topic"] for letter in letters} == set(bad)
    assert len(letters) == len(bad)
    assert "unusable message" in consumer.output
    assert "Traceback" not in consumer.output
    assert publisher.end() == 0
    assert consumer.end() == 0
