"""Telling systemd that a service is up, and goes on.

It is a line of text to the socket that NOTIFY_SOCKET names, as sd_notify(3) has it. A service that stops beating is
killed and started again after `WatchdogSec`; where nobody asked for it, a beat does nothing.
"""

import logging
import socket
import time
from collections.abc import Callable, Mapping

__all__ = ["Watchdog"]

_log = logging.getLogger(__name__)

_MICROSECOND = 1e-6
_BEATS = 3  # in the time after which we would be killed


class Watchdog:
    """Says `READY=1` at the first beat, and `WATCHDOG=1` at later ones.

    Args:
        address: of the socket, a path or `@` and an abstract name; None where nobody listens.
        watchdog_seconds: without a beat in this time we are killed; None if nobody watches.
        clock: monotonic seconds.
    """

    def __init__(
        self, address: str | None, watchdog_seconds: float | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._address = None if address is None else address.replace("@", "\0", 1) if address[0] == "@" else address
        self._pause = None if watchdog_seconds is None else watchdog_seconds / _BEATS
        self._clock = clock
        self._last: float | None = None

    @classmethod
    def of_environment(cls, environ: Mapping[str, str], pid: int) -> "Watchdog":
        """Return the watchdog that the environment asks a process for.

        Args:
            environ: the environment.
            pid: of the process; systemd says which one it watches.
        """
        microseconds = environ.get("WATCHDOG_USEC", "")
        watched = microseconds.isdecimal() and environ.get("WATCHDOG_PID", str(pid)) == str(pid)
        return cls(environ.get("NOTIFY_SOCKET") or None, int(microseconds) * _MICROSECOND if watched else None)

    def beat(self) -> None:
        """Say that the service is up and goes on; cheap enough for each turn of a loop."""
        if self._address is None:
            return
        now = self._clock()
        if self._last is None:
            self._send(b"READY=1")
        elif self._pause is not None and now - self._last >= self._pause:
            self._send(b"WATCHDOG=1")
        else:
            return
        self._last = now

    def _send(self, line: bytes) -> None:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
                connection.sendto(line, self._address or "")
        except OSError as error:
            _log.warning("the service manager at NOTIFY_SOCKET cannot be told: %s", error.strerror or error)
            self._address = None
