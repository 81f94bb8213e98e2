"""The role `alerts` without a broker: what is durable when, and what comes of a crash at any moment."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostpulse.bus.messages import DiskMount
from hostpulse.consumer.alerting.commands import (
    Acknowledge,
    Answer,
    Forget,
    Lift,
    Request,
    Silencing,
    decode_answer,
    encode_request,
)
from hostpulse.consumer.alerting.journal import JOURNAL_FILE, Journal
from hostpulse.consumer.alerting.role import AlertRole
from hostpulse.consumer.alerts import Kind, Transition, load_rules, parse_source
from hostpulse.consumer.storage import StorageError, StorageUnavailableError

from .conftest import NOW
from .support import RULES, TOPICS, batch, load, message


class Clock:
    """Wall and monotonic time in one, moved by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_role(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., AlertRole]]:
    roles: list[AlertRole] = []

    def make(**changes: object) -> AlertRole:
        role = AlertRole(
            TOPICS,
            load_rules([parse_source(RULES.name, RULES.text)]),
            Journal(tmp_path / JOURNAL_FILE),
            wall=clock,
            monotonic=clock,
            **changes,  # type: ignore[arg-type]
        )
        role.open()
        roles.append(role)
        return role

    yield make
    for role in roles:
        role._journal.close()  # as a crash does: nothing is saved


def told(tmp_path: Path) -> list[Transition]:
    """Return what somebody finds who opens the journal now."""
    with Journal(tmp_path / JOURNAL_FILE).open() as journal:
        return [entry.transition for entry in journal.entries(0, 1000)]


def kinds(tmp_path: Path) -> list[str]:
    return [f"{one.level} {one.kind}" for one in told(tmp_path)]


def feed(role: AlertRole, clock: Clock, messages: list[tuple[str, bytes]], seconds: list[float]) -> None:
    for one, second in zip(messages, seconds, strict=True):
        clock.now = NOW + second
        role.take(batch([one]))


def ask(tmp_path: Path, role: AlertRole, request: Request | bytes) -> Answer:
    with Journal(tmp_path / JOURNAL_FILE).open() as journal:
        number = journal.ask(request if isinstance(request, bytes) else encode_request(request), NOW)
        role.tick(listening=True)
        answer = journal.answer_to(number)
        assert answer is not None
        assert journal.asked() == []
    return decode_answer(answer)


def test_what_happened_is_durable_before_the_batch_is_acknowledged(
    make_role: Callable[..., AlertRole], clock: Clock, tmp_path: Path
) -> None:
    role = make_role()
    feed(role, clock, [load(0, 5), load(5, 5)], [0, 5])
    assert kinds(tmp_path) == []
    feed(role, clock, [load(10, 5)], [10])
    [fired] = told(tmp_path)
    assert (fired.kind, fired.level, fired.value, fired.moment) == (Kind.FIRED, "warning", 5.0, NOW + 10)
    assert [alert.rule for alert in role.alerts] == ["busy"]


def test_a_batch_that_comes_again_after_a_crash_tells_nothing_twice(
    make_role: Callable[..., AlertRole], clock: Clock, tmp_path: Path
) -> None:
    messages = [load(second, 5) for second in (0, 5, 10)]
    clock.now = NOW + 10
    make_role().take(batch(messages))
    make_role().take(batch([*messages, load(15, 5)]))
    assert kinds(tmp_path) == ["warning fired"]


