"""Rates out of two readings of a counter.

What cannot be known is UNSET, never 0: at the first reading, after a counter began again, after a suspension.
"""

from typing import NamedTuple

from msgspec import UNSET, UnsetType

from .clock import Clock

__all__ = ["Stopwatch", "elapsed", "per_second", "percent", "whole_per_second"]

_SUSPENDED_SECONDS = 1.0
_LARGEST = 2**63 - 1


class Moment(NamedTuple):
    """When a reading was taken, by the clock that stops in suspension and by the one that does not."""

    monotonic: float
    boottime: float


def elapsed(now: Moment, before: Moment | None) -> float | None:
    """Return the seconds between two readings; None at the first one, and where the machine was suspended between."""
    if before is None:
        return None
    seconds = now.monotonic - before.monotonic
    suspended = now.boottime - before.boottime - seconds
    return seconds if seconds > 0 and suspended < _SUSPENDED_SECONDS else None


class Stopwatch:
    """Measures the time from one reading to the next."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._before: Moment | None = None

    def lap(self) -> float | None:
        """Return the seconds since the last lap, as `elapsed` does."""
        now = Moment(self._clock.monotonic(), self._clock.boottime())
        before, self._before = self._before, now
        return elapsed(now, before)


def per_second(now: float | None, before: float | None, seconds: float | None) -> float | UnsetType:
    """Return the growth of a counter per second, to one decimal place.

    UNSET where a reading is missing, where no time is known, and where the counter fell: it began again.
    """
    if now is None or before is None or seconds is None or seconds <= 0 or now < before:
        return UNSET
    return round((now - before) / seconds, 1)


def whole_per_second(now: float | None, before: float | None, seconds: float | None) -> int | UnsetType:
    """Return the growth of a counter per second as `per_second` does, as a whole number that a message can hold."""
    if now is None or before is None or seconds is None or seconds <= 0 or now < before:
        return UNSET
    rate = round((now - before) / seconds)
    return rate if rate <= _LARGEST else UNSET


def percent(part: float, whole: float) -> float | UnsetType:
    """Return a part in percent of a whole, to one decimal place and within 0 and 100; UNSET where there is no whole."""
    if whole <= 0:
        return UNSET
    return round(min(100.0, max(0.0, 100.0 * part / whole)), 1)
