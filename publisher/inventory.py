"""What this machine is, gathered once at the start."""

import os
import platform
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from msgspec import UNSET

from hostpulse import __version__
from hostpulse.bus.codec import VERSION
from hostpulse.bus.inventory import Drive, Interface, Inventory, Processor
from hostpulse.bus.times import format_timestamp

from .collectors.disk import block_devices
from .collectors.memory import parse_meminfo
from .collectors.patterns import matches
from .collectors.system import platform_name
from .files import list_directory, read_bytes, read_int, read_line, read_text
from .machine import Machine

__all__ = ["take_inventory"]

_SECTOR_BYTES = 512
_KILOHERTZ = 1000
_BEYOND_REASON = 2**50
_ARM_LIMITED = "0x41"
_ARM_CORES = {  # "CPU part" of /proc/cpuinfo, as lscpu knows them
    "0xb76": "ARM1176",
    "0xc07": "Cortex-A7",
    "0xc08": "Cortex-A8",
    "0xc09": "Cortex-A9",
    "0xc0f": "Cortex-A15",
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd40": "Neoverse-V1",
    "0xd41": "Cortex-A78",
    "0xd44": "Cortex-X1",
    "0xd47": "Cortex-A710",
    "0xd49": "Neoverse-N2",
    "0xd4f": "Neoverse-V2",
}


def take_inventory(
    machine: Machine,
    *,
    host: str,
    session: float,
    intervals: Mapping[str, float],
    earlier_sessions: Mapping[int, Mapping[str, int]] = MappingProxyType({}),
    ignore_interfaces: Sequence[str] = (),
    ignore_devices: Sequence[str] = (),
) -> Inventory:
    """Return what the machine is.

    Args:
        machine: the machine.
        host: name that it is published under.
        session: start of the publisher, seconds since the epoch.
        intervals: seconds between two readings, by collector.
        earlier_sessions: last sequence of each subsystem, by earlier starts, milliseconds since the epoch.
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
        earlier_sessions={format_timestamp(start / 1000): dict(last) for start, last in earlier_sessions.items()},
        platform=platform_name(machine) or platform.platform(aliased=True, terse=True),
        kernel=read_line(f"{machine.proc}/sys/kernel/osrelease") or platform.release(),
        vendor=read_line(f"{dmi}/sys_vendor") or UNSET,
        product=read_line(f"{dmi}/product_name") or _device_tree_model(machine) or UNSET,
        memory_bytes=memory.get(b"MemTotal", UNSET),
        swap_bytes=memory.get(b"SwapTotal", UNSET),
        processor=_processor(machine),
        drives={name: _drive(f"{machine.sys}/block/{name}") for name in block_devices(machine.sys, ignore_devices)},
        interfaces={
            name: _interface(f"{machine.sys}/class/net/{name}")
            for name in list_directory(f"{machine.sys}/class/net")
            if not matches(name, ignore_interfaces) and os.path.isdir(f"{machine.sys}/class/net/{name}")  # noqa: PTH112
        },
    )


def _at_least_0(path: str) -> int | None:
    """Return the number in a file; None where there is none, or none that can be a size or a clock."""
    number = read_int(path)
    return number if number is not None and 0 <= number < _BEYOND_REASON else None


def _cpuinfo(machine: Machine) -> dict[str, str]:
    """Return the last value of each key of /proc/cpuinfo."""
    values = {}
    for line in (read_text(f"{machine.proc}/cpuinfo") or "").splitlines():
        key, colon, value = line.partition(":")
        if colon:
            values[key.strip()] = value.strip()
    return values


def _device_tree_model(machine: Machine) -> str | None:
    return _cpuinfo(machine).get("Model") or read_line(f"{machine.sys}/firmware/devicetree/base/model")


def _processor(machine: Machine) -> Processor:
    info = _cpuinfo(machine)
    root = f"{machine.sys}/devices/system/cpu"
    threads = [
        f"{root}/{name}"
        for name in list_directory(root)
        if name[:3] == "cpu" and name[3:].isdigit() and read_int(f"{root}/{name}/online") != 0
    ]
    packages = {number for path in threads if (number := read_int(f"{path}/topology/physical_package_id")) is not None}
    cores = {place for path in threads if (place := _core(f"{path}/topology")) is not None}
    # The cores of one processor may differ: some are the fast ones.
    clocks = [clock for path in threads if (clock := _at_least_0(f"{path}/cpufreq/cpuinfo_max_freq"))]
    model = info.get("model name") or _arm_model(info) or info.get("cpu") or info.get("Processor")
    return Processor(
        model=model or (None if info else platform.processor()) or UNSET,  # that starts a program on Linux
        architecture=platform.machine() or UNSET,
        packages=len(packages) or UNSET,
        cores=len(cores) or UNSET,
        threads=len(threads) or os.cpu_count() or UNSET,
        maximum_hertz=max(clocks) * _KILOHERTZ if clocks else UNSET,
    )


def _core(topology: str) -> str | tuple[int, int] | None:
    """Return what all threads of a core have in common; numbers of cores may begin again in each cluster or die."""
    package, core = read_int(f"{topology}/physical_package_id"), read_int(f"{topology}/core_id")
    return read_text(f"{topology}/thread_siblings_list") or (
        None if package is None or core is None else (package, core)
    )


def _arm_model(info: Mapping[str, str]) -> str | None:
    """Return the core that an ARM processor is made of; its cpuinfo tells no more than numbers."""
    if info.get("CPU implementer") != _ARM_LIMITED:
        return None
    return _ARM_CORES.get(info.get("CPU part", "").lower())


def _card_model(directory: str) -> str | None:
    """Return the name of a memory card, which has no model."""
    return read_line(f"{directory}/device/name") if "/mmcblk" in directory else None


def _drive(directory: str) -> Drive:
    sectors, rotational = _at_least_0(f"{directory}/size"), read_int(f"{directory}/queue/rotational")
    return Drive(
        model=read_line(f"{directory}/device/model") or _card_model(directory) or UNSET,
        size_bytes=UNSET if sectors is None else sectors * _SECTOR_BYTES,
        rotational=UNSET if rotational is None else bool(rotational),
    )


def _interface(directory: str) -> Interface:
    return Interface(
        address=read_line(f"{directory}/address") or UNSET,
        physical=os.path.exists(f"{directory}/device"),  # noqa: PTH110
    )
