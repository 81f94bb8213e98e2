"""A consumer and a publisher that really run, and what is in the store."""

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hostpulse.bus.messages import SUBSYSTEMS
from hostpulse.consumer.delivery import Patience
from hostpulse.consumer.service import ConsumerOptions, StoreService
from hostpulse.consumer.storage import NoHistoryError, Reader
from hostpulse.consumer.storage.embedded import EmbeddedReader
from hostpulse.consumer.stores import HISTORY_FILE

from ...brokers import Broker

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 90.0  # only ends a test that fails
QUICK = Patience(grace=2.0, waits=(40.0, 40.0, 40.0))
HOST = "web-1"

Numbers = dict[tuple[str, str, int], list[int]]


def eventually(condition: Callable[[], object], what: Callable[[], object] = lambda: "") -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen within {PATIENCE} s; {what()}"
        time.sleep(0.1)


def consumer_options(broker: Broker, directory: Path, *, client_id: str = "store", **options: Any) -> ConsumerOptions:
    return ConsumerOptions(
        host="consumer-1",
        mqtt=broker.options(client_id),
        data_dir=str(directory),
        retention_seconds=30 * 86_400,
        rollup_retention_seconds=60 * 86_400,
        **options,
    )


class RunningConsumer:
    """A consumer in a thread of its own."""

    def __init__(self, broker: Broker, directory: Path, **options: Any) -> None:
        self.service = StoreService(consumer_options(broker, directory, **options), patience=QUICK)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self.service.run()
        except BaseException as error:  # noqa: BLE001 - the test sees it
            self._error = error

    def __enter__(self) -> Self:
        self._thread.start()
        eventually(lambda: self._error or (self.service._receiver is not None and self.service._receiver.receiving))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.service.stop()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error


@contextlib.contextmanager
def running(module: str, options: bytes) -> Iterator[subprocess.Popen[bytes]]:
    """Run a service as a process of its own."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stderr=log,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        )
        assert process.stdin is not None
        process.stdin.write(options)
        process.stdin.close()
        process.stdin = None
        try:
            yield process
        finally:
            process.terminate()
            process.wait(PATIENCE)
            log.seek(0)
            sys.stderr.write(log.read().decode())  # shown where the test failed


def publishing(
    broker: Broker, directory: Path, *, interval: float = 0.5
) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    options = {
        "host": HOST,
        "interval": interval,
        "mqtt": {"host": "127.0.0.1", "port": broker.port, "client_id": "publisher"},
        "data_dir": str(directory),
    }
    return running("hostpulse.publisher", json.dumps(options).encode())


def published(directory: Path) -> int:
    """Return the highest number of a cpu message in a publisher's outbox."""
    data = b"".join(path.read_bytes() for path in sorted((directory / "outbox").glob("*.log")))
    return max(map(int, re.findall(rb'"subsystem":"cpu","timestamp":"[^"]*","sequence":(\d+),', data)), default=0)


def stored(reader: Callable[[], Reader]) -> Numbers:
    """Return the sequence numbers in a store, by host, subsystem and session."""
    found: Numbers = {}
    try:
        with reader() as opened:
            for subsystem in SUBSYSTEMS:
                for batch in opened.numbers(subsystem, 0, 4e9):
                    for one in batch:
                        found.setdefault((one.host, subsystem, one.session), []).append(one.sequence)
    except NoHistoryError:
        return {}
    return {key: sorted(numbers) for key, numbers in found.items()}


def embedded(directory: Path) -> Callable[[], Reader]:
    return lambda: EmbeddedReader(directory / HISTORY_FILE)


def missing(numbers: Numbers) -> dict[tuple[str, str, int], list[int]]:
    """Return what is missing below the highest number of each session, from 1 on."""
    lacking = {key: sorted(set(range(1, found[-1] + 1)) - set(found)) for key, found in numbers.items()}
    return {key: some for key, some in lacking.items() if some}


def highest(numbers: Numbers, subsystem: str = "cpu", host: str = HOST) -> int:
    return max((found[-1] for (name, one, _), found in numbers.items() if (name, one) == (host, subsystem)), default=0)
