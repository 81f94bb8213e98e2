"""Moments and durations as text: RFC 3339 in UTC with milliseconds, and `15m`, `2h`, `7d`."""

import re
from datetime import UTC, datetime, timedelta

from .errors import UsageError

__all__ = ["format_duration", "format_timestamp", "parse_duration", "parse_moment", "to_milliseconds"]

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31_536_000}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhdwy]))+", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdwy])", re.ASCII)
_LONGEST = 1000 * _SECONDS["y"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def format_timestamp(seconds: float) -> str:
    """Return seconds since the epoch as RFC 3339: `2026-03-14T09:26:53.589Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def to_milliseconds(moment: datetime) -> int:
    """Return an aware datetime as milliseconds since the epoch, exactly."""
    return (moment - _EPOCH) // _MILLISECOND


def parse_duration(text: str) -> float:
    """Return the seconds of `90s`, `15m`, `2h`, `1h30m`, `7d`, `2w`, `1y`.

    Raises:
        UsageError: the text is none of these, or more than a thousand years.
    """
    if not _DURATION.fullmatch(text):
        raise UsageError(f"{text[:40]!r} is not a duration; write for example 90s, 15m, 2h, 7d")
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    if seconds > _LONGEST:  # infinity is, too
        raise UsageError(f"{text[:40]!r} is longer than a thousand years; write for example 90s, 15m, 2h, 7d")
    return seconds


def format_duration(seconds: float) -> str:
    """Return seconds in the largest two units that fit: `1d 2h`, `15m`, `2s`."""
    # A message may say any number, and the largest ones times 1000 are none.
    milliseconds = round(seconds) * 1000 if abs(seconds) > _SECONDS["d"] else round(seconds * 1000)
    if milliseconds < 1000:  # noqa: PLR2004  a second
        return f"{milliseconds}ms"
    parts: list[str] = []
    rest = round(seconds)
    for unit in ("d", "h", "m", "s"):
        count, rest = divmod(rest, int(_SECONDS[unit]))
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def parse_moment(text: str, *, now: float) -> float:
    """Return seconds since the epoch of `now`, of an age (`15m` is 15 minutes before now), or of an RFC 3339 time.

    A time without an offset is local time.

    Raises:
        UsageError: the text is none of these.
    """
    if text == "now":
        return now
    if _DURATION.fullmatch(text):
        return now - parse_duration(text)
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise UsageError(
            f"{text[:40]!r} is not a time; write an age (15m, 2h, 7d), a date or RFC 3339 (2026-03-14T09:26:53Z)"
        ) from None
