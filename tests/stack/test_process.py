import os
import queue
import signal
import subprocess
import sys
import threading

import pytest

from hostpulse.bus.backoff import Backoff
from hostpulse.stack.process import Child

IGNORES_SIGTERM = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"


class Stage:
    """Children of one test, with everything that they report; stops them at its end."""

    def __init__(self, tie):
        self.tie = tie
        self.lines = queue.Queue()
        self.deaths = queue.Queue()
        self.children = []

    def child(self, code, *arguments, **options):
        return self.program([sys.executable, "-c", code, *arguments], **options)

    def program(self, command, **options):
        options.setdefault("backoff", Backoff(first=600, most=600, uniform=max))
        options.setdefault("on_line", self.lines.put)
        child = Child("worker", command, tie=self.tie, on_death=self.deaths.put, **options)
        self.children.append(child)
        return child

    def line(self):
        return self.lines.get(timeout=90)

    def death(self):
        return self.deaths.get(timeout=90)


@pytest.fixture(params=["prctl", "guard"])
def stage(request):
    stage = Stage(request.param)
    yield stage
    for child in stage.children:
        child.stop(timeout=0)
    assert [thread for thread in threading.enumerate() if "worker" in thread.name] == []


def test_construction_has_no_effect(stage):
    child = stage.child("raise SystemExit('must not run')")
    child.stop()
    assert child.pid is None
    assert stage.lines.empty()


def test_lines_carry_the_name_and_no_control_characters(stage):
    stage.child(r"import sys; sys.stderr.write('hello\n\n\x1b[31mred\x07\n'); print('out')").start()
    assert {stage.line() for _ in range(3)} == {"worker: hello", "worker:  [31mred", "worker: out"}


def test_a_long_line_is_cut_and_the_next_is_whole(stage):
    stage.child("import sys; sys.stderr.write('x' * 1_000_000 + '\\nnext\\n')").start()
    assert stage.line() == "worker: " + "x" * 2000
    assert stage.line() == "worker: next"


def test_input_arrives_whole_and_ends(stage):
    secret = os.urandom(32).hex()
    reads = "import sys; given = sys.stdin.read(); print(len(given), given[-64:], open('/proc/self/cmdline').read())"
    stage.child(reads, input=b"-" * 50_000 + secret.encode()).start()
    line = stage.line()
    assert line.startswith(f"worker: 50064 {secret}")
    assert line.count(secret) == 1


def test_without_input_stdin_is_at_its_end(stage):
    stage.child("import sys; print(repr(sys.stdin.read()))").start()
    assert stage.line() == "worker: ''"


def test_nothing_in_front_is_left_in_the_child(stage):
    # Python ignores SIGPIPE; a program that inherits that never ends in a broken pipe.
    stage.program(["/bin/grep", "SigIgn", "/proc/self/status"]).start()
    ignored = int(stage.line().split()[-1], 16)
    assert not ignored & (1 << (signal.SIGPIPE - 1))


def test_it_has_a_session_of_its_own(stage):
    stage.child("import os; print(os.getsid(0))").start()
    assert int(stage.line().split()[1]) != os.getsid(0)


def test_each_death_is_reported_with_its_cause(stage):
    stage.child("import sys; sys.exit('the disk is full')").start()
    death = stage.death()
    assert (death.name, death.code, death.reason, death.last_line) == ("worker", 1, "exit code 1", "the disk is full")
    assert str(death).startswith("worker ended after ")
    assert str(death).endswith(" (exit code 1), starts again in 10m: the disk is full")
    assert "\n" not in str(death)


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGTERM"])
def test_a_signal_is_named(stage, name):
    stage.child(
        "import os, resource, signal, sys; resource.setrlimit(resource.RLIMIT_CORE, (0, 0));"
        "os.kill(os.getpid(), getattr(signal, sys.argv[1]))",
        name,
    ).start()
    assert stage.death().reason == name


def test_a_program_that_is_missing_is_named(stage):
    stage.program(["/nowhere/program"]).start()
    death = stage.death()
    assert death.code == 127
    assert death.last_line == "cannot run /nowhere/program: No such file or directory"


def test_a_start_that_fails_is_tried_again(stage, monkeypatch):
    child = stage.child("print('runs')", backoff=Backoff(first=1, most=1, uniform=min))
    spawn = child._spawn
    tries = iter((OSError(11, "Resource temporarily unavailable"), None))

    def fail_once():
        if error := next(tries, None):
            raise error
        return spawn()

    monkeypatch.setattr(child, "_spawn", fail_once)
    child.start()
    assert "could not be started" in str(stage.death())
    assert stage.line() == "worker: runs"


