"""Servers of the tests that can be killed and started again: a program of this machine, or a container.

Both keep their files and their port. Containers are used where Docker is and the image is there or can be had; where
not, the test is skipped and says why.
"""

import contextlib
import functools
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import pytest
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

__all__ = ["HOST", "Container", "Program", "Server", "free_port", "need_image"]

HOST = "127.0.0.1"
_END_SECONDS = 60
_FIND_SECONDS = 80  # a pull without an answer is not waited for any longer
_SHOWN = 2000

# Containers end with their fixture. Its reaper would be one more image to pull, and that pull has no time limit.
testcontainers_config.ryuk_disabled = True


_PORTS = range(15_000, 32_000)
"""Below those that systems give to clients: one of them would take a port before its server has started."""
_given: set[int] = set()


def free_port() -> int:
    """Return a port of the loopback that nobody listens on, and that no other test is given.

    A server may leave its port for a while, and some never listen at all; so each worker of pytest-xdist has ports of
    its own, and hands each out once.
    """
    ports = _ports_of_worker()
    while True:
        port = random.choice(ports)  # noqa: S311 - no secret
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            if port not in _given:
                _given.add(port)
                return port


def _ports_of_worker() -> range:
    """Return the ports that this process gives away; all of them where there is no other one."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    share = len(_PORTS) // workers
    # A worker that died is replaced by one with a higher number.
    return _PORTS[number % workers * share :][:share]


class Server(Protocol):
    """What runs, however it does."""

    def start(self) -> None:
        """Start it; it may not answer yet."""

    def kill(self) -> None:
        """End it without a chance to save anything."""

    def stop(self) -> None:
        """End it properly."""

    def freeze(self) -> None:
        """Keep it from running; its connections stay, and the system still accepts new ones for it."""

    def thaw(self) -> None:
        """Undo `freeze`."""

    def close(self) -> None:
        """End it for good; may be called twice."""

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        ...

    @property
    def log(self) -> str:
        """The end of what it has said."""
        ...


class Program:
    """A program of this machine.

    Args:
        command: with its arguments.
        log: file that gets what it says.
        environment: variables beside our own.
        standard_input: file that it reads there; None for ours.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        standard_input: Path | None = None,
    ) -> None:
        self._command = list(command)
        self._standard_input = standard_input
        self._log = log
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (
            self._log.open("ab") as log,
            contextlib.nullcontext() if self._standard_input is None else self._standard_input.open("rb") as given,
        ):
            # In a session of its own: should the shell that started the tests end while a server is stopped, the kernel
            # would hang up on the whole process group.
            self._process = subprocess.Popen(
                self._command,
                stdin=given,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment},
                start_new_session=True,
            )

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        self._signal(signal.SIGTERM)

    def close(self) -> None:
        self.kill()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(number)
            self._process.wait(_END_SECONDS)
            self._process = None

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)  # until all of its threads have stopped

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")[-_SHOWN:]


class Container:
    """A container whose port is one of the loopback's.

    Args:
        image: such as `influxdb:2.7`.
        inside: the port that it listens on.
        outside: the port of the loopback that leads there.
        environment: its variables.
        files: text by path, which are in it when it starts.
    """

    def __init__(
        self,
        image: str,
        *,
        inside: int,
        outside: int,
        environment: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
    ) -> None:
        self._image = image
        self._ports = (inside, outside)
        self._environment = dict(environment or {})
        self._files = dict(files or {})
        self._container: DockerContainer | None = None

    def start(self) -> None:
        if self._container is not None:
            self._container.get_wrapped_container().start()
            return
        need_image(self._image)
        container = DockerContainer(self._image).with_bind_ports(*self._ports).with_envs(**self._environment)
        for path, text in self._files.items():
            container.with_copy_into_container(text.encode(), path)
        self._container = container
        container.start()

    def kill(self) -> None:
        if self.is_running:
            wrapped = self._running.get_wrapped_container()
            wrapped.kill()
            wrapped.wait(timeout=_END_SECONDS)

    def stop(self) -> None:
        self._running.get_wrapped_container().stop(timeout=_END_SECONDS)

    def freeze(self) -> None:
        self._running.get_wrapped_container().pause()

    def thaw(self) -> None:
        self._running.get_wrapped_container().unpause()

    def close(self) -> None:
        container, self._container = self._container, None
        if container is not None:
            container.stop()

    @property
    def is_running(self) -> bool:
        if self._container is None:
            return False
        self._container.reload()
        return self._container.status in {"running", "paused"}

    @property
    def log(self) -> str:
        return b"".join(self._running.get_logs()).decode(errors="replace")[-_SHOWN:]

    @property
    def _running(self) -> DockerContainer:
        assert self._container is not None
        return self._container


def need_image(image: str) -> None:
    """Skip the test unless containers of an image can be started here."""
    reason = _what_is_missing(image)
    if reason is not None:
        pytest.skip(reason)


@functools.cache
def _what_is_missing(image: str) -> str | None:
    command = [sys.executable, Path(__file__).with_name("find_image.py"), image]
    try:
        found = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_FIND_SECONDS)
    except subprocess.TimeoutExpired:
        return f"no container of {image}: pulling it takes longer than {_FIND_SECONDS} s; docker pull {image}"
    if found.returncode:
        return f"no container of {image}: {found.stderr.strip().splitlines()[-1]}"
    return None
