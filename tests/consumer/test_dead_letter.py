"""The file of unusable messages: whole lines, bounded, durable."""

import base64
import errno
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hostpulse.bus.errors import MalformedError, WrongTopicError
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
