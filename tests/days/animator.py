"""A machine's tree whose files move: counters grow, gauges follow the day, devices come and go."""

import json
import threading
from pathlib import Path
from typing import Any

from hostpulse.publisher.machine import FileSystemSize

from ..drives import folder_of_drives
from .counters import Counters
from .levels import Levels
from .tree import Tree

__all__ = ["Animator"]

MACHINES = Path(__file__).parents[1] / "machines"


class Animator:
    """A copy of a machine's tree that shows what the machine does. Only what is sampled moves.

    Args:
        name: of the tree.
        root: where the copy goes.
        fresh: whether the machine was booted just now, so that its counters begin at 0.
        narrow: interfaces whose counters begin again at 2**32.

    Attributes:
        script: the tree's `machine.json`.
        drives: its smartctl.
    """

    def __init__(self, name: str, root: Path, *, fresh: bool, narrow: tuple[str, ...]) -> None:
        self.script: dict[str, Any] = json.loads((MACHINES / name / "machine.json").read_text())
        self.drives = folder_of_drives(MACHINES / name / "smartctl")
        self._answers = self.drives.answers
        self._tree = Tree(MACHINES / name / "first", root)
        self._counters = Counters(self._tree, fresh=fresh, narrow=narrow)
        self._memory = dict(line.split(":", 1) for line in self._tree.lines("proc/meminfo"))
        self._load = self._tree.read("proc/loadavg").split()[3:]
        self._mounts = self._tree.lines("proc/mounts")
        self._levels = Levels()
        self._answering = threading.Event()

    def show(self, levels: Levels, *, seconds: float, uptime: float, wall: float) -> None:
        """Let counters grow by what happened in some seconds, and everything else be as it is now.

        Args:
            levels: what the machine does.
            seconds: for which it has done that; no time in which it stood still.
            uptime: seconds since boot.
            wall: what its clock shows, seconds since the epoch.
        """
        self._levels = levels
        load = [f"{levels.load * part:.2f}" for part in (1.0, 0.9, 0.8)]
        files: dict[str, object] = {
            "proc/uptime": f"{uptime:.2f} {uptime:.2f}\n",
            "proc/loadavg": f"{' '.join([*load, *self._load])}\n",
            "proc/meminfo": self._meminfo(levels),
            "proc/1/mounts": self._mount_table(levels),
        }
        self._tree.show(files | self._counters.files(levels, seconds, wall - uptime) | levels.files)
        self.drives.answers = {**self._answers, **levels.drives}
        if not levels.silent:
            self.answer()

    def answer(self) -> None:
        """Let everybody have an answer who waits for one of a file system that was silent."""
        self._answering.set()

    def file_system_size(self, path: str) -> FileSystemSize:
        """Answer in place of statvfs(); of a mount that is silent, once it no longer is."""
        point = path.removeprefix(f"{self._tree.root}/root") or "/"
        if point in self._levels.silent:
            self._answering.clear()
            self._answering.wait()
        mounted, use = self._levels.mounts.get(point), self._levels.use.get(point)
        if mounted is not None:
            return _size(mounted.size, mounted.used)
        size = self.script["statvfs"].get(point)
        if size is None:
            if use is None or use.size is None:
                raise FileNotFoundError(path)
            return _size(use.size, use.space)
        total, free, available = (size[name] * size["f_frsize"] for name in ("f_blocks", "f_bfree", "f_bavail"))
        inodes = size["f_files"], size["f_ffree"]
        if use is None:
            return FileSystemSize(total, free, available, *inodes)
        return _size(use.size or total, use.space, reserved=free - available, inodes=inodes)

    def _meminfo(self, levels: Levels) -> str:
        total, swap = (int(self._memory[name].split()[0]) for name in ("MemTotal", "SwapTotal"))
        available = total * (1 - round(levels.memory, 3))
        now = {
            "MemAvailable": available,
            "MemFree": total * 0.02 + available * 0.1,
            "Cached": total * 0.01 + available * 0.8,
            "SwapFree": swap * (1 - levels.swap),
        }
        self._memory.update({name: f"{int(value):>15} kB" for name, value in now.items()})
        return "".join(f"{name}:{value}\n" for name, value in self._memory.items())

    def _mount_table(self, levels: Levels) -> str:
        lines = []
        for line in self._mounts:
            device, point, file_system, options, rest = line.split(" ", 4)
            lines.append(f"{device} {point} {file_system} {levels.remounted.get(point, options)} {rest}")
        for point, (device, file_system, options, _, _) in levels.mounts.items():
            lines.append(f"{device} {point} {file_system} {options} 0 0")
        return "\n".join([*lines, ""])


def _size(total: float, used: float, *, reserved: int = 0, inodes: tuple[int, int] = (0, 0)) -> FileSystemSize:
    taken = int((total - reserved) * used) // 4096 * 4096
    free = int(total) - taken
    return FileSystemSize(int(total), free, free - reserved, *inodes)
