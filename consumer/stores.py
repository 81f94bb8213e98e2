"""Which store the options choose."""

from pathlib import Path

from .storage import Reader, Writer
from .storage.options import InfluxOptions

__all__ = ["HISTORY_FILE", "make_reader", "make_writer"]

HISTORY_FILE = "history.db"
"""The embedded store's file in the data directory."""


def make_writer(
    *,
    data_dir: str,
    influxdb: InfluxOptions | None,
    retention_seconds: float,
    rollup_retention_seconds: float,
    maximum_entries: int,
) -> Writer:
    """Return the store that the options choose; they are those of `ConsumerOptions`.

    Each is imported where it is chosen: InfluxDB's client is large.
    """
    if influxdb is not None:
        from .storage.influxdb.writer import InfluxWriter

        return InfluxWriter(
            influxdb,
            retention=retention_seconds,
            rollup_retention=rollup_retention_seconds,
            maximum_entries=maximum_entries,
        )
    from .storage.embedded import EmbeddedWriter

    return EmbeddedWriter(
        Path(data_dir) / HISTORY_FILE,
        retention=retention_seconds,
        rollup_retention=rollup_retention_seconds,
        maximum_entries=maximum_entries,
    )


def make_reader(influxdb: InfluxOptions | None, directory: Path) -> Reader:
    """Return what reads the store that the options choose; it is not open.

    Args:
        influxdb: where InfluxDB is; None for the embedded store.
        directory: the data directory.
    """
    if influxdb is not None:
        from .storage.influxdb import InfluxReader

        return InfluxReader(influxdb)
    from .storage.embedded import EmbeddedReader

    return EmbeddedReader(directory / HISTORY_FILE)
