"""History in InfluxDB: lines of our own through influxdb-client, queries in Flux (2) or SQL (3).

options = InfluxOptions(url="http://localhost:8086", token="…", org="home", bucket="hostpulse")

with open_writer(options, retention=7 * 86400, rollup_retention=365 * 86400) as writer:
    writer.write(samples)

with open_reader(options) as reader:
    for batch in reader.rows(query): ...
"""

from ..options import InfluxOptions
from .reader import InfluxReader
from .setup import Prepared
from .writer import InfluxWriter

__all__ = ["InfluxOptions", "InfluxReader", "InfluxWriter", "Prepared", "open_reader", "open_writer"]


def open_writer(options: InfluxOptions, *, retention: float | None, rollup_retention: float | None) -> InfluxWriter:
    """Return an open writer of the history in a bucket; see `InfluxWriter`."""
    return InfluxWriter(options, retention=retention, rollup_retention=rollup_retention).open()


def open_reader(options: InfluxOptions) -> InfluxReader:
    """Return an open reader of the history in a bucket; see `InfluxReader`."""
    return InfluxReader(options).open()
