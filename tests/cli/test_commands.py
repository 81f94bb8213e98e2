"""`check`, `config show`, `schema`, `version` and the help of all commands."""

import json
import re
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jsonschema
import msgspec
import pytest

from hostpulse.bus.messages import SUBSYSTEMS
from hostpulse.consumer.delivery.account import Account, Loss, Missing

from ..brokers import Broker
from .support import Hostpulse, sample

COMMANDS = (
    "up",
    "publish",
    "consume",
    "history",
    "export",
    "deadletter",
    "check",
    "config",
    "simulate",
    "schema",
    "version",
)


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help(hostpulse: Hostpulse, command: str | None) -> None:
    done = hostpulse.run(*([] if command is None else [command]), "--help", environment={"COLUMNS": "100"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: hostpulse{'' if command is None else f' {command}'} ")
    assert all(len(line) <= 120 for line in done.stdout.splitlines())
    if command is None:
        assert all(re.search(rf"^    {name} +[A-Z].*", done.stdout, re.MULTILINE) for name in COMMANDS)
        assert "Exit codes: 0 done, 1 failed, 2 wrong use, 130 interrupted." in done.stdout
    assert not hostpulse.data.exists()


@pytest.mark.parametrize("argument", ["version", "--version"])
def test_version(hostpulse: Hostpulse, argument: str) -> None:
    done = hostpulse.run(argument)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"hostpulse \d+\.\d+\.\d+\n", done.stdout)


# config show


def test_config_show_gives_origins_and_masks_secrets(hostpulse: Hostpulse, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('[mqtt]\nhost = "broker.lan"\nusername = "anna"\n[store]\nretention = "3d"\n')
    secret = tmp_path / "password"
    secret.write_text("geheim\n")
    done = hostpulse.run(
        *("config", "show", "--config", file, "--interval", "5", "--set", "mqtt.port=1234"),
        environment={"HOSTPULSE_MQTT__PASSWORD_FILE": str(secret), "HOSTPULSE_LOG_LEVEL": "error"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "geheim" not in done.stdout
    lines = {line.split()[0]: line.split(" = ", 1)[1] for line in done.stdout.splitlines()}
    assert lines["interval"] == "5  # --interval"
    assert lines["mqtt.port"] == "1234  # --set mqtt.port"
    assert lines["mqtt.host"] == f"broker.lan  # {file}"
    assert lines["mqtt.password"] == "********  # HOSTPULSE_MQTT__PASSWORD_FILE"
    assert lines["store.retention"] == f"3d  # {file}"
    assert lines["log_level"] == "error  # HOSTPULSE_LOG_LEVEL"
    assert lines["host"] == "web-1  # HOSTPULSE_HOST"
    assert lines["mqtt.tls"] == "false  # default"
    assert len({line.index(" = ") for line in done.stdout.splitlines()}) == 1


# check


def check(hostpulse: Hostpulse, *arguments: object) -> tuple[int, dict[str, list[tuple[str, str]]]]:
    """Return the exit code and what was found, by check: mark and text."""
    done = hostpulse.run("check", *arguments)
    assert done.stderr == ""
    found: dict[str, list[tuple[str, str]]] = {}
    for line in done.stdout.splitlines():
        mark, name, text = line.split(maxsplit=2)
        found.setdefault(name, []).append((mark, text))
    names = ["settings", "data", "history", "delivery", "broker", "rules", "alerts", "notify", "collectors"]
    assert list(found) == names
    return done.returncode, found


def test_check_on_a_new_machine(hostpulse: Hostpulse) -> None:
    code, found = check(hostpulse)
    assert code == 0
    assert found["settings"] == [("ok", "host web-1, every 2 s")]
    assert found["data"][0][1].startswith(f"{hostpulse.data}, ")
    assert found["history"] == [
        ("--", f"none yet in {hostpulse.history}; `hostpulse up` or `hostpulse consume` writes it")
    ]
    assert found["alerts"] == [("--", f"no consumer has evaluated the rules in {hostpulse.data}")]
    assert found["delivery"] == [("--", f"no consumer keeps account in {hostpulse.data}")]
    assert found["broker"][0][0] == "--"
    assert found["broker"][0][1].endswith(f"on 127.0.0.1:{hostpulse.port}")
    assert found["collectors"][0][0] == "ok"
    assert not hostpulse.data.exists()


def test_check_shows_what_is_missing_and_what_was_lost_in_a_day(hostpulse: Hostpulse) -> None:
    now = datetime.now(UTC)
    hostpulse.data.mkdir(parents=True)
    file = hostpulse.data / "delivery.json"

    def loss(host: str, hours: int) -> Loss:
        at = now - timedelta(hours=hours)
        return Loss(at=at, host=host, subsystem="cpu", session=at, first=11, last=20, since=at, until=at)

    runs = [(1, 5, now, now), (8, 10, now, now)]
    missing = [Missing(host="web-1", subsystem=name, session=now, runs=runs) for name in ("cpu", "memory")]
    losses = [loss("web-1", 30), loss("web-2", 2), loss("web-2\x1b[2J", 2)]
    file.write_bytes(msgspec.json.encode(Account(saved=now, reached=now, missing=missing, losses=losses)))
    code, found = check(hostpulse)
    assert code == 0
    assert found["delivery"] == [
        ("--", "web-1: 6 messages missing now, 0 lost in a day"),
        ("--", "web-2: 0 messages missing now, 10 lost in a day"),
        ("--", "web-2�[2J: 0 messages missing now, 10 lost in a day"),
    ]
    file.write_bytes(msgspec.json.encode(Account(saved=now, reached=now)))
    [(mark, text)] = check(hostpulse)[1]["delivery"]
    assert mark == "ok"
    assert text.startswith("nothing is missing and nothing was lost in a day")


def test_check_finds_what_keeps_up_from_starting(hostpulse: Hostpulse) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", hostpulse.port))
        taken.listen()
        code, found = check(hostpulse)
    assert code == 1
    assert found["broker"] == [
        (
            "FAIL",
            (
                f"`hostpulse up` cannot listen on 127.0.0.1:{hostpulse.port} (Address already in use);"
                " set broker.port, or mqtt.host"
            ),
        )
    ]


def test_check_of_a_broker(hostpulse: Hostpulse, make_broker: Callable[..., Broker]) -> None:
    broker = make_broker("mosquitto", password="secret")
    at = ("--broker", "127.0.0.1", "--set", f"mqtt.port={broker.port}", "--set", "mqtt.username=hostpulse")
    assert check(hostpulse, *at, "--set", "mqtt.password=secret")[0] == 0
    code, found = check(hostpulse, *at, "--set", "mqtt.password=wrong")
    assert code == 1
    [(mark, text)] = found["broker"]
    assert mark == "FAIL"
    assert text.startswith(f"broker 127.0.0.1:{broker.port}: ")
    assert "mqtt.password" in text
    broker.stop()
    code, found = check(hostpulse, *at, "--set", "mqtt.password=secret")
    assert code == 1
    assert [text for mark, text in found["broker"] if mark == "FAIL" and "nothing listens there" in text]


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_check_of_a_consumer_that_may_not_tell_of_alerts(
    hostpulse: Hostpulse, make_broker: Callable[..., Broker], tmp_path: Path, protocol: str
) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic read hostpulse/#\ntopic write hostpulse/+/replay\n")
    broker = make_broker("mosquitto", settings=f"acl_file {acl}")
    at = ("--broker", "127.0.0.1", "--set", f"mqtt.port={broker.port}", "--set", f"mqtt.protocol={protocol}")
    code, found = check(hostpulse, "consume", *at)
    assert code == 1
    [text] = [text for mark, text in found["broker"] if mark == "FAIL"]
    assert text.startswith("without a login may not write hostpulse/+/alert/#; the role alerts needs it")
    with acl.open("a") as file:
        file.write("topic write hostpulse/+/alert/#\n")
    broker.stop()
    broker.start()
    code, found = check(hostpulse, "consume", *at)
    assert code == 0
    assert ("ok", "without a login may write hostpulse/+/alert/#") in found["broker"]


def test_check_of_a_damaged_history_and_a_file_in_the_way(hostpulse: Hostpulse, tmp_path: Path) -> None:
    hostpulse.write([sample("cpu", 1_780_000_000_000, load_average_1m=1.0)])
    hostpulse.history.write_bytes(b"nonsense" * 10_000)
    code, found = check(hostpulse)
    assert code == 1
    assert found["history"][0][0] == "FAIL"
    assert "it is damaged" in found["history"][0][1]
    file = tmp_path / "file"
    file.touch()
    code, found = check(hostpulse, "--data-dir", file)
    assert code == 1
    assert found["data"] == [("FAIL", f"{file} cannot be written (Not a directory); set data_dir elsewhere")]


# schema


@pytest.mark.parametrize("subsystem", [None, "cpu", "disk"])
def test_schema_is_a_json_schema(hostpulse: Hostpulse, subsystem: str | None) -> None:
    done = hostpulse.run("schema", *([] if subsystem is None else [subsystem]))
    assert (done.returncode, done.stderr) == (0, "")
    schema = json.loads(done.stdout)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema)
    assert set(schema["$defs"]) & set(SUBSYSTEMS) == (set(SUBSYSTEMS) if subsystem is None else {subsystem})


def test_every_reference_of_the_asyncapi_document_resolves(hostpulse: Hostpulse) -> None:
    done = hostpulse.run("schema", "--asyncapi")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    references = set(re.findall(r'"\$ref": "(#/[^"]+)"', done.stdout))
    assert len(references) > 30
    for reference in references:
        value = document
        for part in reference.removeprefix("#/").split("/"):
            value = value[part]
    assert {channel["address"].split("/", 2)[-1] for channel in document["channels"].values()} == {
        *SUBSYSTEMS,
        "status",
        "info",
        "replay",
        "alert/{rule}/{instance}",
    }
