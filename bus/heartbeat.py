"""A file whose age tells others whether a service does its work: a health check need not start a program of ours."""

import logging
from collections.abc import Callable
from pathlib import Path

__all__ = ["Heartbeat"]

_log = logging.getLogger(__name__)

_PERIOD_SECONDS = 10.0


class Heartbeat:
    """Renews the modification time of a file.

    Args:
        path: the file, which is made where it is missing; None for no heartbeat.
        clock: monotonic seconds.
    """

    def __init__(self, path: str | None, *, clock: Callable[[], float]) -> None:
        self._path = None if path is None else Path(path)
        self._clock = clock
        self._next = clock()
        self._trouble = ""

    def beat(self) -> None:
        """Renew it, at most every 10 seconds. Where that fails the service goes on; it is said once."""
        if self._path is None or self._clock() < self._next:
            return
        self._next = self._clock() + _PERIOD_SECONDS
        try:
            self._path.touch()
        except OSError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                _log.warning("heartbeat_file %s cannot be written: %s", self._path, error.strerror or error)
        else:
            self._trouble = ""
