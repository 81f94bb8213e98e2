"""Running other programs that may never end."""

import os
import subprocess
from collections.abc import Callable, Sequence
from typing import NamedTuple

__all__ = ["Output", "ProgramHangsError", "Runner", "run_program"]

_SYSTEM_DIRECTORIES = ("/usr/local/sbin", "/usr/sbin", "/sbin")  # not on everybody's PATH
_KILLED_SECONDS = 2.0


class Output(NamedTuple):
    """What a program left: its exit code, and what it wrote to its standard output."""

    code: int
    text: bytes


class ProgramHangsError(OSError):
    """A program did not end in its time.

    Attributes:
        has_ended: tells whether it is gone now. It was killed, but one that waits for a device dies when that answers.
    """

    def __init__(self, program: str, seconds: float, has_ended: Callable[[], bool]) -> None:
        super().__init__(f"{program} has not ended within {seconds:g} s")
        self.has_ended = has_ended


Runner = Callable[[Sequence[str], float], Output]
"""Runs a program with arguments for at most some seconds, as `run_program` does."""


def run_program(command: Sequence[str], seconds: float) -> Output:
    """Run a program without input and return what it left.

    Args:
        command: its name, looked for on PATH and where the system's own programs are, and its arguments.
        seconds: after which it is killed.

    Raises:
        FileNotFoundError: there is no such program.
        ProgramHangsError: it did not end in time.
        OSError: it cannot be run.
    """
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *_SYSTEM_DIRECTORIES))
    process = subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PATH": path, "LC_ALL": "C"},
    )
    try:
        text, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        _await_end(process)
        raise ProgramHangsError(command[0], seconds, lambda: process.poll() is not None) from None
    return Output(process.returncode, text)


def _await_end(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process that was killed, but not for one that a device holds."""
    try:
        process.communicate(timeout=_KILLED_SECONDS)
    except subprocess.TimeoutExpired:
        if process.stdout is not None:
            process.stdout.close()
