"""The errors of storage, as one tree.

StorageError                    the store cannot be used until a person mends something
├── StorageUnavailableError     it may pass: the disk is full, another program holds the lock; try again later
├── NoHistoryError              nothing was ever written here
└── TooManyDevicesError         a table cannot tell more devices apart

UnstorableError is a MessageError: the store is well, the message is not.
├── TooOldError                 it is older than what the store keeps
└── TooManyError                there is too much of its kind
    ├── TooManyHostsError       it is of one host more than are stored
    └── TooManyEntriesError     its host brought too many new names for one map
"""

from hostpulse.bus.errors import HostpulseError, MessageError

__all__ = [
    "NoHistoryError",
    "StorageError",
    "StorageUnavailableError",
    "TooManyDevicesError",
    "TooManyEntriesError",
    "TooManyError",
    "TooManyHostsError",
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
    """A table knows as many devices as it can, or got too many new ones of a host; what came of others was left out.

    Attributes:
        table: whose devices they are.
        is_of_host: whether one host brought too many in a day; else the table is full.
        rows: how many rows were left out.
        host: of the first of them.
        key: of the first of them; None in a subsystem's own table.
    """

    def __init__(
        self, *, table: str, rows: int, host: str, key: str | None, limit: int, is_of_host: bool = False
    ) -> None:
        device = f"host {host!r}" if key is None else f"host {host!r}, {key!r}"
        super().__init__(
            f"table {table} got {limit} new entries of one host within a day already: {rows} rows left out, the first "
            f"of {device}; raise store.maximum_entries if that is right"
            if is_of_host
            else f"table {table} holds its {limit} devices already: {rows} rows left out, the first of {device}; "
            "shorten the retention so that devices that are gone make room, or use InfluxDB"
        )
        self.table = table
        self.is_of_host = is_of_host
        self.rows = rows
        self.host = host
        self.key = key


class UnstorableError(MessageError):
    """A message, or a part of it, that this store has no way to hold, now or later."""

    kind = "unstorable"


class TooOldError(UnstorableError):
    """A row is older than what the store keeps."""

    kind = "too_old"


class TooManyError(UnstorableError):
    """There is too much of its kind. It may be one of millions, so not each of them is kept.

    Attributes:
        setting: name of the setting that says how many there may be.
    """

    setting = ""


class TooManyHostsError(TooManyError):
    """The message is of one host more than are stored."""

    kind = "too_many_hosts"
    setting = "store.maximum_hosts"

    def __init__(self, host: str, limit: int) -> None:
        super().__init__(f"{limit} hosts are stored already, and {host!a} is not one of them; see {self.setting}")


class TooManyEntriesError(TooManyError):
    """The host brought too many new names for one map within a day."""

    kind = "too_many_entries"
    setting = "store.maximum_entries"
