"""Runs and the tracker against a model that keeps every number in a set."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostpulse.bus.codec import NO_INTERVAL, Envelope
from hostpulse.consumer.delivery import tracker as tracker_module
from hostpulse.consumer.delivery.account import ACCOUNT_FILE, AccountFile, read_account
from hostpulse.consumer.delivery.runs import MOST_RUNS, Run, Runs, Wait
from hostpulse.consumer.delivery.tracker import Seen, Tracker

START = datetime(2026, 5, 28, 20, 0, tzinfo=UTC)
SESSIONS = [START, START + timedelta(hours=1), START + timedelta(hours=2)]


def moment(number: int) -> datetime:
    return START + timedelta(seconds=2 * number)


def seen(sequence: int, *, host: str = "web-1", subsystem: str = "cpu", session: datetime = START) -> Seen:
    at = session + timedelta(seconds=2 * sequence)
    return Seen(host, subsystem, session, sequence, at, 2.0)


def envelope(one: Seen) -> Envelope:
    return Envelope(
        v=1,
        host=one.host,
        subsystem=one.subsystem,
        timestamp=one.moment,
        sequence=one.sequence,
        session=one.session,
        interval=one.interval or 2.0,
    )


def missing(tracker: Tracker) -> set[tuple[str, str, datetime, int]]:
    return {
        (stream.host, stream.subsystem, session, number)
        for stream in tracker.broken.values()
        for session, gap in stream.gaps
        for number in range(gap.first, gap.end)
    }


@given(floor=st.integers(1, 20), numbers=st.lists(st.integers(1, 60)))
def test_runs_are_a_set_of_numbers(floor: int, numbers: list[int]) -> None:
    runs, model = Runs(floor, moment(floor)), set(range(floor))
    for number in numbers:
        top = max(model)
        filled = runs.add(number, moment(number))
        assert (filled is not None) == (number not in model and number < top)
        model.add(number)
        assert all((one in runs) == (one in model and one >= floor) for one in range(62))
    gaps = {number for gap in runs.gaps() for number in range(gap.first, gap.end)}
    assert gaps == set(range(floor, max(model))) - model
    assert sum(gap.size for gap in runs.gaps()) == len(gaps)
    for gap in runs.gaps():
        assert gap.until == moment(gap.end)
        assert gap.since == moment(gap.first - 1 if gap.first > floor else floor)
    assert runs.top.end == max(model) + 1


@given(order=st.permutations(range(2, 30)), asked=st.integers(2, 29))
def test_what_is_known_of_a_gap_stays_with_its_parts(order: list[int], asked: int) -> None:
    runs = Runs(1, moment(1))
    runs.add(1, moment(1))
    runs.add(30, moment(30))
    next(iter(runs)).wait = Wait(3, 7.0)
    for number in order:
        if number != asked:
            runs.add(number, moment(number))
    [gap] = runs.gaps()
    assert gap.lower.wait is not None
    assert (gap.first, gap.size, gap.lower.wait.asks, gap.lower.wait.due) == (asked, 1, 3, 7.0)


def test_too_many_gaps_cost_the_oldest() -> None:
    runs = Runs(1, moment(1))
    for number in range(1, 3 * MOST_RUNS, 2):
        runs.add(number, moment(number))
    assert len(runs) == MOST_RUNS
    assert runs.forgotten == MOST_RUNS // 2
    assert next(runs.gaps()).first > MOST_RUNS // 2


MESSAGES = st.tuples(
    st.sampled_from(["web-1", "web-2"]),
    st.sampled_from(["cpu", "memory"]),
    st.sampled_from(SESSIONS),
    st.integers(1, 30),
)


@given(messages=st.lists(st.lists(MESSAGES, max_size=20), max_size=6), straight=st.sets(st.integers(0, 5)))
def test_the_tracker_misses_what_a_model_misses(
    messages: list[list[tuple[str, str, datetime, int]]], straight: set[int]
) -> None:
    """In any order, with duplicates, and through either door."""
    tracker = Tracker()
    known_since: dict[str, datetime] = {}
    floors: dict[tuple[str, str, datetime], int] = {}
    model: dict[tuple[str, str, datetime], set[int]] = {}
    for index, batch in enumerate(messages):
        for host, subsystem, session, number in batch:
            key = host, subsystem, session
            floors.setdefault(key, 1 if host in known_since and known_since[host] < session else number)
            known_since[host] = min(session, known_since.get(host, session))
            model.setdefault(key, set()).add(number)
        found = [seen(number, host=host, subsystem=name, session=at) for host, name, at, number in batch]
        if index in straight:
            tracker.add(map(envelope, found))
        else:
            for one in found:
                tracker.note(one)
    assert missing(tracker) == {
        (*key, number) for key, numbers in model.items() for number in set(range(floors[key], max(numbers))) - numbers
    }


@given(batches=st.lists(st.lists(st.integers(1, 60), max_size=15), min_size=1, max_size=6))
def test_what_is_missing_survives_restarts(batches: list[list[int]], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each batch is stored by another consumer, that knows the account of the one before and what is in the store."""
    directory = tmp_path_factory.mktemp("account")
    stored = [1]
    tracker = Tracker()
    tracker.note(seen(1))
    for batch in batches:
        for number in batch:
            stored.append(number)
            tracker.note(seen(number))
        assert missing(tracker) == {("web-1", "cpu", START, one) for one in set(range(1, max(stored))) - set(stored)}
        AccountFile(directory, tracker, wall=lambda: START, clock=lambda: 0.0).save()
        tracker = Tracker()
        assert AccountFile(directory, tracker, wall=lambda: START, clock=lambda: 0.0).load() == START
        tracker.note(seen(max(stored)))


