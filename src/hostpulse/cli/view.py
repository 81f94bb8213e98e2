"""What `hostpulse up` shows: what it is doing, and one line for each subsystem that stays up to date.

On a terminal the lines are rewritten in place; elsewhere (a log, systemd) each is written once when the subsystem is
first heard of, and again every few minutes.
"""

import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hostpulse.bus.codec import Sample
from hostpulse.bus.messages import SUBSYSTEMS

from .lines import LatestFields, line_of
from .terminal import clean

__all__ = ["View"]

_REPEAT_SECONDS = 300.0
_COMPLETE_SECONDS = 3.0  # by then the second message of everything has come, the one with rates


class View:
    """The output of `hostpulse up`. `say`, `report` and `warn` may be called from any thread.

    Args:
        console: where to write.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._latest: dict[str, LatestFields] = {}
        self._next_lines: dict[str, float] = {}
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=False)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """Write a line of talk."""
        with self._lock:
            self._console.print(Text(clean(text)), soft_wrap=True)

    def warn(self, text: str) -> None:
        """Write a line about trouble."""
        with self._lock:
            self._console.print(Text(clean(text), style="yellow"), soft_wrap=True)

    def report(self, line: str) -> None:
        """Pass on what a service wrote to its log: `name: LEVEL text`."""
        name, _, rest = line.partition(": ")
        level, _, text = rest.partition(" ")
        if level == "INFO":
            self.say(f"{name:10} {text}")
        else:
            self.warn(f"{name:10} {text if level in {'WARNING', 'ERROR'} else rest}")

    def show(self, sample: Sample) -> None:
        """Take a message of this machine."""
        subsystem = sample.envelope.subsystem
        if subsystem not in self._latest:
            self._next_lines[subsystem] = time.monotonic() + _COMPLETE_SECONDS
        self._latest.setdefault(subsystem, LatestFields()).add(sample.fields)

    def refresh(self) -> None:
        """Bring what is shown up to date."""
        known = [name for name in SUBSYSTEMS if name in self._latest]
        if self._live is not None:
            grid = Table.grid(padding=(0, 2))
            for name in known:
                grid.add_row(Text(name, style="bold"), Text(line_of(name, self._latest[name].values)))
            with self._lock:
                self._live.update(grid, refresh=True)
            return
        now = time.monotonic()
        for name in known:
            if now >= self._next_lines[name]:
                self._next_lines[name] = now + _REPEAT_SECONDS
                self.say(f"{name:10} {line_of(name, self._latest[name].values)}")
