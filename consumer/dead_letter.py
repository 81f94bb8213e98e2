"""The file of messages that could not be used, so that nothing vanishes without a trace.

One JSON object per line: when it came, topic, kind and reason, and the payload in base64. Two files of bounded size;
when the newer one is full it takes the place of the older one.
"""

import base64
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from hostpulse.bus.errors import MessageError
from hostpulse.bus.times import format_timestamp

__all__ = ["DeadLetter", "DeadLetterFile"]

_MAXIMUM_TOPIC = 1024
_MAXIMUM_PAYLOAD = 256 * 1024


class DeadLetter(NamedTuple):
    """A message that cannot be used, and why."""

    topic: bytes
    payload: bytes
    error: MessageError


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
        self._maximum_bytes = maximum_bytes
        self._wall = wall
        self.counts: Counter[str] = Counter()
        """How many were kept since the start, by kind."""

    def keep(self, letters: Iterable[DeadLetter]) -> None:
        """Append messages; durable on return.

        Raises:
            OSError: they could not be written; then they must not be acknowledged.
        """
        lines: list[bytes] = []
        kinds: Counter[str] = Counter()
        size = self.path.stat().st_size if self.path.exists() else 0
        for letter in letters:
            line = self._line(letter)
            if size and size + len(line) > self._maximum_bytes:
                self._append(lines)
                self.path.replace(self.path.with_name(f"{self.path.name}.1"))
                lines, size = [], 0
            lines.append(line)
            size += len(line)
            kinds[letter.error.kind] += 1
        self._append(lines)
        self.counts += kinds

    def _line(self, letter: DeadLetter) -> bytes:
        record = {
            "time": format_timestamp(self._wall()),
            "topic": letter.topic[:_MAXIMUM_TOPIC].decode("utf-8", "replace"),
            "kind": letter.error.kind,
            "reason": str(letter.error),
            "payload": base64.b64encode(letter.payload[:_MAXIMUM_PAYLOAD]).decode(),
            "bytes": len(letter.payload),
        }
        return msgspec.json.encode(record) + b"\n"

    def _append(self, lines: list[bytes]) -> None:
        if not lines:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)  # where history is in InfluxDB, nothing else has made it
        with self.path.open("ab", buffering=0) as file:
            before = file.tell()
            try:
                data = memoryview(b"".join(lines))
                while data:
                    data = data[file.write(data) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(before)  # no half a line; all of them come again
                raise
