"""The embedded store: one SQLite file, one writer, any number of readers beside it.

with open_writer(path, retention=7 * 86400, rollup_retention=365 * 86400) as writer:
    writer.write(samples)

with open_reader(path) as reader:
    for batch in reader.rows(query): ...
"""

from pathlib import Path

from .reader import EmbeddedReader
from .writer import EmbeddedWriter

__all__ = ["EmbeddedReader", "EmbeddedWriter", "open_reader", "open_writer"]


def open_writer(path: Path, *, retention: float | None, rollup_retention: float | None) -> EmbeddedWriter:
    """Return an open writer of the history at `path`; see `EmbeddedWriter`."""
    return EmbeddedWriter(path, retention=retention, rollup_retention=rollup_retention).open()


def open_reader(path: Path) -> EmbeddedReader:
    """Return an open reader of the history at `path`; see `EmbeddedReader`."""
    return EmbeddedReader(path).open()
