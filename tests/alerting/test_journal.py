"""The journal: both or neither, in order, once."""

import multiprocessing
import os
import signal
import sqlite3
from pathlib import Path

import pytest

from hostpulse.consumer.alerting.journal import JOURNAL_FILE, Journal, NoJournalError, Overview
from hostpulse.consumer.alerts import Alert, Kind
from hostpulse.consumer.storage import StorageError

from .conftest import NOW, transition

ALERT = Alert(
    host="web-1",
    rule="disk_full",
    labels={"mount": "/"},
    level="warning",
    metric="disk_mount.used_percent",
    unit="percent",
    value=91.5,
    limit=90.0,
    summary="/ of web-1 is full",
    since=NOW,
    told="warning",
    acknowledged=False,
    stale=False,
    quiet="",
)


def test_a_new_one_is_empty(journal: Journal) -> None:
    assert journal.state() == b""
    assert journal.overview() == Overview()
    assert journal.entries(0, 10) == []
    assert journal.last() == 0
    assert journal.session == NOW


def test_what_was_committed_is_there_after_a_restart(journal: Journal) -> None:
    fired, resolved = transition(), transition(kind=Kind.RESOLVED, level="ok", value=None, limit="read_only")
    assert journal.commit(b"state", [fired, resolved], [ALERT], NOW) == 2
    journal.close()
    with Journal(journal.path).create(NOW + 100) as again:
        assert again.session == NOW
        assert again.state() == b"state"
        assert again.overview() == Overview(moment=NOW, alerts=[ALERT])
        assert [entry.transition for entry in again.entries(0, 10)] == [fired, resolved]


def test_a_killed_commit_leaves_neither_state_nor_entries(journal: Journal) -> None:
    journal.commit(b"before", [transition()], [], NOW)

    def die(path: Path) -> None:
        # In the middle of the transaction, after the state and one of the entries.
        def transitions() -> object:
            yield transition(kind=Kind.ESCALATED)
            os.kill(os.getpid(), signal.SIGKILL)

        Journal(path).create(NOW).commit(b"after", transitions(), [], NOW)  # type: ignore[arg-type]

    victim = multiprocessing.get_context("fork").Process(target=die, args=(journal.path,))
    journal.close()
    victim.start()
    victim.join()
    assert victim.exitcode == -signal.SIGKILL
    with journal.create(NOW) as again:
        assert again.state() == b"before"
        assert again.last() == 1


def test_events_of_a_host_are_counted_and_never_of_the_same_moment(journal: Journal) -> None:
    journal.commit(b"", [transition(), transition(), transition(host="web-2")], [], NOW)
    journal.commit(b"", [transition()], [], NOW - 3600)  # the clock was set back
    journal.commit(b"", [transition()], [], NOW + 60)
    of_host = [entry for entry in journal.entries(0, 10) if entry.transition.host == "web-1"]
    assert [entry.sequence for entry in of_host] == [1, 2, 3, 4]
    assert [round(entry.timestamp - NOW, 3) for entry in of_host] == [0, 0.001, 0.002, 60]


def test_readers_go_on_where_they_were(journal: Journal) -> None:
    journal.commit(b"", [transition(moment=NOW + number) for number in range(5)], [], NOW)
    assert journal.position("topics") is None
    journal.move("topics", 2)
    with Journal(journal.path).open() as other:
        other.move("mail", 4)
    assert (journal.position("topics"), journal.position("mail")) == (2, 4)
    assert [entry.number for entry in journal.entries(2, 2)] == [3, 4]


def test_events_can_be_had_again_by_their_sequence(journal: Journal) -> None:
    journal.commit(b"", [transition(moment=number) for number in range(5)], [], NOW)
    journal.commit(b"", [transition(host="web-2")], [], NOW)
    assert [entry.sequence for entry in journal.events("web-1", 2, 4, 10)] == [2, 3, 4]
    assert [entry.sequence for entry in journal.events("web-1", 2, 4, 1)] == [2]
    assert journal.events("web-3", 1, 10, 10) == []


def test_old_entries_go_and_numbers_never_come_again(journal: Journal) -> None:
    for day in range(5):
        journal.commit(b"", [transition()], [], NOW + day * 86400)
    assert journal.prune(before=NOW + 2 * 86400, keep=100) == 2
    assert [entry.number for entry in journal.entries(0, 10)] == [3, 4, 5]
    assert journal.prune(before=0, keep=1) == 2
    assert [entry.number for entry in journal.entries(0, 10)] == [5]
    assert journal.prune(before=NOW + 10 * 86400, keep=1) == 1
    assert journal.last() == 5
    assert journal.commit(b"", [transition()], [], NOW) == 6
    assert journal.entries(0, 10)[0].sequence == 6


def test_a_request_is_answered_once(journal: Journal) -> None:
    first, second = journal.ask(b"one", NOW), journal.ask(b"two", NOW + 1)
    assert journal.asked() == [(first, NOW, b"one"), (second, NOW + 1, b"two")]
    journal.commit(b"", [], [], NOW, answers=[(first, b"done")])
    journal.withdraw(second)
    journal.withdraw(first)
    assert journal.asked() == []
    assert (journal.answer_to(first), journal.answer_to(second)) == (b"done", None)


def test_where_there_is_none_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(NoJournalError, match=r"no consumer has evaluated alerts"):
        Journal(tmp_path / JOURNAL_FILE).open()


def test_a_file_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / JOURNAL_FILE
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs (x)")
    other.commit()
    other.close()
    with pytest.raises(StorageError, match="database of another program"):
        Journal(path).create(NOW)
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(StorageError, match="damaged"):
        Journal(path).create(NOW)


def test_one_of_a_newer_version_is_left_alone(journal: Journal) -> None:
    journal.close()
    connection = sqlite3.connect(journal.path)
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(StorageError, match="format 2 of a newer hostpulse"):
        journal.create(NOW)


def test_damaged_content_is_named(journal: Journal) -> None:
    journal.commit(b"", [transition()], [], NOW)
    connection = sqlite3.connect(journal.path)
    connection.execute("UPDATE entry SET transition = '{'")
    connection.commit()
    connection.close()
    with pytest.raises(StorageError, match=r"alerts\.db cannot be read"):
        journal.entries(0, 10)
