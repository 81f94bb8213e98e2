"""The lock that keeps a history to one writer."""

import contextlib
import sqlite3
from pathlib import Path

from ..errors import StorageUnavailableError
from .connection import connect

__all__ = ["WriterLock"]


class WriterLock:
    """Held by the one process that writes a history.

    The writer remembers which devices it has numbered, so a second one would give the same number twice. A
    transaction on a small database beside the history is a lock that works wherever SQLite does, and that the system
    lets go of when its holder is killed.

    Args:
        path: of the history.
    """

    def __init__(self, path: Path) -> None:
        self._history = path
        self._path = path.with_name(path.name + "-writer")
        self._connection: sqlite3.Connection | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            StorageUnavailableError: another writer has it.
            sqlite3.Error: the file cannot be made.
        """
        connection = connect(self._path, "rwc")
        try:
            connection.execute("PRAGMA busy_timeout = 0")
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            connection.close()
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            raise StorageUnavailableError(
                f"another hostpulse writes to {self._history}; end it, or give this one a data_dir of its own"
            ) from None
        self._connection = connection

    def release(self) -> None:
        """Let go of the lock, if it is held."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
