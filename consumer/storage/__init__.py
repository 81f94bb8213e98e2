"""History: the interface that every store implements, and the stores."""

from .errors import NoHistoryError, StorageError, StorageUnavailableError, TooManyDevicesError
from .interface import (
    Host,
    Latest,
    LatestQuery,
    Maintenance,
    Point,
    Reader,
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
    "Row",
    "RowQuery",
    "Series",
    "SeriesQuery",
    "StorageError",
    "StorageUnavailableError",
    "TooManyDevicesError",
    "Value",
    "Writer",
    "Written",
]
