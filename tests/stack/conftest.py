import time
from collections.abc import Callable

import psutil
import pytest

from .. import servers


@pytest.fixture
def free_port() -> int:
    return servers.free_port()


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], None]:
    """Wait until something is true; the deadline is only there to end a failing test."""

    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 90
        while not condition():
            assert time.monotonic() < deadline, "it did not happen within 90 s"
            time.sleep(0.01)

    return wait


@pytest.fixture
def is_gone() -> Callable[[int], bool]:
    def look(pid: int) -> bool:
        try:
            # An orphan that ended stays a zombie where process 1 does not care for it.
            return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True

    return look
