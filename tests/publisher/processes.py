"""The publisher as a process of its own, and somebody who listens to it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from hostpulse.bus.codec import Sample, decode
from hostpulse.bus.topics import Topics

HOST = "desk top"
DEADLINE_SECONDS = 90.0


class Subscriber:
    """Collects what is published."""

    def __init__(self, port: int) -> None:
        self.messages: list[tuple[str, bytes, bool]] = []
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"subscriber-{time.monotonic_ns()}")
        self._client.on_message = self._received
        subscribed: list[bool] = []

        def subscribe(client: mqtt.Client, *_: Any) -> None:
            client.subscribe("hostpulse/#", qos=1)

        self._client.on_connect = subscribe
        self._client.on_subscribe = lambda *_: subscribed.append(True)
        self._client.connect("127.0.0.1", port)
        self.wait_for(lambda: subscribed)

    def _received(self, _client: Any, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        self.messages.append((message.topic, bytes(message.payload), message.retain))

    def close(self) -> None:
        self._client.disconnect()
        while self._client.socket() is not None:
            self._client.loop(0.05)

    def wait_for(self, condition: Callable[[], object], seconds: float = DEADLINE_SECONDS) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"it did not happen within {seconds:.0f} s"
            assert self._client.loop(0.05) == mqtt.MQTT_ERR_SUCCESS

    def publish(self, topic: str, payload: bytes) -> None:
        """Send a message with QoS 1."""
        self._client.publish(topic, payload, qos=1)

    def last(self, topic: str) -> bytes | None:
        return next((payload for one, payload, _ in reversed(self.messages) if one == topic), None)

    def samples(self) -> list[Sample]:
        topics = Topics()
        return [
            decode(parsed, payload, now=datetime.now(UTC))
            for topic, payload, _ in self.messages
            if (parsed := topics.parse(topic)).leaf not in {"status", "info", "replay"}
        ]


@pytest.fixture
def subscribe(broker: Any) -> Iterator[Callable[[], Subscriber]]:
    made: list[Subscriber] = []

    def connect() -> Subscriber:
        made.append(Subscriber(broker.port))
        return made[-1]

    yield connect
    for one in made:
        one.close()


@pytest.fixture
def publish(broker: Any) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(tree: Any, **options: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "hostpulse.publisher"],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src"), "PYTHONWARNINGS": "error"},
        )
        started.append(process)
        assert process.stdin is not None
        text = {
            "host": HOST,
            "interval": 0.5,
            "mqtt": {"host": "127.0.0.1", "port": broker.port, "client_id": "hostpulse-test", "keepalive_seconds": 2},
            "proc": f"{tree.root}/proc",
            "sys": f"{tree.root}/sys",
            "filesystem": f"{tree.root}/root",
            **options,
        }
        process.stdin.write(json.dumps(text).encode())
        process.stdin.close()
        process.stdin = None
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        _, talk = process.communicate()
        sys.stderr.write(talk.decode())  # shown where the test failed
