"""How pytest-xdist shares the tests out: one by one, except for those that share what takes seconds to make.

These are known by their paths. Groups by a mark (`--dist loadgroup`) are without effect with pytest 9.2.
"""

import os

from xdist.scheduler import LoadScopeScheduling

__all__ = ["Scheduling", "worker_count"]

LEAST = 4
TOGETHER = (
    "tests/cli/test_beside_up.py",
    "tests/compose/",
    "tests/grafana/",
    "tests/storage/influxdb/test_container.py",
    "tests/storage/influxdb3/",
    "tests/storage/victoriametrics/",
    "tests/test_packaging.py",
)


class Scheduling(LoadScopeScheduling):
    """Gives each worker the next test when it is nearly done; first of all come those that stay together."""

    def _split_scope(self, nodeid: str) -> str:
        """Return what a test stays together with: all that it returns the same for."""
        return next((path for path in TOGETHER if nodeid.startswith(path)), nodeid)


def worker_count() -> int:
    """Return what `-n auto` means: more processes than CPUs, for tests of servers wait a lot."""
    return max(LEAST, 2 * (os.cpu_count() or 1))
