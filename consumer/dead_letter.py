"""The file of messages that could not be used, so that nothing vanishes without a trace.

One JSON object per line: when it came, topic, kind and reason, and the payload in base64. Two files of bounded size;
when the newer one is full it takes the place of the older one.
"""

import base64
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec

from hostpulse.bus.errors import MessageError
from hostpulse.bus.times import format_timestamp

__all__ = ["DeadLetterFile"]

_MAXIMUM_PAYLOAD = 256 * 1024


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

    def keep(self, topic: bytes, payload: bytes, error: MessageError) -> None:
        """Append a message.

        Raises:
            OSError: it could not be written; then the message must not be acknowledged.
        """
        line = msgspec.json.encode(
            {
                "time": format_timestamp(self._wall()),
                "topic": topic.decode("utf-8", "replace"),
                "kind": error.kind,
                "reason": str(error),
                "payload": base64.b64encode(payload[:_MAXIMUM_PAYLOAD]).decode(),
                "bytes": len(payload),
            }
        )
        if self.path.exists() and self.path.stat().st_size + len(line) > self._maximum_bytes:
            self.path.replace(self.path.with_name(f"{self.path.name}.1"))
        with self.path.open("ab") as file:
            file.write(line + b"\n")
        self.counts[error.kind] += 1
