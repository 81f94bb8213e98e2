"""Who is who among the consumers of a machine that share the storing.

Each has a number, and the session at the broker goes by it. A broker gives messages also to those sessions of a shared
subscription whose member is away, and gives what a lost member has not acknowledged to nobody else. So no session may
be left alone: a member that ends gives its subscription up, unless it would be the last one; and a number whose member
was killed is taken over by one that starts, or by one that is there.

A directory that the members share has, for each number, a file that is locked while a member has it (`1.lock`), and
one that is there while the broker has a subscription for it: `1.subscribed`, or `1.leaving` while that is given up.
"""

import logging
from pathlib import Path

from hostpulse.bus.lock import FileLock, is_held

from .storage import StorageError

__all__ = ["Member", "Members"]

_log = logging.getLogger(__name__)

_DECISION_SECONDS = 2.0
_MOST_MEMBERS = 1000


class Member:
    """A number that is ours until `release`.

    Args:
        directory: of the members.
        number: from 1.
        lock: of the number, held.
    """

    def __init__(self, directory: Path, number: int, lock: FileLock) -> None:
        self.number = number
        self._directory = directory
        self._lock = lock
        self._subscribed = directory / f"{number}.subscribed"
        self._leaving = directory / f"{number}.leaving"

    def subscribed(self) -> None:
        """Note that the broker has our subscription."""
        try:
            self._subscribed.touch()
            self._leaving.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("%s cannot be written (%s); make it writable", self._subscribed, error.strerror or error)

    def may_leave(self) -> bool:
        """Return whether another subscription remains; if so, ours counts no more."""
        decision = FileLock(self._directory / "decision.lock")
        try:
            if not decision.acquire(_DECISION_SECONDS):
                return False
            if set(self._directory.glob("*.subscribed")) <= {self._subscribed}:
                return False
            self._subscribed.rename(self._leaving)
        except OSError as error:
            _log.warning("%s cannot be given up (%s); it is kept", self._subscribed, error.strerror or error)
            return False
        finally:
            decision.release()
        return True

    def left(self) -> None:
        """Note that the broker has neither a subscription nor messages for us."""
        self._leaving.unlink(missing_ok=True)

    def release(self) -> None:
        """Let others have the number."""
        self._lock.release()


class Members:
    """The consumers that share a directory.

    Args:
        directory: theirs alone; made where it is missing.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def join(self) -> Member:
        """Take a number: an abandoned one, else the lowest that is free.

        Raises:
            StorageError: the directory cannot be written.
        """
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            found = self.abandoned()
            for number in range(1, _MOST_MEMBERS + 1):
                found = found or self._take(number)
        except OSError as error:
            raise StorageError(
                f"{self._directory} cannot be written ({error.strerror}): make it writable or set another data_dir"
            ) from error
        if found is None:
            raise StorageError(f"{self._directory}: {_MOST_MEMBERS} consumers share the storing already")
        return found

    def abandoned(self) -> Member | None:
        """Take a number that has a subscription and no member, if there is one."""
        marked = {path.stem for pattern in ("*.subscribed", "*.leaving") for path in self._directory.glob(pattern)}
        for number in sorted(int(stem) for stem in marked if stem.isdecimal()):
            if not is_held(self._directory / f"{number}.lock"):
                member = self._take(number)
                if member is not None:
                    return member
        return None

    def _take(self, number: int) -> Member | None:
        lock = FileLock(self._directory / f"{number}.lock")
        return Member(self._directory, number, lock) if lock.acquire() else None
