"""The hardware monitoring chips of sysfs: where they are, what to call them, and which temperatures to believe.

A chip's number (hwmon3) changes from boot to boot, so nothing is named after it. A chip is called by its driver's
name; where several have the same one by the device it belongs to; and that of a drive always by the drive.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from ..files import list_directory, read_int, read_text

__all__ = ["Channel", "Chip", "Watch", "chips", "cpu_temperature_paths", "read_celsius", "slug", "zones"]

_CPU_CHIPS = frozenset({"coretemp", "k10temp", "zenpower", "cpu_thermal", "scpi_sensors"})
_CPU_LABELS = ("package id", "physical id", "tdie", "tctl")
_CPU_ZONES = frozenset({"x86_pkg_temp", "cpu-thermal", "cpu_thermal", "soc_thermal", "soc-thermal", "cpu0-thermal"})
_DRIVER_SUFFIX = re.compile(r"\.0$")
_LONGEST_SLUG = 64

_MILLIDEGREES = 1000
# What lies outside is a channel that nothing is connected to, not a temperature.
_LOWEST_CELSIUS, _HIGHEST_CELSIUS = -40.0, 125.0


class Channel(NamedTuple):
    """One temperature or fan of a chip: the common start of its files, its number and its label."""

    stem: str
    number: int
    label: str | None


class Chip(NamedTuple):
    """One chip: its name, unique and stable; the driver's name; the directory of its files."""

    name: str
    driver: str
    path: str

    def channels(self, kind: str) -> Iterator[Channel]:
        """Yield the channels of a kind (`temp`, `fan`) that have an input, by number."""
        inputs = re.compile(rf"{kind}(\d{{1,4}})_input")
        for number in sorted(int(found[1]) for file in list_directory(self.path) if (found := inputs.fullmatch(file))):
            stem = f"{self.path}/{kind}{number}"
            yield Channel(stem, number, read_text(f"{stem}_label"))


class Watch:
    """Tells when a chip or thermal zone has come or gone: a drive was plugged in, a driver loaded."""

    def __init__(self, sys: str) -> None:
        self._paths = f"{sys}/class/hwmon", f"{sys}/class/thermal"
        self._seen: list[list[str]] | None = None

    def changed(self) -> bool:
        """Return whether it is not as it was at the last call; true at the first."""
        before, self._seen = self._seen, [list_directory(path) for path in self._paths]
        return self._seen != before


def slug(text: str) -> str:
    """Return text as a part of a name: lower case, anything but letters and digits an underscore."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:_LONGEST_SLUG]


def read_celsius(path: str) -> float | None:
    """Return the temperature in a file of thousandths of a degree; None where there is none that can be believed.

    Exactly 0 is what most boards say of a channel that is not connected.
    """
    raw = read_int(path)
    if not raw or not _LOWEST_CELSIUS < raw / _MILLIDEGREES <= _HIGHEST_CELSIUS:
        return None
    return round(raw / _MILLIDEGREES, 1)


def chips(sys: str) -> list[Chip]:
    """Return the chips of a machine, ordered by driver and device."""
    root = f"{sys}/class/hwmon"
    found = []
    for directory in list_directory(root):
        for path in (f"{root}/{directory}", f"{root}/{directory}/device"):  # where old drivers have their files
            if driver := slug(read_text(f"{path}/name") or ""):
                found.append((driver, os.path.realpath(f"{root}/{directory}/device"), path))
                break
    several = Counter(driver for driver, _, _ in found)
    names: Counter[str] = Counter()
    named = []
    for driver, device, path in sorted(found):
        name = _name(driver, device, alone=several[driver] == 1)
        names[name] += 1
        named.append(Chip(name if names[name] == 1 else f"{name}_{names[name]}", driver, path))
    return named


def _name(driver: str, device: str, *, alone: bool) -> str:
    own = os.path.basename(device)  # noqa: PTH119
    if driver == "drivetemp" and (drives := list_directory(f"{device}/block")):
        return slug(drives[0])
    if driver == "nvme" and own.startswith("nvme"):
        return slug(own)
    if alone or own == "device":  # without a device link there is nothing better
        return driver
    short = slug(_DRIVER_SUFFIX.sub("", own.removeprefix("0000:")))
    return short if short.startswith(driver) else f"{driver}_{short}"


def zones(sys: str) -> list[tuple[str, str]]:
    """Return the kind and the directory of each thermal zone."""
    root = f"{sys}/class/thermal"
    names = [name for name in list_directory(root) if name.startswith("thermal_zone")]
    return [(kind, f"{root}/{name}") for name in names if (kind := read_text(f"{root}/{name}/type"))]


def cpu_temperature_paths(sys: str) -> list[str]:
    """Return the files, in thousandths of a degree, that tell the temperature of each processor package."""
    paths = []
    for chip in chips(sys):
        if chip.driver in _CPU_CHIPS:
            channels = list(chip.channels("temp"))
            named = [one for one in channels if one.label and one.label.lower().startswith(_CPU_LABELS)]
            # Tctl may carry an offset for the fan's sake; Tdie, where both are, is the truth.
            true = [one for one in named if one.label and one.label.lower() == "tdie"]
            paths += [f"{one.stem}_input" for one in (true or named or channels[:1])]
    return paths or [f"{zone}/temp" for kind, zone in zones(sys) if kind in _CPU_ZONES]
