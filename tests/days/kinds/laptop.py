"""A ThinkPad: asleep at night and over lunch, on its battery by day, builds programs now and then.

Before midnight it stands in a dock with a network interface and a disk.
"""

from ..kind import Gap, Kind
from ..levels import GIB, Levels, Mounted, Traffic, Use, along, at, jitter, within

__all__ = ["LAPTOP"]

_UNDOCKED, _PULLED = at(0, 22), at(0, 21)
_NAP = at(0, 32), at(0, 41)
_NIGHT = at(0, 57), at(7, 30)
_LUNCH = at(12, 30), at(13, 15)
_EVENING = at(23), at(24)
_ASLEEP = _NAP, _NIGHT, _LUNCH, _EVENING
_MAINS = (at(0), _UNDOCKED), (at(7, 35), at(9)), (at(18), at(24))
_CHARGE = [
    (0, 97),
    (_UNDOCKED, 100),
    (_NAP[0], 97),
    (_NIGHT[0], 92),
    (_NIGHT[1], 86),
    (at(9), 100),
    (_LUNCH[0], 68),
    (_LUNCH[1], 67),
    (at(18), 23),
    (at(20, 30), 100),
]
_LONG_BUILD = at(0, 5), at(0, 18)
_SHORT_BUILD = 200.0  # every hour by day
_BURST = 28.0
_BURSTS = _LONG_BUILD[0], *(at(hour) for hour in range(8, 23) if hour != 13)  # then it is asleep
_FULLNESS = [(0, 0.71), (_LONG_BUILD[0], 0.71), (_LONG_BUILD[1], 0.74), (at(0, 20), 0.72), (at(24), 0.73)]
_AIRPLANE = at(16), at(16, 0, 50)  # no radio: neither network nor a sensor of it
_DOCK = "enx00e04c680001"
_DOCK_FILES = {"operstate": "up", "speed": 1000, "device/uevent": "DRIVER=r8152"}
_CORES = (1, 2, 6, 10, 14, 18, 19, 20, 21, 22, 23, 24, 25)
_FULL = 54320000


def _levels(second: float) -> Levels:
    building = _builds(second)
    docked, plugged = second < _UNDOCKED, second < _PULLED
    disk = Traffic(4e6, 3e7, 0.1) if building else Traffic(2e5, 4e5, 0.01)
    network = Traffic(4e6, 2e5) if docked or building else Traffic(6e4, 1e4)
    levels = Levels(
        busy=0.97 if building else 0.06 + 0.03 * jitter(second),
        load=18.0 if building else 0.7,
        memory=0.72 if building else 0.58 + 0.02 * jitter(second, 1),
        swap=0.06,
        major_faults=12.0 if building else 0.5,
        pressure={"cpu": (60.0, 0.0) if building else (0.5, 0.0), "io": (2.0, 1.0) if building else (0.1, 0.1)},
        disks={"nvme0n1": disk, "dm-0": disk},
        use={mount: Use(along(second, _FULLNESS)) for mount in ("/", "/home")},
        files=_sensors(second) | _battery(second),
    )
    radio = not docked and not within(second, _AIRPLANE)
    levels.files["sys/class/net/wlp0s20f3/operstate"] = "up" if radio else "down"
    levels.files["sys/class/hwmon/hwmon7/temp1_input"] = 43000 if radio else None
    if radio:
        levels.interfaces["wlp0s20f3"] = network
    if docked:
        levels.interfaces[_DOCK] = network
        levels.files |= {f"sys/class/net/{_DOCK}/{name}": content for name, content in _DOCK_FILES.items()}
    if plugged:
        levels.disks["sdb"] = Traffic(0, 3e7, 0.7)
        levels.mounts["/run/media/anna/Backup"] = Mounted("/dev/sdb1", "ext4", "rw,nosuid,nodev", 1000 * GIB, 0.87)
        levels.files |= {"sys/block/sdb/size": 2000409264, "sys/block/sdb/device/model": "Portable SSD"}
    return levels


def _builds(second: float) -> bool:
    return within(second, _LONG_BUILD) or (within(second, (at(8), at(23))) and second % at(1) < _SHORT_BUILD)


def _sensors(second: float) -> dict[str, object]:
    """Return heat, fan and clock.

    It takes what power it may for half a minute, in which heat slows it down for a good part of the time. Then it turns
    its clock down to stay below its limit of 100 °C.
    """
    building = _builds(second)
    celsius = 52
    if building:
        begun = second - _LONG_BUILD[0] if within(second, _LONG_BUILD) else second % at(1)
        celsius = 95 + round(jitter(second)) if within(second, _LONG_BUILD) else 90 + round(4 * jitter(second))
        celsius = 99 if begun < _BURST else celsius
    clock = 2900000 if building else 900000
    slowed = sum(round(600 * min(max(0.0, second - begin), _BURST)) for begin in _BURSTS)  # milliseconds
    return {
        **{f"sys/class/hwmon/hwmon6/temp{core}_input": (celsius - core % 3) * 1000 for core in _CORES},
        "sys/class/thermal/thermal_zone2/temp": celsius * 1000,
        "sys/class/hwmon/hwmon5/temp1_input": (celsius - 2) * 1000,
        "sys/class/hwmon/hwmon5/fan1_input": 4400 if building else 0,
        "sys/class/hwmon/hwmon3/temp1_input": 61850 if building else 36850,
        **{f"sys/devices/system/cpu/cpufreq/policy{number}/scaling_cur_freq": clock for number in range(16)},
        **{
            f"sys/devices/system/cpu/cpu{number}/thermal_throttle/package_throttle_total_time_ms": 20816 + slowed
            for number in range(16)
        },
    }


def _battery(second: float) -> dict[str, object]:
    charge, mains = along(second, _CHARGE), within(second, *_MAINS)
    is_full = charge >= 100
    power = 31000000 if _builds(second) else 7800000
    battery = {
        "status": "Full" if mains and is_full else "Charging" if mains else "Discharging",
        "capacity": int(charge),
        "energy_now": int(charge * 10) * _FULL // 1000,
        "power_now": 0 if mains and is_full else power,
    }
    files: dict[str, object] = {f"sys/class/power_supply/BAT0/{name}": value for name, value in battery.items()}
    return files | {"sys/class/power_supply/AC/online": int(mains)}


def _clock_error(second: float) -> float:
    """The clock of the board, which counts whole seconds, sets it at each waking; NTP sets it right soon after."""
    return -0.8 if any(end <= second < end + 38 for _, end in _ASLEEP) else 0.0


LAPTOP = Kind(
    name="laptop",
    tree="laptop",
    levels=_levels,
    gaps=tuple(Gap(begin, end, suspended=True) for begin, end in _ASLEEP),
    outages=(
        (_UNDOCKED, _UNDOCKED + 6),
        _AIRPLANE,
        (at(11), at(11, 1, 30)),
        *((end, end + 4) for _, end in _ASLEEP),
    ),
    clock_error=_clock_error,
)
