from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hostpulse.publisher.outbox import Outbox, OutboxOptions

from .support import SMALL


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "outbox"


@pytest.fixture
def start(place: Path, clocks: Any) -> Iterator[Callable[..., Outbox]]:
    """Open an outbox in the test's directory, as a new publisher would; all are closed with the test."""
    started: list[Outbox] = []

    def open_outbox(options: OutboxOptions = SMALL, directory: Path = place, **arguments: Any) -> Outbox:
        outbox = Outbox(directory, options, clocks.clock, **arguments)
        outbox.open()
        started.append(outbox)
        return outbox

    yield open_outbox
    for outbox in started:
        outbox.close("the test has ended")
