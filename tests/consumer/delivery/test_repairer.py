"""When is asked, how often, and what is said: with a clock that the test moves."""

import logging
from datetime import UTC, datetime, timedelta

import pytest

from hostpulse.bus.replay import MAXIMUM_REPLAY_MESSAGES, ReplayRequest
from hostpulse.consumer.delivery import repairer as repairer_module
from hostpulse.consumer.delivery.repairer import Patience, Repairer
from hostpulse.consumer.delivery.report import Reporter
from hostpulse.consumer.delivery.runs import Gap
from hostpulse.consumer.delivery.tracker import Seen, Stream, Tracker

START = datetime(2026, 5, 28, 20, 0, tzinfo=UTC)
PATIENCE = Patience(grace=15.0, waits=(45.0, 90.0))
ROUND = 5.0


class Bench:
    """A repairer, and what it does."""

    def __init__(self, *, certain: bool = True) -> None:
        self.seconds = 1000.0
        self.tracker = Tracker()
        self.asked: list[tuple[str, str, int, int]] = []
        self.verified: list[tuple[str, datetime, datetime]] = []
        self.in_history: list[Seen] = []
        self.readable = True
        self.connected = True
        self.lost: list[tuple[str, int, int]] = []
        self.repairer = Repairer(
            self.tracker,
            ask=self.ask,
            verify=self.verify,
            report=Reporter(lambda: self.seconds),
            certain=certain,
            clock=lambda: self.seconds,
            wall=lambda: START + timedelta(seconds=self.seconds),
            patience=PATIENCE,
            uniform=lambda _low, _high: 1.0,
        )

    def ask(self, host: str, request: ReplayRequest) -> bool:
        if self.connected:
            self.asked.append((host, request.subsystem, request.first, request.last))
        return self.connected

    def verify(self, stream: Stream, gap: Gap) -> bool:
        self.verified.append((stream.subsystem, gap.since, gap.until))
        if self.readable:
            for one in self.in_history:
                self.tracker.note(one)
        return self.readable

    def come(self, *numbers: int, host: str = "web-1", subsystem: str = "cpu", session: datetime = START) -> None:
        for number in numbers:
            at = session + timedelta(seconds=2 * number)
            self.tracker.note(Seen(host, subsystem, session, number, at, 2.0))

    def run(self, seconds: float) -> None:
        end = self.seconds + seconds
        while self.seconds < end:
            losses = self.repairer.round()
            self.lost += [(loss.subsystem, loss.first, loss.last) for loss in losses]
            self.seconds += ROUND


@pytest.fixture
def bench() -> Bench:
    made = Bench()
    made.repairer.heard("web-1", online=True)
    return made


def test_a_gap_is_asked_for_after_its_grace_again_and_given_up(bench: Bench) -> None:
    bench.come(1, 2, 6)
    bench.run(15)
    assert bench.asked == []
    bench.run(10)
    assert bench.asked == [("web-1", "cpu", 3, 5)]
    bench.run(40)
    assert len(bench.asked) == 1
    bench.run(20)
    assert bench.asked == [("web-1", "cpu", 3, 5)] * 2
    assert bench.lost == []
    assert bench.repairer.missing == 3
    bench.run(100)
    assert bench.asked == [("web-1", "cpu", 3, 5)] * 2
    assert bench.lost == [("cpu", 3, 5)]
    assert bench.verified, "nothing is lost before the history was looked at"
    assert (bench.repairer.missing, bench.repairer.lost, bench.repairer.asked) == (0, 3, 6)


def test_what_overtakes_or_drains_is_not_asked_for(bench: Bench) -> None:
    bench.come(1, 100, 200)
    for number in range(2, 100):  # the outbox drains; the second gap stands for minutes
        bench.come(number)
        bench.run(5)
    for number in range(101, 200):
        bench.come(number)
    bench.run(60)
    assert bench.asked == []
    assert bench.tracker.recovered == 0


def test_an_answer_that_takes_long_is_waited_for(bench: Bench) -> None:
    bench.come(1, 3000)
    bench.run(25)
    assert len(bench.asked) == 1
    for first in range(2, 3000, 30):
        bench.come(*range(first, min(first + 30, 3000)))
        bench.run(5)
    assert len(bench.asked) == 1
    assert bench.lost == []
    assert bench.tracker.recovered == 2998
    assert bench.repairer.missing == 0


def test_nobody_is_asked_who_is_not_there(bench: Bench) -> None:
    bench.repairer.heard("web-1", online=False)
    bench.come(1, 5)
    bench.come(1, 5, host="never-said")
    bench.run(1000)
    assert bench.asked == []
    assert bench.lost == []
    bench.repairer.heard("web-1", online=True)
    bench.run(30)
    assert bench.asked == [("web-1", "cpu", 2, 4)]


def test_a_consumer_answers_for_the_events_of_a_host_that_is_not_there(bench: Bench) -> None:
    bench.repairer.heard("web-1", online=False)
    bench.come(1, 5, subsystem="event")
    bench.come(1, 5)
    bench.run(30)
    assert bench.asked == [("web-1", "event", 2, 4)]
    bench.come(2, 3, 4, subsystem="event")
    bench.run(30)
    assert (bench.repairer.asked, bench.tracker.recovered, bench.repairer.missing) == (3, 3, 3)


def test_a_host_that_comes_back_is_asked_as_if_for_the_first_time(bench: Bench) -> None:
    bench.come(1, 5)
    bench.run(90)
    assert len(bench.asked) == 2
    bench.repairer.heard("web-1", online=False)
    bench.repairer.heard("web-1", online=True)
    bench.run(100)
    assert len(bench.asked) == 4
    assert bench.lost == []


