"""Several roles in one process: each has its own thread, its own session at the broker and its own trouble."""

import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from hostpulse.bus.backoff import Backoff
from hostpulse.bus.errors import HostpulseError
from hostpulse.bus.service import ROLE_THREAD, run_service

from .alerting.service import AlertOptions, AlertService
from .service import ConsumerOptions, StoreService

__all__ = ["RolesOptions", "RolesService", "main"]

_log = logging.getLogger(__name__)

_SILENCE_SECONDS = 60.0  # a role that does not beat for longer hangs
_END_SECONDS = 5.0
_PATIENCE_SECONDS = 10.0


class RolesOptions(Struct, frozen=True, kw_only=True):
    """All that a consumer with every role is told.

    Attributes:
        store: what stores.
        alerts: what evaluates rules.
        log_level: of Python's logging.
    """

    store: ConsumerOptions
    alerts: AlertOptions
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class RolesService:
    """Stores, and evaluates rules beside it, until `stop`.

    Storing is what the process lives for: where that ends, all ends. The alerts begin when the store is connected, or
    when that takes too long; they are started again when they fail, which stops no storing.

    Args:
        options: of all roles.
        clock: monotonic seconds.
        backoff: delays before the alerts are started again.

    Raises:
        HostpulseError: the options of a role cannot be used.
    """

    def __init__(
        self,
        options: RolesOptions,
        *,
        clock: Callable[[], float] = time.monotonic,
        backoff: Backoff | None = None,
    ) -> None:
        self._options = options.alerts
        self._alerts = AlertService(options.alerts)
        self._store = StoreService(options.store, healthy=self._stores)
        self._storing = threading.Event()
        self._clock = clock
        self._backoff = backoff or Backoff(first=1, most=60)
        self._beaten = clock()
        self._stopping = threading.Event()

    def run(self, beat: Callable[[], None] = lambda: None) -> None:
        """Do all of it until `stop`.

        Args:
            beat: called every few seconds while no role hangs.

        Raises:
            HostpulseError: what the role `store` fails with.
        """
        alerts = threading.Thread(target=self._evaluate, name=f"{ROLE_THREAD}alerts", daemon=True)
        alerts.start()
        try:
            self._store.run(lambda: beat() if self._alerts_go_on() else None)
        finally:
            self.stop()
            alerts.join(_END_SECONDS)

    def stop(self) -> None:
        """End `run` soon; may be called from a signal handler."""
        self._stopping.set()
        self._storing.set()
        self._alerts.stop()
        self._store.stop()

    def _stores(self) -> bool:
        """Take note that the store is connected and well, and return whether the alerts are."""
        self._storing.set()
        return self._alerts_go_on()

    def _alerts_go_on(self) -> bool:
        return self._clock() - self._beaten < _SILENCE_SECONDS

    def _beat(self) -> None:
        self._beaten = self._clock()
        self._backoff.reset()

    def _evaluate(self) -> None:
        self._storing.wait(_PATIENCE_SECONDS)
        while not self._stopping.is_set():
            try:
                self._alerts.run(self._beat)
            except HostpulseError as error:
                _log.error("%s (trying again)", error)
            except Exception:  # noqa: BLE001  a mistake in this role must not end the other one
                _log.exception("a mistake of hostpulse; please report it (trying again)")
            delay = self._backoff.delay()
            self._beaten = self._clock() + delay  # it fails, and does not hang
            self._stopping.wait(delay)
            if not self._stopping.is_set():
                self._alerts = AlertService(self._options)


def main() -> int:
    """Run until SIGTERM or SIGINT; return the exit code. `hostpulse consume` becomes this."""
    return run_service(RolesOptions, RolesService)


if __name__ == "__main__":
    sys.exit(main())
