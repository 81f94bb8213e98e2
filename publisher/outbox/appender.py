"""The file that is appended to."""

import os
import sys
from contextlib import suppress
from errno import ENOSPC
from pathlib import Path
from typing import BinaryIO, cast

__all__ = ["Appender"]


class Appender:
    """An open file that grows by whole writes, and is forced to the disk as often as wanted.

    Args:
        sync_seconds: time between two fsync(); 0 after each write, None never.
    """

    def __init__(self, sync_seconds: float | None) -> None:
        self._sync_seconds = sync_seconds
        self._file: BinaryIO | None = None
        self._unsynced = False
        self._synced_at = 0.0

    def write(self, path: Path, size: int, data: bytes) -> None:
        """Append to a file, which stays open until `close`.

        Args:
            path: the file; made where it is missing.
            size: of the file.
            data: what is appended, with one system call; all of it or nothing that could be helped.

        Raises:
            OSError: it could not be written.
        """
        try:
            self._append(path, size, data)
        except OSError:
            if self._file is not None:
                with suppress(OSError):  # readers pass over what is left of it
                    self._file.truncate(size)
            self.close()
            raise
        self._unsynced = True

    def _append(self, path: Path, size: int, data: bytes) -> None:
        if self._file is None:
            self._file = cast("BinaryIO", path.open("ab", buffering=0))
            if not size and self._sync_seconds is not None:
                _sync_directory(path.parent)
        if self._file.write(data) < len(data):
            raise OSError(ENOSPC, os.strerror(ENOSPC))

    def sync(self, now: float) -> None:
        """Force the file to the disk, if that is due.

        Args:
            now: seconds of a clock that never steps.

        Raises:
            OSError: it may not be there.
        """
        if self._sync_seconds is None or not self._unsynced or now - self._synced_at < self._sync_seconds:
            return
        if self._file is not None:
            os.fsync(self._file.fileno())
        self._unsynced, self._synced_at = False, now

    def close(self) -> None:
        """Close the file."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # of a write that failed before, and was reported
                file.close()


def _sync_directory(path: Path) -> None:
    """Make the name of a new file durable; Windows cannot open a directory, and need not."""
    if sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
