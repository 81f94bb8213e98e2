"""Which collectors a machine gets. Imports stand in the functions, so that no system loads another one's."""

import sys
from collections.abc import Sequence

from msgspec import Struct

from ..machine import Machine
from .base import Collector

__all__ = ["Choice", "build"]


class Choice(Struct, frozen=True, kw_only=True):
    """What the settings say about collecting; patterns are those of file names (`veth*`)."""

    disable: Sequence[str] = ()
    ignore_interfaces: Sequence[str] = ()
    ignore_devices: Sequence[str] = ()
    ignore_file_systems: Sequence[str] = ()
    ignore_mounts: Sequence[str] = ()


def build(machine: Machine, choice: Choice) -> list[Collector]:
    """Return the collectors for this machine's operating system, without those of disabled subsystems."""
    collectors = _linux(machine, choice) if sys.platform == "linux" else _portable(machine, choice)
    return [one for one in collectors if one.subsystem not in choice.disable]


def _linux(machine: Machine, choice: Choice) -> list[Collector]:
    from .battery import BatteryCollector
    from .cpu import CpuClockCollector, CpuCollector
    from .disk import DiskDeviceCollector, DiskMountCollector
    from .memory import MemoryCollector, MemoryDetailsCollector
    from .network import NetworkCollector, NetworkLinkCollector
    from .sensors import NvmeTemperatureCollector, SensorsCollector
    from .smart import SmartCollector
    from .system import SystemCollector
    from .throttle import CpuThrottleCollector

    return [
        CpuCollector(machine),
        MemoryCollector(machine),
        DiskDeviceCollector(machine, ignore=choice.ignore_devices),
        NetworkCollector(machine, ignore=choice.ignore_interfaces),
        CpuClockCollector(machine),
        CpuThrottleCollector(machine),
        MemoryDetailsCollector(machine),
        DiskMountCollector(machine, ignore_file_systems=choice.ignore_file_systems, ignore_mounts=choice.ignore_mounts),
        NetworkLinkCollector(machine, ignore=choice.ignore_interfaces),
        SensorsCollector(machine),
        NvmeTemperatureCollector(machine),
        BatteryCollector(machine),
        SmartCollector(machine),
        SystemCollector(machine),
    ]


def _portable(machine: Machine, choice: Choice) -> list[Collector]:
    from .portable import build_portable

    return build_portable(
        machine,
        ignore_interfaces=choice.ignore_interfaces,
        ignore_devices=choice.ignore_devices,
        ignore_file_systems=choice.ignore_file_systems,
        ignore_mounts=choice.ignore_mounts,
    )
