import logging
import threading
from collections.abc import Callable, Iterator

import pytest

from hostpulse.bus.fields import Fields
from hostpulse.bus.messages import System
from hostpulse.publisher.collectors.base import Collector, MissingError, NoDataError
from hostpulse.publisher.schedule import Reading, Schedule


class Scripted(Collector):
    """Does at each reading what it was told."""

    subsystem = "system"

    def __init__(
        self, name: str, period: float | None = None, *, inline: bool = True, limit: float = 5.0, present: bool = True
    ) -> None:
        self.name = name
        self.period_seconds = period
        self.inline = inline
        self.time_limit_seconds = limit
        self.present = present
        self.probes = self.reads = 0
        self.action: Callable[[], object] = lambda: None

    def probe(self) -> bool:
        self.probes += 1
        return self.present

    def read(self) -> Fields:
        self.reads += 1
        self.action()
        return System(processes=self.reads)


class Stage:
    """A schedule whose time goes on when told."""

    def __init__(self, clocks) -> None:
        self.clocks = clocks
        self.woken = threading.Condition()
        self.wakes = 0
        self.readings: list[Reading] = []
        self.schedule: Schedule | None = None
        self.released = threading.Event()

    def start(self, *collectors: Collector, interval: float = 2.0) -> Schedule:
        self.schedule = Schedule(collectors, interval=interval, clock=self.clocks.clock, wake=self.wake)
        return self.schedule

    def wake(self) -> None:
        with self.woken:
            self.wakes += 1
            self.woken.notify_all()

    def run(self, *, results: int = 0) -> list[str]:
        """Run what is due and wait for results of the worker; return the names of what was read."""
        assert self.schedule is not None
        with self.woken:
            goal = self.wakes + results
        readings = self.schedule.run()
        with self.woken:
            assert self.woken.wait_for(lambda: self.wakes >= goal, timeout=90)
        if results:
            readings += self.schedule.run()
        self.readings += readings
        return [reading.collector.name for reading in readings]

    def state(self, name: str) -> str:
        assert self.schedule is not None
        return next(str(entry.state) for entry in self.schedule.entries if entry.collector.name == name)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with self.woken:
            assert self.woken.wait_for(condition, timeout=90)

    def hang(self) -> None:
        """Hang until the test is over."""
        self.wake()
        self.released.wait()


@pytest.fixture
def stage(clocks) -> Iterator[Stage]:
    stage = Stage(clocks)
    yield stage
    stage.released.set()
    if stage.schedule is not None:
        stage.schedule.stop()


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.DEBUG, logger="hostpulse.publisher.schedule")

    def lines() -> list[str]:
        found = [f"{record.levelname} {record.message}" for record in caplog.records]
        caplog.clear()
        return found

    return lines


@pytest.mark.parametrize(
    ("interval", "own", "period"),
    [(2, None, 2), (2, 15, 16), (2, 30, 30), (30, 15, 30), (0.5, None, 0.5), (0.5, 15, 15)],
)
def test_period_is_the_longer_of_both_as_a_multiple_of_the_interval(
    stage: Stage, interval: float, own: float | None, period: float
) -> None:
    schedule = stage.start(Scripted("one", own), interval=interval)
    assert stage.run() == ["one"]
    assert schedule.seconds_until_due() == period
    assert stage.readings[0].interval == period
    assert stage.readings[0].timestamp == stage.clocks.wall


def test_readings_keep_to_the_grid_of_the_first(stage: Stage) -> None:
    schedule = stage.start(Scripted("fast"), Scripted("slow", 5.0))  # which makes 6
    seen = []
    for step in (0.0, 1.0, 1.0, 1.5, 0.5, 1.2, 0.8):  # at 0, 1, 2, 3.5, 4, 5.2, 6
        stage.clocks.advance(step)
        seen.append(stage.run())
    assert seen == [["fast", "slow"], [], ["fast"], [], ["fast"], [], ["fast", "slow"]]
    assert schedule.seconds_until_due() == pytest.approx(2.0)


def test_missed_times_are_not_made_up_for(stage: Stage) -> None:
    collector = Scripted("one")
    schedule = stage.start(collector)
    stage.run()
    stage.clocks.advance(61.3)
    assert stage.run() == ["one"]
    assert stage.run() == []
    assert schedule.seconds_until_due() == pytest.approx(0.7)  # on the grid still
    assert collector.reads == 2


def test_clock_that_begins_at_0(stage: Stage) -> None:
    stage.clocks.monotonic = 0.0
    schedule = stage.start(Scripted("one"))
    assert stage.run() == ["one"]
    assert stage.run() == []
    assert schedule.seconds_until_due() == 2.0


