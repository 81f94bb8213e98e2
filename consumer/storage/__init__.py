"""History: the interface that every store implements, and the stores."""

from .errors import (
    NoHistoryError,
    StorageError,
    StorageUnavailableError,
    TooManyDevicesError,
    TooOldError,
    UnstorableError,
)
from .interface import (
    Host,
    Latest,
    LatestQuery,
    Maintenance,
    Point,
    Reader,
    RejectedLine,
    Row,
    RowQuery,
    Series,
    SeriesQuery,
    Value,
    Writer,
    Written,
)

__all__ = [
    "Host",
    "Latest",
    "LatestQuery",
    "Maintenance",
    "NoHistoryError",
    "Point",
    "Reader",
    "RejectedLine",
    "Row",
    "RowQuery",
    "Series",
    "SeriesQuery",
    "StorageError",
    "StorageUnavailableError",
    "TooManyDevicesError",
    "TooOldError",
    "UnstorableError",
    "Value",
    "Writer",
    "Written",
]
