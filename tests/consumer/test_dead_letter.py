"""The file of unusable messages: whole lines, bounded, durable."""

import base64
import errno
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hostpulse.bus.errors import MalformedError, WrongTopicError
from hostpulse.bus.lock import FileLock
from hostpulse.consumer import dead_letter
from hostpulse.consumer.dead_letter import DeadLetter, DeadLetterFile

if TYPE_CHECKING:
    from collections.abc import Callable

LETTER = DeadLetter(b"hostpulse/web-1/cpu", b"\x00\xff{", MalformedError("not JSON"))


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_has_all_that_is_needed_to_understand_it(tmp_path: Path) -> None:
    kept = DeadLetterFile(tmp_path / "dead.jsonl", wall=lambda: 1_780_000_000.5)
    kept.keep([LETTER])
    assert lines(kept.path) == [
        {
            "time": "2026-05-28T20:26:40.500Z",
            "topic": "hostpulse/web-1/cpu",
            "kind": "malformed",
            "reason": "not JSON",
            "payload": base64.b64encode(LETTER.payload).decode(),
            "bytes": 3,
        }
    ]


def test_it_makes_its_directory(tmp_path: Path) -> None:
    kept = DeadLetterFile(tmp_path / "data" / "hostpulse" / "dead.jsonl")
    assert not kept.path.parent.exists()
    kept.keep([LETTER])
    assert len(lines(kept.path)) == 1


def test_counts_by_kind(tmp_path: Path) -> None:
    kept = DeadLetterFile(tmp_path / "dead.jsonl")
    kept.keep([LETTER, LETTER._replace(error=WrongTopicError("elsewhere"))])
    kept.keep([LETTER])
    assert kept.counts == {"malformed": 2, "wrong_topic": 1}
    kept.keep([])
    assert len(lines(kept.path)) == 3


def test_a_long_message_is_cut(tmp_path: Path) -> None:
    kept = DeadLetterFile(tmp_path / "dead.jsonl")
    kept.keep([LETTER._replace(topic=b"t" * 60_000, payload=b"x" * 1_000_000)])
    (line,) = lines(kept.path)
    assert line["bytes"] == 1_000_000
    assert len(base64.b64decode(str(line["payload"]))) == 256 * 1024
    assert line["topic"] == "t" * 1024


@pytest.mark.parametrize("together", [1, 7, 100])
def test_two_files_of_bounded_size(tmp_path: Path, together: int) -> None:
    kept = DeadLetterFile(tmp_path / "dead.jsonl", maximum_bytes=2000)
    letters = [LETTER._replace(payload=f"{number:03}".encode()) for number in range(100)]
    for first in range(0, len(letters), together):
        kept.keep(letters[first : first + together])
        assert sum(path.stat().st_size for path in tmp_path.glob("dead.jsonl*")) <= 4000
    older, newer = tmp_path / "dead.jsonl.1", kept.path
    assert sorted(tmp_path.glob("dead.jsonl*")) == [newer, older]
    numbers = [int(base64.b64decode(str(line["payload"]))) for line in lines(older) + lines(newer)]
    assert numbers == list(range(numbers[0], 100))  # the newest, in order
    assert len(numbers) > 10
    assert kept.counts == {"malformed": 100}


def test_a_message_larger_than_a_file_gets_one_for_itself(tmp_path: Path) -> None:
    kept = DeadLetterFile(tmp_path / "dead.jsonl", maximum_bytes=100)
    kept.keep([LETTER, LETTER])
    kept.keep([LETTER])
    assert [len(lines(path)) for path in sorted(tmp_path.glob("dead.jsonl*"))] == [1, 1]


def test_it_goes_on_after_a_restart(tmp_path: Path) -> None:
    for _ in range(2):
        DeadLetterFile(tmp_path / "dead.jsonl", maximum_bytes=2000).keep([LETTER])
    assert len(lines(tmp_path / "dead.jsonl")) == 2


def test_nothing_of_a_failed_write_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = DeadLetterFile(tmp_path / "dead.jsonl")
    kept.keep([LETTER])

    def fail(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="No space left"):
            kept.keep([LETTER, LETTER])
    assert len(lines(kept.path)) == 1
    assert kept.counts == {"malformed": 1}
    kept.keep([LETTER])
    assert len(lines(kept.path)) == 2


