"""What the outbox is told."""

from msgspec import Struct

__all__ = ["OutboxOptions"]


class OutboxOptions(Struct, frozen=True, kw_only=True):
    """Bounds of the outbox on disk, and when it is forced to the disk.

    Attributes:
        size_bytes: what the files may hold together.
        age_seconds: how long a message is kept.
        sync_seconds: time between two fsync(); 0 after each write, None never.
    """

    size_bytes: int = 256 * 1024 * 1024
    age_seconds: float = 7 * 86_400.0
    sync_seconds: float | None = None
