"""A server with two processors, ten disks in a RAID, a pool of ZFS and an NFS share.

Its backup and the check of its RAID run at night; the NFS server is away for 40 s now and then.
"""

from ..kind import Kind
from ..levels import DAY, Levels, Mounted, Traffic, Use, along, at, jitter, wave, within

__all__ = ["SERVER"]

_BACKUP = at(0, 10), at(4, 40)
_CHECK = at(0, 57), at(7, 20)
_SCRUB = at(2), at(5, 30)
_HICCUPS = (at(0, 40, 5), at(0, 40, 45)), (at(11, 0, 5), at(11, 0, 45))
_DUMP = at(15), at(15, 12)  # one large file, which is gone two hours later
_SHARE = "/mnt/dead-nfs"
_DISKS = "abcdefghij"
_CORES = [f"hwmon{chip}/temp{number}" for chip in (1, 2) for number in (1, 2, 3)]  # each package and two of its cores
_TIB = 1 << 40
_CACHE = 150 * (1 << 30)  # of ZFS, in memory; it gives up all but 8 GiB when programs need it


def _levels(second: float) -> Levels:
    backup, check = within(second, _BACKUP), within(second, _CHECK)
    visitors = wave(second, 0.08, 0.4)
    busy = visitors + (0.12 if backup else 0.0) + 0.03 * jitter(second)
    celsius = 48 + round(30 * busy) + round(jitter(second, 1))
    hot = 45 if check else 40 + round(jitter(second, 2))
    each = Traffic((1.2e8 if check else 4e5) + (2e6 if backup else 0), 1.6e7 if backup else 6e5, 0.85 if check else 0.1)
    clock = 2800000 if busy > 0.25 else 1200000
    return Levels(
        busy=busy,
        iowait=0.06 if check else 0.01,
        load=round(80 * busy) + (6 if check else 0),
        memory=0.92 + 0.005 * jitter(second, 3),
        swap=0.01,
        major_faults=30.0 if backup else 2.0,
        pressure={
            "cpu": (2.0, 0.0),
            "io": (45.0, 30.0) if check and backup else (25.0, 15.0) if check else (2.0, 1.0),
            "memory": (0.4, 0.3) if backup else (0.0, 0.0),
        },
        disks={f"sd{letter}": each for letter in _DISKS}
        | {
            "md0": Traffic(8 * each.read, 8 * each.written),
            "nvme0n1": Traffic(1e5, 9e5, 0.02),
            "nvme1n1": Traffic(4e7 * visitors, 3e7 * visitors, 0.2),
        },
        interfaces={
            "eno1": Traffic(1.4e8 if backup else 4e7 * visitors, 6e7 * visitors),
            "eno2": Traffic(4e7 * visitors, 6e7 * visitors),
            "eno3": Traffic(2e6, 3e5),
            "bond0": Traffic((1.4e8 if backup else 4e7 * visitors) + 4e7 * visitors, 1.2e8 * visitors),
        },
        use={
            "/": Use(0.24),
            # The backup of the night stays for a day, that of the night before goes once it is there.
            "/srv/data": Use(
                along(second, [(_BACKUP[0], 0.725), (_BACKUP[1], 0.79), (at(6), 0.79), (at(6, 10), 0.727), (DAY, 0.73)])
                + (0.03 if within(second, (_DUMP[1], at(17))) else 0.0)
            ),
            "/srv/db": Use(0.89),
            _SHARE: Use(0.55, 8 * _TIB),
        },
        mounts={"/tank": Mounted("tank", "zfs", "rw,xattr,noacl", 40 * _TIB, 0.63)},
        silent=frozenset({_SHARE} if within(second, *_HICCUPS) else ()),
        files={
            "proc/spl/kstat/zfs/arcstats": _arcstats(),
            **{
                f"sys/class/hwmon/hwmon{chip}/temp{core}_input": celsius * 1000 for chip in (1, 2) for core in (1, 2, 3)
            },
            **{
                f"sys/class/hwmon/hwmon1{number}/{name}": content
                for number, letter in enumerate(_DISKS[:4])
                for name, content in _drive_sensor(letter, hot - number).items()
            },
            "sys/class/hwmon/hwmon3/temp1_input": 41850,
            "sys/class/hwmon/hwmon4/temp1_input": 55850 if visitors > 0.2 else 47850,
            **{f"sys/devices/system/cpu/cpufreq/policy{number}/scaling_cur_freq": clock for number in range(80)},
        },
    )


def _drive_sensor(letter: str, celsius: int) -> dict[str, object]:
    return {
        "name": "drivetemp",
        f"device/block/sd{letter}/size": 8001563222016,
        "temp1_input": celsius * 1000,
        "temp1_max": 60000,
        "temp1_crit": 65000,
    }


def _arcstats() -> str:
    values = {"c_min": 8 << 30, "c_max": 200 << 30, "size": _CACHE}
    return "13 1 0x01 147 39984 52 9\nname type data\n" + "".join(
        f"{name} 4 {value}\n" for name, value in values.items()
    )


SERVER = Kind(name="server", tree="server", levels=_levels, narrow=("eno3",))
