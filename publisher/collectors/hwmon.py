"""The hardware monitoring chips of sysfs: where they are and what to call them.

A chip's number (hwmon3) changes from boot to boot, so nothing is named after it. A chip is called by its driver's
name; where several have the same one, and for NVMe always, by the device it belongs to.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from ..files import list_directory, read_text

__all__ = ["Channel", "Chip", "chips", "cpu_temperature_paths", "slug"]

_CPU_CHIPS = frozenset({"coretemp", "k10temp", "zenpower", "cpu_thermal", "scpi_sensors"})
_CPU_LABELS = ("package id", "physical id", "tdie", "tctl")
_CPU_ZONES = frozenset({"x86_pkg_temp", "cpu-thermal", "cpu_thermal", "soc_thermal", "soc-thermal", "cpu0-thermal"})
_DRIVER_SUFFIX = re.compile(r"\.0$")


class Channel(NamedTuple):
    """One temperature or fan of a chip: the common start of its files, its number and its label."""

    stem: str
    number: int
    label: str | None


class Chip(NamedTuple):
    """One chip: its name, unique and stable; the driver's name; its directory; the device it belongs to."""

    name: str
    driver: str
    path: str
    device: str

    def channels(self, kind: str) -> Iterator[Channel]:
        """Yield the channels of a kind (`temp`, `fan`) that have an input."""
        for file in list_directory(self.path):
            if file.startswith(kind) and file.endswith("_input") and (digits := file[len(kind) : -6]).isdigit():
                stem = f"{self.path}/{kind}{digits}"
                yield Channel(stem, int(digits), read_text(f"{stem}_label"))


def slug(text: str) -> str:
    """Return text as a part of a name: lower case, anything but letters and digits an underscore."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def chips(sys: str) -> list[Chip]:
    """Return the chips of a machine, ordered by name."""
    root = f"{sys}/class/hwmon"
    found = []
    for directory in list_directory(root):
        path = f"{root}/{directory}"
        driver = read_text(f"{path}/name")
        if driver is not None:
            device = os.path.basename(os.path.realpath(f"{path}/device"))  # noqa: PTH119
            found.append((slug(driver), device, path))
    several = Counter(driver for driver, _, _ in found)
    return sorted(
        Chip(_name(driver, device, alone=several[driver] == 1), driver, path, device) for driver, device, path in found
    )


def _name(driver: str, device: str, *, alone: bool) -> str:
    if driver == "nvme":
        return slug(device)
    if alone or device == "device":  # without a device link there is nothing better
        return driver
    short = slug(_DRIVER_SUFFIX.sub("", device.removeprefix("0000:")))
    return short if short.startswith(driver) else f"{driver}_{short}"


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
    if paths:
        return paths
    zones = f"{sys}/class/thermal"
    return [
        f"{zones}/{zone}/temp"
        for zone in list_directory(zones)
        if zone.startswith("thermal_zone") and read_text(f"{zones}/{zone}/type") in _CPU_ZONES
    ]