def test_it_is_started_again_with_growing_delays(stage):
    pids = queue.Queue()
    backoff = Backoff(first=0.001, most=0.004, uniform=max)
    stage.child("raise SystemExit(3)", backoff=backoff, on_start=pids.put).start()
    deaths = [stage.death() for _ in range(4)]
    assert [death.delay for death in deaths] == [0.001, 0.002, 0.004, 0.004]
    assert len({pids.get(timeout=90) for _ in range(4)}) == 4


def test_a_long_run_is_forgiven(stage):
    hours = iter(range(0, 1_000_000, 3600))
    backoff = Backoff(first=0.001, most=600, uniform=max)
    stage.child("raise SystemExit(3)", backoff=backoff, clock=lambda: next(hours)).start()
    deaths = [stage.death() for _ in range(3)]
    assert [(death.seconds, death.delay) for death in deaths] == [(3600, 0.001)] * 3


def test_stop_lets_it_drain(stage):
    child = stage.child(
        "import signal, sys, threading; asked = threading.Event(); signal.signal(15, lambda *_: asked.set());"
        "print('ready', flush=True)\n"
        "while not asked.wait(0.01): pass\n"
        "print('drained')"
    )
    child.start()
    assert stage.line() == "worker: ready"
    child.stop()
    assert stage.line() == "worker: drained"
    assert child.pid is None
    assert stage.deaths.empty()


def test_stop_kills_what_ignores_sigterm(stage, is_gone, eventually):
    child = stage.child("import os; print(os.getpid(), flush=True)\n" + IGNORES_SIGTERM)
    child.start()
    pid = int(stage.line().split()[1])
    assert stage.line() == "worker: ready"
    child.stop(timeout=0.1)
    eventually(lambda: is_gone(pid))
    assert stage.deaths.empty()


def test_stop_ends_the_wait_for_a_restart(stage):
    child = stage.child("raise SystemExit(1)")
    child.start()
    assert stage.death().delay == 600
    child.stop()
    assert child.pid is None


def test_stop_at_once_leaves_nothing(stage):
    for _ in range(5):
        child = stage.child("import time; time.sleep(600)")
        child.start()
        child.stop()
        assert child.pid is None
    assert stage.deaths.empty()


def test_it_can_be_started_once_more_after_a_stop_but_not_twice(stage):
    child = stage.child("import time; print('runs', flush=True); time.sleep(600)")
    for _ in range(2):
        child.start()
        assert stage.line() == "worker: runs"
        with pytest.raises(RuntimeError):
            child.start()
        child.stop()


def test_helpers_go_with_the_child(stage, is_gone, eventually):
    stage.child(
        "import os, subprocess; helper = subprocess.Popen(['/bin/sleep', '600']); print(helper.pid, flush=True);"
        "os._exit(1)"
    ).start()
    helper = int(stage.line().split()[1])
    assert stage.death().reason == "exit code 1"
    eventually(lambda: is_gone(helper))


def test_a_callback_that_raises_stops_nothing(stage):
    ended = threading.Event()

    def fail(line):
        if "last" in line:
            ended.set()
        raise BrokenPipeError

    stage.child("print('first'); print('last')", on_line=fail).start()
    assert ended.wait(90)


def run_guard(mode, number, *command, drain=10.0):
    code = f"from hostpulse.stack import guard as g; g._DRAIN_SECONDS = {drain}; g._main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, mode, str(number), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


# With prctl the parent has another pid by then, with the pipe it closes before the input has come.
@pytest.mark.parametrize(("mode", "number"), [("prctl", os.getpid() + 1), ("pipe", 5)], ids=["prctl", "pipe"])
def test_a_parent_that_is_already_gone_is_noticed(mode, number, tmp_path):
    with run_guard(mode, number, "/bin/touch", str(tmp_path / "ran")) as process:
        _, words = process.communicate()
    assert words == b"the parent ended before the start\n"
    assert process.returncode == 1
    assert not (tmp_path / "ran").exists()


def test_the_guard_kills_what_does_not_end_with_the_parent(is_gone, eventually):
    code = "import os; print(os.getpid(), flush=True)\n" + IGNORES_SIGTERM
    with run_guard("pipe", 0, sys.executable, "-c", code, drain=0.1) as process:
        assert process.stdout
        assert process.stdin
        pid = int(process.stdout.readline())
        assert process.stdout.readline() == b"ready\n"
        process.stdin.close()
        assert process.wait() == -signal.SIGKILL
    eventually(lambda: is_gone(pid))


@pytest.mark.parametrize("stage", ["guard"], indirect=True)
def test_a_guard_that_is_killed_takes_the_child_along(stage, is_gone, eventually):
    child = stage.child("import os, time; print(os.getpid(), flush=True); time.sleep(600)")
    child.start()
    pid = int(stage.line().split()[1])
    os.kill(child.pid, signal.SIGKILL)
    assert stage.death().reason == "SIGKILL"
    eventually(lambda: is_gone(pid))
