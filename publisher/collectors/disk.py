"""Block devices (fast) and file systems (slow)."""

import os
import re
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

from msgspec import UNSET

from hostpulse.bus.messages import Disk, DiskDevice, DiskMount

from ..files import LONGEST_TEXT, OpenFile, list_directory, read_bytes, read_int
from ..machine import FileSystemSize, Machine
from ..rates import Stopwatch, per_second, percent, whole_per_second
from .base import Collector, NoDataError
from .patterns import matches
from .pressure import Pressure

__all__ = ["DiskDeviceCollector", "DiskMountCollector", "Mount", "block_devices", "parse_mounts"]

# Columns of /proc/diskstats behind major, minor and name.
_READS, _SECTORS_READ, _READ_MILLISECONDS = 0, 2, 3
_WRITES, _SECTORS_WRITTEN, _WRITE_MILLISECONDS = 4, 6, 7
_BUSY_MILLISECONDS = 9
_COLUMNS = 10
_SECTOR_BYTES = 512  # in this file, whatever the device's own sectors are
_MILLISECONDS = 1000
_LONGEST_KEY = 512  # in a message
_OCTAL = re.compile(r"\\([0-7]{3})")


class DiskDeviceCollector(Collector):
    """Throughput, operations, latency and business of each block device, and the pressure of IO.

    Partitions are part of their disk. The total counts physical devices, so that a volume on a RAID on four disks is
    not counted three times. A device that never did anything (nbd0 to nbd15) is not there.

    Sources: /proc/diskstats, /sys/block, /proc/pressure/io.
    """

    name = "disk_devices"
    subsystem = "disk"
    inline = True

    def __init__(self, machine: Machine, *, ignore: Sequence[str] = ()) -> None:
        self._diskstats = OpenFile(f"{machine.proc}/diskstats")
        self._pressure = Pressure(f"{machine.proc}/pressure/io")
        self._block = f"{machine.sys}/block"
        self._ignore = ignore
        self._stopwatch = Stopwatch(machine.clock)
        self._before: dict[bytes, list[int]] = {}
        self._physical: dict[bytes, bool | None] = {}

    def probe(self) -> bool:
        """Return whether there is a table of devices; some containers have none."""
        return os.path.exists(self._diskstats.path)  # noqa: PTH110

    def read(self) -> Disk:
        """Return the rates since the last reading; at the first one there are none."""
        seconds = self._stopwatch.lap()
        now: dict[bytes, list[int]] = {}
        for line in self._diskstats.read().splitlines():
            _, _, name, *columns = line.split(None, _COLUMNS + 3)[: _COLUMNS + 3]
            if name not in self._physical:
                self._physical[name] = self._classify(name.decode())
            if self._physical[name] is not None:
                now[name] = [int(column) for column in columns]
        before, self._before = self._before, now
        some, full = self._pressure.read(seconds)
        fields = Disk(pressure_some_percent=some, pressure_full_percent=full)
        devices = {
            name.decode(): _device(after, then, seconds)
            for name, after in now.items()
            if (then := before.get(name)) is not None and seconds is not None and (after[_READS] or after[_WRITES])
        }
        if devices:
            totals = [one for name, one in devices.items() if self._physical[name.encode()]]
            reads = [one.read_bytes_per_second for one in totals if one.read_bytes_per_second is not UNSET]
            writes = [one.write_bytes_per_second for one in totals if one.write_bytes_per_second is not UNSET]
            fields.read_bytes_per_second = sum(reads) if reads else UNSET
            fields.write_bytes_per_second = sum(writes) if writes else UNSET
            fields.device = devices
        return fields

    def _classify(self, name: str) -> bool | None:
        """Return whether a device is physical; None if it is left out.

        Left out is a partition, what the settings ignore, and what the kernel hides: one path of several to an NVMe.
        """
        if matches(name, self._ignore):
            return None
        directory = f"{self._block}/{name.replace('/', '!')}"  # as sysfs writes cciss/c0d0
        if not os.path.isdir(directory) or read_int(f"{directory}/hidden"):  # noqa: PTH112
            return None
        return os.path.exists(f"{directory}/device")  # noqa: PTH110


def _device(now: list[int], before: list[int], seconds: float | None) -> DiskDevice:
    reads, writes = now[_READS] - before[_READS], now[_WRITES] - before[_WRITES]
    fields = DiskDevice(
        read_bytes_per_second=whole_per_second(
            now[_SECTORS_READ] * _SECTOR_BYTES, before[_SECTORS_READ] * _SECTOR_BYTES, seconds
        ),
        write_bytes_per_second=whole_per_second(
            now[_SECTORS_WRITTEN] * _SECTOR_BYTES, before[_SECTORS_WRITTEN] * _SECTOR_BYTES, seconds
        ),
        reads_per_second=per_second(now[_READS], before[_READS], seconds),
        writes_per_second=per_second(now[_WRITES], before[_WRITES], seconds),
    )
    if reads > 0 and (waited := now[_READ_MILLISECONDS] - before[_READ_MILLISECONDS]) >= 0:
        fields.read_latency_seconds = round(waited / reads / _MILLISECONDS, 6)
    if writes > 0 and (waited := now[_WRITE_MILLISECONDS] - before[_WRITE_MILLISECONDS]) >= 0:
        fields.write_latency_seconds = round(waited / writes / _MILLISECONDS, 6)
    busy = now[_BUSY_MILLISECONDS] - before[_BUSY_MILLISECONDS]
    if seconds and busy >= 0:
        fields.busy_percent = percent(busy, seconds * _MILLISECONDS)
    return fields


