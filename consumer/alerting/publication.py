"""What MQTT is told: each transition as an event, and the state of each alert, retained.

The journal is the truth and the broker a copy. Events go out in the order of the journal, which is left behind only
when the broker has acknowledged them; so after a crash some come twice, with the same session and sequence, by which
stores know them. A broker that has lost its copies gets them again with the next connection, and one that has copies
of alerts that nobody knows any more has them cleared.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from msgspec import UNSET, UnsetType

from hostpulse.bus.alert import AlertState, decode_alert_state, encode_alert_state
from hostpulse.bus.codec import NO_INTERVAL, VERSION, encode
from hostpulse.bus.errors import MessageError, UsageError
from hostpulse.bus.messages import EVENT
from hostpulse.bus.mqtt import Batch
from hostpulse.bus.replay import decode_replay_request
from hostpulse.bus.times import format_timestamp, parse_moment
from hostpulse.bus.topics import ONLY_INSTANCE, Topics, escape, unescape

from ..alerts import Alert, Level, Transition
from .event import event_of
from .journal import Entry, Journal
from .role import AlertRole

__all__ = ["Publication"]

_log = logging.getLogger(__name__)

_READER = "topics"
_MOST_ENTRIES = 30  # at once: two messages for each, and the connection takes a hundred
_MOST_STATES = 30
_MOST_QUESTIONS = 64
_OK = Level.OK.word
_OVER_SECONDS = 7 * 86400.0  # for how long a broker keeps that an alert is over; devices come and go


class _Question(NamedTuple):
    """Events of a host that somebody asks for once more."""

    host: str
    first: int
    last: int


class Publication:
    """Tells a broker what the journal has. To be used between two batches, like the connection that it sends through.

    Args:
        topics: the prefix.
        journal: open.
        alerts: who knows what there is now.
        publish: sends topic, payload and whether it is retained; returns whether it was sent.
        unacknowledged: how many messages of ours the broker has not acknowledged.
        wall: seconds since the epoch.
    """

    def __init__(
        self,
        topics: Topics,
        journal: Journal,
        *,
        alerts: AlertRole,
        publish: Callable[[str, bytes, bool], bool],
        unacknowledged: Callable[[], int],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._topics = topics
        self._journal = journal
        self._alerts = alerts
        self._publish = publish
        self._unacknowledged = unacknowledged
        self._wall = wall
        self._sent: int | None = None  # the last entry that was sent and not acknowledged
        self._states: dict[str, bytes] = {}  # to be put right at the broker: payload by topic
        self._questions: deque[_Question] = deque(maxlen=_MOST_QUESTIONS)

    @property
    def waiting(self) -> int:
        """How many transitions the broker does not have yet."""
        return max(0, self._journal.last() - (self._journal.position(_READER) or 0))

    def connected(self) -> None:
        """Put the states right again: this may be a broker that has lost them."""
        self._states |= {self._topic_of(alert): _state_of(alert) for alert in self._alerts.alerts}

    def take(self, batch: Batch) -> None:
        """Take what is for us of a batch: states that the broker has kept, and questions for our events."""
        for index, (name, payload) in enumerate(zip(batch.topics, batch.payloads, strict=True)):
            is_kept = index in batch.retained and b"/alert/" in name
            is_question = index not in batch.retained and name.endswith(b"/replay")
            if is_kept or is_question:
                try:
                    topic = name.decode()
                    (self._seen if is_kept else self._asked)(topic, payload)
                except (MessageError, UnicodeError):
                    continue  # for the publisher, who says so; or of nobody

    def _seen(self, topic: str, payload: bytes) -> None:
        """Take a state that the broker has kept: of an alert that nobody knows, or that is long over, it is cleared."""
        host, rule, instance = self._topics.parse_alert(topic)
        if payload and not self._is_firing(topic, unescape(host), unescape(rule), instance) and self._is_old(payload):
            self._states.setdefault(topic, b"")

    def _is_firing(self, topic: str, host: str, rule: str, instance: str) -> bool:
        keys: Iterable[str | None] = (unescape(instance), *((None,) if instance == ONLY_INSTANCE else ()))
        alerts = [alert for key in keys if (alert := self._alerts.alert(host, rule, key)) is not None]
        return any(self._topic_of(alert) == topic for alert in alerts)  # and not another spelling of it

    def _is_old(self, payload: bytes) -> bool:
        """Return whether a state, which is not of an alert that fires, is worth nothing to anybody."""
        state = decode_alert_state(payload)
        if state is None or state.level != _OK:
            return True
        now = self._wall()
        try:
            return parse_moment(state.since, now=now) < now - _OVER_SECONDS
        except UsageError:
            return True

    def _asked(self, topic: str, payload: bytes) -> None:
        """Take a question for messages of a host; it is answered where it is about our events."""
        part = self._topics.parse(topic).host
        host = unescape(part)
        host.encode()  # an escape may make half a character, which the journal cannot look for
        if escape(host) != part:
            return
        request = decode_replay_request(payload)
        ours = request.subsystem == EVENT and abs(request.session.timestamp() - self._journal.session) < 0.001  # noqa: PLR2004  the contract has milliseconds
        question = _Question(host, request.first, request.last)
        if ours and question not in self._questions:  # several who ask at once are answered once
            self._questions.append(question)

    def advance(self) -> None:
        """Send what there is to send, a piece at a time; call it again soon.

        Raises:
            StorageError: the journal cannot be read, or does not keep how far we are.
        """
        if self._unacknowledged():
            return
        if self._sent is not None:
            self._journal.move(_READER, self._sent)
            self._sent = None
        if self._send_entries() and self._send_states():
            self._answer()

    def _send_states(self) -> bool:
        for topic in list(self._states)[:_MOST_STATES]:
            if not self._publish(topic, self._states[topic], True):
                return False
            del self._states[topic]
        return True

    def _send_entries(self) -> bool:
        position = self._journal.position(_READER) or 0
        for entry in self._journal.entries(position, _MOST_ENTRIES):
            one = entry.transition
            if self._sent is None and entry.number > position + 1:
                lost = entry.number - position - 1
                _log.warning("%d events grew old in the journal and were deleted before the broker had them", lost)
            alert = self._alerts.alert(one.host, one.rule, next(iter(one.labels.values()), None))
            state = _over(one) if alert is None else _state_of(alert)
            topic = self._topic_of(one)
            if not self._send_event(entry) or not self._publish(topic, state, True):
                return False
            self._states.pop(topic, None)  # the broker's copy was older than this, as all that waits there is
            self._sent = entry.number
        return True

    def _send_event(self, entry: Entry) -> bool:
        transition = entry.transition
        payload = encode(
            event_of(transition, timestamp=entry.timestamp),
            host=transition.host,
            subsystem=EVENT,
            timestamp=entry.timestamp,
            sequence=entry.sequence,
            session=self._journal.session,
            interval=NO_INTERVAL,
        )
        return self._publish(self._topics.sample(transition.host, EVENT), payload, False)

    def _answer(self) -> None:
        """Send events again that somebody has missed."""
        if not self._questions:
            return
        question = self._questions.popleft()
        entries = self._journal.events(question.host, question.first, question.last, _MOST_ENTRIES)
        for entry in entries:
            if not self._send_event(entry):
                self._questions.appendleft(question._replace(first=entry.sequence))
                return
        if len(entries) == _MOST_ENTRIES:
            self._questions.appendleft(question._replace(first=entries[-1].sequence + 1))

    def _topic_of(self, one: Alert | Transition) -> str:
        return self._topics.alert(one.host, one.rule, next(iter(one.labels.values()), None))


def _state_of(alert: Alert) -> bytes:
    return encode_alert_state(
        AlertState(
            v=VERSION,
            host=alert.host,
            rule=alert.rule,
            labels=alert.labels,
            level=alert.level,
            since=format_timestamp(alert.since),
            summary=alert.summary,
            metric=alert.metric or UNSET,
            unit=alert.unit or UNSET,
            value=_known(alert.value),
            limit=_known(alert.limit),
            acknowledged=alert.acknowledged,
            stale=alert.stale,
            quiet=alert.quiet or UNSET,
        )
    )


def _over(transition: Transition) -> bytes:
    """Return the state of an alert that is ok, from the last thing that happened to it."""
    return encode_alert_state(
        AlertState(
            v=VERSION,
            host=transition.host,
            rule=transition.rule,
            labels=transition.labels,
            level=_OK,
            since=format_timestamp(transition.moment),
            summary=transition.summary,
            metric=transition.metric or UNSET,
            unit=transition.unit or UNSET,
            value=_known(transition.value),
            limit=_known(transition.limit),
        )
    )


def _known(value: float | str | None) -> float | str | UnsetType:
    return UNSET if value is None else value