def test_what_could_not_be_kept_is_kept_with_the_next_batch(
    make_role: Callable[..., AlertRole], clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hostpulse.consumer.storage.embedded.connection._BUSY_SECONDS", 0.1)
    role = make_role()
    messages = [load(second, 5) for second in (0, 5, 10)]
    other = sqlite3.connect(tmp_path / JOURNAL_FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    clock.now = NOW + 10
    with pytest.raises(StorageUnavailableError, match=r"alerts\.db"):
        role.take(batch(messages))
    assert kinds(tmp_path) == []
    other.close()
    role.take(batch(messages))
    assert kinds(tmp_path) == ["warning fired"]


def test_a_hold_goes_on_where_the_state_was_saved(
    make_role: Callable[..., AlertRole], clock: Clock, tmp_path: Path
) -> None:
    role = make_role()
    feed(role, clock, [load(0, 5), load(5, 5)], [0, 5])
    clock.now = NOW + 6
    role.tick(listening=True)  # five seconds after the start, so it saves
    feed(make_role(), clock, [load(10, 5)], [10])
    assert kinds(tmp_path) == ["warning fired"]


def test_a_proper_end_saves_everything(make_role: Callable[..., AlertRole], clock: Clock, tmp_path: Path) -> None:
    role = make_role()
    feed(role, clock, [load(0, 5), load(4, 5)], [0, 4])
    role.close()
    feed(make_role(), clock, [load(10, 5)], [10])
    assert kinds(tmp_path) == ["warning fired"]


STEPS = [
    (0, 1.0),
    (5, 5.0),
    (10, 5.0),
    (15, 9.0),
    (20, 9.0),
    (25, 9.0),
    (30, 5.0),
    (35, 2.0),
    (40, 2.0),
    (45, 2.0),
    (50, 2.0),
]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    ends=st.sets(st.integers(1, len(STEPS) - 1)),
    crashes=st.sets(st.integers(1, len(STEPS) - 1)),
    again=st.integers(0, 4),
)
def test_wherever_it_crashes_and_however_batches_are_cut_the_same_is_told(
    ends: set[int], crashes: set[int], again: int, *, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def run(cuts: list[int], crashes: set[int], again: int) -> list[tuple[object, ...]]:
        directory = tmp_path_factory.mktemp("role")
        clock = Clock()

        def start() -> AlertRole:
            rules = load_rules([parse_source(RULES.name, RULES.text)])
            # It saves at each step here: how much of a hold a crash may cost is another matter.
            role = AlertRole(TOPICS, rules, Journal(directory / JOURNAL_FILE), wall=clock, monotonic=clock)
            role.open()
            return role

        role = start()
        begin = 0
        for end in [*cuts, len(STEPS)]:
            clock.now = NOW + STEPS[end - 1][0]
            # The broker gives again what was not acknowledged, and maybe more.
            role.take(batch(load(second, value) for second, value in STEPS[max(0, begin - again) : end]))
            role._save()
            if end in crashes:
                role._journal.close()
                role = start()
            begin = end
        role._journal.close()
        return [(one.kind, one.level, one.moment, one.told) for one in told(directory)]

    assert run(sorted(ends | crashes), crashes, again) == run([], set(), 0)
    assert len(run([], set(), 0)) == 4


def test_silence_without_a_connection_says_nothing(
    make_role: Callable[..., AlertRole], clock: Clock, tmp_path: Path
) -> None:
    role = make_role()
    feed(role, clock, [load(0, 1)], [0])
    for second in range(1, 200):
        clock.now = NOW + second
        role.tick(listening=False)
    assert kinds(tmp_path) == []
    for second in range(200, 300):
        clock.now = NOW + second
        role.tick(listening=True)
    assert kinds(tmp_path) == ["critical fired"]


@pytest.mark.parametrize(("battery", "expected"), [(False, ["critical fired"]), (True, [])])
def test_a_last_will_starts_the_clock_of_a_host_that_is_not_known(
    make_role: Callable[..., AlertRole], clock: Clock, tmp_path: Path, *, battery: bool, expected: list[str]
) -> None:
    asked: list[str] = []

    def had_battery(host: str) -> bool:
        asked.append(host)
        return battery

    role = make_role(had_battery=had_battery)
    status = (TOPICS.status("büro 1"), b"offline")
    role.take(batch([(TOPICS.status("web-2"), b"online"), status], retained=[0, 1]))
    role.take(batch([status], retained=[0]))
    for second in range(100):
        clock.now = NOW + second
        role.tick(listening=True)
    assert kinds(tmp_path) == expected
    assert asked == ["büro 1"]


def test_what_cannot_be_used_is_passed_over(make_role: Callable[..., AlertRole], tmp_path: Path) -> None:
    role = make_role()
    full = message("disk", 0, mount={"/": DiskMount(used_percent=95)})
    role.take(
        batch(
            [
                (TOPICS.sample("web-1", "cpu"), b"{"),
                ("hostpulse/web-1/\udcff".encode("utf-8", "surrogateescape").decode("latin-1"), b""),
                ("elsewhere/web-1/cpu", full[1]),
                ("hostpulse/web_x2D1/disk", full[1]),  # another spelling of the same host
                (full[0], full[1]),  # kept by the broker, so it was there before
                (TOPICS.sample("web-1", "event"), b"{}"),
            ],
            retained=[4],
        )
    )
    assert role.received == 6
    assert kinds(tmp_path) == []
    role.take(batch([full]))
    assert [one.instance for one in told(tmp_path)] == ["web-1/disk_full/mount=/"]


def test_a_flood_of_host_names_is_bounded_and_said_once(
    make_role: Callable[..., AlertRole], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    role = make_role(maximum_hosts=10)
    full = {"/": DiskMount(used_percent=95)}
    role.take(batch(message("disk", 0, host=f"host-{number}", mount=full) for number in range(500)))
    assert len(told(tmp_path)) == 10
    assert role.refused_hosts == 10
    role.take(batch([(TOPICS.status("another"), b"offline")]))
    assert [record.levelname for record in caplog.records].count("ERROR") == 1
    assert "store.maximum_hosts" in caplog.text


def test_acknowledging(make_role: Callable[..., AlertRole], clock: Clock, tmp_path: Path) -> None:
    role = make_role()
    full = {"/": DiskMount(used_percent=95), "/srv": DiskMount(used_percent=99)}
    feed(role, clock, [message("disk", 0, mount=full), load(1, 1)], [0, 1])
    answer = ask(tmp_path, role, Acknowledge(patterns=("web-1/disk_full/*",), comment="Ina: buying a disk"))
    assert answer == Answer(done=("web-1/disk_full/mount=/", "web-1/disk_full/mount=/srv"))
    assert [alert.acknowledged for alert in role.alerts] == [True, True]
    assert told(tmp_path)[-1].why == "acknowledged: Ina: buying a disk"
    answer = ask(tmp_path, role, Acknowledge(patterns=("web-1/disk_full/mount=/", "web-1/busy")))
    assert answer.done == ()
    assert "no alert that is firing is 'web-1/busy'" in answer.trouble
    assert kinds(tmp_path)[2:] == ["warning acknowledged", "warning acknowledged"]


def test_an_instance_with_signs_of_a_pattern_can_be_named(
    make_role: Callable[..., AlertRole], clock: Clock, tmp_path: Path
) -> None:
    role = make_role()
    feed(role, clock, [message("disk", 0, mount={"/a[1]": DiskMount(used_percent=95)})], [0])
    assert ask(tmp_path, role, Acknowledge(patterns=("web-1/disk_full/mount=/a[1]",))).trouble == ""


def test_silences(make_role: Callable[..., AlertRole], clock: Clock, tmp_path: Path) -> None:
    role = make_role()
    answer = ask(tmp_path, role, Silencing(hosts=("web-*",), rules=("disk_full",), seconds=60, comment="moving"))
    (name,) = answer.done
    with Journal(tmp_path / JOURNAL_FILE).open() as journal:
        (silence,) = journal.overview().silences
    assert (silence.id, silence.until, silence.comment) == (name, NOW + 60, "moving")
    full = {"/": DiskMount(used_percent=95)}
    feed(role, clock, [message("disk", 0, mount=full)], [0])
    assert [(one.told, one.why) for one in told(tmp_path)] == [(False, "silenced: moving")]

    role = make_role()  # it survives a crash
    clock.now = NOW + 1
    assert ask(tmp_path, role, Lift(id=name)) == Answer(done=(name,))
    assert "there is no silence" in ask(tmp_path, role, Lift(id=name)).trouble
    feed(role, clock, [message("disk", 5, mount=full)], [5])
    assert kinds(tmp_path) == ["warning fired", "warning announced"]


def test_forgetting_a_host(make_role: Callable[..., AlertRole], clock: Clock, tmp_path: Path) -> None:
    role = make_role()
    feed(role, clock, [message("disk", 0, mount={"/": DiskMount(used_percent=95)})], [0])
    assert ask(tmp_path, role, Forget(host="web-2")).trouble == "no host 'web-2' is known"
    assert ask(tmp_path, role, Forget(host="web-1")) == Answer(done=("web-1",))
    assert role.alerts == []
    for second in range(1, 100):
        clock.now = NOW + second
        role.tick(listening=True)
    assert kinds(tmp_path) == ["warning fired", "ok resolved"]
    assert [(one.told, one.why) for one in told(tmp_path)][1:] == [(False, "the host is forgotten")]


def test_a_last_will_that_the_broker_has_kept_does_not_bring_a_forgotten_host_back(
    make_role: Callable[..., AlertRole], clock: Clock, tmp_path: Path
) -> None:
    role = make_role()
    feed(role, clock, [load(0, 1)], [0])
    assert ask(tmp_path, role, Forget(host="web-1")) == Answer(done=("web-1",))
    role = make_role()
    role.take(batch([(TOPICS.status("web-1"), b"offline")], retained=[0]))
    role.take(batch([(TOPICS.status("web-2"), b"")]))  # somebody clears what the broker has of it
    for second in range(100):
        clock.now = NOW + second
        role.tick(listening=True)
    assert kinds(tmp_path) == []
    assert role.alerts == []


def test_whether_a_host_may_sleep_is_asked_again_where_history_cannot_be_read(
    make_role: Callable[..., AlertRole], clock: Clock, tmp_path: Path
) -> None:
    answers: list[bool | None] = [None, None, False]
    role = make_role(had_battery=lambda _: answers.pop(0))
    role.take(batch([(TOPICS.status(f"web-{number}"), b"offline") for number in (1, 2)], retained=[0, 1]))
    role.take(batch([(TOPICS.status("web-1"), b"online")]))
    for second in range(300):
        clock.now = NOW + second
        role.tick(listening=True)
        assert kinds(tmp_path) == ([] if second < 120 else ["critical fired"])
    assert [alert.host for alert in role.alerts] == ["web-2"]


def test_a_flood_of_last_wills_is_bounded(make_role: Callable[..., AlertRole], clock: Clock, tmp_path: Path) -> None:
    role = make_role(maximum_hosts=10)
    for part in range(2):
        role.take(batch((TOPICS.status(f"host-{part}-{number}"), b"offline") for number in range(50)))
        role.tick(listening=True)
    feed(role, clock, [message("disk", 0, host="another", mount={"/": DiskMount(used_percent=95)})], [0])
    for second in range(100):
        clock.now = NOW + second
        role.tick(listening=True)
    assert kinds(tmp_path) == ["critical fired"] * 10


def test_names_that_no_file_can_hold_stop_nothing(
    make_role: Callable[..., AlertRole], clock: Clock, tmp_path: Path
) -> None:
    role = make_role()
    half = f"{TOPICS.prefix}/_xED_xA0_x80/status"  # the escape of half a character
    full = message("disk", 0, mount={"/": DiskMount(used_percent=95)})
    role.take(batch([(half, b"offline"), full], retained=[0]))
    clock.now = NOW + 5
    role.tick(listening=True)
    assert kinds(tmp_path) == ["warning fired"]


def test_what_was_asked_for_is_not_done_twice(
    make_role: Callable[..., AlertRole], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hostpulse.consumer.storage.embedded.connection._BUSY_SECONDS", 0.1)
    role = make_role()
    with Journal(tmp_path / JOURNAL_FILE).open() as journal:
        number = journal.ask(encode_request(Silencing(rules=("busy",), seconds=600)), NOW)
        other = sqlite3.connect(tmp_path / JOURNAL_FILE, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for _ in range(2):
            with pytest.raises(StorageUnavailableError, match=r"alerts\.db"):
                role.tick(listening=True)
        other.close()
        assert journal.answer_to(number) is None
        role.tick(listening=True)
        assert journal.answer_to(number) is not None
        assert len(journal.overview().silences) == 1


def test_a_request_that_nobody_waits_for_any_more_is_not_done(
    make_role: Callable[..., AlertRole], clock: Clock, tmp_path: Path
) -> None:
    clock.now = NOW + 100
    answer = ask(tmp_path, make_role(), Silencing(rules=("*",), seconds=600))
    assert answer.trouble == "the consumer was away for too long; nothing was done"
    with Journal(tmp_path / JOURNAL_FILE).open() as journal:
        assert journal.overview().silences == []


def test_a_silence_that_could_not_be_read_again_is_refused(make_role: Callable[..., AlertRole], tmp_path: Path) -> None:
    role = make_role()
    hosts = tuple(f"web-{number}" for number in range(65))
    assert "too long" in ask(tmp_path, role, Silencing(hosts=hosts, seconds=600)).trouble
    assert ask(tmp_path, role, Silencing(hosts=hosts[:64], seconds=600)).trouble == ""
    make_role()


def test_a_request_of_another_version_is_answered(make_role: Callable[..., AlertRole], tmp_path: Path) -> None:
    assert "does not know such a request" in ask(tmp_path, make_role(), b'{"type": "dance"}').trouble
    assert "does not know such a request" in ask(tmp_path, make_role(), b"\xff").trouble


def test_a_state_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with Journal(tmp_path / JOURNAL_FILE).create(NOW) as journal:
        journal.commit(b'{"version": 99}', [], [], NOW)
    role = AlertRole(TOPICS, (), Journal(tmp_path / JOURNAL_FILE))
    for _ in range(2):
        with pytest.raises(StorageError, match=r"alerts\.db: the state of the alerts is of version 99"):
            role.open()
        role.close()  # which must not write an empty state over it


def test_a_journal_that_cannot_be_opened_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / JOURNAL_FILE).write_bytes(b"a text of somebody\n" * 100)
    role = AlertRole(TOPICS, (), Journal(tmp_path / JOURNAL_FILE))
    with pytest.raises(StorageError, match=r"alerts\.db"):
        role.open()
    role.close()
    assert (tmp_path / JOURNAL_FILE).read_bytes() == b"a text of somebody\n" * 100