def test_first_reading_may_wait(stage: Stage) -> None:
    late = Scripted("late", 6.0)
    late.delay_seconds = 5.0
    schedule = stage.start(Scripted("one"), late)
    seen = []
    for _ in range(7):
        seen.append(stage.run())
        stage.clocks.advance(2)
    one, both = ["one"], ["one", "late"]
    assert seen == [one, one, one, both, one, one, both]  # due at 5, 11, 17, and so on
    assert stage.run() == one
    assert schedule.seconds_until_due() == pytest.approx(2.0)
    stage.clocks.advance(1)
    assert stage.run() == []


def test_nothing_to_run_waits(stage: Stage) -> None:
    assert stage.start().seconds_until_due() == 1.0
    assert stage.run() == []


def test_worker_reads_one_after_another(stage: Stage) -> None:
    threads = []
    collectors = [Scripted(name, 15.0, inline=False) for name in ("a", "b", "c")]
    for collector in collectors:
        collector.action = lambda: threads.append(threading.current_thread())
    stage.start(Scripted("inline"), *collectors)
    assert stage.run(results=3) == ["inline", "a", "b", "c"]
    assert len(set(threads)) == 1
    assert threads[0] is not threading.current_thread()


def test_collector_that_hangs_stops_no_other(stage: Stage, said: Callable[[], list[str]]) -> None:
    hung, waiting, inline = Scripted("hung", inline=False), Scripted("waiting", inline=False), Scripted("inline")
    hung.action = stage.hang
    schedule = stage.start(hung, waiting, inline)
    assert stage.run(results=1) == ["inline"]  # what came is that it hangs
    assert 0 < schedule.seconds_until_due() <= 2.0
    stage.clocks.advance(4.9)
    assert stage.run() == ["inline"]
    assert schedule.seconds_until_due() == pytest.approx(0.1)  # then the limit is reached
    assert (stage.state("hung"), waiting.reads) == ("nothing", 0)
    stage.clocks.advance(0.1)
    assert stage.run(results=1) == ["waiting"]
    assert stage.state("hung") == "stalled"
    assert said() == ["WARNING collector hung stalled: no answer for 5 s"]
    for _ in range(3):
        stage.clocks.advance(2)
        assert stage.run(results=1) == ["inline", "waiting"]
    assert (hung.reads, said()) == (1, [])  # it is not asked again, nor spoken of

    hung.action = lambda: None
    stage.released.set()
    stage.wait_for(lambda: schedule._outcomes.qsize() == 1)
    assert "hung" in stage.run()
    assert stage.state("hung") == "ok"
    assert said() == ["INFO collector hung works again"]
    stage.clocks.advance(2)
    assert sorted(stage.run(results=2)) == ["hung", "inline", "waiting"]


def test_collector_with_a_thread_of_its_own_may_take_long(stage: Stage) -> None:
    long, other = Scripted("long", 30.0, inline=False, limit=100.0), Scripted("other", inline=False)
    long.worker = "long"
    long.action = stage.hang
    schedule = stage.start(long, other)
    assert stage.run(results=2) == ["other"]  # the first one says that it hangs
    for _ in range(5):
        stage.clocks.advance(2)
        assert stage.run(results=1) == ["other"]
    assert {thread.name for thread in threading.enumerate()} >= {"long", "collectors"}
    stage.released.set()
    stage.wait_for(lambda: schedule._outcomes.qsize() == 1)
    assert "long" in stage.run()
    assert (long.reads, stage.state("long")) == (1, "ok")


def test_thread_that_stalls_is_replaced_and_the_others_are_not(stage: Stage) -> None:
    long, other = Scripted("long", inline=False, limit=9.0), Scripted("other", inline=False)
    long.worker = "long"
    long.action = stage.hang
    schedule = stage.start(long, other)
    stage.run(results=2)
    (collectors,) = [thread for thread in threading.enumerate() if thread.name == "collectors"]
    stage.clocks.advance(8.5)
    stage.run(results=1)
    assert schedule.seconds_until_due() == pytest.approx(0.5)
    stage.clocks.advance(0.5)
    stage.run()
    assert stage.state("long") == "stalled"
    stage.clocks.advance(2)
    assert stage.run(results=1) == ["other"]
    assert [thread for thread in threading.enumerate() if thread.name == "collectors"] == [collectors]


def test_two_collectors_that_hang(stage: Stage) -> None:
    first, second, third = (Scripted(name, inline=False) for name in ("first", "second", "third"))
    first.action = second.action = stage.hang
    stage.start(first, second, third)
    stage.run(results=1)
    stage.clocks.advance(5)
    stage.run(results=1)
    assert (stage.state("first"), stage.state("second")) == ("stalled", "nothing")
    stage.clocks.advance(5)
    assert stage.run(results=1) == ["third"]
    assert (stage.state("first"), stage.state("second"), stage.state("third")) == ("stalled", "stalled", "ok")


