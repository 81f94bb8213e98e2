"""What MQTT is told: each transition as an event, and the state of each alert, retained.

The journal is the truth and the broker a copy. Events go out in the order of the journal, which is left behind only
when the broker has acknowledged them; so after a crash some come twice, with the same session and sequence, by which
stores know them. A broker that has lost its copies gets them again with the next connection, and one that has copies
of alerts that nobody knows any more has them cleared.
"""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from msgspec import UNSET, UnsetType

from hostpulse.bus.alert import AlertState, decode_level, encode_alert_state
from hostpulse.bus.codec import NO_INTERVAL, VERSION, encode
from hostpulse.bus.errors import MessageError
from hostpulse.bus.messages import EVENT
from hostpulse.bus.replay import decode_replay_request
from hostpulse.bus.times import format_timestamp
from hostpulse.bus.topics import Topics

from ..alerts import Alert, Level, Transition
from .event import event_of
from .journal import Entry, Journal

__all__ = ["Publication"]

_READER = "topics"
_MOST_ENTRIES = 30  # at once: two messages for each, and the connection takes a hundred
_MOST_STATES = 30
_MOST_QUESTIONS = 64
_OK = Level.OK.word


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
        alerts: returns the alerts that are not ok.
        publish: sends topic, payload and whether it is retained; returns whether it was sent.
        unacknowledged: how many messages of ours the broker has not acknowledged.
    """

    def __init__(
        self,
        topics: Topics,
        journal: Journal,
        *,
        alerts: Callable[[], list[Alert]],
        publish: Callable[[str, bytes, bool], bool],
        unacknowledged: Callable[[], int],
    ) -> None:
        self._topics = topics
        self._journal = journal
        self._alerts = alerts
        self._publish = publish
        self._unacknowledged = unacknowledged
        self._sent: int | None = None  # the last entry that was sent and not acknowledged
        self._states: dict[str, bytes] = {}  # to be put right at the broker: payload by topic
        self._questions: deque[_Question] = deque(maxlen=_MOST_QUESTIONS)

    @property
    def waiting(self) -> int:
        """How many transitions the broker does not have yet."""
        return max(0, self._journal.last() - (self._journal.position(_READER) or 0))

    def connected(self) -> None:
        """Put the states right again: this may be a broker that has lost them."""
        self._states |= {self._topic_of(alert): _state_of(alert) for alert in self._alerts()}

    def seen(self, topic: str, payload: bytes) -> None:
        """Take a state that the broker has kept; one of an alert that is over, or that nobody knows, is cleared.

        Args:
            topic: its topic.
            payload: what it says; empty for one that was cleared.
        """
        if (
            payload
            and decode_level(payload) != _OK
            and topic not in {self._topic_of(alert) for alert in self._alerts()}
        ):
            self._states.setdefault(topic, b"")

    def asked(self, host: str, payload: bytes) -> None:
        """Take a question for messages of a host; it is answered where it is about our events.

        Args:
            host: name of the machine, not escaped.
            payload: of the question.
        """
        try:
            request = decode_replay_request(payload)
        except MessageError:
            return  # for the publisher, who says so
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
        entries = self._journal.entries(self._journal.position(_READER) or 0, _MOST_ENTRIES)
        if not entries:
            return True
        now = {self._topic_of(alert): alert for alert in self._alerts()}
        for entry in entries:
            topic = self._topic_of(entry.transition)
            alert = now.get(topic)
            state = _over(entry.transition) if alert is None else _state_of(alert)
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
