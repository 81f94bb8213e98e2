"""The units in config/systemd: systemd's own checks, and what the services tell it."""

import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .brokers import HOST, Broker, free_port
from .cli.support import SECONDS, Hostpulse

ROOT = Path(__file__).resolve().parents[1]
UNITS = {"publisher": 1.8, "consumer": 1.3}  # the most exposure that each may have, of 10


def unit(name: str) -> Path:
    return ROOT / "config" / "systemd" / f"hostpulse-{name}.service"


def analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze") or pytest.skip("systemd-analyze is not installed")
    command = [program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze is too old")
    return done


@pytest.mark.parametrize("name", list(UNITS))
def test_the_exposure(name: str) -> None:
    done = analyze("security", "--offline=true", "--no-pager", unit(name))
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert level, done.stdout + done.stderr
    assert float(level[1]) < UNITS[name]
    page = (ROOT / "docs" / "systemd.md").read_text(encoding="utf-8")
    assert f"the {name} {level[1]}" in page


@pytest.mark.parametrize("name", list(UNITS))
def test_every_line_means_something(name: str, tmp_path: Path) -> None:
    program = tmp_path / "hostpulse"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copy = tmp_path / unit(name).name
    copy.write_text(unit(name).read_text().replace("/opt/hostpulse/bin/hostpulse", str(program)))
    done = analyze("verify", copy)
    assert [line for line in done.stderr.splitlines() if name in line] == []
    assert done.returncode == 0, done.stderr


def test_every_line_of_a_right_that_is_added_means_something(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "privileges.md").read_text(encoding="utf-8")
    additions = re.findall(r"```ini\n# systemctl edit hostpulse-publisher\n(.*?)```", page, re.DOTALL)
    assert ["CAP_SYS_RAWIO" in one for one in additions] == [False, True]
    copy = tmp_path / unit("publisher").name
    copy.write_text(unit("publisher").read_text().replace("/opt/hostpulse/bin/hostpulse", "/bin/true"))
    folder = tmp_path / f"{copy.name}.d"
    folder.mkdir()
    for number, addition in enumerate(additions):
        (folder / f"{number}.conf").write_text(addition)
    done = analyze("verify", copy)
    assert [line for line in done.stderr.splitlines() if "publisher" in line or ".conf" in line] == []
    assert done.returncode == 0, done.stderr


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(SECONDS)
        yield listener


@pytest.mark.parametrize("command", ["publish", "consume"])
def test_the_services_say_that_they_are_ready_and_go_on(
    make_broker: Callable[..., Broker], manager: socket.socket, tmp_path: Path, command: str
) -> None:
    broker = make_broker("mosquitto")
    hostpulse = Hostpulse(tmp_path, free_port())
    where = ("--broker", HOST, "--set", f"mqtt.port={broker.port}")
    told = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "3000000"}
    try:
        running = hostpulse.start(command, *where, environment=told)
        assert manager.recv(100) == b"READY=1"
        assert manager.recv(100) == b"WATCHDOG=1"
        broker.freeze()  # which is no reason to be killed
        assert manager.recv(100) == b"WATCHDOG=1"
        broker.thaw()
        assert running.end() == 0
    finally:
        hostpulse.close()
