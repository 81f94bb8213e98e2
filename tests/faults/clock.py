"""A clock on the wall that can be set for some processes, by a small library that is loaded before libc."""

import shutil
import struct
import subprocess
import sys
from collections.abc import Mapping  # noqa: TC003  also an annotation of an attribute
from pathlib import Path

import pytest

__all__ = ["WallClock", "wall_clock"]


class WallClock:
    """Steps the clock of those who run in its environment; the monotonic clocks stay right, as a kernel has it.

    Args:
        library: see clock.c.
        offset: file with the offset.
    """

    def __init__(self, library: Path, offset: Path) -> None:
        self._offset = offset
        self.set(0)
        self.environment: Mapping[str, str] = {"LD_PRELOAD": str(library), "CLOCK_OFFSET_FILE": str(offset)}

    def set(self, seconds: int) -> None:
        """Have them be so far ahead of everybody else, or behind."""
        with self._offset.open("r+b" if self._offset.exists() else "w+b") as file:  # they have it mapped
            file.write(struct.pack("q", seconds))


@pytest.fixture
def wall_clock(tmp_path: Path) -> WallClock:
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("setting the clock of a process needs Linux and a C compiler (cc)")
    library = tmp_path / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run((compiler, "-O2", "-shared", "-fPIC", "-o", library, source, "-ldl"), check=True)
    return WallClock(library, tmp_path / "offset")
