"""A compose project of its own, and what can be asked of it."""

import contextlib
import json
import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from ..brokers import free_port

REPOSITORY = Path(__file__).resolve().parents[2]
SECONDS = 120  # ends a test that fails
LONG_RUNNING = ("mosquitto", "influxdb", "publisher", "consumer")
ONE_SHOTS = ("secrets", "influxdb-setup")
SECRETS = ("mosquitto", "influxdb", "publisher", "consumer", "reader", "grafana")

READ_SECRETS = """
import hashlib, pathlib, sys
for path in sorted(pathlib.Path("/run/hostpulse").rglob("*")):
    if path.is_file():
        state = path.stat()
        text = hashlib.sha256(path.read_bytes()).hexdigest()
        print(path.relative_to("/run/hostpulse"), oct(state.st_mode & 0o777), state.st_uid, state.st_gid, text)
"""


def eventually(condition: Callable[[], object], what: Callable[[], object] = lambda: "") -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen within {SECONDS} s {what()}"
        time.sleep(0.2)


class Stack:
    """One project with ports and an image of its own, from the files of this checkout."""

    def __init__(self) -> None:
        name = f"hostpulse-test-{uuid.uuid4().hex[:8]}"
        self.project = name
        self.image = f"hostpulse:{name}"
        self.port = free_port()
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("HOSTPULSE_", "COMPOSE_"))},
            "IMAGE_TAG": name,
            "MQTT_PORT": str(self.port),
            "HEALTH_INTERVAL": "2s",
            "HOSTPULSE_INTERVAL": "0.5",
        }

    def compose(self, *arguments: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        options = {"capture_output": True, "text": True, "timeout": 400, "cwd": REPOSITORY} | options
        command = ["docker", "compose", "--project-name", self.project, *arguments]
        done = subprocess.run(command, env=self.environment, check=False, **options)
        assert not check or done.returncode == 0, (arguments, done.stdout[-2000:], done.stderr[-2000:])
        return done

    def up(self, *arguments: str) -> None:
        self.compose("up", "--detach", "--quiet-pull", *arguments)

    def down(self) -> None:
        self.compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "5")
        docker("image", "rm", "--force", self.image, check=False)

    def containers(self, service: str) -> list[dict[str, Any]]:
        """Return what Docker knows of the containers of a service, running or not."""
        ids = self.compose("ps", "--all", "--quiet", service).stdout.split()
        return json.loads(docker("inspect", *ids)) if ids else []

    def container(self, service: str) -> dict[str, Any]:
        (found,) = self.containers(service)
        return found

    def logs(self, *services: str) -> str:
        return self.compose("logs", "--no-color", *services).stdout

    def inside(self, service: str, *command: str, check: bool = True) -> str:
        return self.compose("exec", "--no-TTY", service, *command, check=check).stdout

    def once(self, service: str, *arguments: str, options: tuple[str, ...] = ()) -> str:
        return self.compose("run", "--rm", "--no-TTY", "--no-deps", *options, service, *arguments).stdout

    def secrets(self) -> list[str]:
        """Return a line for each secret: service and name, mode, owner, group, hash."""
        return self.once("secrets", "-c", READ_SECRETS, options=("--entrypoint", "python")).splitlines()

    def account(self, name: str) -> tuple[str, str]:
        """Make an account of the broker; return user and password."""
        words = self.once("account", name).split()
        assert words[::2] == ["user", "password"]
        return words[1], words[3]

    def consumer_login(self) -> tuple[str, str]:
        return "consumer", self.inside("consumer", "cat", "/run/hostpulse/mqtt-password")

    @contextlib.contextmanager
    def client(self, username: str | None, password: str | None, *filters: str) -> Iterator["Listener"]:
        listener = Listener(self.port, username, password, filters)
        try:
            yield listener
        finally:
            listener.close()

    def flux(self, query: str) -> list[dict[str, str]]:
        """Return the rows of a query, asked with the reader's token."""
        text = self.once("cli", "-c", QUERY, query, options=("--entrypoint", "python"))
        return [json.loads(line) for line in text.splitlines()]

    def stored(self, host: str) -> dict[str, list[datetime]]:
        """Return the timestamps of the samples of a host that are stored, by subsystem."""
        found: dict[str, list[datetime]] = {}
        for row in self.flux(
            f'from(bucket: "hostpulse") |> range(start: -1h, stop: 1h) |> filter(fn: (r) => r._field == "sequence" '
            f'and r.host == "{host}") |> keep(columns: ["_time", "_measurement", "_value"])'
        ):
            found.setdefault(row["_measurement"], []).append(datetime.fromisoformat(row["_time"]))
        return found


QUERY = """
import csv, io, json, os, pathlib, sys, urllib.request
token = pathlib.Path(os.environ["HOSTPULSE_INFLUXDB__TOKEN_FILE"]).read_text()
request = urllib.request.Request(
    "http://influxdb:8086/api/v2/query?org=hostpulse",
    json.dumps({"query": sys.argv[1], "dialect": {"header": True, "annotations": []}}).encode(),
    {"Authorization": f"Token {token}", "Content-Type": "application/json", "Accept": "application/csv"},
)
for row in csv.DictReader(io.StringIO(urllib.request.urlopen(request).read().decode())):
    if row.get("_time", "_time") != "_time":
        print(json.dumps(row))
"""


def docker(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(["docker", *arguments], check=False, capture_output=True, text=True, timeout=120)
    assert not check or done.returncode == 0, (arguments, done.stderr)
    return done.stdout


class Listener:
    """A client of the stack's broker, by plain paho, that keeps what comes."""

    def __init__(self, port: int, username: str | None, password: str | None, filters: tuple[str, ...]) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.refusal: str | None = None
        self._answers: list[object] = []
        self.client = Client(CallbackAPIVersion.VERSION2, client_id=f"test-{uuid.uuid4()}", reconnect_on_failure=False)
        self.client.username_pw_set(username, password) if username else None
        self.client.on_connect = lambda _client, _data, _flags, reason, _properties: self._connected(reason, filters)
        self.client.on_subscribe = lambda *_: self._answers.append(None)
        self.client.on_message = self._received
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        eventually(lambda: self._answers)

    def _connected(self, reason: Any, filters: tuple[str, ...]) -> None:
        if reason.is_failure:
            self.refusal = str(reason)
            self._answers.append(None)
        elif filters:
            self.client.subscribe([(one, 1) for one in filters])
        else:
            self._answers.append(None)

    def _received(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        self.messages.append((message.topic, bytes(message.payload)))

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish, and return when the broker has acknowledged it."""
        self.client.publish(topic, payload, qos=1).wait_for_publish(SECONDS)

    def samples(self, host: str) -> dict[str, list[dict[str, Any]]]:
        """Return what came from a host, by subsystem."""
        found: dict[str, list[dict[str, Any]]] = {}
        for topic, payload in list(self.messages):
            _, name, leaf = topic.split("/", 2)
            if name == host and leaf not in {"status", "info"}:
                found.setdefault(leaf, []).append(json.loads(payload))
        return found

    def timestamps(self, host: str) -> dict[str, set[datetime]]:
        return {
            name: {datetime.fromisoformat(one["timestamp"]) for one in found}
            for name, found in self.samples(host).items()
        }

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
