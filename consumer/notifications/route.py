"""One delivery: a thread that reads the journal and tells one address what is for it."""

import logging
import threading
import time
import traceback
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from hostpulse.bus.backoff import Backoff
from hostpulse.bus.times import format_duration

from ..alerting.journal import Entry
from ..storage import StorageError
from .choice import Choice
from .cursor import Cursor
from .notification import notification_of
from .rate import Rate
from .sender import DeliveryError
from .senders import Target
from .status import RouteStatus

__all__ = ["PACE", "Pace", "Route"]

_log = logging.getLogger(__name__)

_MOST_TOGETHER = 200
_MOST_COUNTED = 1000


class Pace(NamedTuple):
    """How long is waited after a failure, seconds: the bounds of a delay that doubles and is drawn at random."""

    first: float = 4.0
    most: float = 300.0


PACE = Pace()


class _Group(NamedTuple):
    """What is told together.

    Attributes:
        entries: none if there is nothing to tell.
        end: number of the last entry that was looked at for it.
        told: the alerts that have been told and have not ended, when it was told.
    """

    entries: list[Entry]
    end: int
    told: frozenset[str]


def _place_of(error: Exception) -> str:
    """Return the kind of an error and where it came up."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}; please report it"


class Route:
    """Delivers to one address until it is stopped.

    Args:
        path: of the journal, in which the route has a place.
        target: the address, ready to send.
        tags: of each rule, by its name.
        wall: seconds since the epoch.
        clock: monotonic seconds.
        pace: how long is waited after a failure.
    """

    def __init__(
        self,
        path: Path,
        target: Target,
        tags: Mapping[str, Collection[str]],
        *,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        pace: Pace = PACE,
    ) -> None:
        self._name = target.name
        self._sender = target.sender
        self._group_wait = target.options.group_wait_seconds
        self._choice = Choice(target.options, tags)
        self._cursor = Cursor(path, target.name, clock=clock)
        self._rate = Rate(target.options.maximum_per_hour, clock=clock)
        self._backoff = Backoff(first=pace.first, most=pace.most)
        self._wall = wall
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._is_lasting = False
        self._status = RouteStatus(name=target.name, waiting=0, sent=0, failed=0, failing_since=None, reason="")
        # A server that hangs must not keep the process from its end.
        self._thread = threading.Thread(target=self._run, name=f"notify-{target.name}", daemon=True)

    @property
    def status(self) -> RouteStatus:
        """How it is doing."""
        return self._status

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Have it look into the journal."""
        self._woken.set()

    def ask_to_stop(self) -> None:
        """Have it end soon."""
        self._stopping.set()
        self._woken.set()

    def join(self, timeout: float) -> None:
        """Wait for its end, unless a server takes longer.

        Args:
            timeout: seconds.
        """
        self._thread.join(timeout)

    # The thread

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._cursor.open()
                try:
                    self._deliver()
                finally:
                    self._cursor.close()
            except StorageError as error:
                self._fail(DeliveryError(str(error)))
            except Exception as error:  # noqa: BLE001  a mistake in a service's plugin must not end the telling
                # Only its kind: its text may have an address, and with that a password.
                self._fail(DeliveryError(f"a mistake of hostpulse or of the service's plugin: {_place_of(error)}"))

    def _deliver(self) -> None:
        """Tell what there is, and wait for more."""
        while not self._stopping.is_set():
            self._woken.clear()
            group = self._group()
            was_tried = bool(self._cursor.memory.attempt)
            if not group.entries:
                self._cursor.skip(group.end, group.told)
                self._recover("go on")
                if not was_tried:  # what was may be for the route no more, and there may be more behind it
                    self._woken.wait()
            elif was_tried:
                self._tell(group)
            elif (seconds := self._due_in(group.entries[0])) > 0:
                self._stopping.wait(seconds)
            else:
                self._cursor.begin(group.end)
                self._tell(group)

    def _group(self) -> _Group:
        """Return what is to be told next: all that there is, or what was already tried to be told."""
        attempt, told = self._cursor.memory.attempt, set(self._cursor.memory.told)
        entries: list[Entry] = []
        waiting, end = 0, 0
        told_then: frozenset[str] | None = None
        for entry in self._cursor.ahead():
            if told_then is None and (entry.number > attempt if attempt else len(entries) == _MOST_TOGETHER):
                told_then = frozenset(told)
            takes = self._choice.takes(entry.transition, told)
            waiting += takes
            if told_then is None:
                end = entry.number
                if takes:
                    entries.append(entry)
            elif waiting >= _MOST_COUNTED:
                break
        self._status = replace(self._status, waiting=waiting)
        return _Group(entries, end, frozenset(told) if told_then is None else told_then)

    def _due_in(self, first: Entry) -> float:
        """Return the seconds until something that waits may go out."""
        # By the clock on the wall, so that a restart does not begin the wait anew; it may have been set.
        group = min(first.timestamp + self._group_wait - self._wall(), self._group_wait)
        return max(group, self._rate.wait())

    def _tell(self, group: _Group) -> None:
        notification = notification_of(self._name, self._cursor.session, group.entries)
        try:
            self._sender.send(notification, self._wall())
        except DeliveryError as error:
            self._fail(error)
            return
        self._cursor.done(group.end, group.told)
        self._rate.take()
        self._succeed(group.entries)

    # What it says of itself

    def _fail(self, error: DeliveryError) -> None:
        """Say so, once, and wait."""
        if self._status.failing_since is None or (error.is_lasting and not self._is_lasting):
            what = "it fails until you mend that; nothing is lost" if error.is_lasting else "it is tried again"
            _log.warning("notifications on %s: %s (%s)", self._name, error.reason, what)
        self._is_lasting = error.is_lasting
        self._status = replace(
            self._status,
            failed=self._status.failed + 1,
            failing_since=self._status.failing_since or self._wall(),
            reason=error.reason,
        )
        self._stopping.wait(max(self._backoff.delay(), error.retry_after or 0.0))

    def _succeed(self, entries: list[Entry]) -> None:
        late = format_duration(max(self._wall() - entries[0].timestamp, 0.0))
        self._recover(f"are taken again: {len(entries)} told, {late} late")
        self._status = replace(self._status, waiting=self._status.waiting - len(entries), sent=self._status.sent + 1)

    def _recover(self, how: str) -> None:
        """Say that all is well again, where it was not."""
        self._backoff.reset()
        if self._status.failing_since is not None:
            _log.info("notifications on %s %s", self._name, how)
            self._is_lasting = False
            self._status = replace(self._status, failing_since=None, reason="")
