"""How long a server asked to wait."""

import contextlib
import math
from datetime import UTC
from email.utils import parsedate_to_datetime

__all__ = ["asked_wait"]

_LONGEST_SECONDS = 3600.0


def asked_wait(value: str | None, now: float) -> float | None:
    """Return the seconds of a `Retry-After`: a number or a date; at most an hour. None for none that can be read.

    Args:
        value: of the header.
        now: seconds since the epoch.
    """
    if value is None:
        return None
    with contextlib.suppress(ValueError):
        seconds = float(value)
        return min(max(seconds, 0.0), _LONGEST_SECONDS) if math.isfinite(seconds) else None
    with contextlib.suppress(ValueError, OverflowError):
        moment = parsedate_to_datetime(value)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return min(max(moment.timestamp() - now, 0.0), _LONGEST_SECONDS)
    return None
