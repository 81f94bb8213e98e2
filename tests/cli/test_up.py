"""`hostpulse up`: everything on one machine, and nothing of it left behind."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from ..brokers import Broker
from .support import SECONDS, STOP_SECONDS, Hostpulse, Running, eventually, is_gone, stopped

PARTS = {"publisher": "hostpulse.publisher", "consumer": "hostpulse.consumer", "broker": "nats-server"}


def start_up(hostpulse: Hostpulse, *arguments: object, **options: object) -> Running:
    """Start it and wait until it stores."""
    running = hostpulse.start("up", "--interval", "0.5", *arguments, **options)
    eventually(lambda: hostpulse.count() or running.process.poll() is not None, what=lambda: running.output)
    assert running.process.poll() is None, running.output
    return running


def assert_all_gone(processes: list[psutil.Process]) -> None:
    assert len(processes) >= 2
    for process in processes:
        eventually(lambda process=process: is_gone(process), what=process)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_ends_everything_in_order(hostpulse: Hostpulse, name: str) -> None:
    running = start_up(hostpulse)
    processes = running.children()
    began = time.monotonic()
    assert running.end(signal.Signals[name]) == 0
    assert time.monotonic() - began < STOP_SECONDS
    assert_all_gone(processes)
    assert running.output.splitlines()[-1] == "stopping"
    hostpulse.assert_nothing_is_missing()
    done = hostpulse.run("export", "cpu")
    assert done.stdout.count("\n") == hostpulse.count() + 1


def test_what_hangs_does_not_keep_it_from_ending(hostpulse: Hostpulse) -> None:
    running = start_up(hostpulse)
    processes = running.children()
    with stopped(running.child(PARTS["consumer"])):
        began = time.monotonic()
        assert running.end() == 0
        assert time.monotonic() - began < STOP_SECONDS + 5  # it kills after 9; the rest is for a busy machine
    assert_all_gone(processes)


def test_killing_it_leaves_no_orphan_and_it_starts_again_at_once(hostpulse: Hostpulse) -> None:
    running = start_up(hostpulse)
    processes = running.children()
    running.end(signal.SIGKILL)
    again = start_up(hostpulse)
    assert_all_gone(processes)
    before = hostpulse.count()
    eventually(lambda: hostpulse.count() > before, what=lambda: again.output)
    assert again.end() == 0
    hostpulse.assert_nothing_is_missing()


@pytest.mark.parametrize("part", list(PARTS))
def test_a_killed_part_is_started_again_and_nothing_is_lost(hostpulse: Hostpulse, part: str) -> None:
    running = start_up(hostpulse)
    victim = running.child(PARTS[part])
    victim.kill()
    eventually(lambda: f"\n{part} ended after " in running.output, what=lambda: running.output)
    eventually(lambda: running.child(PARTS[part]).pid != victim.pid, what=lambda: running.output)
    before = hostpulse.count()
    eventually(lambda: hostpulse.count() > before + 3, what=lambda: running.output)
    assert running.end() == 0
    (line,) = [line for line in running.output.splitlines() if " ended after " in line]
    assert re.fullmatch(rf"{part} ended after \S+( \S+)? \(SIGKILL\), starts again in \S+", line)
    hostpulse.assert_nothing_is_missing()
    sessions = {session for _, session in hostpulse.sequences()}
    assert len(sessions) == (2 if part == "publisher" else 1)


def test_a_configured_broker_is_used(hostpulse: Hostpulse, make_broker: Callable[..., Broker]) -> None:
    broker = make_broker("mosquitto", password="secret")
    running = start_up(
        hostpulse,
        *("--broker", "127.0.0.1", "--set", f"mqtt.port={broker.port}", "--set", "mqtt.username=hostpulse"),
        environment={"HOSTPULSE_MQTT__PASSWORD": "secret"},
    )
    assert f"publisher  sends to 127.0.0.1:{broker.port} as hostpulse/web-1/…" in running.output
    command_lines = [" ".join(process.cmdline()) for process in running.children()]
    assert len(command_lines) == 2
    assert not [line for line in command_lines if "nats-server" in line or "secret" in line]
    assert not (hostpulse.data / "broker").exists()
    assert running.end() == 0
    hostpulse.assert_nothing_is_missing()


def test_a_broker_that_is_away_is_said_once_by_each_half(hostpulse: Hostpulse) -> None:
    running = hostpulse.start("up", "--broker", "127.0.0.1", "--set", f"mqtt.port={hostpulse.port}")
    trouble = f"broker 127.0.0.1:{hostpulse.port}: nothing listens there"
    running.says(f"consumer   {trouble}", f"publisher  {trouble}")
    time.sleep(3)  # further attempts
    assert running.output.count(trouble) == 2
    assert running.process.poll() is None
    assert running.end() == 0


def test_it_lives_on_when_nobody_reads_what_it_says(hostpulse: Hostpulse) -> None:
    reading, writing = os.pipe()
    running = hostpulse.start("up", "--interval", "0.5", stderr=writing)
    os.close(writing)
    os.read(reading, 10)
    os.close(reading)
    eventually(lambda: hostpulse.count() > 3)
    running.child(PARTS["publisher"]).kill()  # which it would say
    before = hostpulse.count()
    eventually(lambda: hostpulse.count() > before + 3)
    assert running.end() == 0


def test_the_log_level_holds_for_what_the_parts_say(hostpulse: Hostpulse) -> None:
    running = start_up(hostpulse, "--set", "log_level=warning")
    assert running.end() == 0
    assert "connected to broker" not in running.output
    hostpulse.assert_nothing_is_missing()


# On a terminal

TAKE_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A pseudo terminal with a program on it."""

    def __init__(self, command: list[str], environment: dict[str, str], columns: int = 100) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, *command],
            env=environment | {"TERM": "xterm-256color"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        self.output = ""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            while data := os.read(self._master, 65536):
                self.output += data.decode(errors="replace")
        except OSError:
            pass  # the program has ended

    def type(self, text: bytes) -> None:
        os.write(self._master, text)

    def wait(self) -> int:
        code = self.process.wait(SECONDS)
        self._thread.join(10)
        os.close(self._master)
        return code


def test_on_a_terminal_the_lines_are_rewritten_in_place(hostpulse: Hostpulse) -> None:
    terminal = Terminal(hostpulse.command("up", "--interval", "0.5"), hostpulse.environment)
    try:
        eventually(lambda: terminal.output.count("\x1b[1mcpu") > 4, what=lambda: terminal.output)
        eventually(lambda: "\x1b[1msystem" in terminal.output, what=lambda: terminal.output)
    finally:
        began = time.monotonic()
        terminal.type(b"\x03")
        code = terminal.wait()
    assert code == 0
    assert time.monotonic() - began < STOP_SECONDS
    assert re.search(r"\x1b\[1A\x1b\[2K", terminal.output)  # one line up, wiped
    assert terminal.output.rstrip().endswith("\x1b[?25h")  # the cursor is there again
    screen = on_screen(terminal.output)
    assert len([line for line in screen if line.startswith("cpu ")]) == 1
    assert [line for line in screen if line.startswith("stopping")]


def on_screen(output: str) -> list[str]:
    """Return what stands on a terminal that knows the few controls of a live display."""
    lines, row = [""], 0
    for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", output):
        if part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif re.fullmatch(r"\x1b\[\d+A", part):
            row -= int(part[2:-1])
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part[0] not in "\x1b\r":
            lines[row] += part
    return lines


def test_a_file_gets_no_controls_even_if_colours_are_forced(hostpulse: Hostpulse, tmp_path: Path) -> None:
    running = start_up(hostpulse, environment={"FORCE_COLOR": "1"})
    assert running.end() == 0
    assert not re.search(r"\x1b\[[0-9;]*[A-HJK]|\x1b\[\?25", running.output)
    assert list(tmp_path.iterdir())
