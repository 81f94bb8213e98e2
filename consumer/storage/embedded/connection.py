"""Connections to the database, and what its errors mean to a person."""

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

from ..errors import StorageError, StorageUnavailableError
from .schema import APPLICATION, FORMAT

__all__ = ["check_format", "connect", "reported", "transaction"]

_BUSY_SECONDS = 5.0
_FULL_DISK_BYTES = 1 << 20  # less than this free, and a failed write is a full disk whatever the system called it
_PRIMARY_CODE = 0xFF  # SQLite's extended error codes have the primary one in their low byte

_UNREACHABLE = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH})
_DAMAGED = "it is damaged: move it away, hostpulse begins a new one, and `sqlite3 FILE .recover` may save the old one"
_ADVICE: MappingProxyType[int, tuple[type[StorageError], str]] = MappingProxyType(
    {
        sqlite3.SQLITE_BUSY: (StorageUnavailableError, "end what else writes to it"),
        sqlite3.SQLITE_LOCKED: (StorageUnavailableError, "end what else writes to it"),
        sqlite3.SQLITE_IOERR: (StorageUnavailableError, "look after its disk"),
        sqlite3.SQLITE_CORRUPT: (StorageError, _DAMAGED),
        sqlite3.SQLITE_NOTADB: (StorageError, _DAMAGED),
    }
)


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Return a connection without implicit transactions.

    Args:
        path: of the database.
        mode: `ro`, or `rwc` to create it if it is not there.
    """
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,  # SQLite guards itself; callers only take care not to use it from two at once
        cached_statements=256,  # a handful for each table
    )


def check_format(
    connection: sqlite3.Connection, path: Path, *, application: int = APPLICATION, newest: int = FORMAT
) -> bool:
    """Return whether the database has its tables; False for one that is new and empty.

    Args:
        connection: to the database.
        path: of it, for the error.
        application: what its header has to say.
        newest: the format that we know.

    Raises:
        StorageError: it is not ours, or of a newer format.
    """
    [found] = connection.execute("PRAGMA application_id").fetchone()
    [version] = connection.execute("PRAGMA user_version").fetchone()
    [objects] = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not objects and found in {0, application}:
        return False
    if found != application:
        raise StorageError(f"{path} is a database of another program; set data_dir to another directory")
    if version > newest:
        raise StorageError(
            f"{path} has format {version} of a newer hostpulse, this one knows {newest}; "
            "install the newer hostpulse or set data_dir to another directory"
        )
    return True


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    """Commit what is done inside; undo it after any error. A `DEFERRED` one reads a single state of the database."""
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # the error that brought us here is the one to tell
            if connection.in_transaction:  # SQLite has undone it by itself after some errors
                connection.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def reported(path: Path) -> Iterator[None]:
    """Turn what SQLite and the system say inside into a `StorageError` about the database at `path`."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise  # ours
    except (sqlite3.Error, OSError) as error:
        raise _explained(error, path) from error


def _explained(error: sqlite3.Error | OSError, path: Path) -> StorageError:
    if isinstance(error, OSError):
        return _unreachable(path, error.strerror or str(error))
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & _PRIMARY_CODE
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _disk_is_full(path)):
        return StorageUnavailableError(f"the disk of {path} is full; make room on it or shorten the retention")
    if code in _UNREACHABLE:
        return _unreachable(path, str(error))
    kind, advice = _ADVICE.get(code, (StorageError, "look at the programs and the disk behind it"))
    return kind(f"{path} cannot be used ({error}); {advice}")


def _unreachable(path: Path, reason: str) -> StorageError:
    return StorageError(
        f"{path} cannot be read or written ({reason}); give this user read and write access to {path.parent}, "
        "or set data_dir to another directory"
    )


def _disk_is_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < _FULL_DISK_BYTES
    except OSError:
        return False
