"""One `hostpulse up` for each data directory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hostpulse.bus.errors import HostpulseError
from hostpulse.bus.lock import FileLock

__all__ = ["only_run"]


@contextmanager
def only_run(data_dir: Path) -> Iterator[None]:
    """Be the only `hostpulse up` of a data directory while the context lasts.

    Raises:
        HostpulseError: another one runs, or the directory cannot be written.
    """
    lock = FileLock(data_dir / "up.lock")
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        acquired = lock.acquire()
    except OSError as error:
        raise HostpulseError(
            f"data_dir {data_dir} cannot be written ({error.strerror}): make it writable or set another data_dir"
        ) from error
    if not acquired:
        raise HostpulseError(
            f"hostpulse up already runs for {data_dir} (pid {lock.holder() or 'unknown'}):"
            " stop it first, or set another data_dir"
        )
    try:
        yield
    finally:
        lock.release()
