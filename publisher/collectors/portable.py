"""The collectors of every system but Linux, through psutil. What it cannot tell is absent."""

import platform
import socket
from collections.abc import Sequence
from typing import Any

import psutil
from msgspec import UNSET, UnsetType

from hostpulse.bus.messages import (
    Battery,
    BatteryPack,
    Cpu,
    CpuCore,
    Disk,
    DiskDevice,
    DiskMount,
    Memory,
    Network,
    NetworkInterface,
    Sensors,
    SensorsFan,
    SensorsTemperature,
    System,
)

from ..machine import Machine
from ..rates import Stopwatch, per_second, percent, whole_per_second
from .base import Collector, NoDataError
from .hwmon import slug
from .patterns import matches

__all__ = ["build_portable"]

_MEGAHERTZ = 1_000_000
_MEGABIT = 1_000_000
_MILLISECONDS = 1000


class _Cpu(Collector):
    """Processor time, clock and load."""

    name = "cpu"
    subsystem = "cpu"
    inline = True

    def __init__(self, machine: Machine) -> None:
        self._stopwatch = Stopwatch(machine.clock)
        self._before: list[dict[str, float]] = []

    def read(self) -> Cpu:
        seconds = self._stopwatch.lap()
        now = [psutil.cpu_times()._asdict(), *(times._asdict() for times in psutil.cpu_times(percpu=True))]
        before, self._before = self._before, now
        load = psutil.getloadavg()
        fields = Cpu(
            load_average_1m=round(load[0], 2), load_average_5m=round(load[1], 2), load_average_15m=round(load[2], 2)
        )
        if clock := _clock_megahertz():
            fields.frequency_hertz = round(clock * _MEGAHERTZ)
        if seconds is None or len(before) != len(now):
            return fields
        whole, *cores = [_shares(after, then) for after, then in zip(now, before, strict=True)]
        total = sum(whole.values())
        fields.utilization_percent = _busy(whole)
        fields.user_percent = percent(whole["user"] + whole.get("nice", 0.0), total)
        fields.system_percent = percent(whole["system"], total)
        if "interrupt" in whole:
            fields.interrupt_percent = percent(whole["interrupt"] + whole.get("dpc", 0.0), total)
        fields.core = {str(number): CpuCore(utilization_percent=_busy(core)) for number, core in enumerate(cores)}
        return fields


def _clock_megahertz() -> float | None:
    """Return the clock of the processor; not every system has the function, and some of those cannot answer."""
    try:
        return getattr(psutil.cpu_freq(), "current", None)
    except (AttributeError, NotImplementedError, OSError):
        return None


def _shares(now: dict[str, float], before: dict[str, float]) -> dict[str, float]:
    """Return the time spent in each state; that of guests, where it is told, is contained in user and nice."""
    return {key: max(0.0, now[key] - before.get(key, 0.0)) for key in now if not key.startswith("guest")}


def _busy(shares: dict[str, float]) -> float | UnsetType:
    whole = sum(shares.values())
    return percent(whole - shares["idle"] - shares.get("iowait", 0.0), whole)


class _Memory(Collector):
    """Main memory and swap."""

    name = "memory"
    subsystem = "memory"
    inline = True

    def read(self) -> Memory:
        memory, swap = psutil.virtual_memory(), psutil.swap_memory()
        fields = Memory(
            total_bytes=memory.total,
            used_bytes=memory.total - memory.available,
            available_bytes=memory.available,
            free_bytes=memory.free,
            used_percent=percent(memory.total - memory.available, memory.total),
            swap_total_bytes=swap.total,
        )
        if swap.total:
            fields.swap_used_bytes = swap.used
            fields.swap_used_percent = percent(swap.used, swap.total)
        return fields


