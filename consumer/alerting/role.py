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
_LATE_SECONDS = 60.0  # nobody waits any more for the answer to a request that is older
_BATTERY_SECONDS = 1.0  # of a tick, for looking into the history
_HISTORY_PAUSE_SECONDS = 60.0  # until it is looked into again after it could not be read
_NOT_SAMPLES = frozenset({"status", "info", "replay", "check", "event"})
_TOO_LATE = Answer(trouble="the consumer was away for too long; nothing was done")


class AlertRole:
    """Evaluates what comes.

    What happened is kept with the state before a batch is acknowledged. What only progresses (how long a value has
    been beyond its limit) is saved every few seconds: a crash costs that much of a hold, and nothing else.

    Args:
        topics: the prefix.
        rules: what `load_rules` gave.
        journal: where state and transitions are kept; closed.
        maximum_hosts: how many hosts are looked at.
        had_battery: whether history has a battery of a host of which nothing else is known; None where it cannot be
            read now, and is to be asked again.
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
        had_battery: Callable[[str], bool | None] = lambda _: False,
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
        self._next_look = 0.0  # into the history
        self._is_open = False
        self._offline: dict[str, float] = {}  # hosts of which only the Last Will is known: when it came
        self._refused: set[str] = set()
        self._has_refused_devices = False
        self._answers: list[tuple[int, Answer]] = []
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
        self._is_open = True
        self._next_save = self._monotonic() + _SHORTEST_SAVE_SECONDS

    def close(self) -> None:
        """Save what there is and close the journal. What could not be opened is left as it is."""
        try:
            if self._is_open:
                self._save()
        except StorageError as error:
            _log.error("the state of the alerts is not saved: %s", error)
        finally:
            self._is_open = False
            self._journal.close()

    @property
    def alerts(self) -> list[Alert]:
        """The alerts that are not ok, the longest first."""
        return self._engine.alerts()

    @property
    def firing(self) -> int:
        """How many alerts are not ok."""
        return self._engine.firing

    def alert(self, host: str, rule: str, key: str | None) -> Alert | None:
        """Return one of `alerts`; None if it is not among them.

        Args:
            host: name of the machine.
            rule: name of the rule.
            key: of the device; None where a host has one only.
        """
        return self._engine.alert(host, rule, key)

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
            if topic.leaf == "status" and payload in {b"online", b"offline"}:  # or nothing, where it is cleared
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
        self._look_into_history()
        self._pending += self._engine.tick(now)
        self._answer(now)
        happened = self._keep()
        if self._monotonic() >= self._next_prune:
            self._next_prune = self._monotonic() + _PRUNE_SECONDS
            self._journal.prune(before=now - _KEPT_SECONDS, keep=_KEPT_ENTRIES)
        return happened

    def _is_known(self, host: str) -> bool:
        if self._engine.knows(host) or self._engine.hosts + len(self._offline) < self._maximum_hosts:
            return True
        if host in self._offline:
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
        if online:
            self._offline.pop(host, None)
        elif not self._engine.knows(host) and not self._engine.has_forgotten(host) and self._is_known(host):
            self._offline.setdefault(host, now)

    def _look_into_history(self) -> None:
        """Begin to look at hosts of which only the Last Will is known; those with a battery may well be asleep."""
        began = self._monotonic()
        while self._offline and self._next_look <= self._monotonic() <= began + _BATTERY_SECONDS:
            host, received = next(iter(self._offline.items()))
            has_battery = None if self._engine.knows(host) else self._had_battery(host)
            if has_battery is not None:
                self._engine.status(host, online=False, received=received, has_battery=has_battery)
            elif not self._engine.knows(host):
                self._next_look = self._monotonic() + _HISTORY_PAUSE_SECONDS
                return
            del self._offline[host]
            self._changed = True

    def _answer(self, now: float) -> None:
        """Do what people ask for. What was done and could not be kept is not done again."""
        done = {number for number, _ in self._answers}
        for number, at, request in self._journal.asked():
            if number not in done:
                late = now - at > _LATE_SECONDS
                answer = _TOO_LATE if late else self._execute(request, now)
                self._answers.append((number, answer))

    def _execute(self, request: bytes, now: float) -> Answer:
        try:
            decoded: Request = decode_request(request)
        except MessageError as error:
            return Answer(trouble=str(error))
        answer, transitions = execute(decoded, self._engine, now)
        self._pending += transitions
        return answer

    def _keep(self) -> bool:
        """Keep what happened; without that, save the state if it is time to."""
        happened = bool(self._pending)
        if happened or self._answers or (self._changed and self._monotonic() >= self._next_save):
            self._save()
        return happened

    def _save(self) -> None:
        began = self._monotonic()
        now = self._wall()
        answers = [(number, encode_answer(answer)) for number, answer in self._answers]
        self._journal.commit(
            self._engine.dump(), self._pending, self._engine.alerts(), now, self._engine.silences, answers=answers
        )
        for transition in self._pending:
            told = "" if transition.told else f" ({transition.why})"
            _log.info("%s %s: %s%s", transition.level, transition.kind, transition.summary, told)
        self._pending, self._answers = [], []
        self._changed = False
        if self._engine.refused and not self._has_refused_devices:
            self._has_refused_devices = True
            _log.error(
                "%d devices are looked at, as many as there may be; further ones are not", self._engine.instances
            )
        cost = self._monotonic() - began
        self._next_save = began + min(max(_SAVE_SHARE * cost, _SHORTEST_SAVE_SECONDS), _LONGEST_SAVE_SECONDS)


def _host_topic(topics: Topics, name: bytes) -> HostTopic | None:
    """Return the topic if it lies directly below a host that is spelled as we spell it."""
    try:
        topic = topics.parse(name.decode())
        host = unescape(topic.host)
        host.encode()  # an escape may make half a character, which no file can hold
    except (UnicodeError, MessageError):
        return None
    return topic if escape(host) == topic.host else None
