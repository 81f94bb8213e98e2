"""Many publishers in one process, a thread for each."""

import logging
import sys
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from hostpulse.bus.errors import UsageError

from ..machine import Machine
from ..service import PublisherOptions, PublisherService
from .collector import SyntheticCollector

if sys.platform != "win32":
    import resource

__all__ = ["SimulationOptions", "SimulationService"]

_log = logging.getLogger(__name__)

_DIRECTORY = "simulated"
_DESCRIPTORS = 6  # of a host: connection, waker, outbox, its lock, and one that is read now
_OTHER_DESCRIPTORS = 64
_SPREAD_SECONDS = 2.0  # over which the hosts begin, so that they do not sample in step
_REPEAT_SECONDS = 3.0
_BEAT_SECONDS = 2.0


class SimulationOptions(Struct, frozen=True, kw_only=True):
    """All that the simulation is told.

    Attributes:
        publisher: what each host is told; its name, client id and data directory get an end of their own.
        hosts: how many.
        subsystems: what each of them says.
        seed: the same one makes the same values.
        in_memory: keep the outboxes in memory.
    """

    publisher: PublisherOptions
    hosts: int
    subsystems: tuple[str, ...]
    seed: int = 1
    in_memory: bool = False

    @property
    def log_level(self) -> str:
        """As the publisher has it."""
        return self.publisher.log_level


class SimulationService:
    """Publishes many synthetic hosts, `<host>-1` and so on, until `stop`."""

    def __init__(self, options: SimulationOptions) -> None:
        self._options = options
        self._services = [_publisher(options, number) for number in range(1, options.hosts + 1)]
        self._stopping = False

    def run(self, beat: Callable[[], None] = lambda: None) -> None:
        """Publish until `stop`.

        Args:
            beat: called when all hosts have begun, and from then on every few seconds while none has failed.

        Raises:
            UsageError: a certificate file cannot be used, or this process may not open files enough.
        """
        options = self._options
        _allow_descriptors(_OTHER_DESCRIPTORS + _DESCRIPTORS * options.hosts)
        for handler in logging.getLogger().handlers:
            handler.addFilter(_Once())
        host, last = options.publisher.host, options.hosts
        _log.info("%d hosts, %s-1 to %s-%d: %s", last, host, host, last, ", ".join(options.subsystems))
        with ThreadPoolExecutor(max_workers=last, thread_name_prefix="host") as executor:
            running = self._start(executor)
            while wait(running, _BEAT_SECONDS, FIRST_COMPLETED).not_done and not any(one.done() for one in running):
                beat()
            self.stop()
        for one in running:
            one.result()

    def stop(self) -> None:
        """End `run` soon; may be called from a signal handler."""
        self._stopping = True
        for service in self._services:
            service.stop()

    def _start(self, executor: ThreadPoolExecutor) -> list[Future[None]]:
        running: list[Future[None]] = []
        pause = min(_SPREAD_SECONDS, self._options.publisher.interval) / len(self._services)
        for service in self._services:
            if self._stopping:
                break
            running.append(executor.submit(service.run))
            time.sleep(pause)
        return running


class _Once(logging.Filter):
    """Lets a text pass once in a while: what befalls one host befalls all."""

    def __init__(self) -> None:
        super().__init__()
        self._passed: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        text, now = record.getMessage(), time.monotonic()
        if now - self._passed.get(text, -_REPEAT_SECONDS) < _REPEAT_SECONDS:
            return False
        self._passed = {one: at for one, at in self._passed.items() if now - at < _REPEAT_SECONDS} | {text: now}
        return True


def _publisher(options: SimulationOptions, number: int) -> PublisherService:
    base = options.publisher
    host = f"{base.host}-{number}"
    keep = base.data_dir is not None and not options.in_memory
    machine = Machine(proc=base.proc, sys=base.sys, filesystem=base.filesystem)
    return PublisherService(
        replace(
            base,
            host=host,
            mqtt=replace(base.mqtt, client_id=f"{base.mqtt.client_id}-{number}"),
            data_dir=str(Path(base.data_dir or "") / _DIRECTORY / host) if keep else None,
        ),
        machine,
        collectors=[
            SyntheticCollector(subsystem, seed=f"{options.seed} {host}", seconds=machine.clock.monotonic)
            for subsystem in options.subsystems
            if subsystem != "publisher"
        ],
    )


def _allow_descriptors(count: int) -> None:
    """Have this process open as many files as it needs.

    Raises:
        UsageError: it may not.
    """
    if sys.platform == "win32":
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= count:
        return
    if hard != resource.RLIM_INFINITY and hard < count:
        raise UsageError(f"so many hosts need {count} open files, and this process may have {hard}; raise ulimit -n")
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
