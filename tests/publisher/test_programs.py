import os
import sys
import time
from pathlib import Path

import pytest

from hostpulse.publisher.programs import ProgramHangsError, run_program

FOREVER = 'import sys; print("begun", flush=True); sys.stdin.close(); import signal; signal.pause()'


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_code_and_output() -> None:
    done = run_program(
        python('import sys; print("hä", file=sys.stdout); print("no", file=sys.stderr); sys.exit(72)'), 60
    )
    assert (done.code, done.text) == (72, "hä\n".encode())


def test_much_output_is_no_deadlock() -> None:
    assert len(run_program(python('print("x" * 3_000_000)'), 60).text) == 3_000_001


def test_a_program_has_no_input_and_no_language() -> None:
    done = run_program(python('import os, sys; print(repr(sys.stdin.read()), os.environ["LC_ALL"])'), 60)
    assert done.text == b"'' C\n"


def test_a_program_that_is_killed_has_a_code_below_0() -> None:
    assert run_program(python("import os; os.kill(os.getpid(), 9)"), 60).code == -9


def test_programs_of_the_system_are_found_whatever_path_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    done = run_program([sys.executable, "-c", 'import os; print(os.environ["PATH"])'], 60)
    assert done.text.decode().strip().split(":") == ["/nowhere", "/usr/local/sbin", "/usr/sbin", "/sbin"]


def test_no_such_program() -> None:
    with pytest.raises(FileNotFoundError):
        run_program(["hostpulse-no-such-program"], 60)


def test_a_program_that_hangs_is_killed() -> None:
    with pytest.raises(ProgramHangsError, match=r"has not ended within 0\.5 s") as caught:
        run_program(python(FOREVER), 0.5)
    assert caught.value.has_ended()


def test_what_a_program_has_started_holds_up_nobody(tmp_path: Path) -> None:
    """A child that outlives its parent keeps the pipe open, as a process does that a device holds."""
    number = tmp_path / "number"
    code = f"""
import os, pathlib, signal
child = os.fork()
if child:
    pathlib.Path({str(number)!r}).write_text(str(child))
signal.pause()
"""
    try:
        with pytest.raises(ProgramHangsError) as caught:
            run_program(python(code), 2.0)
        assert caught.value.has_ended()
    finally:
        child = int(number.read_text())
        os.kill(child, 9)
        while Path(f"/proc/{child}").exists() and "Z" not in Path(f"/proc/{child}/stat").read_text().rpartition(")")[2]:
            time.sleep(0.01)
