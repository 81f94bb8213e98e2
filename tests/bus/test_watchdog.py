import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostpulse.bus.watchdog import Watchdog


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        yield listener


def told(manager: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(manager.recv(100))
        except BlockingIOError:
            return found


def test_ready_once_and_then_three_times_in_the_time_that_is_watched(manager: socket.socket) -> None:
    now = [100.0]
    watchdog = Watchdog(manager.getsockname(), 30.0, lambda: now[0])
    assert told(manager) == []
    watchdog.beat()
    assert told(manager) == [b"READY=1"]
    for now[0] in (101.0, 109.9, 110.0, 119.0, 120.0):
        watchdog.beat()
    assert told(manager) == [b"WATCHDOG=1", b"WATCHDOG=1"]


def test_nobody_watches(manager: socket.socket) -> None:
    now = [0.0]
    watchdog = Watchdog(manager.getsockname(), None, lambda: now[0])
    for now[0] in (0.0, 1000.0):
        watchdog.beat()
    assert told(manager) == [b"READY=1"]


@pytest.mark.parametrize(
    ("variables", "lines"),
    [
        ({"WATCHDOG_USEC": "0"}, [b"READY=1", b"WATCHDOG=1"]),
        ({"WATCHDOG_USEC": "0", "WATCHDOG_PID": str(os.getpid())}, [b"READY=1", b"WATCHDOG=1"]),
        ({"WATCHDOG_USEC": "0", "WATCHDOG_PID": "1"}, [b"READY=1"]),
        ({"WATCHDOG_USEC": "soon"}, [b"READY=1"]),
        ({}, [b"READY=1"]),
    ],
)
def test_what_the_environment_asks_for(manager: socket.socket, variables: dict[str, str], lines: list[bytes]) -> None:
    watchdog = Watchdog.of_environment({"NOTIFY_SOCKET": manager.getsockname()} | variables, os.getpid())
    watchdog.beat()
    watchdog.beat()
    assert told(manager) == lines


def test_an_abstract_address() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0hostpulse-test-{os.getpid()}")
        Watchdog(f"@hostpulse-test-{os.getpid()}", None).beat()
        assert manager.recv(100) == b"READY=1"


def test_without_a_manager_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    Watchdog.of_environment({"WATCHDOG_USEC": "1"}, os.getpid()).beat()
    assert caplog.records == []


def test_a_manager_that_is_gone_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    watchdog = Watchdog(str(tmp_path / "nowhere"), 0.0)
    watchdog.beat()
    watchdog.beat()
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (logging.WARNING, "the service manager at NOTIFY_SOCKET cannot be told: No such file or directory")
    ]
