"""Files that hold a secret. A secret belongs to whom its directory belongs, and nobody else can read it."""

import os
import secrets
import tempfile
from pathlib import Path

__all__ = ["give_directory", "new_secret", "read_secret", "write_secret"]

_OWNER_READS = 0o400
_OWNER_ONLY = 0o700


def new_secret() -> str:
    """Return 256 random bits as text that is safe in a URL, a shell and a file."""
    return secrets.token_urlsafe(32)


def read_secret(path: Path) -> str | None:
    """Return what a file holds; None where there is no file or nothing in it."""
    try:
        return path.read_text("utf-8").strip() or None
    except FileNotFoundError:
        return None


def write_secret(path: Path, text: str) -> None:
    """Write a file whole or not at all, for the owner of its directory only.

    Raises:
        OSError: it cannot be written, or not be given to that owner.
    """
    owner = path.parent.stat()
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        Path(name).chmod(_OWNER_READS)
        _give(Path(name), owner.st_uid, owner.st_gid)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def give_directory(path: Path, account: int) -> None:
    """Make a directory the private one of an account, user and group of that number.

    Raises:
        OSError: it cannot be given away.
    """
    path.mkdir(parents=True, exist_ok=True)
    state = path.stat()
    if (state.st_uid, state.st_gid) != (account, account):
        path.chmod(_OWNER_ONLY)  # first: afterwards it is no longer ours
        _give(path, account, account)


def _give(path: Path, user: int, group: int) -> None:
    state = path.stat()
    if (state.st_uid, state.st_gid) != (user, group):
        os.chown(path, user, group)
