"""A small file system that can be full."""

import contextlib
import mmap
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

__all__ = ["SmallDisk", "make_disk"]


class SmallDisk:
    """A tmpfs.

    Args:
        path: where it is mounted.
        size: bytes.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self._size = size
        self._filler = path / "filler"

    def mount(self) -> None:
        """Mount it, or skip the test."""
        if sys.platform != "linux" or os.geteuid() != 0:
            pytest.skip("a small file system needs Linux and root")
        self.path.mkdir()
        command = ("mount", "-t", "tmpfs", "-o", f"size={self._size}", "tmpfs", self.path)
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")

    def unmount(self) -> None:
        subprocess.run(("umount", self.path), check=True)

    def fill(self) -> None:
        """Take all room that is left, while others write as well."""
        with self._filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(mmap.PAGESIZE)):
                pass

    def empty(self) -> None:
        """Undo `fill`."""
        self._filler.unlink()


@pytest.fixture
def make_disk(tmp_path: Path) -> Iterator[Callable[[str, int], SmallDisk]]:
    """Return what mounts file systems; they end with the test, behind the processes that use them."""
    made: list[SmallDisk] = []

    def make(name: str, size: int) -> SmallDisk:
        disk = SmallDisk(tmp_path / name, size)
        disk.mount()
        made.append(disk)
        return disk

    yield make
    for disk in made:
        disk.unmount()
