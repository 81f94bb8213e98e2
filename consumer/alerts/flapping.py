"""Damping what comes and goes: each episode within an hour makes the next recovery take twice as long."""

from collections.abc import Sequence

__all__ = ["EPISODE_SECONDS", "is_flapping", "recent", "recovery_seconds"]

EPISODE_SECONDS = 3600.0
"""How long an episode counts, and the longest that a recovery is made to take."""

_MANY = 3
_MOST = 64  # what comes and goes each second is kept quiet no longer by more of them


def recent(episodes: Sequence[float], moment: float) -> list[float]:
    """Return the episodes that count, at most the last few dozen."""
    return [begin for begin in episodes[-_MOST:] if moment - begin < EPISODE_SECONDS]


def recovery_seconds(recover: float, episodes: Sequence[float]) -> float:
    """Return for how long a value has to be good: what the rule says, doubled for each episode but the first.

    Args:
        recover: what the rule says; more than an hour stays as it is.
        episodes: those that count, the present one among them.
    """
    doubled = recover * 2.0 ** max(0, len(episodes) - 1)
    return min(doubled, max(EPISODE_SECONDS, recover))


def is_flapping(episodes: Sequence[float]) -> bool:
    """Return whether there are too many."""
    return len(episodes) >= _MANY
