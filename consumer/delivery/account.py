"""What is missing and what was lost, as others see it: in memory, and in a small file that survives a restart."""

import contextlib
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from .runs import Run, Runs
from .tracker import Stream, Tracker

__all__ = ["ACCOUNT_FILE", "Account", "AccountFile", "Loss", "Missing", "read_account"]

_log = logging.getLogger(__name__)

ACCOUNT_FILE = "delivery.json"
_VERSION = 1
_MOST_LOSSES = 200
_MOST_SESSIONS = 1000
_SAVE_SECONDS = 30.0
_REWRITE_SECONDS = 300.0  # where nothing has changed: its age tells from when on the history is looked at


class Missing(Struct, frozen=True, kw_only=True):
    """A session with messages that are missing.

    Attributes:
        host: name of the machine.
        subsystem: whose messages.
        session: start of the publisher.
        runs: what has come: first number, the one behind the last, and when these two were sampled.
    """

    host: str
    subsystem: str
    session: datetime
    runs: list[tuple[int, int, datetime, datetime]]

    @property
    def messages(self) -> int:
        """How many are missing."""
        return self.runs[-1][1] - self.runs[0][0] - sum(end - first for first, end, _, _ in self.runs)


class Loss(Struct, frozen=True, kw_only=True):
    """Messages that are not to be had.

    Attributes:
        at: when they were given up.
        host: name of the machine.
        subsystem: whose messages.
        session: start of the publisher.
        first: lowest number.
        last: highest number.
        since: when the message before them was sampled.
        until: when the message behind them was sampled.
    """

    at: datetime
    host: str
    subsystem: str
    session: datetime
    first: int
    last: int
    since: datetime
    until: datetime

    @property
    def messages(self) -> int:
        """How many they are."""
        return self.last - self.first + 1


class Account(Struct, kw_only=True):
    """What the file says.

    Attributes:
        v: version of the file.
        saved: when it was written.
        reached: up to which sample about it was complete then; earlier where the consumer is catching up.
        missing: what is missing.
        losses: what was lost, oldest first; the oldest are dropped where there are many.
    """

    v: int = _VERSION
    saved: datetime
    reached: datetime
    missing: list[Missing] = []
    losses: list[Loss] = []


def read_account(directory: Path) -> Account | None:
    """Return what the consumer of a data directory has written; None where there is nothing that can be read."""
    try:
        found = msgspec.json.decode((directory / ACCOUNT_FILE).read_bytes(), type=Account)
    except (OSError, ValueError):  # msgspec's errors are, too
        return None
    return found if found.v == _VERSION and all(_is_sound(one) for one in found.missing) else None


def _is_sound(missing: Missing) -> bool:
    """Return whether runs are not empty and in order, so that what reads them need not look."""
    numbers = [number for first, end, _, _ in missing.runs for number in (first, end)]
    return len(numbers) > 2 and numbers == sorted(numbers) and numbers[0] > 0  # noqa: PLR2004  two runs at least


class AccountFile:
    """Keeps the account in a file, which is replaced as a whole.

    Args:
        directory: where it is.
        tracker: what is missing.
        wall: aware time.
        clock: monotonic seconds.

    Attributes:
        losses: what was given up.
        reached: moment of the newest of the samples stored last; None before the first.
    """

    def __init__(
        self, directory: Path, tracker: Tracker, *, wall: Callable[[], datetime], clock: Callable[[], float]
    ) -> None:
        self._path = directory / ACCOUNT_FILE
        self._tracker = tracker
        self._wall = wall
        self._clock = clock
        self._next_save = clock() + _SAVE_SECONDS
        self._next_rewrite = 0.0
        self._saved = b""
        self.reached: datetime | None = None
        self._trouble = ""
        self.losses: deque[Loss] = deque(maxlen=_MOST_LOSSES)

    def load(self) -> datetime | None:
        """Take over what an earlier life knew; return how far it had come, None where there was none."""
        found = read_account(self._path.parent)
        if found is None:
            return None
        self.losses.extend(found.losses)
        for one in found.missing:
            runs = Runs.restored([Run(*run) for run in one.runs])
            self._tracker.restore(one.host, one.subsystem, one.session, runs)
        return min(found.saved, found.reached)

    def lose(self, losses: Iterable[Loss]) -> None:
        """Note what was given up."""
        self.losses.extend(losses)

    def set_aside(self) -> None:
        """Have the tracker not miss once more what was given up before."""
        given_up: dict[tuple[str, str, datetime], list[Loss]] = {}
        for loss in self.losses:
            given_up.setdefault((loss.host, loss.subsystem, loss.session), []).append(loss)
        for stream in list(self._tracker.broken.values()):
            # From the highest on, for a gap that is closed makes one run of the two beside it.
            for session, gap in reversed(list(stream.gaps)):
                losses = given_up.get((stream.host, stream.subsystem, session), ())
                if any(loss.first <= gap.first and gap.end - 1 <= loss.last for loss in losses):
                    self._tracker.close(stream, session, gap)

    def save_if_due(self) -> None:
        """Write it, at most every half a minute, and where nothing has changed every five."""
        now = self._clock()
        if now < self._next_save:
            return
        self._next_save = now + _SAVE_SECONDS
        if self._state() != self._saved or now >= self._next_rewrite:
            self.save()

    def _state(self) -> bytes:
        return msgspec.json.encode((_missing(self._tracker.broken.values()), [*self.losses]))

    def save(self) -> None:
        """Write it; where that fails the consumer goes on, and it is said once."""
        self._next_rewrite = self._clock() + _REWRITE_SECONDS
        self._saved = self._state()
        now = self._wall()
        account = Account(
            saved=now,
            reached=min(now, self.reached or now),
            missing=_missing(self._tracker.broken.values()),
            losses=[*self.losses],
        )
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            temporary.write_bytes(msgspec.json.encode(account))
            temporary.replace(self._path)
        except OSError as error:
            with contextlib.suppress(OSError):  # the first error is the one to tell
                temporary.unlink(missing_ok=True)
            if str(error) != self._trouble:
                self._trouble = str(error)
                _log.warning("%s cannot be written: %s", self._path, error.strerror or error)
        else:
            self._trouble = ""


def _missing(streams: Iterable[Stream]) -> list[Missing]:
    found: list[Missing] = []
    for stream in streams:
        for session, runs in stream.sessions.items():
            if len(runs) > 1 and len(found) < _MOST_SESSIONS:
                rows = [(run.first, run.end, run.since, run.until) for run in runs]
                found.append(Missing(host=stream.host, subsystem=stream.subsystem, session=session, runs=rows))
    return found