def test_a_session_before_we_knew_the_host_is_not_asked_for_from_its_begin() -> None:
    tracker = Tracker()
    tracker.note(seen(500))
    tracker.note(seen(700, subsystem="memory"))
    assert missing(tracker) == set()
    tracker.note(seen(3, session=SESSIONS[1]))
    assert missing(tracker) == {("web-1", "cpu", SESSIONS[1], 1), ("web-1", "cpu", SESSIONS[1], 2)}


def event(sequence: int, *, days: float, session: datetime = START) -> Seen:
    """Return one of the events of a journal that began with the session."""
    return Seen("web-1", "event", session, sequence, session + timedelta(days=days), NO_INTERVAL)


def test_events_say_nothing_of_when_their_host_was_met() -> None:
    """The journal of a consumer is older than the publisher's start, which it must not be asked for from its begin."""
    tracker = Tracker()
    tracker.add([envelope(seen(500, session=SESSIONS[1])), envelope(event(70, days=1))])
    tracker.add([envelope(seen(900, subsystem="memory", session=SESSIONS[1]))])
    assert missing(tracker) == set()


def test_a_journal_is_not_asked_for_from_its_begin_because_its_host_was_known_before() -> None:
    tracker = Tracker()
    tracker.note(seen(500))
    tracker.note(event(70, days=90, session=SESSIONS[1]))
    assert missing(tracker) == set()
    tracker.note(event(73, days=91, session=SESSIONS[1]))
    assert missing(tracker) == {("web-1", "event", SESSIONS[1], 71), ("web-1", "event", SESSIONS[1], 72)}
    tracker.note(event(2, days=120, session=SESSIONS[2]))  # another journal
    assert missing(tracker) == {
        ("web-1", "event", SESSIONS[1], 71),
        ("web-1", "event", SESSIONS[1], 72),
        ("web-1", "event", SESSIONS[2], 1),
    }


def test_events_announce_no_next_one_so_that_no_end_of_theirs_is_guessed() -> None:
    tracker = Tracker()
    tracker.add([envelope(event(1, days=1)), envelope(event(1, days=400, session=SESSIONS[1]))])
    assert tracker.tails == []
    tracker.note(seen(1))
    tracker.expect("web-1", SESSIONS[1], {"event": 7})  # a publisher has none
    assert tracker.tails == []


def test_a_host_of_which_there_are_only_events_is_not_known() -> None:
    tracker = Tracker()
    tracker.note(event(1, days=1))
    assert not tracker.known("web-1")
    tracker.note(seen(1))
    assert tracker.known("web-1")


def test_the_end_of_a_session_is_asked_for_where_it_may_have_said_more() -> None:
    tracker = Tracker()
    tracker.note(seen(1))
    tracker.note(seen(10, session=SESSIONS[1]))
    [tail] = tracker.tails
    assert (tail.session, tail.first) == (START, 2)
    assert 1800 <= tail.last < 1 << 20
    tracker.note(seen(2))
    assert tracker.recovered == 1


