"""Running the real command, and looking at what it leaves."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from hostpulse.bus.codec import Envelope, Sample
from hostpulse.bus.messages import SUBSYSTEMS
from hostpulse.consumer.storage.embedded import open_writer

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 120  # the machine is slow and shared; deadlines are there to end a failing test
STOP_SECONDS = 10  # in which everything has to end


def eventually(condition: Callable[[], object], *, seconds: float = SECONDS, what: object = "") -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen within {seconds} s {what() if callable(what) else what}"
        time.sleep(0.05)


def is_gone(process: psutil.Process) -> bool:
    try:
        # An orphan that ended stays a zombie where process 1 does not care for it.
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Running:
    """A command that runs until it is told to end. What it writes to either stream goes to one file."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path, **options: Any) -> None:
        self.log = log
        self.began = time.monotonic()
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                command, env=environment, **({"stdin": subprocess.DEVNULL, "stdout": file, "stderr": file} | options)
            )

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def children(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def child(self, part: str) -> psutil.Process:
        """Return the child that has a text in its command line."""
        found: list[psutil.Process] = []

        def look() -> list[psutil.Process]:
            found.clear()
            for process in self.children():
                with contextlib.suppress(psutil.Error):
                    # The guard's command line names the command that it becomes; wait until it is that.
                    line = " ".join(process.cmdline())
                    if part in line and "guard.py" not in line:
                        found.append(process)
            return found

        eventually(look, what=lambda: self.output)
        return found[0]

    def says(self, *texts: str) -> None:
        """Wait until it has said all of these."""
        eventually(
            lambda: all(text in self.output for text in texts) or self.process.poll() is not None,
            what=lambda: self.output,
        )
        assert all(text in self.output for text in texts), self.output

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(SECONDS)


class Hostpulse:
    """The command with a home, a data directory and a port of its own."""

    def __init__(self, home: Path, port: int) -> None:
        self.home = home
        self.port = port
        self.data = home / "data" / "hostpulse"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("HOSTPULSE_", "XDG_"))},
            "HOME": str(home),
            "XDG_DATA_HOME": str(home / "data"),
            "HOSTPULSE_BROKER__PORT": str(port),
            "HOSTPULSE_HOST": "web-1",
            "PYTHONPATH": str(ROOT / "src"),
            "PYTHONWARNINGS": "error",
            "TZ": "UTC",
        }
        self._started: list[Running] = []

    @property
    def history(self) -> Path:
        return self.data / "history.db"

    def command(self, *arguments: object) -> list[str]:
        return [sys.executable, "-P", "-m", "hostpulse.cli", *map(str, arguments)]

    def run(self, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        options = {"capture_output": True, "encoding": "utf-8", "timeout": SECONDS} | options
        environment = self.environment | options.pop("environment", {})
        return subprocess.run(self.command(*arguments), env=environment, check=False, **options)

    def output(self, *arguments: object, environment: dict[str, str] | None = None) -> bytes:
        """Run it to its end, which has to be a good one, and return what it writes, byte for byte."""
        done = subprocess.run(
            self.command(*arguments),
            env=self.environment | (environment or {}),
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout

    def start(self, *arguments: object, **options: Any) -> Running:
        """Start it; it ends with the test."""
        environment = self.environment | options.pop("environment", {})
        log = self.home / f"log-{len(self._started)}"
        running = Running(self.command(*arguments), environment, log, **options)
        self._started.append(running)
        return running

    def close(self) -> None:
        left: list[psutil.Process] = []
        for running in reversed(self._started):
            left += running.children()
            running.end()
        for process in left:
            eventually(lambda process=process: is_gone(process), what=process)

    def write(self, samples: list[Sample]) -> None:
        """Write samples straight into the history."""
        with open_writer(self.history, retention=None, rollup_retention=None) as writer:
            writer.write(samples)

    def sequences(self) -> dict[tuple[str, int], list[int]]:
        """Return the sequence numbers in the history, by subsystem and session."""
        found: dict[tuple[str, int], list[int]] = {}
        if not self.history.exists():
            return found
        with contextlib.closing(
            sqlite3.connect(f"{self.history.as_uri()}?mode=ro", uri=True, timeout=30)
        ) as connection:
            for table in SUBSYSTEMS:
                with contextlib.suppress(sqlite3.OperationalError):  # it is being made just now
                    for session, sequence in connection.execute(f'SELECT session, sequence FROM "{table}"'):  # noqa: S608
                        found.setdefault((table, session), []).append(sequence)
        return {key: sorted(values) for key, values in found.items()}

    def count(self, table: str = "cpu") -> int:
        return sum(len(values) for (name, _), values in self.sequences().items() if name == table)

    def assert_nothing_is_missing(self) -> None:
        sequences = self.sequences()
        assert sequences
        for key, values in sequences.items():
            assert values == list(range(1, len(values) + 1)), key


def sample(subsystem: str, milliseconds: int, *, host: str = "web-1", sequence: int = 1, **fields: Any) -> Sample:
    envelope = Envelope(
        v=1,
        host=host,
        subsystem=subsystem,
        timestamp=datetime.fromtimestamp(milliseconds // 1000, UTC).replace(microsecond=milliseconds % 1000 * 1000),
        sequence=sequence,
        session=datetime(2026, 1, 1, tzinfo=UTC),
        interval=2.0,
    )
    return Sample(envelope, SUBSYSTEMS[subsystem](**fields))


@contextlib.contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    """Keep a process from running."""
    process.suspend()
    try:
        yield
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()
