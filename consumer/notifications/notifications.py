"""All deliveries of the role `alerts`."""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from ..alerting.journal import Journal
from .cursor import READERS
from .options import RouteOptions
from .route import PACE, Pace, Route
from .senders import Target, open_targets
from .status import RouteStatus
from .tags import unknown_tags

__all__ = ["Notifications"]

_log = logging.getLogger(__name__)

_STOP_SECONDS = 2.0


class Notifications:
    """Tells people of what the journal gets, each route in a thread of its own.

    Args:
        routes: what is told to whom; none for nobody.
        path: of the journal, which has to be there when it starts.
        tags: of each rule, by its name; rules without any may be missing.
        open_targets: makes what sends; a test gives its own.
        wall: seconds since the epoch.
        clock: monotonic seconds.
        pace: how long is waited after a failure.
    """

    def __init__(
        self,
        routes: Sequence[RouteOptions],
        path: Path,
        tags: Mapping[str, Collection[str]],
        *,
        open_targets: Callable[[Sequence[RouteOptions]], list[Target]] = open_targets,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        pace: Pace = PACE,
    ) -> None:
        self._options = tuple(routes)
        self._path = path
        self._tags = tags
        self._open_targets = open_targets
        self._wall = wall
        self._clock = clock
        self._pace = pace
        self._routes: list[Route] = []

    def start(self) -> None:
        """Begin to tell.

        A route that was not here before begins now: it does not tell the past. One that is gone is forgotten.

        Raises:
            RoutesError: routes that cannot work.
            StorageError: the journal cannot be used.
        """
        targets = self._open_targets(self._options)
        for line in unknown_tags(self._tags, self._options):
            _log.warning("%s", line)
        with Journal(self._path).open() as journal:
            names = [READERS + target.name for target in targets]
            journal.forget(READERS, but=names)
            for name in names:
                if journal.position(name) is None:
                    journal.move(name, journal.last())
        self._routes = [
            Route(self._path, target, self._tags, wall=self._wall, clock=self._clock, pace=self._pace)
            for target in targets
        ]
        for route in self._routes:
            route.start()

    def wake(self) -> None:
        """Have every route look into the journal; to be called after each commit, and costs nothing."""
        for route in self._routes:
            route.wake()

    def stop(self) -> None:
        """End within two seconds. What is not told yet is at the next start."""
        for route in self._routes:
            route.ask_to_stop()
        deadline = self._clock() + _STOP_SECONDS
        for route in self._routes:
            route.join(max(deadline - self._clock(), 0.0))

    def status(self) -> list[RouteStatus]:
        """Return how each delivery is doing."""
        return [route.status for route in self._routes]
