"""What has come and is not acknowledged yet: the batch that grows, and those that are being taken.

A store that is another process, such as a database, works while we wait for its answer. So a batch may be taken in the
background: the next one is read and prepared meanwhile, and what is acknowledged is acknowledged in its order.
"""

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple

from ..backoff import Backoff
from ..errors import HostpulseError
from .pace import Pace
from .packets import Batch

__all__ = ["Intake", "Taking"]

_log = logging.getLogger(__name__)

_BATCH_BYTES = 8 << 20
_OVERFULL = 8  # this many batches in hand while they cannot be taken are enough
_MOST_TAKINGS = 2  # one that is waited for, and one that is ready when the other one is done


class Taking(NamedTuple):
    """A batch that is being taken in the background.

    Attributes:
        work: what is done in the background.
        finish: called when the work is done, or to wait for it, by the thread that called `take`. When it returns, the
            batch is acknowledged; if it raises, the batch was not taken.
    """

    work: Future[Any]
    finish: Callable[[], None]


class _Taken(NamedTuple):
    """A batch that was given away."""

    batch: Batch
    size: int
    identifiers: list[bytes]
    taking: Taking


class Intake:
    """Collects messages into batches, and has them taken. For one thread.

    Args:
        take: is given each batch; see `Receiver`.
        batch_messages: how many make a batch.
        linger_seconds: how long a batch may wait to grow.
        clock: monotonic seconds.
        wake: called from any thread when there is something to do.

    Attributes:
        batch: what has come since the last batch was given away.
        size: about its bytes.
        identifiers: of the messages in it that this connection can acknowledge.
    """

    def __init__(
        self,
        take: Callable[[Batch], Taking | None],
        *,
        batch_messages: int,
        linger_seconds: float,
        clock: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        self._take = take
        self._batch_messages = batch_messages
        self._clock = clock
        self._wake = wake
        self._pace = Pace(linger_seconds, clock)
        self._retry = Backoff(first=0.5, most=30)
        self._not_before = 0.0  # after a failure
        self._failure = ""
        self._taken: deque[_Taken] = deque()
        self._safe: list[bytes] = []  # identifiers that nobody has acknowledged yet
        self.batch = Batch([], [], set())
        self.size = 0
        self.identifiers: list[bytes] = []

    @property
    def failing(self) -> bool:
        """Whether the last batch could not be taken."""
        return bool(self._failure)

    @property
    def empty(self) -> bool:
        """Whether there is nothing that is not acknowledged."""
        return not (self.batch.topics or self._taken)

    @property
    def full(self) -> bool:
        """Whether there is a batch that need not grow any more."""
        return len(self.batch.topics) >= self._batch_messages or self.size >= _BATCH_BYTES

    @property
    def overfull(self) -> bool:
        """Whether there is so much that could not be taken that no more may come."""
        if not self._failure:
            return False
        messages = len(self.batch.topics) + sum(len(taken.batch.topics) for taken in self._taken)
        size = self.size + sum(taken.size for taken in self._taken)
        return messages >= _OVERFULL * self._batch_messages or size >= _OVERFULL * _BATCH_BYTES

    def restart(self) -> None:
        """Forget what belongs to the connection before: its identifiers mean nothing in the next one."""
        self.identifiers.clear()
        self._safe.clear()
        for taken in self._taken:
            taken.identifiers.clear()
        self._pace.restart()

    def arrived(self) -> None:
        """Note that the batch has grown."""
        self._pace.arrived(len(self.identifiers) + sum(len(taken.identifiers) for taken in self._taken))

    def due(self) -> float | None:
        """Return when there is something to do; None while there is nothing but to wait."""
        if self._taken and self._taken[0].taking.work.done():
            return 0.0
        if not self.batch.topics or (self._busy and not self.full):
            return None
        return max(self._not_before, 0.0 if self.full else self._pace.due() or 0.0)

    def work(self) -> list[bytes]:
        """Finish what is done and give away what is due; return the identifiers to be acknowledged, in their order.

        Waits where a batch is full while the ones before it are not done.
        """
        while self._taken and self._taken[0].taking.work.done():
            self._finish()
        due = self.due()
        if due is not None and self._clock() >= due:
            while self._busy:
                self._finish()
            if self._clock() >= self._not_before:  # else what was before it could not be taken, and both are one now
                self._give_away()
        return self._acknowledgeable()

    def drain(self) -> list[bytes]:
        """Have everything taken, and wait for it, unless it fails; return the identifiers to be acknowledged."""
        if self._wait() and self.batch.topics:
            self._give_away()
            self._wait()
        return self._acknowledgeable()

    @property
    def _busy(self) -> bool:
        return len(self._taken) >= (1 if self._failure else _MOST_TAKINGS)

    def _acknowledgeable(self) -> list[bytes]:
        identifiers, self._safe = self._safe, []
        return identifiers

    def _wait(self) -> bool:
        """Wait for all that was given away; return whether it was taken."""
        while self._taken:
            if not self._finish():
                return False
        return True

    def _give_away(self) -> None:
        batch, size, identifiers = self.batch, self.size, self.identifiers
        try:
            taking = self._take(batch)
        except Exception as error:  # noqa: BLE001  whatever it was, nothing is acknowledged and all of it comes again
            self._failed(error)
            return
        self.batch, self.size, self.identifiers = Batch([], [], set()), 0, []
        self._pace.taken()
        self._taken.append(_Taken(batch, size, identifiers, taking or _at_once()))
        if taking is not None:
            taking.work.add_done_callback(lambda _: self._wake())
        elif len(self._taken) == 1:
            self._finish()

    def _finish(self) -> bool:
        """Wait for the oldest batch that was given away; return whether it was taken."""
        try:
            self._taken[0].taking.finish()
        except Exception as error:  # noqa: BLE001  as above
            self._take_back()
            self._failed(error)
            return False
        identifiers = self._taken.popleft().identifiers
        if self._failure:
            _log.info("what has come is stored again")
        self._failure = ""
        self._retry.reset()
        self._not_before = 0.0
        self._pace.acknowledged(len(identifiers))
        self._safe += identifiers
        return True

    def _take_back(self) -> None:
        """Make one batch of all that is not acknowledged, also of what may be stored by now: it is stored again."""
        while self._taken:
            taken = self._taken.pop()
            taken.taking.work.cancel()
            self.batch = _joined(taken.batch, self.batch)
            self.size += taken.size
            self.identifiers = taken.identifiers + self.identifiers

    def _failed(self, error: Exception) -> None:
        # A store that is overloaded may say when it wants to be tried again.
        wanted = getattr(error, "retry_after", None) or 0.0
        self._not_before = self._clock() + max(wanted, self._retry.delay())
        # Ours are sentences; of anything else the name says most.
        text = str(error) if isinstance(error, HostpulseError) else repr(error)
        if text != self._failure:
            self._failure = text
            _log.error("what has come cannot be stored: %s (nothing is acknowledged; trying again)", error)


def _at_once() -> Taking:
    work: Future[None] = Future()
    work.set_result(None)
    return Taking(work, lambda: None)


def _joined(first: Batch, second: Batch) -> Batch:
    offset = len(first.topics)
    retained = first.retained | {index + offset for index in second.retained}
    return Batch(first.topics + second.topics, first.payloads + second.payloads, retained)
