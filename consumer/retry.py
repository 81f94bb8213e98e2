"""Giving dead letters to the store again: what it takes now leaves the file, the rest stays with its new reason.

A letter leaves the file after it is stored. Who is killed in between leaves it there, and it is stored once more at the
next attempt, which changes nothing.
"""

import time
from collections.abc import Callable, Iterator

from msgspec import Struct

from hostpulse.bus.mqtt import Batch

from .dead_letter import DeadLetterFile
from .letter import KeptLetter, Selection, encode
from .store import NOTES, StoreRole

__all__ = ["Retried", "retry"]

_BATCH_MESSAGES = 500
_BATCH_BYTES = 8 << 20


class Retried(Struct, frozen=True):
    """What became of letters that were to be tried again.

    Attributes:
        stored: how many left the file.
        failed: how many stay, with the reason of this time.
        cut: how many stay because only the begin of their payload was kept.
        notes: how many stay because they are a status or an inventory. An old one must not replace a newer one, and
            the broker gives the last one again at every connection.
    """

    stored: int = 0
    failed: int = 0
    cut: int = 0
    notes: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether nothing stayed."""
        return not (self.failed or self.cut or self.notes)

    def __str__(self) -> str:
        parts = [f"{self.stored} stored"]
        if self.failed:
            parts.append(f"{self.failed} still unusable")
        if self.cut:
            parts.append(f"{self.cut} not tried, for only their begin was kept")
        if self.notes:
            parts.append(f"{self.notes} not tried, for the broker repeats every host's status and info by itself")
        return ", ".join(parts)


class _Waiting(Struct):
    line: bytes
    letter: KeptLetter


def retry(
    letters: DeadLetterFile, role: StoreRole, selection: Selection, *, wall: Callable[[], float] = time.time
) -> Retried:
    """Give letters to the store again, as if they came from the broker just now.

    Args:
        letters: the file.
        role: stores them.
        selection: which ones.
        wall: seconds since the epoch.

    Raises:
        StorageError: the store cannot be used. What was stored until then has left the file.
        OSError: the file cannot be read or changed.
    """
    waiting: list[_Waiting] = []
    cut = notes = 0
    for line, letter in letters.entries():
        if letter is None or not selection.has(letter):
            continue
        if letter.topic.rpartition("/")[2] in NOTES:
            notes += 1
        elif not letter.is_whole:
            cut += 1
        else:
            waiting.append(_Waiting(line, letter))
    changes: list[tuple[bytes, bytes | None]] = []
    try:
        for batch in _batches(waiting):
            changes += _try(batch, role, wall())
    finally:
        letters.replace(changes)
    stored = sum(other is None for _, other in changes)
    return Retried(stored, len(changes) - stored, cut, notes)


def _batches(waiting: list[_Waiting]) -> Iterator[list[_Waiting]]:
    """Yield letters in batches that are bounded by number and by bytes."""
    batch: list[_Waiting] = []
    size = 0
    for one in waiting:
        if len(batch) == _BATCH_MESSAGES or (batch and size + one.letter.size > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += one.letter.size
    if batch:
        yield batch


def _try(batch: list[_Waiting], role: StoreRole, now: float) -> list[tuple[bytes, bytes | None]]:
    """Store a batch; return what takes the place of each line."""
    topics = [one.letter.topic.encode() for one in batch]
    faults = {fault.index: fault for fault in role.store(Batch(topics, [one.letter.payload for one in batch], set()))}
    changes: list[tuple[bytes, bytes | None]] = []
    for index, one in enumerate(batch):
        fault = faults.get(index)
        other = None if fault is None else encode(one.letter.failed_again(fault.error, fault.row, now))
        changes.append((one.line, other))
    return changes