def test_collector_that_fails_is_tried_again_and_said_once(stage: Stage, said: Callable[[], list[str]]) -> None:
    numbers = iter(range(100))

    def fail() -> None:
        raise OSError(5, f"Input/output error {next(numbers)}")

    collector, other = Scripted("bad"), Scripted("good")
    collector.action = fail
    stage.start(collector, other)
    for _ in range(4):
        assert stage.run() == ["good"]
        assert stage.state("bad") == "failed"
        stage.clocks.advance(2)
    assert (collector.reads, collector.probes) == (4, 1)
    assert said() == ["WARNING collector bad failed: OSError: [Errno 5] Input/output error 0"]

    def fail_otherwise() -> None:
        raise ValueError("another")

    collector.action = fail_otherwise
    stage.run()
    assert said() == ["WARNING collector bad failed: ValueError: another"]
    collector.action = lambda: None
    stage.clocks.advance(2)
    assert stage.run() == ["bad", "good"]
    assert (said(), stage.state("bad")) == (["INFO collector bad works again"], "ok")


def test_fault_of_ours_is_said_with_its_place(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise KeyError("MemTotal")

    for inline in (True, False):
        caplog.clear()
        collector = Scripted("bad", inline=inline)
        collector.action = fail
        stage.start(collector)
        stage.run(results=0 if inline else 1)
        assert "in fail" in caplog.text


def test_probe_that_fails_is_repeated(stage: Stage) -> None:
    collector = Scripted("bad")

    def probe() -> bool:
        collector.probes += 1
        if collector.probes == 1:
            raise PermissionError("no")
        return True

    collector.probe = probe  # type: ignore[method-assign]
    stage.start(collector)
    assert stage.run() == []
    assert stage.state("bad") == "failed"
    stage.clocks.advance(2)
    assert stage.run() == ["bad"]


def test_what_a_machine_has_not_is_quiet_and_looked_for_again(stage: Stage, said: Callable[[], list[str]]) -> None:
    collector = Scripted("battery", 15.0, present=False)
    schedule = stage.start(collector)
    assert stage.run() == []
    assert stage.state("battery") == "nothing"
    assert said() == ["DEBUG collector battery: this machine has none"]
    assert schedule.seconds_until_due() == 300
    stage.clocks.advance(299)
    assert (stage.run(), collector.probes) == ([], 1)
    stage.clocks.advance(1)
    assert (stage.run(), collector.probes) == ([], 2)
    assert said() == []
    collector.present = True
    stage.clocks.advance(300)
    assert stage.run() == ["battery"]
    stage.clocks.advance(16)
    assert (stage.run(), collector.probes, said()) == (["battery"], 3, [])


def test_what_people_can_provide_is_said_at_the_start(stage: Stage, said: Callable[[], list[str]]) -> None:
    def miss() -> None:
        raise MissingError("there is no smartctl; install smartmontools")

    collector = Scripted("smart", 15.0)
    collector.action = miss
    stage.start(collector)
    for _ in range(3):
        assert stage.run() == []
        assert stage.state("smart") == "nothing"
        stage.clocks.advance(300)
    assert said() == ["INFO collector smart: there is no smartctl; install smartmontools"]


def test_what_is_gone_is_said_once_and_looked_for_again(stage: Stage, said: Callable[[], list[str]]) -> None:
    def gone() -> None:
        raise NoDataError("no battery is in the machine")

    collector = Scripted("battery", 15.0)
    stage.start(collector)
    stage.run()
    collector.action = gone
    for _ in range(3):
        stage.clocks.advance(300)
        assert stage.run() == []
        assert stage.state("battery") == "nothing"
    assert said() == ["INFO collector battery: no battery is in the machine"]
    assert collector.probes == 3
    collector.action = lambda: None
    stage.clocks.advance(300)
    assert stage.run() == ["battery"]


def test_duration_is_known(stage: Stage) -> None:
    schedule = stage.start(Scripted("one"))
    (entry,) = schedule.entries
    assert entry.duration is None
    stage.run()
    assert entry.duration is not None
    assert entry.duration >= 0


def test_stop_ends_the_worker(stage: Stage) -> None:
    before = set(threading.enumerate())
    schedule = stage.start(Scripted("one", inline=False))
    stage.run(results=1)
    (worker,) = set(threading.enumerate()) - before
    schedule.stop()
    worker.join(30)
    assert not worker.is_alive()
