"""The file of messages that could not be used, so that nothing vanishes without a trace.

One JSON object per line, see `KeptLetter`. Two files of bounded size; when the newer one is full it takes the place of
the older one, and with that the oldest messages go.

Several processes may use them at once, each consumer and each command. Who changes something holds the lock in the file
`.lock` beside them, for as long as it writes and no longer:

- To keep is to append to the newer file and to sync it. A tail without its newline is what a process left that was
  killed; its message was not acknowledged and comes again. The next line begins behind it.
- To take out is to write each file anew beside it, to sync it and to rename it. Lines are known by what is in them, not
  by their place, so nothing is lost that came since they were read.

Who reads needs no lock: a line is there as a whole or is left out, and a renamed file stays readable for who has it.
"""

import contextlib
import errno
import logging
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from hostpulse.bus.lock import FileLock

from .files import give_to_owner, replace_file, sync_directory
from .letter import DeadLetter, KeptLetter, decode, encode, kept

__all__ = ["DEAD_LETTER_FILE", "DeadLetter", "DeadLetterFile", "Entry"]

_log = logging.getLogger(__name__)

DEAD_LETTER_FILE = "dead-letter.jsonl"
_LOCK_SECONDS = 10.0  # writing both files anew takes one or two


class Entry(NamedTuple):
    """A line of the files.

    Attributes:
        line: without its newline.
        letter: what it says; None if it cannot be read.
    """

    line: bytes
    letter: KeptLetter | None


class DeadLetterFile:
    """Keeps unusable messages.

    Args:
        path: the newer file; the older one has `.1` behind its name.
        maximum_bytes: size at which a file is full.
        wall: seconds since the epoch.
    """

    def __init__(
        self, path: Path, *, maximum_bytes: int = 16 * 1024 * 1024, wall: Callable[[], float] = time.time
    ) -> None:
        self.path = path
        self._older = path.with_name(f"{path.name}.1")
        self._lock_path = path.with_suffix(".lock")
        self._maximum_bytes = maximum_bytes
        self._wall = wall
        self.counts: Counter[str] = Counter()
        """How many were kept since the start, by kind."""

    def keep(self, letters: Iterable[DeadLetter]) -> None:
        """Append messages; durable on return.

        Raises:
            OSError: they could not be written; then they must not be acknowledged.
        """
        now = self._wall()
        records = [kept(letter, now) for letter in letters]
        if not records:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)  # where history is in InfluxDB, nothing else has made it
        with self._locked():
            self._keep(encode(record) + b"\n" for record in records)
        self.counts.update(record.kind for record in records)

    def entries(self) -> Iterator[Entry]:
        """Yield what is in the files, the oldest first.

        Raises:
            OSError: they cannot be read.
        """
        with contextlib.ExitStack() as stack:
            # The newer one first: should it become the older one now, it is the same file twice, and nothing is missed.
            newer, older = _opened(self.path, stack), _opened(self._older, stack)
            if newer and older and os.path.samestat(os.fstat(newer.fileno()), os.fstat(older.fileno())):
                older = None
            for file in (older, newer):
                for line in file or ():
                    letter = decode(line)
                    # A tail is what somebody writes just now, or was killed in writing.
                    if letter is not None or (line.endswith(b"\n") and line.strip()):
                        yield Entry(line.rstrip(b"\n"), letter)

    def replace(self, changes: Iterable[tuple[bytes, bytes | None]]) -> int:
        """Put other lines in the place of some; durable on return.

        Args:
            changes: a line as `entries` gave it, and what takes its place; None to take it out. A line that is not
                there any more is no error.

        Returns:
            How many lines were found.

        Raises:
            OSError: it could not be; each of the two files is as it was, or as it was to become.
        """
        waiting: defaultdict[bytes, list[bytes | None]] = defaultdict(list)
        for line, other in changes:
            waiting[line].append(other)
        if not waiting:
            return 0
        with self._locked():
            return sum(_rewrite(path, waiting) for path in (self._older, self.path))

    def _keep(self, lines: Iterable[bytes]) -> None:
        part: list[bytes] = []
        size = self.path.stat().st_size if self.path.exists() else 0
        for line in lines:
            if size and size + len(line) > self._maximum_bytes:
                self._append(part)
                self._rotate()
                part, size = [], 0
            part.append(line)
            size += len(line)
        self._append(part)

    def _rotate(self) -> None:
        with contextlib.suppress(FileNotFoundError), self._older.open("rb") as file:
            lost = sum(1 for _ in file)
            _log.warning(
                "%s is full: its %d oldest messages are dropped; `hostpulse deadletter list` shows the others",
                self.path,
                lost,
            )
        self.path.replace(self._older)
        sync_directory(self.path.parent)

    def _append(self, lines: list[bytes]) -> None:
        if not lines:
            return
        is_new = not self.path.exists()
        with self.path.open("a+b", buffering=0) as file:
            before = file.seek(0, os.SEEK_END)
            try:
                data = memoryview(_completion(file, before) + b"".join(lines))
                while data:
                    data = data[file.write(data) :]
                os.fsync(file.fileno())
                if is_new:
                    sync_directory(self.path.parent)
            except OSError:
                file.truncate(before)  # no half a line; all of them come again
                raise

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        lock = FileLock(self._lock_path)
        try:
            if not lock.acquire(_LOCK_SECONDS):
                holder = lock.holder() or "unknown"
                raise TimeoutError(
                    errno.ETIMEDOUT, f"locked by process {holder} for {_LOCK_SECONDS:g} s", str(self._lock_path)
                )
            give_to_owner(self._lock_path, like=self._lock_path.parent)
            yield
        finally:
            lock.release()


def _opened(path: Path, stack: contextlib.ExitStack) -> BinaryIO | None:
    try:
        return stack.enter_context(path.open("rb"))
    except (FileNotFoundError, NotADirectoryError):
        return None


def _completion(file: BinaryIO, end: int) -> bytes:
    """Return what has to stand before a new line: a newline behind what a killed process left."""
    if end:
        file.seek(end - 1)
        if file.read(1) != b"\n":
            return b"\n"
    return b""


def _rewrite(path: Path, waiting: dict[bytes, list[bytes | None]]) -> int:
    """Put other lines in the place of some in one file; return how many were found, which are no longer waiting."""
    if not path.exists():
        return 0
    found = 0
    lines: list[bytes] = []
    with path.open("rb") as file:
        for whole in file:
            line = whole.rstrip(b"\n")
            others = waiting.get(line)
            if others:
                found += 1
                other = others.pop()
                if other is not None:
                    lines.append(other + b"\n")
            elif whole.endswith(b"\n") or decode(line) is not None:
                lines.append(line + b"\n")
    if found and lines:
        replace_file(path, b"".join(lines))
    elif found:
        path.unlink()  # which also works on a full disk
        sync_directory(path.parent)
    return found
