"""The errors of storage, as one tree.

StorageError                    the store cannot be used until a person mends something
├── StorageUnavailableError     it may pass: the disk is full, another program holds the lock; try again later
├── NoHistoryError              nothing was ever written here
└── TooManyDevicesError         a table cannot tell more devices apart

UnstorableError is a MessageError: the store is well, the message is not.
└── TooOldError                 it is older than what the store keeps
"""

from hostpulse.bus.errors import HostpulseError, MessageError

__all__ = [
    "NoHistoryError",
    "StorageError",
    "StorageUnavailableError",
    "TooManyDevicesError",
    "TooOldError",
    "UnstorableError",
]


class StorageError(HostpulseError):
    """The store cannot be used. Its text is one line that names the thing and the fix."""


class StorageUnavailableError(StorageError):
    """The store cannot be used now; trying again later may succeed.

    What was asked for counts as not done; a part of it may have been, and doing it again does no harm.

    Attributes:
        retry_after: seconds after which the store asked to be tried again; None if it did not say.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NoHistoryError(StorageError):
    """There is no history yet: no writer has ever been here."""


class TooManyDevicesError(StorageError):
    """A table knows as many devices as it can; what came from another one was left out.

    Attributes:
        table: whose devices they are.
        rows: how many rows were left out.
        host: of the first of them.
        key: of the first of them; None in a subsystem's own table.
    """

    def __init__(self, *, table: str, rows: int, host: str, key: str | None, limit: int) -> None:
        device = f"host {host!r}" if key is None else f"host {host!r}, {key!r}"
        super().__init__(
            f"table {table} holds its {limit} devices already: {rows} rows left out, the first of {device}; "
            "shorten the retention so that devices that are gone make room, or use InfluxDB"
        )
        self.table = table
        self.rows = rows
        self.host = host
        self.key = key


class UnstorableError(MessageError):
    """A message, or a part of it, that this store has no way to hold, now or later."""

    kind = "unstorable"


class TooOldError(UnstorableError):
    """A row is older than what the store keeps."""

    kind = "too_old"