def test_a_question_that_could_not_be_sent_does_not_count(bench: Bench) -> None:
    bench.connected = False
    bench.come(1, 5)
    bench.run(1000)
    assert bench.lost == []
    bench.connected = True
    bench.run(5)
    assert bench.asked == [("web-1", "cpu", 2, 4)]


def test_near_gaps_are_one_question_and_far_ones_are_not(bench: Bench) -> None:
    bench.come(1, 3, 5, 10, 100, 102)
    for number in range(11, 100):
        bench.come(number)
    bench.run(40)
    assert bench.asked == [("web-1", "cpu", 2, 9), ("web-1", "cpu", 101, 101)]


def test_a_large_gap_is_several_questions(bench: Bench) -> None:
    bench.come(1, 2 * MAXIMUM_REPLAY_MESSAGES + 10)
    bench.run(25)
    first, second, third = bench.asked
    assert first[2:] == (2, MAXIMUM_REPLAY_MESSAGES + 1)
    assert second[2] == first[3] + 1
    assert third[2:] == (second[3] + 1, 2 * MAXIMUM_REPLAY_MESSAGES + 9)


def test_a_round_asks_a_host_no_more_than_it_takes(bench: Bench) -> None:
    for number in range(1, 1000, 50):
        bench.come(*range(number, number + 20))
    bench.run(20)
    assert len(bench.asked) == 8
    bench.run(20)
    assert len({question[2] for question in bench.asked}) == 19


def test_the_history_may_know_better() -> None:
    bench = Bench(certain=False)
    bench.repairer.heard("web-1", online=True)
    bench.come(1, 4)
    bench.in_history = [Seen("web-1", "cpu", START, 2, START, 2.0)]
    bench.run(50)
    assert bench.asked == [("web-1", "cpu", 3, 3)]


def test_nothing_is_lost_while_the_history_cannot_be_read(bench: Bench) -> None:
    bench.readable = False
    bench.come(1, 4)
    bench.run(1000)
    assert bench.lost == []
    assert bench.repairer.missing == 2
    bench.readable = True
    bench.run(5)
    assert bench.lost == [("cpu", 2, 3)]


def test_several_gaps_of_a_session_are_given_up_at_once(bench: Bench) -> None:
    bench.come(1, 3, 5, 7)
    bench.come(2, 4, session=START + timedelta(hours=1))
    bench.run(1000)
    assert sorted(bench.lost) == [("cpu", 1, 1), ("cpu", 2, 2), ("cpu", 3, 3), ("cpu", 4, 4), ("cpu", 6, 6)]
    assert bench.tracker.broken == {}


def test_the_end_of_a_session_is_asked_for_once(bench: Bench) -> None:
    bench.come(1)
    bench.come(1, session=START + timedelta(minutes=1))
    bench.run(500)
    [(host, subsystem, first, last)] = bench.asked
    assert (host, subsystem, first) == ("web-1", "cpu", 2)
    assert 30 <= last <= 100
    assert bench.lost == []


def test_what_has_come_of_an_end_is_not_asked_for(bench: Bench) -> None:
    bench.come(1)
    bench.tracker.expect("web-1", START + timedelta(minutes=1), {"cpu": 9, "memory": 9})
    bench.tracker.expect("web-1", START + timedelta(minutes=2), {"cpu": 5})
    bench.run(5)
    bench.come(1, 2, 3, session=START + timedelta(minutes=1))
    bench.come(1, 2, 3, 4, 5, session=START + timedelta(minutes=2))
    bench.run(500)
    assert ("web-1", "cpu", 4, 9) in bench.asked
    assert all(first > 1 for _, _, first, _ in bench.asked)


def test_ends_of_sessions_of_a_host_that_is_not_there_do_not_fill_the_memory(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repairer_module, "_MOST_TAILS", 5)
    bench.repairer.heard("web-1", online=False)
    for minute in range(20):
        bench.come(1, session=START + timedelta(minutes=minute))
        bench.run(5)
    assert len(bench.repairer._tails) == 5


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.message) for record in caplog.records]


def test_a_line_when_it_begins_and_one_when_all_is_back(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    bench.come(1, 4)
    bench.come(1, 3, subsystem="memory")
    bench.run(40)
    bench.come(2, 3)
    bench.come(2, subsystem="memory")
    bench.run(40)
    assert told(caplog) == [
        (
            "WARNING",
            (
                "web-1: 3 messages (cpu 2 to 3, memory 2 to 2), sampled between 2026-05-28T20:00:02.000Z and "
                "2026-05-28T20:00:08.000Z, are missing and asked for"
            ),
        ),
        ("INFO", "web-1: the 3 messages that were missing came after all"),
    ]


def test_a_line_for_what_is_lost(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.come(1, 4, 6)
    bench.run(1000)
    levels = [level for level, _ in told(caplog)]
    assert levels == ["WARNING", "ERROR"]
    assert "3 messages (cpu 2 to 5)" in told(caplog)[1][1]
    assert "lost" in told(caplog)[1][1]


def test_a_flood_is_a_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    for number in range(300):
        host = f"web-{number}\x1b[2J"
        bench.come(1, 5, host=host)
        bench.repairer.heard(host, online=True)
    bench.run(50)
    assert len(told(caplog)) == 10
    assert all("\x1b" not in text for _, text in told(caplog))
    bench.run(60)
    assert len(told(caplog)) <= 21
    assert any("more lines" in text for _, text in told(caplog))
