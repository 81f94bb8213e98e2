"""The same machines with something wrong: they are told of, and nothing else is. Silence is no deafness."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from hostpulse.consumer.alerts import load_rules

from ..alerts.support import defaults
from .kinds import KINDS
from .levels import Levels, Use, along, at
from .player import line_of, play
from .recorder import record


@dataclass
class Fault:
    """Something that goes wrong.

    Attributes:
        kind: of machine.
        recorded: what part of its day, in seconds of it.
        expected: what happens: when, rule, label, level, what.
        alter: what is wrong with the machine.
        changes: of its kind, where it is about clock or network.
    """

    kind: str
    recorded: tuple[float, float]
    expected: list[str]
    alter: Callable[[float, Levels], None] = lambda _second, _levels: None
    changes: dict[str, Any] = field(default_factory=dict)


def fan_stands_still(second: float, levels: Levels) -> None:
    """The fan of the graphics card stops in the middle of a game."""
    if second >= at(18, 10):
        card = "sys/class/hwmon/hwmon2"
        junction = along(second, [(at(18, 10), 90), (at(18, 13), 109)])
        levels.files |= {f"{card}/fan1_input": 0, f"{card}/temp2_input": round(junction) * 1000}


def runs_empty(second: float, levels: Levels) -> None:
    """Nobody plugs it in."""
    charge = along(second, [(at(17), 26), (at(17, 40), 8)])
    battery = "sys/class/power_supply/BAT0"
    levels.files |= {f"{battery}/energy_now": round(charge / 100 * 54320000), f"{battery}/capacity": int(charge)}


def leaks(second: float, levels: Levels) -> None:
    """A program takes more and more memory, until it is killed."""
    if second < at(10, 35):
        levels.memory = along(second, [(at(10, 5), 0.84), (at(10, 20), 0.975)])
    else:
        levels.oom_kills = 1


def fills_up(second: float, levels: Levels) -> None:
    """A program that writes a log of its own does nothing else."""
    levels.use["/srv/data"] = Use(along(second, [(at(12, 5), 0.76), (at(12, 25), 0.985)]))


def server_is_gone(second: float, levels: Levels) -> None:
    if at(12, 5, 5) <= second < at(12, 15, 5):
        levels.silent = frozenset({"/mnt/dead-nfs"})


def card_breaks(second: float, levels: Levels) -> None:
    """The memory card fails, and the kernel takes the file system away from writers."""
    if second >= at(12, 10):
        levels.remounted["/"] = "ro,noatime"


FAULTS = {
    "a fan that stands still": Fault(
        "desktop",
        (at(18), at(18, 20)),
        ["18:13 sensor_hot sensor=amdgpu_junction critical fired"],
        fan_stands_still,
    ),
    "a battery that runs empty": Fault(
        "laptop",
        (at(17), at(17, 45)),
        ["17:14 battery_low warning fired", "17:37 battery_low critical escalated"],
        runs_empty,
    ),
    "a leak of memory": Fault(
        "vm",
        (at(10), at(10, 45)),
        [
            "10:16 memory_low warning fired",
            "10:23 memory_low critical escalated",
            "10:35 oom_kill warning fired",
            "10:36 memory_low warning eased (better, and not over)",
            "10:36 memory_low ok resolved",
        ],
        leaks,
    ),
    "a disk that fills up": Fault(
        "server",
        (at(12), at(12, 35)),
        [
            "12:22 disk_full mount=/srv/data warning fired",
            "12:29 disk_full mount=/srv/data critical escalated",
        ],
        fills_up,
    ),
    "an NFS server that is gone": Fault(
        "server",
        (at(12), at(12, 20)),
        [
            "12:07 file_system_stalled mount=/mnt/dead-nfs critical fired",
            "12:16 file_system_stalled mount=/mnt/dead-nfs ok resolved",
        ],
        server_is_gone,
    ),
    "a memory card that breaks": Fault(
        "raspberry-pi",
        (at(12), at(12, 15)),
        ["12:11 file_system_read_only mount=/ critical fired"],
        card_breaks,
    ),
    "a clock that is off by 20 s": Fault(
        "raspberry-pi",
        (at(12), at(12, 15)),
        ["12:05 clock_skew warning fired"],
        changes={"clock_error": lambda _second: -20.0},
    ),
    "a network that is away": Fault(
        "vm",
        (at(13), at(13, 20)),
        ["13:06 host_silent critical fired", "13:12 host_silent ok resolved"],
        changes={"outages": ((at(13, 5), at(13, 12)),)},
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_and_nothing_else_is_told(name: str, tmp_path: Path) -> None:
    fault = FAULTS[name]
    kind = replace(KINDS[fault.kind], **fault.changes)
    begin, end = fault.recorded
    arrivals = record(kind, tmp_path, begin=begin, end=end, alter=fault.alter)
    (happened,) = play([load_rules([defaults()])], fault.kind, arrivals)
    assert [line_of(one) for one in happened] == fault.expected
