"""What a machine does at a moment of its day, and the shapes that such days are made of."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import NamedTuple

__all__ = ["DAY", "GIB", "Levels", "Mounted", "Traffic", "Use", "along", "at", "jitter", "wave", "within"]

DAY = 86400.0
GIB = 1 << 30

_STEPS = 40
_random = Random(1)  # noqa: S311  no secret; it has to be the same each time
_DICE = [round(_random.uniform(-1, 1), 1) for _ in range(997)]


class Traffic(NamedTuple):
    """Bytes a second, in and out, and for a disk the share of time in which it has something to do."""

    read: float
    written: float
    busy: float = 0.0


class Use(NamedTuple):
    """How full a file system is: shares of 1; its size in bytes where that is not the one of the tree."""

    space: float
    size: float | None = None


class Mounted(NamedTuple):
    """A file system that the tree does not have."""

    device: str
    file_system: str
    options: str
    size: float
    used: float


@dataclass
class Levels:
    """What a machine does at a moment. Shares are of 1, pressure is in percent, and rates are per second.

    Attributes:
        busy: share of all CPU time.
        iowait: the same, idle while IO was outstanding.
        steal: the same, given to other guests.
        load: mean number of tasks that run or wait.
        memory: share that is not available.
        swap: share of it in use.
        major_faults: page faults that read from a disk.
        oom_kills: beyond those that the tree tells of.
        pressure: of `cpu`, `memory` and `io`: some and full.
        disks: by name; those of the tree that are not here do nothing.
        interfaces: the same. Those that the tree does not have appear, and go when they are no longer here.
        use: of the tree's file systems, by mount point; the others are as in the tree.
        mounts: file systems that come and go.
        remounted: options of file systems of the tree, by mount point, in place of theirs.
        silent: mount points that do not answer.
        drives: what smartctl says of some (`/dev/sda`) in place of what it says in the tree.
        files: anything else, by path in the tree. What the tree does not have is made, and goes when it is no longer
            here; so does what the tree has and None is said of.
    """

    busy: float = 0.04
    iowait: float = 0.001
    steal: float = 0.0
    load: float = 0.3
    memory: float = 0.4
    swap: float = 0.0
    major_faults: float = 0.2
    oom_kills: int = 0
    pressure: dict[str, tuple[float, float]] = field(default_factory=dict)
    disks: dict[str, Traffic] = field(default_factory=dict)
    interfaces: dict[str, Traffic] = field(default_factory=dict)
    use: dict[str, Use] = field(default_factory=dict)
    mounts: dict[str, Mounted] = field(default_factory=dict)
    remounted: dict[str, str] = field(default_factory=dict)
    silent: frozenset[str] = frozenset()
    drives: dict[str, bytes] = field(default_factory=dict)
    files: dict[str, object] = field(default_factory=dict)


def at(hours: float, minutes: float = 0.0, seconds: float = 0.0) -> float:
    """Return a time of day in seconds."""
    return hours * 3600 + minutes * 60 + seconds


def within(second: float, *spans: tuple[float, float]) -> bool:
    """Return whether a moment is in one of some spans."""
    return any(begin <= second < end for begin, end in spans)


def along(second: float, points: Sequence[tuple[float, float]]) -> float:
    """Return the height of a line through points: before the first as there, after the last as there."""
    for (before, low), (after, high) in pairwise(points):
        if second < after:
            return low + (high - low) * max(0.0, second - before) / (after - before)
    return points[-1][1]


def wave(second: float, low: float, high: float) -> float:
    """Return what is low at three at night and high at three in the afternoon, in steps."""
    height = (1 - math.cos((second / DAY - 0.125) * math.tau)) / 2
    return low + (high - low) * round(height * _STEPS) / _STEPS


def jitter(second: float, kind: int = 0) -> float:
    """Return a number between -1 and 1 that is another one every half minute, and for each kind."""
    return _DICE[(int(second) // 30 * 31 + kind * 61) % len(_DICE)]
