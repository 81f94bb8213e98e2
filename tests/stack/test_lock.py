import os
import subprocess
import sys

import pytest

from hostpulse.bus.errors import HostpulseError
from hostpulse.bus.lock import FileLock, is_held
from hostpulse.stack.lock import only_run

HOLDER = """
import sys, time
from pathlib import Path
from hostpulse.stack.lock import only_run
with only_run(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(600)
"""


def test_a_second_run_is_told_who_holds_the_directory(tmp_path):
    with only_run(tmp_path / "data"), pytest.raises(HostpulseError) as caught, only_run(tmp_path / "data"):
        pass
    assert str(os.getpid()) in str(caught.value)
    assert str(tmp_path / "data") in str(caught.value)


def test_the_lock_is_free_after_the_run(tmp_path):
    for _ in range(2):
        with only_run(tmp_path):
            assert is_held(tmp_path / "up.lock")
    assert not is_held(tmp_path / "up.lock")


def test_two_directories_do_not_disturb_each_other(tmp_path):
    with only_run(tmp_path / "one"), only_run(tmp_path / "two"):
        pass


def test_kill_9_frees_the_lock(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(HostpulseError, match=f"pid {holder.pid}"), only_run(tmp_path):
            pass
        holder.kill()
        holder.wait()
        with only_run(tmp_path):
            pass


def test_a_child_that_inherits_the_descriptor_holds_the_lock(tmp_path):
    lock = FileLock(tmp_path / "lock")
    assert lock.acquire()
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, pass_fds=(lock.fileno(),)) as child:
        lock.release()
        assert is_held(lock.path)
        assert not FileLock(lock.path).acquire()
        child.communicate()
        child.wait()
    assert not is_held(lock.path)


def test_a_lock_that_nobody_made_is_not_held_and_not_made(tmp_path):
    assert not is_held(tmp_path / "lock")
    assert list(tmp_path.iterdir()) == []


def test_looking_does_not_keep_others_from_looking(tmp_path):
    path = tmp_path / "lock"
    path.touch()
    assert [is_held(path) for _ in range(3)] == [False] * 3


def test_a_directory_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(HostpulseError, match=r"data_dir .* cannot be written"), only_run(tmp_path / "file" / "x"):
        pass