def test_it_is_synced_before_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = DeadLetterFile(tmp_path / "dead.jsonl")
    synced: list[int] = []
    sync: Callable[[int], None] = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (sync(descriptor), synced.append(kept.path.stat().st_size)))
    kept.keep([LETTER])
    assert synced == [kept.path.stat().st_size] * 2  # the file, and that the directory has it
    kept.keep([LETTER])
    assert synced[2:] == [kept.path.stat().st_size]


def numbers(kept: DeadLetterFile) -> list[int]:
    return [int(letter.payload) for _, letter in kept.entries() if letter is not None]


def numbered(number: int) -> DeadLetter:
    return LETTER._replace(payload=b"%06d" % number)


def test_what_a_killed_process_left_is_passed_over(tmp_path: Path) -> None:
    kept = DeadLetterFile(tmp_path / "dead.jsonl")
    kept.keep(map(numbered, range(2)))
    torn = kept.path.read_bytes()[:-40]
    kept.path.write_bytes(torn)
    assert numbers(kept) == [0]
    kept.keep([numbered(2)])
    assert numbers(kept) == [0, 2]
    assert [letter is None for _, letter in kept.entries()] == [False, True, False]
    with kept.path.open("ab") as file:
        file.write(b'{"time":')
    assert kept.replace([(entry.line, None) for entry in kept.entries()]) == 3
    assert not kept.path.exists()


def test_a_last_line_that_a_person_left_without_its_end_counts(tmp_path: Path) -> None:
    kept = DeadLetterFile(tmp_path / "dead.jsonl")
    kept.keep(map(numbered, range(3)))
    kept.path.write_bytes(kept.path.read_bytes().rstrip(b"\n"))
    assert numbers(kept) == [0, 1, 2]
    first = next(kept.entries())
    assert kept.replace([(first.line, None)]) == 1
    kept.keep([numbered(3)])
    assert numbers(kept) == [1, 2, 3]


def test_lines_are_replaced_in_both_files_and_keep_their_places(tmp_path: Path) -> None:
    kept = DeadLetterFile(tmp_path / "dead.jsonl", maximum_bytes=2000)
    kept.keep(map(numbered, range(20)))
    older = tmp_path / "dead.jsonl.1"
    assert older.exists()
    before = numbers(kept)
    entries = list(kept.entries())
    changes = [
        (entry.line, None if index % 2 else entry.line.replace(b"JSON", b"XML")) for index, entry in enumerate(entries)
    ]
    assert kept.replace(changes) == len(entries)
    assert numbers(kept) == before[::2]
    assert {letter.reason for _, letter in kept.entries() if letter} == {"not XML"}
    assert kept.replace(changes) == 0
    assert kept.replace([]) == 0


def test_of_two_equal_lines_as_many_go_as_are_named(tmp_path: Path) -> None:
    kept = DeadLetterFile(tmp_path / "dead.jsonl", wall=lambda: 1_780_000_000)
    kept.keep([LETTER] * 3)
    line = next(kept.entries()).line
    assert kept.replace([(line, None)] * 2) == 2
    assert len(list(kept.entries())) == 1


def test_nothing_vanishes_while_a_reader_reads(tmp_path: Path) -> None:
    kept = DeadLetterFile(tmp_path / "dead.jsonl", maximum_bytes=2000)
    kept.keep(map(numbered, range(5)))
    reading = kept.entries()
    assert next(reading).letter is not None
    kept.keep(map(numbered, range(5, 12)))  # the file that is read becomes the older one
    assert [int(entry.letter.payload) for entry in reading if entry.letter][:4] == [1, 2, 3, 4]
    kept.replace([(entry.line, None) for entry in kept.entries()])
    assert numbers(kept) == []


def test_a_full_file_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = DeadLetterFile(tmp_path / "dead.jsonl", maximum_bytes=2000)
    kept.keep(map(numbered, range(40)))
    lost = 40 - len(numbers(kept))
    told = [int(record.getMessage().split(" its ")[1].split()[0]) for record in caplog.records]
    assert sum(told) == lost > 0


def test_mode_and_owner_stay(tmp_path: Path) -> None:
    kept = DeadLetterFile(tmp_path / "dead.jsonl")
    kept.keep(map(numbered, range(2)))
    kept.path.chmod(0o640)
    owner = (12345, 12346) if os.geteuid() == 0 else (os.getuid(), os.getgid())
    os.chown(tmp_path, *owner)
    os.chown(kept.path, *owner)
    kept.replace([(next(kept.entries()).line, None)])
    status = kept.path.stat()
    assert (status.st_mode & 0o777, status.st_uid, status.st_gid) == (0o640, *owner)
    assert (tmp_path / "dead.lock").stat().st_uid == owner[0]


