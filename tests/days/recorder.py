"""Records what the publisher sends while a machine's day goes by.

It is the whole publisher, with its collectors, schedule, outbox and main loop. What stands in is the world around it:
the machine's files move as its kind says (`animator`), its clocks go on while it waits, and in place of the
connection there is an `Air` that hands over what would have come to a broker.
"""

import shutil
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

from hostpulse.bus.mqtt import MqttOptions, Publication
from hostpulse.publisher.clock import Clock
from hostpulse.publisher.machine import Machine
from hostpulse.publisher.service import PublisherOptions, PublisherService

from ..publisher.conftest import default_choice
from .air import Air
from .animator import Animator
from .kind import Boot, Kind
from .levels import DAY, Levels
from .recording import Arrival

__all__ = ["START", "record"]

START = 1_773_446_400.0
"""The day is 2026-03-14."""

_INTERVAL = 10.0
_KEEPALIVE = 20  # so that the publisher's loop turns once in an interval and not three times
_WILL_SECONDS = 1.5 * _KEEPALIVE  # what MQTT gives a client before the broker takes it for gone
_ON_ITS_WAY = 0.02


class _PowerCutError(Exception):
    """The publisher is not there any more, and had no time to say so."""


def record(
    kind: Kind,
    folder: Path,
    *,
    begin: float = 0.0,
    end: float = DAY,
    alter: Callable[[float, Levels], None] = lambda _second, _levels: None,
) -> list[Arrival]:
    """Return what came to the broker in a part of a day. What is sent retained but the status is left out.

    Args:
        kind: of machine.
        folder: an empty one.
        begin: second of the day at which the publisher starts, if it would run then.
        end: second of the day after which nothing is recorded.
        alter: does something to what the machine does: what is wrong with it.
    """
    return _Recorder(kind, folder, begin, end, alter).run()


class _Recorder:
    def __init__(
        self, kind: Kind, folder: Path, begin: float, end: float, alter: Callable[[float, Levels], None]
    ) -> None:
        self._kind = kind
        self._folder = folder
        self._data = folder / "data"
        self._alter = alter
        self._end = end
        self._absences = _joined(
            [
                *((gap.begin, gap.end) for gap in kind.gaps),
                *kind.outages,
                *_power_cuts(kind),
            ]
        )
        self._wills = [one for one, other in self._absences if other - one > _WILL_SECONDS and one >= begin]
        self.second = begin
        self._running = 0.0  # seconds since the files were shown in which the machine did not stand still
        self._monotonic = self._boottime = 0.0
        self.arrivals: list[Arrival] = []

    def run(self) -> list[Arrival]:
        for number, boot in enumerate(self._kind.boots):
            if boot.end > self.second and boot.begin < self._end:
                self._run(boot, number)
        return self.arrivals

    # One start of the publisher

    def _run(self, boot: Boot, number: int) -> None:
        self._go_to(max(self.second, boot.begin))
        begin = self.second
        animator = Animator(
            self._kind.tree,
            self._folder / f"machine-{number}",
            fresh=boot.uptime is not None,
            narrow=self._kind.narrow,
        )
        monotonic, boottime = animator.script["monotonic"], animator.script["boottime"]
        if boot.uptime is not None:
            monotonic = boottime = boot.uptime
        self._monotonic, self._boottime = monotonic + begin - boot.begin, boottime + begin - boot.begin
        self._animator, self._boot = animator, boot
        self._running = 0.0
        self._show()
        self._service = PublisherService(
            PublisherOptions(
                host=self._kind.name,
                interval=_INTERVAL,
                mqtt=MqttOptions(host="broker", port=1883, client_id="recorded", keepalive_seconds=_KEEPALIVE),
                choice=default_choice(),
                data_dir=str(self._data),
            ),
            self._machine(animator, number),
            session=partial(Air, self),
        )
        try:
            self._service.run()
        except _PowerCutError:
            # What is on the disk is what a power cut leaves; but nobody has its lock any more.
            kept = self._folder / f"data-{number + 1}"
            shutil.copytree(self._data, kept, ignore=shutil.ignore_patterns("lock"))
            self._data = kept
            self._service._outbox.close("the power is gone")  # our process still has its files
        finally:
            animator.answer()
            self._service._schedule.stop()

    def _machine(self, animator: Animator, number: int) -> Machine:
        root = self._folder / f"machine-{number}"
        return Machine(
            proc=f"{root}/proc",
            sys=f"{root}/sys",
            filesystem=f"{root}/root",
            clock=Clock(wall=self._wall, monotonic=lambda: self._monotonic, boottime=lambda: self._boottime),
            page_bytes=4096,
            file_system_size=animator.file_system_size,
            run=animator.drives,
            sleep=lambda _seconds: None,
        )

    def _wall(self) -> float:
        return START + self.second + self._kind.clock_error(self.second)

    def _show(self) -> None:
        levels = self._kind.levels(self.second)
        self._alter(self.second, levels)
        self._animator.show(levels, seconds=self._running, uptime=self._boottime, wall=self._wall())
        self._running = 0.0

    # What the connection asks

    @property
    def online(self) -> bool:
        """Whether there is a network now."""
        return not any(begin <= self.second < end for begin, end in self._absences)

    @property
    def busy(self) -> bool:
        """Whether a collector is at work, or has something to be taken."""
        return self._submitted > 0

    @property
    def at_work(self) -> bool:
        """Whether a collector is at work."""
        return self._submitted > self._service._schedule._outcomes.qsize()

    @property
    def _submitted(self) -> int:
        return sum(entry.running_since is not None for entry in self._service._schedule.entries)

    def arrive(self, publication: Publication) -> None:
        """Take down a message that comes to the broker."""
        leaf = publication.topic.rpartition("/")[2]
        if not publication.retain or leaf == "status":
            self.arrivals.append(Arrival(round(START + self.second + _ON_ITS_WAY, 2), leaf, publication.payload))

    def given_up_since(self, second: float) -> bool:
        """Return whether the broker has taken the publisher for gone since a moment."""
        return any(second < begin + _WILL_SECONDS <= self.second for begin in self._wills)

    def wait(self, seconds: float) -> None:
        """Let time pass for the publisher; it stops at the end of its part of the day."""
        target = self.second + seconds
        for gap in self._kind.gaps:
            if self.second < gap.begin <= target:
                self._go_to(gap.begin)
                self._go_to(gap.end, still=True, suspended=gap.suspended)
                target += gap.end - gap.begin
        end = min(self._boot.end, self._end)
        self._go_to(min(target, end))
        if target >= end:
            if not self._boot.proper or self._boot.end >= self._end:
                raise _PowerCutError
            self._service.stop()
        self._show()

    def _go_to(self, second: float, *, still: bool = False, suspended: bool = False) -> None:
        passed = second - self.second
        for begin in self._wills:
            if self.second < begin + _WILL_SECONDS <= min(second, self._end):
                self.arrivals.append(Arrival(round(START + begin + _WILL_SECONDS, 2), "status", b"offline"))
        self.second = second
        self._boottime += passed
        self._monotonic += 0.0 if suspended else passed
        self._running += 0.0 if still else passed


def _power_cuts(kind: Kind) -> list[tuple[float, float]]:
    return [(one.end, other.begin) for one, other in pairwise(kind.boots) if not one.proper]


def _joined(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return spans in order, those that touch each other as one."""
    joined: list[tuple[float, float]] = []
    for begin, end in sorted(spans):
        if joined and begin <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((begin, end))
    return joined
