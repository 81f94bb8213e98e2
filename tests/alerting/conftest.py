"""What the tests of the role `alerts` share."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hostpulse.consumer.alerting.journal import JOURNAL_FILE, Journal
from hostpulse.consumer.alerts import Kind, Transition

NOW = 1_790_000_000.0


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / JOURNAL_FILE).create(NOW) as journal:
        yield journal


def transition(**changes: Any) -> Transition:
    """Return one as the engine gives it."""
    values: dict[str, Any] = {
        "host": "web-1",
        "rule": "disk_full",
        "labels": {"mount": "/"},
        "kind": Kind.FIRED,
        "before": "ok",
        "level": "warning",
        "metric": "disk_mount.used_percent",
        "unit": "percent",
        "value": 91.5,
        "limit": 90.0,
        "summary": "/ of web-1 is 91.5 % full, 8 GiB are left",
        "moment": NOW - 2,
        "since": NOW - 2,
        "flapping": False,
        "told": True,
    }
    return Transition(**(values | changes))
