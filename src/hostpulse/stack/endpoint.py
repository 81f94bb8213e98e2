"""Where the embedded broker of a data directory listens, and how other commands on this machine find it."""

import os
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

import msgspec

from hostpulse.bus.lock import is_held

__all__ = ["Endpoint", "announce", "broker_lock", "find_running", "withdraw", "write_private"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a client needs to reach a broker."""

    host: str
    port: int
    username: str
    password: str = field(repr=False)


def find_running(data_dir: Path) -> Endpoint | None:
    """Return the endpoint of the embedded broker that runs for this data directory, if one does and we may read it."""
    # The broker process and its parent hold the lock: it tells the truth after any crash and however pids are reused.
    if not is_held(broker_lock(data_dir)):
        return None
    try:
        return msgspec.json.decode(_announcement(data_dir).read_bytes(), type=Endpoint)
    except (OSError, msgspec.MsgspecError):
        return None


def announce(data_dir: Path, endpoint: Endpoint, pid: int) -> None:
    """Write down where the broker listens, for `find_running`."""
    write_private(_announcement(data_dir), msgspec.json.encode({**asdict(endpoint), "pid": pid}))


def withdraw(data_dir: Path) -> None:
    """Take back what `announce` wrote."""
    _announcement(data_dir).unlink(missing_ok=True)


def broker_lock(data_dir: Path) -> Path:
    """Return the file that is locked while the broker runs."""
    return data_dir / "broker" / "lock"


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read; whoever looks finds the old or the new content, whole."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _announcement(data_dir: Path) -> Path:
    return data_dir / "broker" / "endpoint.json"
