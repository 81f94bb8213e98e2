"""The files of the dashboards, all made from the table of fields.

In the repository, `make docs` writes them anew.
"""

from pathlib import Path

import msgspec

from .alerts import alerts
from .gpus import gpus
from .host import host
from .overview import overview

__all__ = ["dashboard_files", "write_dashboards"]

_FOLDER = "config/grafana/dashboards"


def dashboard_files() -> dict[str, str]:
    """Return the dashboards: path in the repository, and content."""
    made = {"overview": overview(), "host": host(), "gpus": gpus(), "alerts": alerts()}
    return {
        f"{_FOLDER}/{name}.json": msgspec.json.format(msgspec.json.encode(content), indent=2).decode() + "\n"
        for name, content in made.items()
    }


def write_dashboards(repository: Path) -> None:
    """Write them anew."""
    for name, text in dashboard_files().items():
        (repository / name).write_text(text, encoding="utf-8")
