"""What the broker lets an account do, found out by trying it.

Nobody says so with MQTT 3.1.1: a broker acknowledges a message that it does not pass on, and mosquitto accepts a
subscription to what it will not deliver. So messages that mean nothing to anybody are sent on topics of this machine,
and of one that does not exist, and we look which of them come back; and where the broker speaks MQTT 5, its
acknowledgements tell.
"""

import secrets
import time
from collections.abc import Callable
from typing import NamedTuple

from msgspec.structs import replace

from hostpulse.bus.errors import BrokerError, WrongTopicError
from hostpulse.bus.mqtt import MqttOptions, Publication, Session
from hostpulse.bus.topics import Topics, escape

__all__ = ["Permissions", "connect", "try_permissions"]

_ANSWER_SECONDS = 6.0
_ECHO_SECONDS = 2.0  # that a message may take back to us
_NO_HOST = "hostpulse-check"
_NO_RULE = "check"
_REPLAY = "replay"  # what a consumer's account may write below any name; nobody of this one listens


class Permissions(NamedTuple):
    """What an account may do; None where that cannot be known.

    Attributes:
        publish: write below this machine's own name.
        read_all: read what every machine publishes.
        tell: write the state of alerts of every machine.
    """

    publish: bool | None
    read_all: bool | None
    tell: bool | None


def connect(session: Session, options: MqttOptions) -> None:
    """Open a session and wait until the broker has accepted us.

    Raises:
        BrokerError: it has not; the text says why.
        UsageError: a certificate file cannot be used.
    """
    session.open()
    end = time.monotonic() + _ANSWER_SECONDS
    while not session.connected and session.trouble is None and time.monotonic() < end:
        session.service()
        session.wait(0.1)
    if not session.connected:
        raise BrokerError(session.trouble or f"broker {options.address} accepts the connection and does not answer")


def try_permissions(options: MqttOptions, topics: Topics, host: str) -> Permissions:
    """Return what the account may do.

    Args:
        options: the broker and the login.
        topics: the prefix.
        host: the machine that it would publish as.

    Raises:
        BrokerError: the connection broke.
    """
    if options.protocol != "5":
        try:
            return _Trial(replace(options, protocol="5"), topics, host).run()
        except BrokerError:
            pass  # the broker does not speak it
    return _Trial(options, topics, host).run()


class _Trial:
    """One connection that sends a few messages and looks what becomes of them."""

    def __init__(self, options: MqttOptions, topics: Topics, host: str) -> None:
        self._options = options
        self._topics = topics
        self._host = escape(host)
        self._own, self._other = topics.check(host), topics.sample(_NO_HOST, _REPLAY)
        self._alert = topics.alert(_NO_HOST, _NO_RULE, None)
        self._token = secrets.token_hex(8).encode()
        self._numbers: dict[int, str] = {}
        self._waiting: set[int] = set()
        self._refused: set[str] = set()
        self._own_came = self._other_came = self._alert_came = False
        self._session = Session(
            options,
            subscriptions=[self._own, topics.all_hosts, topics.all_alerts],
            on_message=self._received,
            on_acknowledged=self._waiting.discard,
            on_refused=lambda number: self._refused.add(self._numbers[number]),
        )

    def run(self) -> Permissions:
        try:
            connect(self._session, self._options)
            for topic in (self._own, self._other, self._alert):
                self._send(topic)
            self._serve(lambda: self._own_came and self._other_came and self._alert_came, _ECHO_SECONDS)
            return Permissions(self._may_publish(), self._may_read_all(), self._may_tell())
        finally:
            self._session.close(seconds=1)

    def _send(self, topic: str) -> None:
        self._serve(lambda: self._session.room > 0, _ANSWER_SECONDS)
        number = self._session.publish(Publication(topic, self._token))
        self._numbers[number] = topic
        self._waiting.add(number)
        self._serve(lambda: not self._waiting, _ANSWER_SECONDS)
        if self._waiting:
            raise BrokerError(self._session.trouble or f"broker {self._options.address} acknowledges nothing")

    def _serve(self, until: Callable[[], bool], seconds: float) -> None:
        """Do what comes up; a broker that ends a connection over a message gets another one."""
        end = time.monotonic() + seconds
        while not until() and (left := end - time.monotonic()) > 0:
            self._session.wait(left)
            self._session.service()

    def _received(self, topic: str, payload: bytes) -> None:
        if topic == self._alert:
            self._alert_came = self._alert_came or payload == self._token
            return
        try:
            host = self._topics.parse(topic).host
        except WrongTopicError:
            return
        if host != self._host:
            self._other_came = True
        elif payload == self._token:
            self._own_came = True

    def _tells(self, topic: str) -> bool:
        """Whether we know that a message on a topic was passed on."""
        return self._options.protocol == "5" and topic not in self._refused

    def _may_publish(self) -> bool | None:
        if self._own in self._refused:
            return False
        return True if self._own_came or self._tells(self._own) else None

    def _may_read_all(self) -> bool | None:
        if self._other_came:
            return True
        if self._topics.all_hosts in self._session.denied_filters or self._tells(self._other):
            return False
        return None

    def _may_tell(self) -> bool | None:
        if self._alert in self._refused:
            return False
        return True if self._alert_came or self._tells(self._alert) else None
