"""Changing a file that others use: whole or not at all, durable, and never taken away from its owner."""

import contextlib
import os
import stat
from pathlib import Path

__all__ = ["give_to_owner", "replace_file", "sync_directory"]


def replace_file(path: Path, data: bytes) -> None:
    """Put data in the place of a file; durable on return. Mode and owner stay; a new one is its owner's alone.

    For one process at a time.

    Raises:
        OSError: it could not be; then the file is as it was.
    """
    partial = path.with_name(f"{path.name}.new")
    partial.unlink(missing_ok=True)  # of one that was killed
    # Exclusively: nobody may lay a link there that leads us, who may be root, elsewhere.
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            partial.chmod(stat.S_IMODE(path.stat().st_mode))
        give_to_owner(partial, like=path if path.exists() else path.parent)
        partial.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make durable which files a directory has, where a system can do that.

    Raises:
        OSError: it could not be.
    """
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def give_to_owner(path: Path, *, like: Path) -> None:
    """Where we are root, give a file to the owner of another one, so that a service that is not root can use it.

    Raises:
        OSError: it could not be.
    """
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        owner = like.stat()
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
