"""When each collector reads, and what becomes of one that hangs.

Collectors that only read what the kernel makes up from memory run in the caller's thread, all that are due at one
moment together, so that a machine that does nothing else wakes up once in an interval. The others run one after
another in a worker thread, those that may take minutes in one of their own. A reading that exceeds its limit is
`stalled`: its thread is left to it, and the rest goes on in a new one.
"""

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable
from enum import StrEnum
from queue import Empty, SimpleQueue
from typing import NamedTuple

from hostpulse.bus.fields import Fields

from .clock import Clock
from .collectors.base import Collector, MissingError, NoDataError

__all__ = ["CollectorState", "Entry", "Reading", "Schedule"]

_log = logging.getLogger(__name__)

_PROBE_AGAIN_SECONDS = 300.0  # hardware may be plugged in


class CollectorState(StrEnum):
    """How a collector fares."""

    OK = "ok"
    NOTHING = "nothing"
    STALLED = "stalled"
    FAILED = "failed"


class Reading(NamedTuple):
    """What a collector read, when (seconds since the epoch), and how long until it reads again."""

    collector: Collector
    fields: Fields
    timestamp: float
    interval: float


class Entry:
    """A collector in the schedule."""

    def __init__(self, collector: Collector, interval: float) -> None:
        self.collector = collector
        # A multiple of the interval, so that all that is due is due at one moment.
        self.period = interval * max(1, math.ceil((collector.period_seconds or 0.0) / interval))
        self.due = 0.0
        self.present = False
        self.running_since: float | None = None
        self.state = CollectorState.NOTHING
        self.duration: float | None = None
        self.reported: str | None = None


class _Outcome(NamedTuple):
    entry: Entry
    fields: Fields | None
    error: Exception | None
    timestamp: float
    duration: float


class _Worker(threading.Thread):
    """Runs readings one after another; ends when told, or when it was given up on."""

    def __init__(self, name: str, clock: Clock, done: Callable[[_Outcome], None]) -> None:
        super().__init__(name=name, daemon=True)
        self._clock = clock
        self._done = done
        self._tasks: SimpleQueue[Entry | None] = SimpleQueue()
        self.current: Entry | None = None

    def submit(self, entry: Entry) -> None:
        self._tasks.put(entry)

    def end(self) -> None:
        self._tasks.put(None)

    def waiting(self) -> list[Entry]:
        """Take back what has not begun."""
        entries = []
        with contextlib.suppress(Empty):  # the thread may come back and take some itself
            while True:
                if (entry := self._tasks.get_nowait()) is not None:
                    entries.append(entry)
        return entries

    def run(self) -> None:
        while (entry := self._tasks.get()) is not None:
            entry.running_since = self._clock.monotonic()
            self.current = entry
            outcome = _read(entry, self._clock)
            self.current = None
            self._done(outcome)


def _read(entry: Entry, clock: Clock) -> _Outcome:
    """Probe if need be, and read."""
    begin = time.perf_counter()
    fields: Fields | None = None
    error: Exception | None = None
    try:
        if not entry.present:
            entry.present = entry.collector.probe()
        if entry.present:
            fields = entry.collector.read()
        else:
            error = NoDataError("this machine has none")
    except Exception as caught:  # noqa: BLE001  one collector's fault must not end the others; it is reported
        error = caught
    return _Outcome(entry, fields, error, clock.wall(), time.perf_counter() - begin)


