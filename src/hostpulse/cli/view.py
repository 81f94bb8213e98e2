"""What `hostpulse up` shows: what it is doing, and one line for each subsystem that stays up to date.

On a terminal the lines are rewritten in place; elsewhere (a log, systemd) each is written once when the subsystem is
first heard of, and again every few minutes.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Literal, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hostpulse.bus.codec import Sample
from hostpulse.bus.messages import SUBSYSTEMS, Event
from hostpulse.stack.process import Death

from .lines import LatestFields, line_of
from .terminal import clean

__all__ = ["View"]

_LEVELS = ("debug", "info", "warning", "error")
_STYLES = {"debug": "dim", "info": "", "warning": "yellow", "error": "red"}
_ALERTS = "alerts: "  # the role, in front of what the consumer says
_ALERT_STYLES = {"ok": "green", "warning": "yellow", "critical": "red"}
_REPEAT_SECONDS = 300.0
_COMPLETE_SECONDS = 3.0  # by then the second message of everything has come, the one with rates


class View:
    """The output of `hostpulse up`, on standard error. All methods but `show` may be called from any thread.

    When nobody reads it any more (the terminal is gone, `| head` has ended) it falls silent; what `up` does goes on.

    Args:
        least: least important lines of the services to show.
        console: where to write; standard error by default.
    """

    def __init__(
        self, *, least: Literal["debug", "info", "warning", "error"] = "info", console: Console | None = None
    ) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._least = _LEVELS.index(least)
        self._lock = threading.Lock()
        self._silent = False
        self._latest: dict[str, LatestFields] = {}
        self._next_lines: dict[str, float] = {}
        self._refusals: dict[tuple[str, str], float] = {}
        self._live: Live | None = None

    def __enter__(self) -> Self:
        # Not everything that takes colours can be rewritten: FORCE_COLOR with a file, TERM=dumb.
        if self._console.is_interactive and self._console.file.isatty():
            self._live = Live(console=self._console, auto_refresh=False, transient=False)
            self._write(self._live.start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._write(self._live.stop)

    def say(self, text: str) -> None:
        """Write a line of talk."""
        self._print(text, "")

    def warn(self, text: str) -> None:
        """Write a line about trouble."""
        self._print(text, "yellow")

    def report(self, line: str) -> None:
        """Pass on what a service wrote to its log: `name: LEVEL text`."""
        name, _, rest = line.partition(": ")
        level, _, text = rest.partition(" ")
        if level.lower() not in _LEVELS:
            self._print(f"{name:10} {rest}", "yellow")  # such as a traceback
        elif _LEVELS.index(level.lower()) >= self._least:
            style = _STYLES[level.lower()]
            if text.startswith(_ALERTS):
                name, text = "alerts", text.removeprefix(_ALERTS)
                style = style or _ALERT_STYLES.get(text.partition(" ")[0], "")
            self._print(f"{name:10} {text}", style)

    def death(self, death: Death) -> None:
        """Say that something ended that should live; what it gives the same reason for each time, now and then."""
        level, _, text = death.last_line.partition(" ")
        if level.lower() in {"debug", "info", "warning"}:
            death = replace(death, last_line="")  # its last line is not why it ended
        elif level == "ERROR":
            now = time.monotonic()
            if now < self._refusals.get((death.name, text), 0):
                return
            self._refusals[death.name, text] = now + _REPEAT_SECONDS
            death = replace(death, last_line=text)
        self.warn(str(death))

    def show(self, sample: Sample) -> None:
        """Take a message of this machine."""
        if isinstance(sample.fields, Event):
            return  # the consumer says so, of every machine
        subsystem = sample.envelope.subsystem
        if subsystem not in self._latest:
            self._next_lines[subsystem] = time.monotonic() + _COMPLETE_SECONDS
        self._latest.setdefault(subsystem, LatestFields()).add(sample.fields)

    def refresh(self) -> None:
        """Bring what is shown up to date."""
        known = [name for name in SUBSYSTEMS if name in self._latest]
        live = self._live
        if live is not None:
            grid = Table.grid(padding=(0, 2))
            grid.add_column(no_wrap=True)
            grid.add_column(no_wrap=True, overflow="ellipsis")
            for name in known:
                grid.add_row(Text(name, style="bold"), Text(line_of(name, self._latest[name].values)))
            self._write(lambda: live.update(grid, refresh=True))
            return
        now = time.monotonic()
        for name in known:
            if now >= self._next_lines[name]:
                self._next_lines[name] = now + _REPEAT_SECONDS
                self.say(f"{name:10} {line_of(name, self._latest[name].values)}")

    def _print(self, text: str, style: str) -> None:
        self._write(lambda: self._console.print(Text(clean(text), style=style), soft_wrap=True))

    def _write(self, write: Callable[[], object]) -> None:
        with self._lock:
            if self._silent:
                return
            try:
                write()
                self._console.file.flush()
            except (OSError, ValueError, SystemExit):  # rich makes the last one of a broken pipe
                self._silent = True
                self._live = None
