"""A secret is nowhere to be seen while the real processes run with it."""

import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from ..brokers import HOST, Broker
from .support import Hostpulse, eventually

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks at processes in /proc")


@pytest.fixture
def marker() -> str:
    """A password that nothing else has in it."""
    return f"marker-{secrets.token_hex(12)}"


def processes(pid: int) -> Iterator[psutil.Process]:
    yield psutil.Process(pid)
    yield from psutil.Process(pid).children(recursive=True)


def seen(process: psutil.Process) -> bytes:
    """Return what the system tells of a process to those who may look: its command line and its environment."""
    directory = Path("/proc") / str(process.pid)
    return (directory / "cmdline").read_bytes() + (directory / "environ").read_bytes()


def ways(marker: str, home: Path) -> dict[str, tuple[dict[str, str], list[str]]]:
    """Return each way to hand a password over that we recommend or allow: variables and arguments."""
    (home / "password").write_text(f"{marker}\n")
    (home / "password").chmod(0o600)
    (home / "settings.toml").write_text(f'[mqtt]\nusername = "hostpulse"\npassword = "{marker}"\n')
    (home / "settings.toml").chmod(0o600)
    (home / "credentials").mkdir()
    (home / "credentials" / "hostpulse_mqtt__password").write_text(marker)
    return {
        "file": ({"HOSTPULSE_MQTT__PASSWORD_FILE": str(home / "password")}, []),
        "variable": ({"HOSTPULSE_MQTT__PASSWORD": marker}, []),
        "settings": ({}, ["--config", str(home / "settings.toml")]),
        "credential": ({"CREDENTIALS_DIRECTORY": str(home / "credentials")}, []),
        "command line": ({}, ["--set", f"mqtt.password={marker}"]),
    }


@pytest.mark.parametrize("way", ["file", "variable", "settings", "credential", "command line"])
def test_the_two_halves(
    hostpulse: Hostpulse, make_broker: Callable[..., Broker], tmp_path: Path, marker: str, way: str
) -> None:
    broker = make_broker("mosquitto", password=marker)
    environment, arguments = ways(marker, tmp_path)[way]
    environment |= {"HOSTPULSE_MQTT__USERNAME": "hostpulse"} if way != "settings" else {}
    where = ("--broker", HOST, "--set", f"mqtt.port={broker.port}", "--set", "log_level=debug", *arguments)
    halves = [
        hostpulse.start(*command, *where, environment=environment)
        for command in (("consume",), ("publish", "--interval", "0.5"))
    ]
    for half in halves:
        half.says("connected to broker")  # so it has the secret
    eventually(lambda: hostpulse.count() >= 2)
    for half in halves:
        for process in processes(half.process.pid):
            assert marker.encode() not in seen(process), process.cmdline()
    shown = hostpulse.run("config", "show", *where, environment=environment)
    checked = hostpulse.run("check", *where, environment=environment)
    assert "mqtt.password" in shown.stdout
    assert "MQTT 3.1.1" in checked.stdout
    for half in halves:
        assert half.end() == 0
    written = [path for path in hostpulse.data.rglob("*") if path.is_file()]
    assert written
    texts = [half.output.encode() for half in halves] + [path.read_bytes() for path in written]
    texts += [part.encode() for done in (shown, checked) for part in (done.stdout, done.stderr)]
    assert not any(marker.encode() in text for text in texts)


def test_everything_on_one_machine(hostpulse: Hostpulse, make_broker: Callable[..., Broker], marker: str) -> None:
    broker = make_broker("mosquitto", password=marker)
    login = {"HOSTPULSE_MQTT__USERNAME": "hostpulse", "HOSTPULSE_MQTT__PASSWORD": marker}
    up = hostpulse.start("up", "--broker", HOST, "--set", f"mqtt.port={broker.port}", environment=login)
    up.says("publisher  connected to broker", "cpu        ")
    parent, *children = processes(up.process.pid)
    assert len(children) >= 2
    for child in children:
        assert marker.encode() not in seen(child), child.cmdline()
    assert marker not in " ".join(parent.cmdline())
    assert up.end() == 0
    assert marker not in up.output


def test_a_fault_of_ours_shows_no_secret(hostpulse: Hostpulse, marker: str, tmp_path: Path) -> None:
    """The options on standard input are broken: the traceback, if any, does not have them."""
    options = (
        f'{{"host":"web-1","interval":"often","mqtt":{{"host":"h","port":1,"client_id":"c","password":"{marker}"}}}}'
    )
    (tmp_path / "options").write_text(options)
    for module in ("hostpulse.publisher", "hostpulse.consumer"):
        with (tmp_path / "options").open("rb") as file:
            done = subprocess.run(
                [sys.executable, "-P", "-m", module],
                env=hostpulse.environment,
                stdin=file,
                capture_output=True,
                text=True,
                check=False,
            )
        assert done.returncode == 1
        assert marker not in done.stdout + done.stderr
