"""The stack brought up for real. The tests share one; the last one takes it down."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from .support import (
    LONG_RUNNING,
    ONE_SHOTS,
    REPOSITORY,
    ROUTE_SECRET,
    SECRETS,
    Listener,
    Stack,
    Worker,
    docker,
    eventually,
)

pytestmark = pytest.mark.timeout(600)

HOST = socket.gethostname().partition(".")[0]
STOP_SECONDS = 10
KILLED = 128 + signal.SIGKILL
CACHES = ("__pycache__/", ".hypothesis/", ".pytest_cache/")
ABOUT_A_MACHINE = "INFO alerts: "  # what this machine is like is not the stack's fault
COMPLAINT = re.compile(r"lvl=(warn|error)|warning|error|denied|refused|traceback|authori[sz]ed", re.IGNORECASE)

ASK_INFLUXDB = """
import os, pathlib, sys, urllib.error, urllib.request
token = pathlib.Path(os.environ["HOSTPULSE_INFLUXDB__TOKEN_FILE"]).read_text()
method, path, body = sys.argv[1:]
headers = {"Authorization": f"Token {token}", "Content-Type": "application/vnd.flux"}
request = urllib.request.Request(f"http://influxdb:8086{path}", body.encode(), headers, method=method)
try:
    print(urllib.request.urlopen(request).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""
WRITE = ("POST", "/api/v2/write?org=hostpulse&bucket=hostpulse", "probe value=1")
WRITE_MINUTES = ("POST", "/api/v2/write?org=hostpulse&bucket=hostpulse_minutes", "probe value=1")
READ = ("POST", "/api/v2/query?org=hostpulse", 'from(bucket: "hostpulse") |> range(start: -1m)')
READ_MINUTES = ("POST", "/api/v2/query?org=hostpulse", 'from(bucket: "hostpulse_minutes") |> range(start: -1m)')
MAKE_TOKEN = ("POST", "/api/v2/authorizations", "{}")


@pytest.fixture(scope="module")
def settled(stack: Stack) -> Stack:
    """The stack, with everything healthy and something stored."""
    eventually(lambda: {state(stack, name) for name in LONG_RUNNING} == {"healthy"}, stack.logs)
    eventually(lambda: stack.stored(HOST).get("cpu"), stack.logs)
    return stack


def state(stack: Stack, service: str) -> str:
    return str(stack.container(service)["State"].get("Health", {}).get("Status"))


@contextmanager
def native_publisher(stack: Stack, tmp_path: Path, name: str) -> Iterator[None]:
    """Publish this machine from outside of any container, with an account that was made for it."""
    username, password = stack.account(name)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HOSTPULSE_")}
    environment |= {
        "HOME": str(tmp_path),
        "PYTHONPATH": str(REPOSITORY / "src"),
        "HOSTPULSE_HOST": name,
        "HOSTPULSE_INTERVAL": "0.5",
        "HOSTPULSE_MQTT__HOST": "127.0.0.1",
        "HOSTPULSE_MQTT__PORT": str(stack.port),
        "HOSTPULSE_MQTT__USERNAME": username,
        "HOSTPULSE_MQTT__PASSWORD": password,
    }
    process = subprocess.Popen([sys.executable, "-P", "-m", "hostpulse.cli", "publish"], env=environment)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 0


def retained(listener: Listener, topic: str) -> bytes:
    found: list[bytes] = []
    eventually(lambda: found.extend(payload for name, payload in listener.messages if name == topic) or found)
    return found[0]


def test_everything_is_healthy_and_says_nothing_that_one_would_wonder_about(settled: Stack) -> None:
    for name in ONE_SHOTS:
        assert settled.container(name)["State"]["ExitCode"] == 0
    for name in LONG_RUNNING:
        assert settled.container(name)["RestartCount"] == 0
    lines = [line for line in settled.logs().splitlines() if ABOUT_A_MACHINE not in line]
    assert [line for line in lines if COMPLAINT.search(line)] == []


def test_what_is_stored_is_what_the_broker_passed_on(settled: Stack) -> None:
    user, password = settled.consumer_login()
    login = ("-u", user, "-P", password, "-V", "mqttv311")
    text = settled.inside("mosquitto", "mosquitto_sub", *login, "-t", f"hostpulse/{HOST}/cpu", "-q", "1", "-C", "6")
    messages = [json.loads(line) for line in text.splitlines()]
    last = datetime.fromisoformat(messages[-1]["timestamp"])
    eventually(lambda: last in settled.stored(HOST)["cpu"])
    lines = settled.once("cli", "export", "cpu", "--format", "jsonl", "--since", "5m").splitlines()
    rows = {row["timestamp"]: row for row in map(json.loads, lines)}
    envelope = {"v", "subsystem", "sequence", "session", "interval"}
    for message in messages:
        own = {key: value for key, value in message.items() if key not in envelope and type(value) is not dict}
        assert rows[message["timestamp"]] == own


def test_the_publisher_tells_of_the_machine_and_not_of_its_container(settled: Stack, tmp_path: Path) -> None:
    with (
        settled.client(*settled.consumer_login(), "hostpulse/#") as listener,
        native_publisher(settled, tmp_path, "outside"),
    ):
        told = {host: facts(listener, host) for host in (HOST, "outside")}
    assert told[HOST] == told["outside"]
    assert all(told[HOST].values())
    assert told[HOST]["hostname"] == socket.gethostname()


def facts(listener: Listener, host: str) -> dict[str, object]:
    """Wait for what a publisher says that does not change from one moment to the next."""
    info = json.loads(retained(listener, f"hostpulse/{host}/info"))
    for own in ("host", "session", "timestamp", "versions"):
        del info[own]
    # Bridges of other projects come and go.
    info["interfaces"] = {name: one for name, one in info["interfaces"].items() if not name.startswith("br-")}
    # Slow messages have all mounts and interfaces.
    mounts = waited_for(listener, host, "disk", "mount", "total_bytes")
    interfaces = waited_for(listener, host, "network", "interface", "link")
    return {
        "info": info,
        "hostname": waited_for(listener, host, "system", "hostname"),
        "memory": waited_for(listener, host, "memory", "total_bytes"),
        "cores": set(waited_for(listener, host, "cpu", "core")),
        "mounts": {mount: (one["total_bytes"], one["file_system"], one["state"]) for mount, one in mounts.items()},
        "interfaces": {name for name in interfaces if not name.startswith("br-")},
    }


def waited_for(listener: Listener, host: str, subsystem: str, field: str, entry_field: str | None = None) -> Any:
    """Return a field as soon as a message has it; of a map, as soon as its entries have that field."""
    found: list[Any] = []

    def look() -> list[Any]:
        for sample in listener.samples(host).get(subsystem, []):
            value = sample.get(field)
            if value is not None and (entry_field is None or all(entry_field in entry for entry in value.values())):
                found.append(value)
        return found

    eventually(look, lambda: (host, subsystem, field))
    return found[-1]


def test_a_machine_writes_below_its_own_name_only(settled: Stack) -> None:
    login = settled.account("stranger")
    denied = [
        f"hostpulse/{HOST}/cpu",
        f"hostpulse/{HOST}/status",
        "hostpulse/stranger/alert/a/b",
        "hostpulse/stranger/event",
        "homeassistant/x",
    ]
    with settled.client(*settled.consumer_login(), "hostpulse/#") as listener:
        with settled.client(*login, "hostpulse/#") as stranger:
            for topic in denied:
                stranger.publish(topic, b"forged")
            stranger.publish("hostpulse/stranger/status", b"offline")  # in order: what was before it is not coming
        eventually(lambda: ("hostpulse/stranger/status", b"offline") in listener.messages)
        assert [topic for topic, payload in listener.messages if payload == b"forged"] == []
        assert stranger.messages == [], "it reads nothing of others"


def test_a_consumer_writes_no_samples_and_nobody_comes_in_without_a_password(settled: Stack) -> None:
    login = settled.consumer_login()
    with settled.client(*login, "hostpulse/#") as listener, settled.client(*login) as consumer:
        consumer.publish(f"hostpulse/{HOST}/cpu", b"forged")
        consumer.publish(f"hostpulse/{HOST}/event", b"last")
        eventually(lambda: (f"hostpulse/{HOST}/event", b"last") in listener.messages)
        assert [topic for topic, payload in listener.messages if payload == b"forged"] == []
    for who in ((None, None), ("consumer", "guessed"), (HOST, "guessed")):
        with settled.client(*who) as refused:
            assert refused.refusal == "Not authorized"


def test_tokens_do_what_they_must_and_no_more(settled: Stack) -> None:
    def writer(*request: str) -> int:
        return int(settled.inside("consumer", "python", "-c", ASK_INFLUXDB, *request))

    def reader(*request: str) -> int:
        return int(settled.once("cli", "-c", ASK_INFLUXDB, *request, options=("--entrypoint", "python")))

    assert writer(*WRITE) == 204
    assert reader(*READ) == 200
    assert writer(*READ) == 200, "it reads what has come, to know what is missing"
    assert writer(*READ_MINUTES) == 404, "it does not see that bucket"
    assert writer(*WRITE_MINUTES) == 403
    assert reader(*WRITE) == 403
    assert [who(*MAKE_TOKEN) // 100 for who in (reader, writer)] == [4, 4]


def test_what_runs_has_no_rights_that_it_does_not_need(settled: Stack) -> None:
    for name in LONG_RUNNING:
        container = settled.container(name)
        user, _, group = container["Config"]["User"].partition(":")
        assert user not in {"", "0", "root"}, name
        assert group not in {"0", "root"}
        assert container["HostConfig"]["ReadonlyRootfs"]
        assert container["HostConfig"]["CapDrop"] == ["ALL"]
        assert "no-new-privileges:true" in container["HostConfig"]["SecurityOpt"]
        assert settled.inside(name, "sh", "-c", "id -u").strip() != "0"
        assert settled.inside(name, "sh", "-c", "touch /probe 2>&1 || true").strip().endswith("Read-only file system")
    assert (
        settled.inside("publisher", "sh", "-c", "touch /host/root/tmp/probe 2>&1 || true")
        .strip()
        .endswith("Read-only file system")
    )


def test_each_service_sees_its_own_secrets_only(settled: Stack) -> None:
    seen = {name: set(settled.inside(name, "ls", "/run/hostpulse").split()) for name in LONG_RUNNING}
    assert seen == {
        "mosquitto": {"acl", "passwords"},
        "influxdb": {"admin-password", "admin-token"},
        "publisher": {"host", "mqtt-password", "mqtt-username"},
        "consumer": {"influxdb-writer-token", "mqtt-password", ROUTE_SECRET},
    }
    owners = {"mosquitto": 1883, "influxdb": 1000, "publisher": 10001, "consumer": 10001, "reader": 472, "grafana": 472}
    for line in settled.secrets():
        path, mode, user, group, _ = line.split()
        if not path.endswith(".lock"):
            assert (mode, int(user), int(group)) == ("0o400", owners[path.split("/")[0]], int(user)), line
    assert {line.split("/")[0] for line in settled.secrets()} == set(SECRETS)


def test_a_second_up_keeps_secrets_data_and_containers(settled: Stack) -> None:
    secrets, before = settled.secrets(), settled.stored(HOST)
    ids = {name: settled.container(name)["Id"] for name in LONG_RUNNING}
    settled.up()
    assert {name: settled.container(name)["Id"] for name in LONG_RUNNING} == ids
    assert settled.secrets() == secrets
    settled.up("--force-recreate")
    assert {name: settled.container(name)["Id"] for name in LONG_RUNNING}.items().isdisjoint(ids.items())
    assert settled.secrets() == secrets
    eventually(lambda: max(settled.stored(HOST)["cpu"]) > max(before["cpu"]), settled.logs)
    after = settled.stored(HOST)
    assert all(set(timestamps) <= set(after[name]) for name, timestamps in before.items())


def test_three_consumers_share_the_storing_and_one_that_is_killed_loses_nothing(settled: Stack) -> None:
    settled.up("--no-recreate", "--scale", "consumer=3")
    eventually(lambda: settled.logs("consumer").count("connected to broker") >= 3, lambda: settled.logs("consumer"))
    with settled.client(*settled.consumer_login(), "hostpulse/#") as listener:
        eventually(lambda: len(listener.samples(HOST).get("cpu", [])) >= 6)
        consumers = settled.containers("consumer")
        before = {one["Id"]: received_bytes(one) for one in consumers}
        assert len(before) == 3
        eventually(lambda: all(received_bytes(one) > before[one["Id"]] + 3000 for one in consumers))
        os.kill(consumers[1]["State"]["Pid"], signal.SIGKILL)
        seen = len(listener.samples(HOST)["cpu"])
        eventually(lambda: len(listener.samples(HOST)["cpu"]) >= seen + 6)
        settled.up("--no-recreate", "--scale", "consumer=1")
        settled.compose("stop", "publisher")
        expected = listener.timestamps(HOST)
    assert_stored(settled, expected)
    settled.up()


def received_bytes(container: dict[str, Any]) -> int:
    """Return what a container's network has brought, which for a consumer is what the broker gives it."""
    lines = Path(f"/proc/{container['State']['Pid']}/net/dev").read_text().splitlines()[2:]
    return sum(int(line.partition(":")[2].split()[0]) for line in lines if line.strip().startswith("eth"))


def assert_stored(stack: Stack, expected: dict[str, set[datetime]]) -> None:
    """Wait until everything is stored, and see that nothing is stored twice."""
    stored: dict[str, list[datetime]] = {}

    def missing() -> dict[str, set[datetime]]:
        stored.update(stack.stored(HOST))
        found = {name: timestamps - set(stored.get(name, ())) for name, timestamps in expected.items()}
        return {name: timestamps for name, timestamps in found.items() if timestamps}

    eventually(lambda: not missing(), lambda: (missing(), stack.logs("consumer")))
    assert all(len(timestamps) == len(set(timestamps)) for timestamps in stored.values())


def test_an_alert_outlives_the_consumer_that_evaluates_and_everybody_is_told_once(settled: Stack) -> None:
    with (
        settled.sink() as notifications,
        settled.client(*settled.account("worker")) as machine,
        settled.client(*settled.consumer_login(), "hostpulse/worker/alert/busy/#") as listener,
    ):

        def told() -> list[str]:
            return [alert["kind"] for one in notifications() for alert in one["alerts"]]

        def waits(*kinds: str) -> None:
            eventually(lambda: len(told()) >= len(kinds), lambda: (told(), settled.logs("consumer")))
            assert told() == list(kinds)

        def alerts(*words: str) -> list[str]:
            return settled.inside("consumer", "hostpulse", "alerts", *words).splitlines()

        worker = Worker(machine)
        worker.load(9)
        waits("fired")
        assert json.loads(retained(listener, "hostpulse/worker/alert/busy/host"))["level"] == "warning"
        assert alerts("ack", "worker/*") == ["worker/busy"]

        settled.up("--no-recreate", "--scale", "consumer=3")
        eventually(lambda: len(standing_by(settled)) == 2, lambda: settled.logs("consumer"))
        (evaluates,) = {one["Id"] for one in settled.containers("consumer")} - standing_by(settled)
        docker("kill", evaluates)
        worker.load(30)
        waits("fired", "escalated")

        settled.compose("rm", "--stop", "--force", "consumer")
        worker.load(1)
        settled.up()
        waits("fired", "escalated", "resolved")
        assert alerts("test") == ["ok   ops"]
        eventually(lambda: events(settled) == ["fired", "acknowledged", "escalated", "resolved"], settled.logs)
        eventually(lambda: json.loads(listener.messages[-1][1])["level"] == "ok", lambda: listener.messages)
        assert [line.split()[3] for line in alerts("history", "--rule", "busy")] == ["fired", "escalated", "resolved"]
        assert alerts("forget", "worker") == []


def standing_by(stack: Stack) -> set[str]:
    """Return the consumers that leave the alerts to another one."""
    consumers = [one["Id"] for one in stack.containers("consumer")]
    return {one for one in consumers if "another consumer evaluates the alerts" in "".join(logs_of(one))}


def logs_of(container: str) -> list[str]:
    done = subprocess.run(["docker", "logs", container], capture_output=True, text=True, timeout=120, check=True)
    return [done.stdout, done.stderr]


def events(stack: Stack) -> list[str]:
    """Return what happened to the alerts of the rule `busy`, as it is stored."""
    lines = stack.once("cli", "export", "event", "--host", "worker", "--format", "jsonl", "--since", "1h").splitlines()
    return [row["kind"] for row in map(json.loads, lines) if row["rule"] == "busy"]


def test_stopping_drains_and_ends_in_time(settled: Stack) -> None:
    settled.up()
    with settled.client(*settled.consumer_login(), "hostpulse/#") as listener:
        eventually(lambda: listener.samples(HOST).get("cpu"))
        for name in ("publisher", "consumer", "mosquitto", "influxdb"):
            if name == "consumer":
                expected = listener.timestamps(HOST)
                assert_stored(settled, expected)
                # The consumer goes on telling of itself, of the alerts of this host and of others that fall silent.
                own = [
                    one
                    for one in listener.messages
                    if re.match(rf"hostpulse/{re.escape(HOST)}/(?!alert/|event$|consumer$)", one[0])
                ]
                assert own[-1] == (f"hostpulse/{HOST}/status", b"offline")
                listener.close()
            start = time.monotonic()
            settled.compose("stop", name)
            assert time.monotonic() - start < STOP_SECONDS
            assert settled.container(name)["State"]["ExitCode"] != KILLED
    settled.up()


def files_of_the_checkout() -> list[str]:
    """Return what git does not know there, without what Python and the tests that run meanwhile keep."""
    command = ["git", "status", "--porcelain", "--ignored"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if not line.endswith(CACHES)]


def test_down_leaves_nothing(settled: Stack) -> None:
    before = files_of_the_checkout()
    settled.compose("--profile", "*", "down", "--volumes")
    label = f"label=com.docker.compose.project={settled.project}"
    assert docker("ps", "--all", "--quiet", "--filter", label) == ""
    assert docker("volume", "ls", "--quiet", "--filter", label) == ""
    assert docker("network", "ls", "--quiet", "--filter", label) == ""
    assert docker("volume", "ls", "--quiet", "--filter", f"name={settled.project}") == ""
    assert files_of_the_checkout() == before
