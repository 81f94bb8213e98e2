"""A service as a process: its options, its signals, its errors."""

import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

SCRIPT = """
import sys, time
from msgspec import Struct
from hostpulse.bus.errors import HostpulseError
from hostpulse.bus.service import run_service

class Options(Struct):
    what: str
    log_level: str = "info"

class Scripted:
    def __init__(self, options):
        if options.what == "slow start":
            print("starting", flush=True)
            time.sleep(60)
        self.options, self.stopping = options, False
    def run(self, beat):
        beat()
        print("running", flush=True)
        if self.options.what == "wrong":
            raise HostpulseError("the thing is wrong; mend it")
        while not self.stopping:
            time.sleep(0.02)
        print("drained", flush=True)
    def stop(self):
        self.stopping = True

sys.exit(run_service(Options, Scripted))
"""

Start = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Start:
    def run(what: str) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdin is not None
        process.stdin.write(f'{{"what":"{what}"}}'.encode())
        process.stdin.close()
        process.stdin = None
        return process

    return run


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("what", "last"), [("run", b"drained\n"), ("slow start", b"starting\n")])
def test_a_signal_ends_it_properly(start: Start, number: signal.Signals, what: str, last: bytes) -> None:
    process = start(what)
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(number)
    rest, errors = process.communicate(timeout=90)
    assert (first + rest).endswith(last)
    assert (process.returncode, errors) == (0, b"")


def test_what_a_person_has_to_mend_is_one_line(start: Start) -> None:
    process = start("wrong")
    _, errors = process.communicate(timeout=90)
    assert (process.returncode, errors) == (1, b"ERROR the thing is wrong; mend it\n")
