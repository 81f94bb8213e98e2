"""A child process that is started again when it dies and that never outlives us.

Why a program in between (guard.py) and no `preexec_fn`: Python code between fork and exec can deadlock in a process
with threads, and it rules out vfork. On Linux the program makes one prctl call and becomes the command through exec:
about 10 ms at the start, no memory, no process left over. Elsewhere it stays as the child's parent, about 12 MB.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from hostpulse.bus.backoff import Backoff
from hostpulse.bus.times import format_duration

from .environment import service_environment

__all__ = ["Child", "Death", "Tie"]

Tie = Literal["prctl", "guard"]

_GUARD = Path(__file__).with_name("guard.py")
_OWN_GROUP = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)  # what Windows has instead of a session
_LONGEST_LINE = 2000
_HEALTHY_SECONDS = 60  # one that ran this long does not die at once
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Death:
    """How a child ended that should have lived; as text, one line.

    Attributes:
        name: the child.
        code: exit code, negative for a signal; None where it could not be started.
        seconds: how long it ran.
        last_line: the last line that it wrote, or why it could not be started.
        delay: seconds until it is started again.
    """

    name: str
    code: int | None
    seconds: float
    last_line: str
    delay: float

    @property
    def reason(self) -> str:
        """How it ended: `exit code 1`, `SIGSEGV`."""
        if self.code is None:
            return "could not be started"
        if self.code >= 0:
            return f"exit code {self.code}"
        try:
            return signal.Signals(-self.code).name
        except ValueError:
            return f"signal {-self.code}"

    def __str__(self) -> str:
        words = f": {self.last_line}" if self.last_line else ""
        return (
            f"{self.name} ended after {format_duration(self.seconds)} ({self.reason}),"
            f" starts again in {format_duration(self.delay)}{words}"
        )


class Child:
    """A supervised process, in a session of its own: Ctrl+C in the terminal reaches only us, and we stop it in order.

    It is started, waited for and restarted by one thread that lives as long as the child. That matters: Linux binds
    "when the parent is gone" to the thread that forked, so `start()` may be called from any thread, even a brief one.

    Args:
        name: stands in front of its lines.
        command: program (absolute path) and arguments; no secrets, everybody can read them.
        input: what it reads from stdin, followed by the end of file; the place for secrets. It should be small: a
            child that does not read more than a pipe holds (64 KiB) would keep us waiting.
        on_line: called with each line that it writes to stderr or stdout, `name: text`, long ones cut.
        on_death: called when it ended without being asked to.
        on_start: called with its pid at each start (of the guard, where there is one).
        tie: what binds its life to ours; by default `prctl` on Linux and `guard` elsewhere.
        inherit: descriptors that it keeps.
        backoff: delays between restarts.
        clock: seconds of a monotonic clock.

    The callbacks run in threads of ours, one at a time for each kind; what they raise is swallowed.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        input: bytes = b"",  # noqa: A002 - the name that subprocess gives it
        on_line: Callable[[str], None] | None = None,
        on_death: Callable[[Death], None] | None = None,
        on_start: Callable[[int], None] | None = None,
        tie: Tie | None = None,
        inherit: Sequence[int] = (),
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._command = list(command)
        self._input = input
        self._on_line = on_line
        self._on_death = on_death
        self._on_start = on_start
        self._tie: Tie = tie or ("prctl" if sys.platform == "linux" else "guard")
        self._inherit = tuple(inherit)
        self._backoff = backoff or Backoff(first=0.5, most=30)
        self._clock = clock
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()  # around the process: it is signalled only while its pid is surely its own
        self._process: subprocess.Popen[bytes] | None = None
        self._last_line = ""

    @property
    def pid(self) -> int | None:
        """Its pid while it runs (of the guard, where there is one)."""
        with self._lock:
            return self._process.pid if self._process else None

    def start(self) -> None:
        """Start it, and from now on start it again whenever it dies; returns at once."""
        if self._thread is not None:
            raise RuntimeError(f"{self.name} is already started")
        self._stopping.clear()
        self._thread = threading.Thread(target=self._supervise, name=f"child-{self.name}", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 10) -> None:
        """Ask it to end (SIGTERM), kill it and what it started after `timeout` seconds, return when it has ended."""
        if self._thread is None:
            return
        with self._lock:
            self._stopping.set()
            if self._process:
                _ask_to_end(self._process)
        self._thread.join(timeout)
        with self._lock:
            if self._process:
                _kill_group(self._process)
        self._thread.join()
        self._thread = None

    def _supervise(self) -> None:
        while not self._stopping.is_set():
            self._last_line = ""
            began = self._clock()
            try:
                code = self._run()
            except OSError as error:
                code, self._last_line = None, error.strerror or str(error)
            if self._stopping.is_set():
                return
            ran = self._clock() - began
            if ran >= _HEALTHY_SECONDS:
                self._backoff.reset()
            death = Death(self.name, code, ran, self._last_line, self._backoff.delay())
            _tell(self._on_death, death)
            self._stopping.wait(death.delay)

    def _run(self) -> int | None:
        """Run it once, to its end."""
        with self._lock:
            if self._stopping.is_set():
                return None
            process = self._process = self._spawn()
        reader = threading.Thread(target=self._read, args=(process.stdout,), name=f"lines-{self.name}", daemon=True)
        reader.start()
        _tell(self._on_start, process.pid)
        with suppress(OSError):  # it may have ended already
            self._feed(process)
        _await_end(process)
        with self._lock:
            # Helpers that it started share its group, and with a guard that was killed so does the child itself.
            _kill_group(process)
            code = process.wait()
            self._process = None
        with suppress(OSError):
            process.stdin.close()  # type: ignore[union-attr]  # a pipe, see _spawn
        reader.join(1)  # for its last words; a helper that left the group could keep the pipe open
        return code

    def _spawn(self) -> "subprocess.Popen[bytes]":
        binding = str(os.getpid() if self._tie == "prctl" else len(self._input))
        mode = "prctl" if self._tie == "prctl" else "pipe"
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(_GUARD), mode, binding, *self._command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=service_environment(os.environ),
            pass_fds=self._inherit,
            start_new_session=True,
            creationflags=_OWN_GROUP,
        )

    def _feed(self, process: "subprocess.Popen[bytes]") -> None:
        stdin: IO[bytes] = process.stdin  # type: ignore[assignment]  # a pipe, see _spawn
        stdin.write(self._input)
        stdin.flush()
        # A guard takes the end of file for our end.
        if self._tie == "prctl":
            stdin.close()

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            while line := stream.readline(_LONGEST_LINE):
                text = _CONTROL.sub(" ", line.decode(errors="replace")).rstrip()
                while line and not line.endswith(b"\n"):
                    line = stream.readline(_LONGEST_LINE)
                if text:
                    self._last_line = text
                    _tell(self._on_line, f"{self.name}: {text}")


def _tell(callback: Callable[[Any], None] | None, value: object) -> None:
    """Call back; an error in there (a closed terminal) must not end the supervision or stop the draining of a pipe."""
    if callback is not None:
        with suppress(Exception):
            callback(value)


def _await_end(process: "subprocess.Popen[bytes]") -> None:
    """Wait for its end, where the system can, without freeing its pid: until then nobody else has it."""
    if sys.platform != "win32" and hasattr(os, "waitid"):
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    else:
        process.wait()


def _ask_to_end(process: "subprocess.Popen[bytes]") -> None:
    if sys.platform == "win32":
        if process.stdin:
            process.stdin.close()  # there is no SIGTERM; the guard ends the child when its stdin closes
    else:
        os.kill(process.pid, signal.SIGTERM)


def _kill_group(process: "subprocess.Popen[bytes]") -> None:
    with suppress(OSError):  # nobody is left
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
