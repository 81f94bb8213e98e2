"""The machine that is sampled: where its trees are, its clocks, and the calls that are no files."""

import mmap
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .clock import Clock
from .programs import Runner, run_program

__all__ = ["FileSystemSize", "Machine"]


@dataclass(frozen=True, slots=True)
class FileSystemSize:
    """What statvfs() says of one file system: bytes and files."""

    total_bytes: int
    free_bytes: int
    available_bytes: int
    inodes_total: int
    inodes_free: int


def _file_system_size(path: str) -> FileSystemSize:
    """Ask the kernel; hangs where the file system does.

    Raises:
        OSError: there is none, or it may not be asked.
    """
    status = os.statvfs(path)
    return FileSystemSize(
        total_bytes=status.f_blocks * status.f_frsize,
        free_bytes=status.f_bfree * status.f_frsize,
        available_bytes=status.f_bavail * status.f_frsize,
        inodes_total=status.f_files,
        inodes_free=status.f_ffree,
    )


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine that is sampled.

    Attributes:
        proc: its /proc; in a container that is to see the host, wherever that was mounted.
        sys: its /sys.
        filesystem: its root directory.
        clock: its clocks.
        page_bytes: size of a page of memory.
        file_system_size: statvfs(); may hang.
        run: runs a program of the machine.
        sleep: waits, in seconds; for what takes its time in a thread of its own.
    """

    proc: str = "/proc"
    sys: str = "/sys"
    filesystem: str = "/"
    clock: Clock = field(default_factory=Clock)
    page_bytes: int = mmap.PAGESIZE
    file_system_size: Callable[[str], FileSystemSize] = _file_system_size
    run: Runner = run_program
    sleep: Callable[[float], None] = time.sleep

    def path(self, absolute: str) -> str:
        """Return where an absolute path of the machine is seen from here."""
        return absolute if self.filesystem == "/" else self.filesystem.rstrip("/") + absolute

    def proc_net(self, name: str) -> str:
        """Return where a file of /proc/net is.

        /proc/net is the reader's own network namespace; the host's, seen from a container, is that of its process 1.
        """
        host = f"{self.proc}/1/net/{name}"
        return host if self.proc != "/proc" and os.path.exists(host) else f"{self.proc}/net/{name}"  # noqa: PTH110

    def proc_mounts(self) -> str:
        """Return where the mount table is: the host's, as `proc_net` explains."""
        host = f"{self.proc}/1/mounts"
        return host if self.proc != "/proc" and os.path.exists(host) else f"{self.proc}/self/mounts"  # noqa: PTH110