def test_a_link_in_the_place_of_the_new_file_leads_nowhere(tmp_path: Path) -> None:
    kept = DeadLetterFile(tmp_path / "dead.jsonl")
    kept.keep(map(numbered, range(2)))
    other = tmp_path / "other"
    other.write_text("mine")
    (tmp_path / "dead.jsonl.new").symlink_to(other)
    kept.replace([(next(kept.entries()).line, None)])
    assert other.read_text() == "mine"
    assert numbers(kept) == [1]


def test_a_lock_that_is_not_given_back_is_an_error_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letter, "_LOCK_SECONDS", 0.1)
    kept = DeadLetterFile(tmp_path / "dead.jsonl")
    lock = FileLock(tmp_path / "dead.lock")
    assert lock.acquire()
    with pytest.raises(TimeoutError, match=f"locked by process {os.getpid()}"):
        kept.keep([LETTER])
    assert kept.counts == {}
    lock.release()
    kept.keep([LETTER])
    assert len(list(kept.entries())) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "disk"
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(directory)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


def test_a_full_disk_keeps_what_is_there_and_can_be_emptied(small_disk: Path) -> None:
    kept = DeadLetterFile(small_disk / "dead.jsonl")
    number = 0
    with pytest.raises(OSError, match="No space left"):  # noqa: PT012  each is one attempt
        while True:
            kept.keep([LETTER._replace(payload=b"%06d" % number + b" " * 5000)])
            number += 1
    assert number > 10
    assert numbers(kept) == list(range(number))
    entries = list(kept.entries())
    with pytest.raises(OSError, match="No space left"):
        kept.replace([(entries[0].line, None)])  # a file that is written anew needs room for both
    assert numbers(kept) == list(range(number))
    assert not (small_disk / "dead.jsonl.new").exists()
    assert kept.replace([(entry.line, None) for entry in entries]) == number
    kept.keep([numbered(7)])
    assert numbers(kept) == [7]


KEEPER = """
import sys
from pathlib import Path
from hostpulse.bus.errors import MalformedError
from hostpulse.consumer.dead_letter import DeadLetter, DeadLetterFile
kept = DeadLetterFile(Path(sys.argv[1]))
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    kept.keep([DeadLetter(b"hostpulse/web-1/cpu", b"%06d" % number + b" " * 50_000, MalformedError("not JSON"))])
    print(number, flush=True)
"""


def keeper(path: Path, first: int, end: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", KEEPER, str(path), str(first), str(end)], stdout=subprocess.PIPE, text=True
    )


def test_what_is_kept_while_others_are_dropped_stays(tmp_path: Path) -> None:
    """Two consumers append, and a command drops what it sees, all the time."""
    kept = DeadLetterFile(tmp_path / "dead.jsonl")
    dropped: list[int] = []
    with keeper(kept.path, 0, 60) as one, keeper(kept.path, 60, 120) as other:
        readers = [threading.Thread(target=process.communicate) for process in (one, other)]
        for thread in readers:
            thread.start()
        while any(thread.is_alive() for thread in readers):
            seen = [entry for entry in kept.entries() if entry.letter and int(entry.letter.payload) % 3]
            assert kept.replace((entry.line, None) for entry in seen) == len(seen)
            dropped += [int(entry.letter.payload) for entry in seen if entry.letter]
        for thread in readers:
            thread.join()
    assert (one.returncode, other.returncode) == (0, 0)
    left = numbers(kept)
    assert sorted(dropped + left) == list(range(120))
    assert set(left) >= {number for number in range(120) if number % 3 == 0}
    assert dropped


def test_a_killed_process_loses_nothing_that_it_was_told_is_kept(tmp_path: Path) -> None:
    kept = DeadLetterFile(tmp_path / "dead.jsonl")
    told = -1
    for _ in range(4):
        with keeper(kept.path, told + 1, 10_000) as process:
            assert process.stdout
            for _ in range(5):
                told = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read().split()
            told = int(rest[-1]) if rest else told
        kept.keep([])
    found = numbers(kept)
    assert set(range(told + 1)) <= set(found)
    assert set(found) <= set(range(told + 2))