def test_a_quick_restart_has_no_end_that_is_missing() -> None:
    tracker = Tracker()
    tracker.note(seen(10))
    tracker.note(seen(1, session=START + timedelta(seconds=24)))
    assert tracker.tails == []


def test_a_start_that_nobody_has_heard_of_is_asked_for() -> None:
    tracker = Tracker()
    tracker.note(seen(3))
    tracker.expect("web-1", SESSIONS[1], {"cpu": 7, "unheard": 3})
    [tail] = tracker.tails
    assert tail == ("web-1", "cpu", SESSIONS[1], 1, 7)
    tracker.note(seen(2, session=SESSIONS[1]))
    assert missing(tracker) == {("web-1", "cpu", SESSIONS[1], 1)}
    assert tracker.first_unheard(tail) == 3


def test_of_a_start_that_was_heard_the_end_is_asked_for() -> None:
    tracker = Tracker()
    tracker.note(seen(3))
    tracker.expect("web-1", START, {"cpu": 3})
    assert tracker.tails == []
    tracker.expect("web-1", START, {"cpu": 5})
    assert tracker.tails == [("web-1", "cpu", START, 4, 5)]


def test_starts_before_a_host_was_met_are_not_missed() -> None:
    tracker = Tracker()
    tracker.expect("web-1", START, {"cpu": 7})
    tracker.note(seen(3, session=SESSIONS[1]))
    tracker.expect("web-1", START, {"cpu": 7})
    assert tracker.tails == []


def test_starts_that_are_not_followed_any_more_are_not_asked_for_again() -> None:
    tracker = Tracker()
    starts = [START + timedelta(seconds=number) for number in range(6)]
    for start in starts:
        tracker.note(seen(1, session=start))
    tracker.tails.clear()
    for start in starts:
        tracker.expect("web-1", start, {"cpu": 1})
    assert tracker.tails == []


def test_starts_that_are_made_up_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker_module, "_MOST_TAILS", 5)
    tracker = Tracker()
    tracker.note(seen(3))
    for number in range(100):
        tracker.expect("web-1", START + timedelta(seconds=number + 1), {"cpu": 7})
        if number % 2:
            tracker.tails.clear()
    assert len(tracker.tails) <= 5
    assert len(tracker._asked_tails) == 5


def test_hostile_numbers_do_not_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracker_module, "_MOST_GAPS", 1000)
    monkeypatch.setattr(tracker_module, "_MOST_STREAMS", 50)
    tracker = Tracker()
    for number in range(1, 2**40, 2**31):
        for host in range(60):
            for session in (START, START + timedelta(seconds=number % 1_000_003)):
                tracker.note(Seen(f"host-{host}", "cpu", session, number, START, 2.0))
    assert len(tracker._streams) == 50
    assert sum(len(list(stream.gaps)) for stream in tracker.broken.values()) <= 1000
    assert tracker.forgotten > 0
    texts = [record.message for record in caplog.records]
    assert len(texts) == 2
    assert {text.split()[0] for text in texts} == {"more"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"v":2,"saved":"2026-05-28T20:00:00Z","reached":"2026-05-28T20:00:00Z"}',
        (
            '{"v":1,"saved":"2026-05-28T20:00:00Z","reached":"2026-05-28T20:00:00Z","missing":[{"host":"h","subsystem":"cpu",'
            '"session":"2026-05-28T20:00:00Z","runs":[]}]}'
        ),
    ],
)
def test_an_account_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / ACCOUNT_FILE).write_text(text)
    assert read_account(tmp_path) is None
    assert AccountFile(tmp_path, Tracker(), wall=lambda: START, clock=lambda: 0.0).load() is None


def test_an_account_that_cannot_be_written_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    account = AccountFile(tmp_path / "none", Tracker(), wall=lambda: START, clock=lambda: 0.0)
    account.save()
    account.save()
    assert [record.message for record in caplog.records] == [
        f"{tmp_path / 'none' / ACCOUNT_FILE} cannot be written: No such file or directory"
    ]


def test_restored_runs_are_what_they_were() -> None:
    runs = Runs.restored([Run(5, 8, moment(5), moment(7)), Run(10, 12, moment(10), moment(11))])
    assert [(gap.first, gap.end) for gap in runs.gaps()] == [(8, 10)]
    runs.add(8, moment(8))
    runs.add(9, moment(9))
    assert [(run.first, run.end) for run in runs] == [(5, 12)]
