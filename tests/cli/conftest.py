from collections.abc import Iterator
from pathlib import Path

import pytest

from ..brokers import free_port
from .support import Hostpulse


@pytest.fixture
def hostpulse(tmp_path: Path) -> Iterator[Hostpulse]:
    """The command with a home of its own."""
    made = Hostpulse(tmp_path, free_port())
    yield made
    made.close()