class _DiskDevices(Collector):
    """Throughput and operations of each block device."""

    name = "disk_devices"
    subsystem = "disk"
    inline = True

    def __init__(self, machine: Machine, ignore: Sequence[str]) -> None:
        self._ignore = ignore
        self._stopwatch = Stopwatch(machine.clock)
        self._before: dict[str, dict[str, int]] = {}

    def probe(self) -> bool:
        return hasattr(psutil, "disk_io_counters")

    def read(self) -> Disk:
        seconds = self._stopwatch.lap()
        counters = psutil.disk_io_counters(perdisk=True, nowrap=False) or {}
        now = {name: one._asdict() for name, one in counters.items() if not matches(name, self._ignore)}
        before, self._before = self._before, now
        devices = {
            name: _disk_device(after, then, seconds)
            for name, after in now.items()
            if (then := before.get(name)) is not None and seconds is not None
        }
        reads = [one.read_bytes_per_second for one in devices.values() if one.read_bytes_per_second is not UNSET]
        writes = [one.write_bytes_per_second for one in devices.values() if one.write_bytes_per_second is not UNSET]
        return Disk(
            device=devices or UNSET,
            read_bytes_per_second=sum(reads) if reads else UNSET,
            write_bytes_per_second=sum(writes) if writes else UNSET,
        )


def _disk_device(now: dict[str, int], before: dict[str, int], seconds: float | None) -> DiskDevice:
    fields = DiskDevice(
        read_bytes_per_second=whole_per_second(now["read_bytes"], before["read_bytes"], seconds),
        write_bytes_per_second=whole_per_second(now["write_bytes"], before["write_bytes"], seconds),
        reads_per_second=per_second(now["read_count"], before["read_count"], seconds),
        writes_per_second=per_second(now["write_count"], before["write_count"], seconds),
    )
    if "busy_time" in now and seconds and now["busy_time"] >= before["busy_time"]:
        fields.busy_percent = percent(now["busy_time"] - before["busy_time"], seconds * _MILLISECONDS)
    return fields


class _DiskMounts(Collector):
    """Size and use of each file system."""

    name = "disk_mounts"
    subsystem = "disk"
    period_seconds = 30.0
    time_limit_seconds = 10.0

    def __init__(self, ignore_file_systems: Sequence[str], ignore_mounts: Sequence[str]) -> None:
        self._ignore_file_systems = ignore_file_systems
        self._ignore_mounts = ignore_mounts

    def read(self) -> Disk:
        entries: dict[str, DiskMount] = {}
        for partition in psutil.disk_partitions(all=False):
            point = partition.mountpoint
            if not partition.fstype or matches(partition.fstype, self._ignore_file_systems):
                continue  # a drive without a medium has no type
            if matches(point, self._ignore_mounts):
                continue
            try:
                usage = psutil.disk_usage(point)
            except OSError:
                continue  # gone since it was listed, or not for our eyes
            read_only = "ro" in partition.opts.split(",")
            entries[point] = DiskMount(
                total_bytes=usage.total,
                used_bytes=usage.used,
                available_bytes=usage.free,
                used_percent=percent(usage.used, usage.used + usage.free),
                device=partition.device,
                file_system=partition.fstype,
                state="read_only" if read_only else "ok",
            )
        if not entries:
            raise NoDataError("no file system is mounted")
        return Disk(mount=entries)


class _Network(Collector):
    """Traffic and links of each interface."""

    name = "network"
    subsystem = "network"
    inline = True

    def __init__(self, machine: Machine, ignore: Sequence[str]) -> None:
        self._ignore = ignore
        self._stopwatch = Stopwatch(machine.clock)
        self._before: dict[str, dict[str, int]] = {}

    def read(self) -> Network:
        seconds = self._stopwatch.lap()
        links = psutil.net_if_stats()
        now = {
            name: one._asdict()
            for name, one in psutil.net_io_counters(pernic=True, nowrap=False).items()
            if not matches(name, self._ignore) and not name.lower().startswith("loopback")  # Windows has no `lo`
        }
        before, self._before = self._before, now
        interfaces = {}
        for name, row in now.items():
            then = before.get(name, {})
            fields = NetworkInterface(
                received_bytes_per_second=whole_per_second(row["bytes_recv"], then.get("bytes_recv"), seconds),
                sent_bytes_per_second=whole_per_second(row["bytes_sent"], then.get("bytes_sent"), seconds),
                received_packets_per_second=per_second(row["packets_recv"], then.get("packets_recv"), seconds),
                sent_packets_per_second=per_second(row["packets_sent"], then.get("packets_sent"), seconds),
                received_errors_per_second=per_second(row["errin"], then.get("errin"), seconds),
                sent_errors_per_second=per_second(row["errout"], then.get("errout"), seconds),
                received_drops_per_second=per_second(row["dropin"], then.get("dropin"), seconds),
                sent_drops_per_second=per_second(row["dropout"], then.get("dropout"), seconds),
                received_bytes=row["bytes_recv"],
                sent_bytes=row["bytes_sent"],
            )
            if (link := links.get(name)) is not None:
                fields.link = "up" if link.isup else "down"
                fields.speed_bits_per_second = link.speed * _MEGABIT if link.speed else UNSET
            interfaces[name] = fields
        received = [rate for one in interfaces.values() if (rate := one.received_bytes_per_second) is not UNSET]
        sent = [rate for one in interfaces.values() if (rate := one.sent_bytes_per_second) is not UNSET]
        return Network(
            received_bytes_per_second=sum(received) if received else UNSET,
            sent_bytes_per_second=sum(sent) if sent else UNSET,
            received_bytes=sum(row["bytes_recv"] for row in now.values()),
            sent_bytes=sum(row["bytes_sent"] for row in now.values()),
            interface=interfaces or UNSET,
        )


