"""A small web and database server in a virtual machine: 4 GiB, swap in use, neighbours that take its CPU."""

from ..kind import Gap, Kind
from ..levels import Levels, Traffic, Use, along, at, jitter, wave, within

__all__ = ["VM"]

_UPGRADE = at(0, 10), at(0, 18)
_SQUEEZE = at(0, 14), at(0, 14, 30)  # while the package manager has everything in memory
_LOAD = (at(0, 16), at(0, 16, 40)), (at(9), at(9, 3)), (at(13, 30), at(13, 34)), (at(19), at(19, 2))
_NEIGHBOURS = (at(0, 35), at(0, 41)), (at(8), at(8, 20)), (at(14), at(14, 8)), (at(20, 15), at(20, 40))
_MIGRATED = at(0, 30)
_RESIZED = at(9, 45)
_SIZE, _GROWN = 107e9, 160e9
_DATABASE = [(0, 80e9), (at(24), 84e9)]
_LOGS = [(0, 0.84), (at(0, 5), 0.84), (at(0, 8), 0.62), (at(24), 0.84)]  # rotated a little after midnight


def _levels(second: float) -> Levels:
    visitors = wave(second, 0.08, 0.45)
    upgrading, squeezed = within(second, _UPGRADE), within(second, _SQUEEZE)
    busy = min(0.75, visitors * (1 + 0.3 * jitter(second)) + (0.35 if upgrading else 0.0))
    memory = 0.84 + 0.015 * jitter(second, 1)
    if within(second, (at(0, 12), at(0, 15, 30)), *_LOAD):
        memory = 0.92
    size = _GROWN if second >= _RESIZED else _SIZE
    return Levels(
        busy=busy,
        iowait=0.15 if squeezed else 0.03,
        steal=0.4 if within(second, *_NEIGHBOURS) else 0.02 + 0.01 * jitter(second, 2),
        load=round(4 * busy, 2),
        memory=0.965 if squeezed else memory,
        swap=0.6 if squeezed else 0.27,
        major_faults=1800.0 if squeezed else 40.0 if upgrading else 1.0,
        disks={
            "vda": Traffic(8e6 if upgrading else 2e5, 6e6 if upgrading else 6e5, 0.4 if upgrading else 0.03),
            "vdb": Traffic(1e6 * visitors, 3e6 * visitors, 0.1),
        },
        interfaces={"ens3": Traffic(2e6 * visitors, 6e6 * visitors), "lo": Traffic(1e4, 1e4)},
        use={
            "/": Use(along(second, _LOGS)),
            "/var/lib/mysql": Use(along(second, _DATABASE) / size, size),
        },
    )


def _clock_error(second: float) -> float:
    """A live migration leaves the clock 8 s behind; chrony asks after a minute and slews it for 100 s."""
    return along(
        second,
        [(_MIGRATED, 0.0), (_MIGRATED + 8, -8.0), (_MIGRATED + 72, -8.0), (_MIGRATED + 172, 0.0)],
    )


VM = Kind(
    name="vm",
    tree="vm",
    levels=_levels,
    gaps=(
        Gap(_MIGRATED, _MIGRATED + 8, suspended=False),
        Gap(at(0, 45), at(0, 45, 5), suspended=False),  # frozen for a snapshot
        Gap(at(12), at(12, 0, 5), suspended=False),
    ),
    clock_error=_clock_error,
)