class Mount(NamedTuple):
    """One line of the mount table."""

    device: str
    point: str
    file_system: str
    read_only: bool


def parse_mounts(data: bytes) -> list[Mount]:
    """Return the mount table; spaces and the like in it are written as octal numbers."""
    mounts = []
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        device, point, file_system, options = (line.split(" ", 4) + [""] * 4)[:4]
        if file_system:
            mounts.append(Mount(_unescape(device), _unescape(point), file_system, "ro" in options.split(",")))
    return mounts


def _unescape(text: str) -> str:
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), text) if "\\" in text else text


def _publishable(name: str, length: int) -> str:
    """Return a name that need not be text as the kernel sees it, as text of at most a length."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")[:length]


class DiskMountCollector(Collector):
    """Size and use of each file system.

    A file system whose server is gone never answers. So each is asked in a thread of its own; one that has not
    answered in time is `stalled`, and is not asked again until that thread has come back.

    Sources: /proc/self/mounts, statvfs().
    """

    name = "disk_mounts"
    subsystem = "disk"
    period_seconds = 30.0
    time_limit_seconds = 10.0

    def __init__(
        self,
        machine: Machine,
        *,
        ignore_file_systems: Sequence[str] = (),
        ignore_mounts: Sequence[str] = (),
        answer_seconds: float = 2.0,
    ) -> None:
        self._machine = machine
        self._ignore_file_systems = ignore_file_systems
        self._ignore_mounts = ignore_mounts
        self._answer_seconds = answer_seconds
        self._asking: dict[str, threading.Thread] = {}

    def read(self) -> Disk:
        """Return every file system now."""
        data = read_bytes(self._machine.proc_mounts())
        if data is None:
            raise NoDataError("there is no mount table")
        mounts = self._chosen(parse_mounts(data))
        self._asking = {point: thread for point, thread in self._asking.items() if thread.is_alive()}
        answers: dict[str, FileSystemSize | OSError] = {}
        asked = [self._ask(point, answers) for point in {mount.point for mount in mounts} - self._asking.keys()]
        end = time.monotonic() + self._answer_seconds
        for thread in asked:
            thread.join(max(0.0, end - time.monotonic()))
        entries = {}
        for mount in mounts:
            answer = answers.get(mount.point)
            if answer is None:
                state = DiskMount(state="stalled")
            elif isinstance(answer, OSError) or not answer.total_bytes:
                continue  # nothing that stores, or not for our eyes
            else:
                state = _mount(mount, answer)
            state.device = _publishable(mount.device, LONGEST_TEXT)
            state.file_system = mount.file_system
            entries[_publishable(mount.point, _LONGEST_KEY)] = state
        if not entries:
            raise NoDataError("no file system is mounted")
        return Disk(mount=entries)

    def _chosen(self, mounts: list[Mount]) -> list[Mount]:
        """Return the mounts to report: what the settings leave, each file system once, under its shortest name."""
        chosen: dict[tuple[str, str], Mount] = {}
        for mount in mounts:
            # The root always counts: in a container it is an overlay, which elsewhere is no file system of its own.
            if mount.point != "/" and matches(mount.file_system, self._ignore_file_systems):
                continue
            if matches(mount.point, self._ignore_mounts) or self._is_file(mount):
                continue
            # Subvolumes of btrfs are file systems of their own with one device; elsewhere one device mounted at a
            # second place is the same file system seen again (a bind mount).
            identity = mount.point if mount.file_system == "btrfs" else mount.device
            known = chosen.get((identity, mount.file_system))
            if known is None or len(mount.point) < len(known.point):
                chosen[identity, mount.file_system] = mount
        return sorted(chosen.values(), key=lambda mount: mount.point)

    def _is_file(self, mount: Mount) -> bool:
        """Return whether a single file was mounted over another, as containers do with resolv.conf."""
        # Only what stands on a device of this machine is looked at: servers and programs may not answer.
        local = mount.device.startswith("/dev/") and not mount.file_system.startswith("fuse")
        return local and os.path.isfile(self._machine.path(mount.point))  # noqa: PTH113

    def _ask(self, point: str, answers: dict[str, FileSystemSize | OSError]) -> threading.Thread:
        def ask() -> None:
            try:
                answers[point] = self._machine.file_system_size(self._machine.path(point))
            except OSError as error:
                answers[point] = error

        thread = threading.Thread(target=ask, name=f"statvfs {point}", daemon=True)
        self._asking[point] = thread
        thread.start()
        return thread


def _mount(mount: Mount, size: FileSystemSize) -> DiskMount:
    used = size.total_bytes - size.free_bytes
    fields = DiskMount(
        total_bytes=size.total_bytes,
        used_bytes=used,
        available_bytes=size.available_bytes,
        used_percent=percent(used, used + size.available_bytes),
        # As the mount table has it: in a container we may see through a mount of our own that is read-only.
        state="read_only" if mount.read_only else "ok",
    )
    if size.inodes_total:  # btrfs and others make inodes as they need them
        inodes_used = size.inodes_total - size.inodes_free
        fields.inodes_total = size.inodes_total
        fields.inodes_used = inodes_used
        fields.inodes_used_percent = percent(inodes_used, size.inodes_total)
    return fields


def block_devices(sys: str, ignore: Sequence[str]) -> list[str]:
    """Return the names of the block devices that are reported."""
    root = f"{sys}/block"
    return [
        name for name in list_directory(root) if not matches(name, ignore) and not read_int(f"{root}/{name}/hidden")
    ]
