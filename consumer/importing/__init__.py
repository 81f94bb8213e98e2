"""Moving a history into InfluxDB: from an embedded store, or from CSV files as `export` writes them."""

from .move import Move
from .position import Positions
from .report import Report
from .sources import Source, source_of

__all__ = ["Move", "Positions", "Report", "Source", "source_of"]
