"""What the kernel says a process used: CPU time, memory, wake-ups. Linux only."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

__all__ = ["Usage", "count_processes", "running", "sleepers"]

_STOP_SECONDS = 10
_MEBIBYTE = 1 << 20
_CHILDREN_TICKS = slice(13, 15)  # cutime and cstime behind the name in /proc/PID/stat


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used until now.

    Attributes:
        seconds: when this was read, monotonic.
        cpu_seconds: user and system time with all threads and children, those that have ended included.
        wakeups: times that a thread gave up the CPU to wait, by thread.
        rss: resident memory in MiB.
        pss: the same with shared pages divided among those who share them.
    """

    seconds: float
    cpu_seconds: float
    wakeups: dict[str, int]
    rss: float
    pss: float

    @classmethod
    def of(cls, pid: int) -> Self:
        """Read it."""
        process = Path(f"/proc/{pid}")
        return cls(
            seconds=time.monotonic(),
            cpu_seconds=_cpu_seconds(pid),
            wakeups={task.name: _number(task / "status", "voluntary_ctxt_switches") for task in _tasks(pid)},
            rss=_number(process / "status", "VmRSS") * 1024 / _MEBIBYTE,
            pss=_number(process / "smaps_rollup", "Pss") * 1024 / _MEBIBYTE,
        )

    def wakeups_since(self, before: Self) -> int:
        """Return the wake-ups since then of the threads that still live."""
        return sum(count - before.wakeups.get(task, 0) for task, count in self.wakeups.items())


def _tasks(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/task").iterdir())


def _cpu_seconds(pid: int) -> float:
    """Return CPU time in nanosecond resolution; /proc/PID/stat has 10 ms, a quarter of what is measured here."""
    clock = (~pid << 3) | 2  # what clock_getcpuclockid() returns: all threads, those that have ended too
    behind_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ended = sum(int(ticks) for ticks in behind_name[_CHILDREN_TICKS]) / os.sysconf("SC_CLK_TCK")
    children = [int(child) for task in _tasks(pid) for child in (task / "children").read_text().split()]
    return time.clock_gettime(clock) + ended + sum(_cpu_seconds(child) for child in children)


def _number(path: Path, key: str) -> int:
    lines = path.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def count_processes() -> int:
    """Return how many processes the machine has."""
    return sum(1 for path in Path("/proc").iterdir() if path.name.isdigit())


@contextmanager
def running(
    arguments: list[str], *, send: bytes | None = None, environment: dict[str, str] | None = None, quiet: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the end of the block: SIGTERM, and SIGKILL if that does not do.

    Args:
        arguments: program and arguments.
        send: goes to its standard input, which is then closed.
        environment: added to ours.
        quiet: throw away what it writes.
    """
    output = subprocess.DEVNULL if quiet else None
    process = subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL if send is None else subprocess.PIPE,
        stdout=output,
        stderr=output,
        env=os.environ | (environment or {}),
    )
    try:
        if process.stdin is not None and send is not None:
            process.stdin.write(send)
            process.stdin.close()
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def sleepers(count: int, seconds: float) -> Iterator[None]:
    """Have so many sleeping processes about; they end by themselves should we not be there to end them."""
    processes = [subprocess.Popen(["sleep", f"{seconds:.0f}"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGKILL)
        for process in processes:
            process.wait()
