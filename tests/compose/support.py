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

from hostpulse.bus.codec import encode
from hostpulse.bus.messages import Cpu

from ..brokers import free_port

REPOSITORY = Path(__file__).resolve().parents[2]
SECONDS = 120  # ends a test that fails
LONG_RUNNING = ("mosquitto", "influxdb", "publisher", "consumer")
ONE_SHOTS = ("secrets", "influxdb-setup")
SECRETS = ("mosquitto", "influxdb", "publisher", "consumer", "reader", "grafana")

RULES = """
[rule.busy]
metric = "cpu.load_average_1m"
hosts = ["worker"]
recover = "0s"
warning = { above = 5 }
critical = { above = 20 }
"""
# Who gets notifications is a secret, and lies with the consumer's others.
ROUTE_SECRET = "ops-webhook"
ROUTES = f"""
HOSTPULSE_ALERTS__NOTIFY__OPS__WEBHOOK_FILE=/run/hostpulse/{ROUTE_SECRET}
HOSTPULSE_ALERTS__NOTIFY__OPS__RULES=busy
HOSTPULSE_ALERTS__NOTIFY__OPS__GROUP_WAIT=0s
"""
SINK = """
import http.server
class Sink(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        print(self.rfile.read(int(self.headers["Content-Length"])).decode(), flush=True)
        self.send_response(204)
        self.end_headers()
http.server.HTTPServer(("", 8080), Sink).serve_forever()
"""

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
    """One project with ports and an image of its own, from the files of this checkout.

    Args:
        directory: where its rules and routes are written.
    """

    def __init__(self, directory: Path) -> None:
        rules, routes = directory / "rules.toml", directory / "routes.env"
        rules.write_text(RULES)
        routes.write_text(ROUTES)
        rules.chmod(0o644)  # the consumer reads it under its own account
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
            "ALERT_RULES": str(rules),
            "ALERT_ROUTES": str(routes),
        }

    def compose(self, *arguments: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        options = {"capture_output": True, "text": True, "timeout": 400, "cwd": REPOSITORY} | options
        command = ["docker", "compose", "--project-name", self.project, *arguments]
        done = subprocess.run(command, env=self.environment, check=False, **options)
        assert not check or done.returncode == 0, (arguments, done.stdout[-2000:], done.stderr[-2000:])
        return done

    def up(self, *arguments: str) -> None:
        self.compose("up", "--detach", "--quiet-pull", *arguments)

    def create(self) -> None:
        """Build the image, keep the secret that a user brings, and start everything."""
        self.compose("build", "secrets")
        self.compose("run", "--rm", "--no-TTY", "secret", ROUTE_SECRET, input="http://sink:8080/")
        self.up()

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
    def sink(self) -> Iterator[Callable[[], list[dict[str, Any]]]]:
        """Run what takes notifications, where the consumer's way out leads; yield what reads those that came."""
        options = ("--detach", "--network", f"{self.project}_broker", "--network-alias", "sink")
        name = docker("run", *options, "--entrypoint", "python", self.image, "-c", SINK).strip()
        try:
            yield lambda: [json.loads(line) for line in docker("logs", name).splitlines()]
        finally:
            docker("rm", "--force", name)

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


class Worker:
    """A machine that is not there, with a load that the test chooses.

    Args:
        client: with the account of the machine `worker`.
    """

    def __init__(self, client: "Listener") -> None:
        self._client = client
        self._session = time.time()
        self._sequence = 0

    def load(self, load: float) -> None:
        self._sequence += 1
        message = encode(
            Cpu(load_average_1m=load),
            host="worker",
            subsystem="cpu",
            timestamp=time.time(),
            sequence=self._sequence,
            session=self._session,
            interval=3600,
        )
        self._client.publish("hostpulse/worker/cpu", message)


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
