"""What is asked of one `up` that runs meanwhile, however long it has."""

import json
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from hostpulse.bus.messages import SUBSYSTEMS

from ..brokers import free_port
from .support import Hostpulse, Running, eventually
from .test_commands import check
from .test_halves import listening, published

REPEAT_SECONDS = 300  # after which the line of a subsystem is written again


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostpulse]:
    """The command whose `up` runs during all tests."""
    made = Hostpulse(tmp_path_factory.mktemp("shared"), free_port())
    yield made
    made.close()


@pytest.fixture(scope="module")
def up(shared: Hostpulse) -> Running:
    """An `up` that has stored something; not to be disturbed."""
    running = shared.start("up", "--interval", "0.5")
    running.says("publisher  connected to broker", "cpu        ")
    return running


def test_export_prints_rows_within_seconds(shared: Hostpulse, up: Running) -> None:
    eventually(lambda: shared.count() >= 3, what=lambda: up.output)
    done = shared.run("export", "cpu", "--since", "1m", "--host", "web-1")
    assert (done.returncode, done.stderr) == (0, "")
    header, *rows = done.stdout.splitlines()
    assert header.startswith("timestamp,host,utilization_percent,")
    assert len(rows) >= 3
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z,web-1,", row) for row in rows)


def test_it_says_what_it_does_and_where_the_data_is(shared: Hostpulse, up: Running) -> None:
    for subsystem in ("cpu", "memory", "disk", "network", "system"):
        up.says(f"{subsystem:10} ")
    lines = up.output.splitlines()
    for expected in (
        "hostpulse 0.1.0 on web-1, every 0.5 s",
        f"data       {shared.data}",
        f"broker     embedded nats-server on 127.0.0.1:{shared.port}, user hostpulse,",
        f"           password in {shared.data / 'broker' / 'password'}",
        f"consumer   writes {shared.history}",
        f"publisher  sends to 127.0.0.1:{shared.port} as hostpulse/web-1/…",
    ):
        assert lines.count(expected) == 1, up.output
    # A line when it is first heard of and one in five minutes from then on, however long the shared one has run.
    most = 1 + int((time.monotonic() - up.began) // REPEAT_SECONDS)
    for subsystem in ("cpu", "memory", "disk", "network", "system"):
        assert 1 <= len([line for line in lines if line.startswith(f"{subsystem:10} ")]) <= most, up.output
    assert "\x1b" not in up.output
    assert up.process.poll() is None


def test_nothing_is_missing_from_the_first_message_on(shared: Hostpulse, up: Running) -> None:
    eventually(lambda: shared.count() >= 5, what=lambda: up.output)
    shared.assert_nothing_is_missing()


def test_a_second_one_on_the_same_data_is_refused(shared: Hostpulse, up: Running) -> None:
    done = shared.run("up")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"hostpulse: hostpulse up already runs for {shared.data} (pid {up.process.pid}):"  # noqa: ISC004
        " stop it first, or set another data_dir"
    ]
    assert up.process.poll() is None


def test_export_gives_the_values_of_the_messages(shared: Hostpulse, up: Running) -> None:
    password = (shared.data / "broker" / "password").read_text().strip()
    assert up.process.poll() is None
    with listening(shared.port, "hostpulse", password) as found:
        eventually(lambda: all(len(published(found).get(name, ())) >= 3 for name in ("cpu", "memory", "network")))
    messages: dict[tuple[str, str], dict[str, object]] = {}
    for topic, payload in found:
        if topic.endswith(("/cpu", "/memory", "/network")):
            message = json.loads(payload)
            messages[message["subsystem"], message["timestamp"]] = message
    last = {name: max(number for number in published(found)[name]) for name in ("cpu", "memory", "network")}
    eventually(lambda: all(last[name] in numbers for (name, _), numbers in shared.sequences().items() if name in last))
    compared = 0
    for subsystem in ("cpu", "memory", "network"):
        done = shared.run("export", subsystem, "--format", "jsonl", "--since", "5m")
        rows = {row["timestamp"]: row for row in map(json.loads, done.stdout.splitlines())}
        for (name, timestamp), message in messages.items():
            if name == subsystem:
                envelope = {"v", "subsystem", "sequence", "session", "interval"}
                own = {key: value for key, value in message.items() if key not in envelope and type(value) is not dict}
                assert rows[timestamp] == own
                compared += 1
    assert compared >= 9


def test_a_half_finds_the_embedded_broker(shared: Hostpulse, up: Running, tmp_path: Path) -> None:
    """Another host's name, published through the broker of the `up` that runs, is stored by it."""
    assert up.process.poll() is None
    other = Hostpulse(tmp_path, shared.port)
    other.environment |= {"HOSTPULSE_DATA_DIR": str(shared.data)}
    try:
        other.start("publish", "--name", "other", "--interval", "0.5")
        arguments = ("export", "cpu", "--host", "other", "--since", "1m")
        eventually(lambda: shared.run(*arguments).stdout.count("\n") > 2)
    finally:
        other.close()
    assert "web-1" not in shared.run(*arguments).stdout


def test_check_beside_up(shared: Hostpulse, up: Running) -> None:
    assert up.process.poll() is None
    code, found = check(shared)
    assert code == 0
    assert found["broker"] == [("ok", f"127.0.0.1:{shared.port}, MQTT 3.1.1")]
    assert found["history"][0][0] == "ok"
    assert re.search(r"history\.db, \S+ [KM]iB, \d hosts?$", found["history"][0][1])
    assert found["alerts"][0][0] == "ok"
    assert re.search(r"^(none|\d+) fires?, evaluated by process \d+$", found["alerts"][0][1])


def test_every_message_of_a_publisher_is_valid(shared: Hostpulse, up: Running) -> None:
    validator = jsonschema.Draft202012Validator(json.loads(shared.run("schema").stdout))
    asyncapi = json.loads(shared.run("schema", "--asyncapi").stdout)
    password = (shared.data / "broker" / "password").read_text().strip()
    assert up.process.poll() is None
    with listening(shared.port, "hostpulse", password) as found:
        eventually(lambda: {"status", "info", "cpu", "memory"} <= {topic.split("/")[2] for topic, _ in found})
        eventually(lambda: len(found) > 25)
    samples = 0
    for topic, payload in found:
        leaf = topic.split("/")[2]
        if leaf in SUBSYSTEMS:
            validator.validate(json.loads(payload))
            samples += 1
        message = {"$ref": f"#/components/messages/{leaf}/payload", "components": asyncapi["components"]}
        value = json.loads(payload) if leaf != "status" else payload.decode()
        jsonschema.Draft202012Validator(message).validate(value)
    assert samples > 10
    # And the schema does refuse what is wrong.
    wrong = json.loads(next(payload for topic, payload in found if topic.endswith("/cpu"))) | {"sequence": 0}
    assert not validator.is_valid(wrong)


def test_the_password_of_the_embedded_broker_is_private(shared: Hostpulse, up: Running) -> None:
    assert up.process.poll() is None
    assert stat.S_IMODE((shared.data / "broker" / "password").stat().st_mode) == 0o600
    assert stat.S_IMODE((shared.data / "broker").stat().st_mode) == 0o700
