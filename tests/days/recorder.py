"""Records what the publisher sends while a machine's day goes by.

It is the whole publisher, with its collectors, schedule, outbox and main loop. What stands in is the world around it:
the machine's files move as its kind says (`animator`), its clocks go on while it waits, and in place of the
connection there is an `Air` that takes down what would have come to a broker, and when.
"""

import lzma
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from hostpulse.bus.mqtt import MqttOptions, Publication, Session
from hostpulse.config.settings import Collect
from hostpulse.publisher.clock import Clock
from hostpulse.publisher.collectors import Choice
from hostpulse.publisher.machine import Machine
from hostpulse.publisher.service import PublisherOptions, PublisherService

from .animator import Animator
from .kind import Boot, Kind
from .levels import DAY, Levels

__all__ = ["START", "Arrival", "load", "record", "recording_of", "save"]

START = 1_773_446_400.0
"""The day is 2026-03-14."""

_INTERVAL = 10.0
_KEEPALIVE = 20  # so that the publisher's loop turns once in an interval and not three times
_WILL_SECONDS = 1.5 * _KEEPALIVE  # what MQTT gives a client before the broker takes it for gone
_ON_ITS_WAY = 0.02
_ROOM = 40
_PATIENCE_SECONDS = 60.0  # real ones, for a collector
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 4, "lp": 0, "pb": 0}]  # for text


class Arrival(NamedTuple):
    """A message as it came to the broker.

    Attributes:
        received: seconds since the epoch.
        leaf: last part of its topic.
        payload: as it was; JSON, but for `online` and `offline` of `status`.
    """

    received: float
    leaf: str
    payload: bytes


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
                choice=_choice(),
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

    def busy(self) -> bool:
        """Return whether a collector is at work."""
        return any(entry.running_since is not None for entry in self._service._schedule.entries)

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


class Air(Session):
    """The way to the broker, and the time that passes on it. What it does not deliver, it does at the next connection.

    A network that is gone is noticed after two keepalives of silence, as by the connection that it stands for.
    """

    def __init__(self, recorder: _Recorder, options: MqttOptions, **words: Any) -> None:
        super().__init__(options, **words)
        self._recorder = recorder
        self._up = False
        self._count = 0
        self._number = 0
        self._heard = self._since = 0.0
        self._out: dict[int, Publication | None] = {}  # None: delivered, and not acknowledged
        self._woken = threading.Event()

    def open(self) -> None:
        pass

    @property
    def connected(self) -> bool:
        return self._up

    @property
    def connections(self) -> int:
        return self._count

    @property
    def trouble(self) -> str | None:
        return None if self._up else "the network is away"

    @property
    def room(self) -> int:
        return max(0, _ROOM - len(self._out)) if self._up else 0

    def publish(self, publication: Publication) -> int:
        self._number += 1
        self._out[self._number] = publication
        if self._recorder.online and not self._recorder.given_up_since(self._since):
            self._deliver(self._number)
        return self._number

    def _deliver(self, number: int) -> None:
        publication = self._out[number]
        if publication is not None:
            self._recorder.arrive(publication)
            self._out[number] = None

    def service(self) -> None:
        now = self._recorder.second
        if not self._recorder.online:
            self._up = self._up and now - self._heard < 2 * _KEEPALIVE
            return
        self._heard = now
        is_new = not self._up or self._recorder.given_up_since(self._since)
        if is_new:
            self._up = True
            self._count += 1
            self._since = now
        for number in list(self._out):
            self._deliver(number)
        self._acknowledge()
        if is_new:
            for publication in self._greeting():
                self.publish(publication)

    def _acknowledge(self) -> None:
        for number in [number for number, publication in self._out.items() if publication is None]:
            del self._out[number]
            if self._on_acknowledged is not None:
                self._on_acknowledged(number)

    def wait(self, seconds: float, *, for_network: bool = True) -> None:
        del for_network
        if self._recorder.busy():
            if not self._woken.wait(_PATIENCE_SECONDS):
                raise TimeoutError("a collector has not come back")
            self._woken.clear()
        else:
            self._recorder.wait(seconds)

    def wake(self) -> None:
        self._woken.set()

    def close(self, *, seconds: float) -> None:
        del seconds
        self.service()
        if self._up and self._recorder.online:
            for publication in self._farewell:
                self.publish(publication)
            self._acknowledge()


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


def _choice() -> Choice:
    """Return what is collected without settings of one's own."""
    collect = Collect()
    return Choice(
        disable=collect.disable,
        ignore_interfaces=collect.ignore_interfaces,
        ignore_devices=collect.ignore_devices,
        ignore_file_systems=collect.ignore_file_systems,
        ignore_mounts=collect.ignore_mounts,
    )


def recording_of(name: str) -> Path:
    """Return where the recording of a kind is kept."""
    return Path(__file__).parent / "recorded" / f"{name}.jsonl.xz"


def save(arrivals: Iterable[Arrival], path: Path) -> None:
    """Write a recording: a line for each moment, `[received, {leaf: payload}, ...]`."""
    with lzma.open(path, "wb", filters=_FILTERS) as file:
        for received, together in groupby(arrivals, key=lambda one: one.received):
            messages = b",".join(b'{"%s":%s}' % (one.leaf.encode(), _as_json(one)) for one in together)
            file.write(b"[%.2f,%s]\n" % (received, messages))


def _as_json(arrival: Arrival) -> bytes:
    return b'"%s"' % arrival.payload if arrival.leaf == "status" else arrival.payload


def load(path: Path) -> Iterator[Arrival]:
    """Yield the messages of a recording, their payloads byte by byte as they were."""
    decode_line = msgspec.json.Decoder(list[msgspec.Raw]).decode
    decode_message = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
    with lzma.open(path) as file:
        for line in file:
            received, *messages = decode_line(line)
            for message in messages:
                ((leaf, payload),) = decode_message(message).items()
                content = bytes(payload)
                yield Arrival(float(bytes(received)), leaf, content.strip(b'"') if leaf == "status" else content)
