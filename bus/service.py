"""Running a service as a process of its own.

Its options come as JSON on standard input, so that no secret is on a command line; what it says goes to standard
error, one line each.
"""

import logging
import os
import re
import signal
import sys
from collections.abc import Callable
from typing import Protocol, TypeVar

import msgspec

from .errors import HostpulseError
from .watchdog import Watchdog

__all__ = ["ROLE_THREAD", "Service", "run_service"]

ROLE_THREAD = "role "
"""Begin of the name of a thread whose lines in the log begin with the rest of its name."""

_CONNECTIONS = "hostpulse.bus.mqtt"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

_Options = TypeVar("_Options", bound="_HasLogLevel")


class _HasLogLevel(Protocol):
    @property
    def log_level(self) -> str: ...


class Service(Protocol):
    """Something that runs until it is told to stop."""

    def run(self, beat: Callable[[], None]) -> None:
        """Run until `stop`.

        Args:
            beat: to be called when everything is ready, and from then on at least every few seconds while all is well.
        """
        ...

    def stop(self) -> None:
        """End `run` soon; may be called from a signal handler."""
        ...


class _OneLine(logging.Formatter):
    """Shows control characters for what they are: much of what is logged came from the bus."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's name
        """Return the line of a record; a traceback follows it elsewhere."""
        thread = record.threadName or ""
        if thread.startswith(ROLE_THREAD) and not record.name.startswith(_CONNECTIONS):
            record.message = f"{thread.removeprefix(ROLE_THREAD)}: {record.message}"
        return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], super().formatMessage(record))


class _Once(logging.Filter):
    """Roles that are at one broker have the same to say of it; once is enough."""

    def __init__(self) -> None:
        super().__init__()
        self._latest: dict[int | None, str] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether no other thread has said the same last."""
        if not record.name.startswith(_CONNECTIONS):
            return True
        text = record.getMessage()
        self._latest[record.thread] = text
        return all(said != text for thread, said in self._latest.items() if thread != record.thread)


def run_service(options_type: type[_Options], make: Callable[[_Options], Service]) -> int:
    """Run a service until SIGTERM or SIGINT.

    Args:
        options_type: what standard input holds.
        make: makes the service out of it.

    Returns:
        The exit code: 0 after a signal, 1 for something that a person has to mend.
    """
    services: list[Service] = []

    def stop(*_: object) -> None:
        if not services:
            raise SystemExit(0)
        services[0].stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    options = msgspec.json.decode(sys.stdin.buffer.read(), type=options_type)
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_Once())
    handler.setFormatter(_OneLine("%(levelname)s %(message)s"))
    logging.basicConfig(level=options.log_level.upper(), handlers=[handler])
    try:
        services.append(make(options))
        services[0].run(Watchdog.of_environment(os.environ, os.getpid()).beat)
    except HostpulseError as error:
        sys.stderr.write(f"ERROR {error}\n")
        return 1
    return 0
