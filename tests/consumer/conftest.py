from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from hostpulse.bus.codec import Sample, encode
from hostpulse.bus.messages import SUBSYSTEMS
from hostpulse.bus.mqtt import Batch
from hostpulse.bus.topics import Topics
from hostpulse.consumer.dead_letter import DeadLetterFile
from hostpulse.consumer.storage import Maintenance, Written
from hostpulse.consumer.store import StoreRole

NOW = datetime(2026, 5, 28, 20, 0, tzinfo=UTC).timestamp()


class FakeWriter:
    """A store that fails when it is told to."""

    batch_messages = 500

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.notes: list[tuple[str, bool | None, str | None]] = []
        self.maintained: list[float] = []
        self.written = Written(0)
        self.known_hosts: set[str] | None = set()
        self.write_error: Exception | None = None
        self.note_error: Exception | None = None
        self.maintain_error: Exception | None = None

    def write(self, samples: Sequence[Sample]) -> Written:
        if self.write_error:
            raise self.write_error
        self.samples += samples
        return self.written

    def submit(self, pieces: Iterable[Sequence[Sample]]) -> Future[Written]:
        work: Future[Written] = Future()
        work.set_result(self.write([sample for piece in pieces for sample in piece]))
        return work

    def note_host(self, host: str, *, online: bool | None = None, info: str | None = None) -> None:
        if self.note_error:
            raise self.note_error
        self.notes.append((host, online, info))

    def hosts(self, now: float) -> set[str] | None:
        assert now == NOW
        return None if self.known_hosts is None else set(self.known_hosts)

    def maintain(self, now: float) -> Maintenance:
        if self.maintain_error:
            raise self.maintain_error
        self.maintained.append(now)
        return Maintenance(0, 0, more=False)

    def open(self) -> Self:
        return self

    def close(self) -> None:
        """There is nothing to close."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


@pytest.fixture
def writer() -> FakeWriter:
    return FakeWriter()


@pytest.fixture
def dead_letters(tmp_path: Path) -> DeadLetterFile:
    return DeadLetterFile(tmp_path / "dead-letter.jsonl", wall=lambda: NOW)


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def role(writer: FakeWriter, dead_letters: DeadLetterFile, clock: Clock) -> StoreRole:
    return StoreRole(Topics(), writer, dead_letters, wall=lambda: NOW, monotonic=clock)


def message(subsystem: str = "cpu", *, host: str = "web-1", sequence: int = 1, age: float = 1, **fields: Any) -> bytes:
    return encode(
        SUBSYSTEMS[subsystem](**fields),
        host=host,
        subsystem=subsystem,
        timestamp=NOW - age,
        sequence=sequence,
        session=NOW - 3600,
        interval=2,
    )


@pytest.fixture
def batch() -> Callable[..., Batch]:
    """Make a batch of pairs of topic and payload; `retained` are indexes."""

    def make(*messages: tuple[str | bytes, bytes], retained: tuple[int, ...] = ()) -> Batch:
        topics = [topic.encode() if isinstance(topic, str) else topic for topic, _ in messages]
        return Batch(topics, [payload for _, payload in messages], set(retained))

    return make
