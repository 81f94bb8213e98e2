"""A desktop for games and work: a hot graphics card, fans that stand still, channels without a sensor, snaps.

After midnight a game ends and another one is loaded down; in the evening it is started again for a new kernel.
"""

from ...drives import answer
from ..kind import Boot, Kind
from ..levels import DAY, GIB, Levels, Mounted, Traffic, Use, along, at, jitter, within

__all__ = ["DESKTOP"]

_GAMING = (at(0), at(0, 40)), (at(18), at(20, 10)), (at(21), at(24))
_DOWNLOAD = at(0, 5), at(0, 50)
_STICK = (at(0, 30), at(0, 33)), (at(14), at(14, 3))
_IMAGE = at(16), at(16, 20)
_BUILDS = (at(10), at(10, 25)), (at(15), at(15, 40))
_REFRESHED = at(3, 10)  # snapd keeps the old revision
_REBOOT = at(20, 30), at(20, 30, 52)
_ARCHIVE = (at(0), at(0, 10)), (at(9), at(11))  # its disk sleeps for the rest of the day
_ASLEEP = {"/dev/sda": answer("made/asleep")}
_CARD = "sys/class/hwmon/hwmon2"
_BOARD = "sys/class/hwmon/hwmon4"


def _levels(second: float) -> Levels:
    gaming, building = within(second, *_GAMING), within(second, *_BUILDS)
    loading = within(second, _DOWNLOAD)
    busy = 0.98 if building else 0.35 + 0.1 * jitter(second) if gaming else 0.03
    return Levels(
        busy=busy,
        load=17.0 if building else 5.0 if gaming else 0.4,
        memory=0.62 if gaming or building else 0.3,
        major_faults=20.0 if gaming else 0.1,
        pressure={
            "cpu": (70.0, 0.0) if building else (1.0, 0.0),
            "io": (9.0, 6.0) if loading else (0.2, 0.1),
            "memory": (0.0, 0.0),
        },
        disks={
            "nvme0n1": Traffic(3e7 if gaming else 1e5, 9e7 if loading else 5e5, 0.35 if loading else 0.02),
            "sda": Traffic(0, 2e3, 0.0),
        },
        interfaces={"enp6s0": Traffic(3.8e7 if loading else 4e5 if gaming else 2e4, 4e5 if loading else 1e4)},
        use={
            "/": Use(0.46 + 0.01 * second / DAY),
            "/home": Use(along(second, [(_DOWNLOAD[0], 0.70), (_DOWNLOAD[1], 0.88), (at(9), 0.88), (at(9, 1), 0.74)])),
        },
        mounts=_mounts(second),
        drives={} if within(second, *_ARCHIVE) else _ASLEEP,
        files=_sensors(second, gaming=gaming, building=building),
    )


def _sensors(second: float, *, gaming: bool, building: bool) -> dict[str, object]:
    loading = within(second, _DOWNLOAD)
    celsius = 88.5 + jitter(second) if building else 76 + 3 * jitter(second) if gaming else 44
    edge = 76 + round(2 * jitter(second, 1)) if gaming else 41
    clock = 4500000 if building or gaming else 2200000
    return {
        "sys/class/hwmon/hwmon1/temp1_input": round(celsius * 8) * 125,
        "sys/class/hwmon/hwmon1/temp3_input": round(celsius * 4) * 250,
        f"{_CARD}/temp1_input": edge * 1000,
        f"{_CARD}/temp2_input": (edge + 14 if gaming else 44) * 1000,
        f"{_CARD}/temp3_input": (94 if gaming else 48) * 1000,
        f"{_CARD}/fan1_input": 1700 if gaming else 0,
        "sys/class/hwmon/hwmon0/temp1_input": 70850 if loading else 42850,
        "sys/class/hwmon/hwmon0/temp2_input": 77850 if loading else 44850,
        f"{_BOARD}/temp1_input": 38000 if gaming or building else 33000,
        f"{_BOARD}/temp2_input": 55000 if gaming or building else 36000,
        # A channel that nothing is connected to shows whatever the board makes of it.
        f"{_BOARD}/temp3_input": round(104 + jitter(second, 3)) * 1000,
        f"{_BOARD}/temp4_input": -62000,
        f"{_BOARD}/temp5_input": 127000,
        f"{_BOARD}/fan1_input": 1500 if building else 640,
        f"{_BOARD}/fan2_input": 1900 if building else 0,
        **{f"sys/devices/system/cpu/cpufreq/policy{number}/scaling_cur_freq": clock for number in range(16)},
    }


def _mounts(second: float) -> dict[str, Mounted]:
    mounts = {}
    if within(second, *_STICK):
        mounts["/media/anna/STICK"] = Mounted("/dev/sdb1", "vfat", "rw,nosuid,nodev,relatime", 32e9, 0.95)
    if within(second, _IMAGE):
        mounts["/media/anna/Installer"] = Mounted("/dev/loop9", "iso9660", "ro,nosuid,nodev,relatime", 6 * GIB, 1.0)
    if second >= _REFRESHED:
        mounts["/snap/firefox/5561"] = Mounted("/dev/loop3", "squashfs", "ro,nodev,relatime", 280e6, 1.0)
    return mounts


DESKTOP = Kind(
    name="desktop",
    tree="desktop",
    levels=_levels,
    boots=(Boot(0.0, _REBOOT[0]), Boot(_REBOOT[1], DAY, uptime=18.0)),
)
