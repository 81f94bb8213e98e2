"""The role `alerts` without its connection: batches and moments go to the engine, what happens into the journal."""

import logging
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import lru_cache

from hostpulse.bus.codec import decode
from hostpulse.bus.errors import MessageError
from hostpulse.bus.mqtt import Batch
from hostpulse.bus.topics import HostTopic, Topics, escape, unescape

from ..alerts import Alert, Engine, Rule, StateError, Transition
from ..storage import StorageError
from .commands import Answer, Request, decode_request, encode_answer, execute
from .journal import Journal

__all__ = ["AlertRole"]

_log = logging.getLogger(__name__)

_SHORTEST_SAVE_SECONDS = 5.0
_LONGEST_SAVE_SECONDS = 60.0
_SAVE_SHARE = 100  # of our time at most one part in this many goes into saving what only progresses
_PRUNE_SECONDS = 3600.0
_KEPT_SECONDS = 90 * 86400.0
_KEPT_ENTRIES = 100_000
_NOT_SAMPLES = frozenset({"status", "info", "replay", "check", "event"})


class AlertRole:
    """Evaluates what comes.

    What happened is kept with the state before a batch is acknowledged. What only progresses (how long a value has
    been beyond its limit) is saved every few seconds: a crash costs that much of a hold, and nothing else.

    Args:
        topics: the prefix.
        rules: what `load_rules` gave.
        journal: where state and transitions are kept; closed.
        maximum_hosts: how many hosts are looked at.
        had_battery: whether history has a battery of a host of which nothing else is known; asked at most once for it.
        wall: seconds since the epoch.
        monotonic: seconds.

    Attributes:
        received: messages that were taken.
        refused_hosts: hosts beyond the bound, of which nothing is looked at.
    """

    def __init__(
        self,
        topics: Topics,
        rules: Iterable[Rule],
        journal: Journal,
        *,
        maximum_hosts: int = 1000,
        had_battery: Callable[[str], bool] = lambda _: False,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rules = tuple(rules)
        self._journal = journal
        self._maximum_hosts = maximum_hosts
        self._had_battery = had_battery
        self._wall = wall
        self._monotonic = monotonic
        self._parse = lru_cache(maxsize=16_384)(lambda name: _host_topic(topics, name))
        self._engine = Engine(())
        self._pending: list[Transition] = []
        self._changed = False  # since the state was saved
        self._next_save = 0.0
        self._next_prune = 0.0
        self._refused: set[str] = set()
        self.received = 0

    def open(self) -> None:
        """Open the journal and go on where its state ends.

        Raises:
            StorageError: the journal cannot be used, or its state cannot be read.
        """
        self._journal.create(self._wall())
        try:
            self._engine = Engine(self._rules, self._journal.state())
        except StateError as error:
            raise StorageError(f"{self._journal.path}: {error}") from None
        self._next_save = self._monotonic() + _SHORTEST_SAVE_SECONDS

    def close(self) -> None:
        """Save what there is and close the journal."""
        try:
            self._save()
        except StorageError as error:
            _log.error("the state of the alerts is not saved: %s", error)
        finally:
            self._journal.close()

    @property
    def alerts(self) -> list[Alert]:
        """The alerts that are not ok, the longest first."""
        return self._engine.alerts()

    @property
    def refused_hosts(self) -> int:
        """How many hosts are beyond the bound."""
        return len(self._refused)

    def take(self, batch: Batch) -> bool:
        """Evaluate a batch; what happened is durable on return.

        Returns:
            Whether anything happened.

        Raises:
            StorageError: it could not be kept. The batch may come again: the engine knows it, and what happened is kept
                with the next one.
        """
        now = self._wall()
        moment = datetime.fromtimestamp(now, UTC)
        statuses: dict[str, bool] = {}
        for index, (name, payload) in enumerate(zip(batch.topics, batch.payloads, strict=True)):
            topic = self._parse(name)
            if topic is None:
                continue
            if topic.leaf == "status":
                statuses[topic.host] = payload == b"online"
            if topic.leaf in _NOT_SAMPLES or index in batch.retained:
                continue
            try:
                sample = decode(topic, payload, now=moment)
            except MessageError:
                continue  # the role `store` keeps it as a dead letter, and says so
            if self._is_known(sample.envelope.host):
                self._pending += self._engine.take(sample, now)
        for host, online in statuses.items():
            self._take_status(unescape(host), online=online, now=now)
        self.received += len(batch.topics)
        self._changed = True
        return self._keep()

    def tick(self, *, listening: bool) -> bool:
        """Look at the clock, answer what people ask for, and save the state from time to time.

        Args:
            listening: whether messages can come; silence without a connection says nothing of anybody.

        Returns:
            Whether anything happened.

        Raises:
            StorageError: it could not be kept.
        """
        now = self._wall()
        if not listening:
            self._engine.listening(now)
        self._pending += self._engine.tick(now)
        answers = [self._answer(number, request, now) for number, _, request in self._journal.asked()]
        if answers:
            self._changed = True
        happened = self._keep(at_once=bool(answers))
        for number, answer in answers:
            self._journal.answer(number, encode_answer(answer))
        if self._monotonic() >= self._next_prune:
            self._next_prune = self._monotonic() + _PRUNE_SECONDS
            self._journal.prune(before=now - _KEPT_SECONDS, keep=_KEPT_ENTRIES)
        return happened

    def _is_known(self, host: str) -> bool:
        if self._engine.knows(host):
            return True
        if self._engine.hosts < self._maximum_hosts:
            return True
        if not self._refused:
            _log.error(
                "%d hosts are looked at, as many as store.maximum_hosts allows; %r and further ones are not",
                self._maximum_hosts,
                host[:100],
            )
        if len(self._refused) < self._maximum_hosts:  # a count for people, not another thing to grow
            self._refused.add(host)
        return False

    def _take_status(self, host: str, *, online: bool, now: float) -> None:
        if online or self._engine.knows(host) or not self._is_known(host):
            return
        self._engine.status(host, online=False, received=now, has_battery=self._had_battery(host))

    def _answer(self, number: int, request: bytes, now: float) -> tuple[int, Answer]:
        try:
            decoded: Request = decode_request(request)
        except MessageError as error:
            return number, Answer(trouble=str(error))
        answer, transitions = execute(decoded, self._engine, now)
        self._pending += transitions
        return number, answer

    def _keep(self, *, at_once: bool = False) -> bool:
        """Keep what happened; without that, save the state if it is time to."""
        happened = bool(self._pending)
        if happened or at_once or (self._changed and self._monotonic() >= self._next_save):
            self._save()
        return happened

    def _save(self) -> None:
        began = self._monotonic()
        now = self._wall()
        self._journal.commit(self._engine.dump(), self._pending, self._engine.alerts(), now, self._engine.silences)
        for transition in self._pending:
            told = "" if transition.told else f" ({transition.why})"
            _log.info("%s %s: %s%s", transition.level, transition.kind, transition.summary, told)
        self._pending = []
        self._changed = False
        cost = self._monotonic() - began
        self._next_save = began + min(max(_SAVE_SHARE * cost, _SHORTEST_SAVE_SECONDS), _LONGEST_SAVE_SECONDS)


def _host_topic(topics: Topics, name: bytes) -> HostTopic | None:
    """Return the topic if it lies directly below a host that is spelled as we spell it."""
    try:
        topic = topics.parse(name.decode())
    except (UnicodeDecodeError, MessageError):
        return None
    return topic if escape(unescape(topic.host)) == topic.host else None
