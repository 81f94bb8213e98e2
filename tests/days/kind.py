"""One kind of machine: its tree, its day, and when it is not there."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from .levels import DAY, Levels

__all__ = ["Boot", "Gap", "Kind"]


class Boot(NamedTuple):
    """From when to when its publisher runs, in seconds of the day.

    Attributes:
        begin: the publisher starts.
        end: it is told to stop, or the power goes.
        proper: whether it is told to.
        uptime: seconds since the machine's boot, at the begin; None as in the tree.
    """

    begin: float
    end: float
    proper: bool = True
    uptime: float | None = None


class Gap(NamedTuple):
    """A time in which the machine stands still, in seconds of the day.

    Attributes:
        begin: nothing runs from here.
        end: it goes on.
        suspended: whether the monotonic clock stands still, too.
    """

    begin: float
    end: float
    suspended: bool


@dataclass(frozen=True)
class Kind:
    """One kind of machine.

    Attributes:
        name: of its host, and of its recording.
        tree: in tests/machines.
        levels: what it does at a second of the day.
        boots: its starts, in order.
        gaps: when it stands still, in order.
        outages: from when to when it has no network.
        clock_error: by how many seconds its clock is ahead, at a second of the day.
        narrow: interfaces whose counters begin again at 2**32.
    """

    name: str
    tree: str
    levels: Callable[[float], Levels]
    boots: tuple[Boot, ...] = (Boot(0.0, DAY),)
    gaps: tuple[Gap, ...] = ()
    outages: tuple[tuple[float, float], ...] = ()
    clock_error: Callable[[float], float] = lambda _second: 0.0
    narrow: tuple[str, ...] = ()
