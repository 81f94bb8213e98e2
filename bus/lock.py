"""A lock in a file: the kernel frees it however its holder ends, so a lock is never stale."""

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["FileLock", "is_held"]

_RETRY = 0.05


class FileLock:
    """An exclusive lock that is bound to an open file, not to a process.

    A child that inherits `fileno()` holds the lock too, until the last holder has ended.

    Args:
        path: the file; it is made where it is missing and stays when the lock is released, because removing it
            would let two processes lock two files of one name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self, wait: float = 0) -> bool:
        """Take the lock and write our pid into the file; return whether we have it after `wait` seconds.

        Raises:
            OSError: the file cannot be opened.
        """
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + wait
        while not _try_lock(descriptor):
            if time.monotonic() >= deadline:
                os.close(descriptor)
                return False
            time.sleep(_RETRY)
        self._descriptor = descriptor
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        return True

    def release(self) -> None:
        """Let go of the lock; without effect where it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def fileno(self) -> int:
        """Return the descriptor that holds the lock, for a child to inherit."""
        if self._descriptor is None:
            raise RuntimeError(f"{self.path} is not locked")
        return self._descriptor

    def holder(self) -> int | None:
        """Return the pid that the last holder wrote, if it can be read."""
        with suppress(OSError, ValueError):
            return int(self.path.read_text("ascii"))
        return None


def is_held(path: Path) -> bool:
    """Tell whether any process holds the lock, without making the file or keeping others from the lock."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        return not _try_lock(descriptor, shared=True)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, *, shared: bool = False) -> bool:
    try:
        if sys.platform == "win32":
            # Windows keeps others from reading what is locked, so a byte far behind the pid is locked.
            os.lseek(descriptor, 1 << 30, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            os.lseek(descriptor, 0, os.SEEK_SET)
        else:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
