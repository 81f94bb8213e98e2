"""A real parent is killed with -9; its broker and its child have to go, and a new one has to come up at once."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import hostpulse
from hostpulse.stack.broker import EmbeddedBroker, find_running

PARENT = """
import sys, threading, time
from pathlib import Path
from hostpulse.stack.broker import EmbeddedBroker
from hostpulse.stack.process import Child

data_dir, port, tie, code = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
broker = EmbeddedBroker(data_dir, port, tie=tie)
broker.start()
ready = threading.Event()
child = Child("child", [sys.executable, "-c", code, str(data_dir / "drained")], tie=tie, on_line=lambda _: ready.set())
# From a thread that ends at once: the child's life must not hang on that thread.
starter = threading.Thread(target=child.start)
starter.start()
starter.join()
ready.wait()
time.sleep(0.2)
print("up", flush=True)
time.sleep(600)
"""

CHILD = """
import pathlib, signal, sys, threading
asked = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: asked.set())
print("ready", flush=True)
while not asked.wait(0.01):
    pass
pathlib.Path(sys.argv[1]).touch()
"""


@pytest.mark.parametrize(("tie", "processes"), [("prctl", 2), ("guard", 4)])
def test_kill_9_of_the_parent_leaves_no_orphan(
    *, tie: str, processes: int, tmp_path: Path, free_port: int, is_gone, eventually
):
    environment = {**os.environ, "PYTHONPATH": str(Path(hostpulse.__file__).parents[1])}
    command = [sys.executable, "-c", PARENT, str(tmp_path), str(free_port), tie, CHILD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == b"up\n"
        family = [process.pid for process in psutil.Process(parent.pid).children(recursive=True)]
        assert len(family) == processes
        assert find_running(tmp_path)
        os.kill(parent.pid, signal.SIGKILL)

        # No pause: a new one waits for the old server to let go of the store and the port.
        broker = EmbeddedBroker(tmp_path, free_port)
        try:
            broker.start()
        finally:
            broker.stop()
    eventually(lambda: all(map(is_gone, family)))
    eventually((tmp_path / "drained").exists)
    assert find_running(tmp_path) is None