class Schedule:
    """Runs collectors at their times.

    Args:
        collectors: what to run.
        interval: the user's interval in seconds; no collector reads more often.
        clock: the clocks.
        wake: called from the worker when it has a result, so that the owner calls `run`.
    """

    def __init__(
        self, collectors: Iterable[Collector], *, interval: float, clock: Clock, wake: Callable[[], None]
    ) -> None:
        self.entries = [Entry(collector, interval) for collector in collectors]
        self._clock = clock
        self._wake = wake
        self._outcomes: SimpleQueue[_Outcome] = SimpleQueue()
        self._workers: dict[str, _Worker] = {}

    def seconds_until_due(self) -> float:
        """Return how long nothing is to be done, apart from results of the worker."""
        now = self._clock.monotonic()
        times = [entry.due for entry in self.entries if entry.running_since is None]
        for worker in self._workers.values():
            if (running := worker.current) is not None:
                started = running.running_since
                times.append((now if started is None else started) + running.collector.time_limit_seconds)
        return max(0.0, min(times, default=now + 1) - now)

    def run(self) -> list[Reading]:
        """Run what is due; return what was read here and what the worker has read since the last call."""
        readings: list[Reading] = []
        now = self._clock.monotonic()
        for entry in self.entries:
            if not entry.due:
                entry.due = now + entry.collector.delay_seconds
            if entry.running_since is not None or now < entry.due:
                continue
            self._set_next(entry, now)
            if entry.collector.inline:
                self._take(_read(entry, self._clock), readings)
            else:
                entry.running_since = now
                self._work(entry)
        while not self._outcomes.empty():
            self._take(self._outcomes.get(), readings)
        for worker in list(self._workers.values()):
            self._give_up_if_stalled(worker)
        return readings

    def stop(self) -> None:
        """End the workers; a reading that hangs is left behind."""
        for worker in self._workers.values():
            worker.end()

    @staticmethod
    def _set_next(entry: Entry, now: float) -> None:
        """Set the next time on the grid of the first one; times that were missed are not made up for."""
        missed = max(0.0, now - entry.due) // entry.period
        entry.due += (missed + 1) * entry.period

    def _work(self, entry: Entry) -> None:
        name = entry.collector.worker
        worker = self._workers.get(name) or self._start_worker(name)
        worker.submit(entry)

    def _start_worker(self, name: str) -> _Worker:
        def done(outcome: _Outcome) -> None:
            self._outcomes.put(outcome)
            self._wake()

        worker = self._workers[name] = _Worker(name, self._clock, done)
        worker.start()
        return worker

    def _give_up_if_stalled(self, worker: _Worker) -> None:
        if (entry := worker.current) is None or entry.running_since is None:
            return
        waited = self._clock.monotonic() - entry.running_since
        if waited < entry.collector.time_limit_seconds:
            return
        self._report(entry, CollectorState.STALLED, f"no answer for {waited:.0f} s")
        successor = self._start_worker(worker.name)
        for waiting in worker.waiting():
            successor.submit(waiting)
        worker.end()  # should it ever come back

    def _take(self, outcome: _Outcome, readings: list[Reading]) -> None:
        entry = outcome.entry
        entry.running_since = None
        entry.duration = outcome.duration
        if outcome.fields is not None:
            self._report(entry, CollectorState.OK, "works again")
            readings.append(Reading(entry.collector, outcome.fields, outcome.timestamp, entry.period))
            return
        if isinstance(outcome.error, NoDataError):
            level = logging.INFO if isinstance(outcome.error, MissingError) else None
            self._report(entry, CollectorState.NOTHING, str(outcome.error), level=level)
            entry.present = False
            entry.due = self._clock.monotonic() + max(entry.period, _PROBE_AGAIN_SECONDS)
            return
        text = f"{type(outcome.error).__name__}: {outcome.error}"
        # An error of the operating system is the machine's; anything else is a fault of ours and worth a traceback.
        fault = None if isinstance(outcome.error, OSError) else outcome.error
        self._report(entry, CollectorState.FAILED, text, fault)

    @staticmethod
    def _report(
        entry: Entry, state: CollectorState, text: str, fault: Exception | None = None, *, level: int | None = None
    ) -> None:
        """Say what is new, once. That there is nothing is no news at the start, unless a level is given for it."""
        before, entry.state = entry.state, state
        news = state if state is not CollectorState.FAILED else text.partition(":")[0]
        if entry.reported == news:
            return
        first, entry.reported = entry.reported is None, news
        if state is CollectorState.OK:
            if before is not CollectorState.NOTHING:
                _log.info("collector %s %s", entry.collector.name, text)
        elif state is CollectorState.NOTHING:
            usual = logging.DEBUG if first else logging.INFO
            _log.log(level or usual, "collector %s: %s", entry.collector.name, text)
        else:
            _log.warning("collector %s %s: %s", entry.collector.name, state, text, exc_info=fault)
