"""What this machine is, gathered once at the start."""

import os
import platform
from collections.abc import Mapping, Sequence

from msgspec import UNSET

from hostpulse import __version__
from hostpulse.bus.codec import VERSION
from hostpulse.bus.inventory import Drive, Interface, Inventory, Processor
from hostpulse.bus.times import format_timestamp

from .collectors.disk import block_devices
from .collectors.memory import parse_meminfo
from .collectors.patterns import matches
from .collectors.system import platform_name
from .files import list_directory, read_bytes, read_int, read_text
from .machine import Machine

__all__ = ["take_inventory"]

_SECTOR_BYTES = 512
_KILOHERTZ = 1000


def take_inventory(
    machine: Machine,
    *,
    host: str,
    session: float,
    intervals: Mapping[str, float],
    ignore_interfaces: Sequence[str] = (),
    ignore_devices: Sequence[str] = (),
) -> Inventory:
    """Return what the machine is.

    Args:
        machine: the machine.
        host: name that it is published under.
        session: start of the publisher, seconds since the epoch.
        intervals: seconds between two readings, by collector.
        ignore_interfaces: patterns of interfaces to leave out.
        ignore_devices: patterns of block devices to leave out.
    """
    memory = parse_meminfo(read_bytes(f"{machine.proc}/meminfo") or b"")
    dmi = f"{machine.sys}/class/dmi/id"
    return Inventory(
        v=VERSION,
        host=host,
        timestamp=format_timestamp(machine.clock.wall()),
        session=format_timestamp(session),
        versions={"hostpulse": __version__, "python": platform.python_version()},
        intervals=dict(intervals),
        platform=platform_name(machine) or platform.platform(aliased=True, terse=True),
        kernel=read_text(f"{machine.proc}/sys/kernel/osrelease") or platform.release(),
        vendor=read_text(f"{dmi}/sys_vendor") or UNSET,
        product=read_text(f"{dmi}/product_name") or _device_tree_model(machine) or UNSET,
        memory_bytes=memory.get(b"MemTotal", UNSET),
        swap_bytes=memory.get(b"SwapTotal", UNSET),
        processor=_processor(machine),
        drives={name: _drive(f"{machine.sys}/block/{name}") for name in block_devices(machine.sys, ignore_devices)},
        interfaces={
            name: _interface(f"{machine.sys}/class/net/{name}")
            for name in list_directory(f"{machine.sys}/class/net")
            if not matches(name, ignore_interfaces)
        },
    )


def _cpuinfo(machine: Machine) -> dict[str, str]:
    """Return the last value of each key of /proc/cpuinfo."""
    values = {}
    for line in (read_text(f"{machine.proc}/cpuinfo") or "").splitlines():
        key, colon, value = line.partition(":")
        if colon:
            values[key.strip()] = value.strip()
    return values


def _device_tree_model(machine: Machine) -> str | None:
    return _cpuinfo(machine).get("Model") or read_text(f"{machine.sys}/firmware/devicetree/base/model")


def _processor(machine: Machine) -> Processor:
    info = _cpuinfo(machine)
    root = f"{machine.sys}/devices/system/cpu"
    threads = [name for name in list_directory(root) if name[:3] == "cpu" and name[3:].isdigit()]
    places = [
        (read_int(f"{root}/{name}/topology/physical_package_id"), read_int(f"{root}/{name}/topology/core_id"))
        for name in threads
    ]
    known = {place for place in places if None not in place}
    maximum = read_int(f"{root}/cpu0/cpufreq/cpuinfo_max_freq")
    return Processor(
        model=info.get("model name") or info.get("Processor") or info.get("Model") or platform.processor() or UNSET,
        architecture=platform.machine() or UNSET,
        packages=len({package for package, _ in known}) or UNSET,
        cores=len(known) or UNSET,
        threads=len(threads) or os.cpu_count() or UNSET,
        maximum_hertz=UNSET if maximum is None else maximum * _KILOHERTZ,
    )


def _drive(directory: str) -> Drive:
    sectors, rotational = read_int(f"{directory}/size"), read_int(f"{directory}/queue/rotational")
    return Drive(
        model=read_text(f"{directory}/device/model") or UNSET,
        size_bytes=UNSET if sectors is None else sectors * _SECTOR_BYTES,
        rotational=UNSET if rotational is None else bool(rotational),
    )


def _interface(directory: str) -> Interface:
    return Interface(
        address=read_text(f"{directory}/address") or UNSET,
        physical=os.path.exists(f"{directory}/device"),  # noqa: PTH110
    )
