"""Running a service as a process of its own.

Its options come as JSON on standard input, so that no secret is on a command line; what it says goes to standard
error, one line each.
"""

import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Protocol, TypeVar

import msgspec

from .errors import HostpulseError
from .watchdog import Watchdog

__all__ = ["Service", "run_service"]

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
    logging.basicConfig(level=options.log_level.upper(), format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        services.append(make(options))
        services[0].run(Watchdog.of_environment(os.environ, os.getpid()).beat)
    except HostpulseError as error:
        sys.stderr.write(f"ERROR {error}\n")
        return 1
    return 0
