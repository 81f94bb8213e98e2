"""Which hosts are stored, and what is said of those beyond.

Everybody who may publish can make up hosts, and each is a few series or devices that a store keeps for months. So there
is a bound. A host counts that the store has samples of, or that came while there was room. What comes from others is
counted, and only a few of it become dead letters: they may be millions.
"""

import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from .storage import StorageError, TooManyError, TooManyHostsError, Writer

__all__ = ["Crowd", "Hosts"]

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 3600.0
_RETRY_SECONDS = 60.0
_REPORT_SECONDS = 60.0
_KEPT = 10


class Hosts:
    """The hosts that are stored.

    Args:
        writer: knows those that it has.
        maximum: how many may be; those that the store has count, however many they are.
        wall: seconds since the epoch.
        monotonic: seconds.

    Attributes:
        known: their names.
    """

    def __init__(
        self, writer: Writer, maximum: int, *, wall: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        self.known: set[str] = set()
        self._writer = writer
        self._maximum = maximum
        self._wall = wall
        self._monotonic = monotonic
        self._is_loaded = False
        self._refused = False
        self._is_in_trouble = False
        self._next_look = 0.0

    def load(self) -> None:
        """Ask the store for its hosts; once, and every hour in which hosts are refused, for some may have gone.

        A store that cannot be read keeps nothing from being stored: then those hosts count that come first.
        """
        now = self._monotonic()
        if now < self._next_look or (self._is_loaded and not self._refused):
            return
        try:
            found = self._writer.hosts(self._wall())
        except StorageError as error:
            self._next_look = now + _RETRY_SECONDS
            if not self._is_in_trouble:
                _log.warning("the hosts that are stored already are not known, those that come first count: %s", error)
            self._is_in_trouble = True
            return
        if found is not None:
            self.known.clear()
            self.known |= found
        self._is_loaded, self._refused, self._is_in_trouble = True, False, False
        self._next_look = now + _LOOK_SECONDS

    def admit(self, host: str) -> None:
        """Take in a host that is not known.

        Raises:
            TooManyHostsError: there is no room for it.
        """
        if len(self.known) >= self._maximum:
            self._refused = True
            raise TooManyHostsError(host, self._maximum)
        self.known.add(host)


class Crowd:
    """Counts what is refused because there is too much of it. Says so once a minute, and picks a few to be kept.

    Args:
        place: where those are kept.
        monotonic: seconds.
    """

    def __init__(self, place: Path, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._place = place
        self._monotonic = monotonic
        self._counts: dict[str, int] = {}  # by setting
        self._last: dict[str, TooManyError] = {}
        self._room = 0
        self._next_report = 0.0

    def pick(self, errors: Iterable[TooManyError]) -> int:
        """Count some messages; return how many of them, from the first on, are to be kept."""
        count = 0
        for error in errors:
            self._counts[error.setting] = self._counts.get(error.setting, 0) + 1
            self._last[error.setting] = error
            count += 1
        if self._monotonic() >= self._next_report:
            self._room = _KEPT
        picked = min(count, self._room)
        self._room -= picked
        self.report()
        return picked

    def report(self, *, at_once: bool = False) -> None:
        """Say what was counted; at most once a minute, unless `at_once`."""
        now = self._monotonic()
        if not self._counts or (now < self._next_report and not at_once):
            return
        for setting, count in self._counts.items():
            _log.error(
                "%d %s not or not all stored, by %s (the first %d a minute are kept in %s); the last one: %s",
                count,
                "message was" if count == 1 else "messages were",
                setting,
                _KEPT,
                self._place,
                self._last[setting],
            )
        self._counts.clear()
        self._last.clear()
        self._next_report = now + _REPORT_SECONDS
