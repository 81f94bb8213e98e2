from collections.abc import Iterator
from pathlib import Path

import pytest

from ..brokers import free_port
from .support import Hostpulse, Running


@pytest.fixture
def hostpulse(tmp_path: Path) -> Iterator[Hostpulse]:
    """The command with a home of its own."""
    made = Hostpulse(tmp_path, free_port())
    yield made
    made.close()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostpulse]:
    """The command whose `up` runs during all tests."""
    made = Hostpulse(tmp_path_factory.mktemp("shared"), free_port())
    yield made
    made.close()


@pytest.fixture(scope="session")
def up(shared: Hostpulse) -> Running:
    """An `up` that has stored something; not to be disturbed."""
    running = shared.start("up", "--interval", "0.5")
    running.says("publisher  connected to broker", "cpu        ")
    return running
