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
_DUMP = at(15), at(17)  # one large file, for two hours
# The backup of the night stays for a day; that of the night before goes once it is there.
_BACKUPS = [(_BACKUP[0], 0.725), (_BACKUP[1], 0.79), (at(6), 0.79), (at(6, 10), 0.727), (DAY, 0.73)]
_SHARE = "/mnt/dead-nfs"
_DISKS = "abcdefghij"
_CORES = [f"hwmon{chip}/temp{number}" for chip in (1, 2) for number in (1, 2, 3)]  # each package and two of its cores
_TIB = 1 << 40
_CORES = [f"hwmon{chip}/temp{number}" for chip in (1, 2) for number in (1, 2, 3)]  # each package and two of its cores
# What ZFS has of its pools in memory: 40 GiB, of which it gives back all but 8 when programs need it.
_ARCSTATS = f"""13 1 0x01 147 39984 5283647 93784270000000
name                            type data
c_min                           4    {8 << 30}
c_max                           4    {125 << 30}
size                            4    {40 << 30}
"""


def _levels(second: float) -> Levels:
    backup, check = within(second, _BACKUP), within(second, _CHECK)
    visitors = wave(second, 0.08, 0.4)
    busy = visitors + (0.12 if backup else 0.0) + 0.03 * jitter(second)
    each = Traffic((1.2e8 if check else 4e5) + (2e6 if backup else 0), 1.6e7 if backup else 6e5, 0.85 if check else 0.1)
    uplink = Traffic(4e7 * visitors, 6e7 * visitors)
    other = uplink._replace(read=1.4e8) if backup else uplink
    dump = 0.03 if within(second, _DUMP) else 0.0
    return Levels(
        busy=busy,
        iowait=0.06 if check else 0.01,
        load=round(80 * busy) + (6 if check else 0),
        memory=0.96 + 0.005 * jitter(second, 3),
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
            "eno1": uplink,
            "eno2": other,
            "eno3": Traffic(2e6, 3e5),
            "bond0": Traffic(uplink.read + other.read, uplink.written + other.written),
        },
        use={
            "/": Use(0.24),
            "/srv/data": Use(along(second, _BACKUPS) + dump),
            "/srv/db": Use(0.89),
            _SHARE: Use(0.55, 8 * _TIB),
        },
        mounts={"/tank": Mounted("tank", "zfs", "rw,xattr,noacl", 40 * _TIB, 0.63)},
        silent=frozenset({_SHARE} if within(second, *_HICCUPS) else ()),
        files=_sensors(second, busy) | {"proc/spl/kstat/zfs/arcstats": _ARCSTATS},
    )


def _sensors(second: float, busy: float) -> dict[str, object]:
    celsius = 48 + round(30 * busy) + round(jitter(second, 1))
    drive = 45 if within(second, _CHECK) else 40 + round(jitter(second, 2))
    clock = 2800000 if busy > 0.25 else 1200000
    files: dict[str, object] = {f"sys/class/hwmon/{one}_input": celsius * 1000 for one in _CORES}
    for number, letter in enumerate(_DISKS[:4]):
        chip = _drive_sensor(letter, drive - number)
        files |= {f"sys/class/hwmon/hwmon1{number}/{name}": content for name, content in chip.items()}
    for number in range(80):
        files[f"sys/devices/system/cpu/cpufreq/policy{number}/scaling_cur_freq"] = clock
    files["sys/class/hwmon/hwmon3/temp1_input"] = 41850
    files["sys/class/hwmon/hwmon4/temp1_input"] = 55850 if at(9) < second < at(21) else 47850
    return files


def _drive_sensor(letter: str, celsius: int) -> dict[str, object]:
    return {
        "name": "drivetemp",
        f"device/block/sd{letter}/size": 8001563222016,
        "temp1_input": celsius * 1000,
        "temp1_max": 60000,
        "temp1_crit": 65000,
    }


SERVER = Kind(name="server", tree="server", levels=_levels, narrow=("eno3",))