class _Sensors(Collector):
    """Temperatures and fans, on the systems where psutil knows them."""

    name = "sensors"
    subsystem = "sensors"
    period_seconds = 15.0

    def probe(self) -> bool:
        return hasattr(psutil, "sensors_temperatures")

    def read(self) -> Sensors:
        temperatures = {
            f"{slug(chip)}_{slug(one.label) or number}": SensorsTemperature(
                temperature_celsius=round(one.current, 1),
                high_celsius=one.high or UNSET,
                critical_celsius=one.critical or UNSET,
            )
            for chip, channels in psutil.sensors_temperatures().items()
            for number, one in enumerate(channels, 1)
            if one.current
        }
        fans = {
            f"{slug(chip)}_{slug(one.label) or number}": SensorsFan(speed_rpm=one.current)
            for chip, channels in (psutil.sensors_fans() if hasattr(psutil, "sensors_fans") else {}).items()
            for number, one in enumerate(channels, 1)
        }
        if not temperatures and not fans:
            raise NoDataError("no sensor answers")
        return Sensors(temperature=temperatures or UNSET, fan=fans or UNSET)


class _Battery(Collector):
    """Charge of the battery."""

    name = "battery"
    subsystem = "battery"
    period_seconds = 15.0

    def probe(self) -> bool:
        return hasattr(psutil, "sensors_battery") and psutil.sensors_battery() is not None

    def read(self) -> Battery:
        battery: Any = psutil.sensors_battery()
        if battery is None:
            raise NoDataError("no battery is in the machine")
        charge = round(battery.percent, 1)
        remaining = battery.secsleft if battery.secsleft > 0 else UNSET  # unknown and unlimited are negative
        state = "discharging" if battery.power_plugged is False else "unknown"
        pack = BatteryPack(charge_percent=charge, remaining_seconds=remaining, state=state)
        mains = UNSET if battery.power_plugged is None else battery.power_plugged
        return Battery(charge_percent=charge, mains=mains, remaining_seconds=remaining, pack={"battery": pack})


class _System(Collector):
    """Uptime, processes, users and names."""

    name = "system"
    subsystem = "system"
    period_seconds = 30.0
    inline = True

    def __init__(self, machine: Machine) -> None:
        self._clock = machine.clock

    def read(self) -> System:
        boot = psutil.boot_time()
        return System(
            uptime_seconds=round(self._clock.wall() - boot, 2),
            boot_time_seconds=boot,
            processes=len(psutil.pids()),
            users=len(psutil.users()),
            hostname=socket.gethostname(),
            platform=platform.platform(aliased=True, terse=True),
            kernel=platform.release(),
        )


def build_portable(
    machine: Machine,
    *,
    ignore_interfaces: Sequence[str] = (),
    ignore_devices: Sequence[str] = (),
    ignore_file_systems: Sequence[str] = (),
    ignore_mounts: Sequence[str] = (),
) -> list[Collector]:
    """Return the collectors that need nothing but psutil."""
    return [
        _Cpu(machine),
        _Memory(),
        _DiskDevices(machine, ignore_devices),
        _Network(machine, ignore_interfaces),
        _DiskMounts(ignore_file_systems, ignore_mounts),
        _Sensors(),
        _Battery(),
        _System(machine),
    ]
