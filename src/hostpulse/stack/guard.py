"""The program that stands between a parent and its child, so that the child does not outlive the parent.

    guard.py prctl PARENT_PID COMMAND...      Linux: the kernel sends SIGTERM when the parent is gone
    guard.py pipe INPUT_LENGTH COMMAND...     elsewhere: this process stays, and ends the child when its stdin closes

It is run by its path with `python -I -S`: no site-packages, nothing of hostpulse, so that it starts at once and small.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import NoReturn

__all__: list[str] = []

_PR_SET_PDEATHSIG = 1
_DRAIN_SECONDS = 10
_CANNOT_RUN = 127


def _run_bound(parent: int, command: list[str]) -> NoReturn:
    """Have the kernel end us with the parent, then become the command: it keeps the setting and costs nothing more."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    # Only now can the parent be compared: one that ended before the call above sends no signal any more.
    if os.getppid() != parent:
        sys.exit("the parent ended before the start")
    # Python ignores these two, and what is ignored stays ignored through exec.
    for name in ("SIGPIPE", "SIGXFSZ"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    os.execv(command[0], command)  # noqa: S606 - no shell is what we want


def _run_guarded(length: int, command: list[str]) -> NoReturn:
    """Run the command as a child; the first bytes of stdin are its input, the end of stdin is the parent's end."""
    given = b""
    while len(given) < length:
        piece = os.read(0, length - len(given))
        if not piece:
            sys.exit("the parent ended before the start")
        given += piece
    # What we were told to pass on is inheritable already, everything else is not.
    child = subprocess.Popen(command, stdin=subprocess.PIPE, close_fds=False)
    # A SIGTERM before this line ends us, and the parent then kills our process group.
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    threading.Thread(target=_end_with_parent, args=(child,), daemon=True).start()
    if child.stdin is not None:
        with suppress(OSError), child.stdin as stdin:
            stdin.write(given)
    code = child.wait()
    if code < 0:
        # The parent reports how its child ended, so we end the same way.
        with suppress(OSError):  # SIGKILL has no handler to reset
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _end_with_parent(child: "subprocess.Popen[bytes]") -> None:
    while os.read(0, 4096):
        pass
    child.terminate()
    time.sleep(_DRAIN_SECONDS)  # the main thread ends this process as soon as the child has ended
    if sys.platform == "win32":
        child.kill()
    else:
        os.killpg(0, signal.SIGKILL)


def _main() -> NoReturn:
    mode, number, *command = sys.argv[1:]
    try:
        if mode == "prctl":
            _run_bound(int(number), command)
        _run_guarded(int(number), command)
    except OSError as error:
        sys.stderr.write(f"cannot run {command[0]}: {error.strerror}\n")
        sys.exit(_CANNOT_RUN)


if __name__ == "__main__":
    _main()
