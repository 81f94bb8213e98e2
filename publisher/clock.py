"""The clocks that sampling needs, in one object that a test can replace."""

import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Clock"]


def _boottime() -> float:
    """Return seconds that go on while the machine is suspended; where no such clock is, monotonic ones."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


@dataclass(frozen=True, slots=True)
class Clock:
    """Three clocks, all in seconds.

    Attributes:
        wall: since the epoch; steps when somebody sets it.
        monotonic: never steps, stands still while the machine is suspended (Linux).
        boottime: never steps, goes on while the machine is suspended.
    """

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    boottime: Callable[[], float] = _boottime
