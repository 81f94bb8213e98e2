"""A Raspberry Pi 4 on a wireless network: warm in the afternoon, with a firmware partition that is read-only.

The power goes for a moment shortly after midnight. It has no clock of its own: until it has asked the network it begins
where a note on its card says, an hour ago.
"""

from ..kind import Boot, Kind
from ..levels import DAY, Levels, Traffic, Use, at, jitter, wave, within

__all__ = ["RASPBERRY_PI"]

_CUT, _BACK = at(0, 20), at(0, 20, 44)
_BOOT = 25.0
_NOTED = -at(0, 43)  # what time it was is written down once an hour, at 17 minutes past
_ASKED = _BACK + 47
_UPDATE = at(0, 44), at(0, 49)
_OUTAGES = (at(0, 52), at(0, 52, 40)), (at(15, 12), at(15, 12, 40)), (at(20, 3), at(20, 3, 25))
_ZONE = "sys/class/thermal/thermal_zone0"


def _levels(second: float) -> Levels:
    updating = within(second, _UPDATE)
    celsius = wave(second, 49, 73) + 2 * jitter(second) + (4 if updating else 0)
    share = 0.6 if updating else 0.1 + 0.04 * jitter(second, 1)
    return Levels(
        busy=share,
        iowait=0.08 if updating else 0.01,
        load=round(3 * share, 1),
        memory=0.45 + 0.01 * jitter(second, 2),
        major_faults=60.0 if updating else 0.1,
        disks={"mmcblk0": Traffic(2e6 if updating else 0, 3e6 if updating else 4e4, 0.5 if updating else 0.02)},
        interfaces={"wlan0": Traffic(9e5 if updating else 4e3, 2e4 if updating else 7e3)},
        use={"/": Use(0.70 + 0.004 * second / DAY + (0.01 if second > _UPDATE[0] else 0.0))},
        remounted={"/boot/firmware": "rw,relatime" if updating else "ro,relatime"},
        files={
            f"{_ZONE}/temp": round(celsius) * 1000,
            f"{_ZONE}/hwmon0/temp1_input": round(celsius) * 1000,
            "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": 1800000 if share > 0.3 else 600000,
            "sys/class/net/wlan0/operstate": "up",
        },
    )


def _clock_error(second: float) -> float:
    return _NOTED - (_BACK - _BOOT) if _BACK <= second < _ASKED else 0.0


RASPBERRY_PI = Kind(
    name="raspberry-pi",
    tree="raspberry-pi",
    levels=_levels,
    boots=(Boot(0.0, _CUT, proper=False), Boot(_BACK, DAY, uptime=_BOOT)),
    outages=_OUTAGES,
    clock_error=_clock_error,
)
