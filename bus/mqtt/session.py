"""The connection that sends: paho without its thread, driven by its owner.

paho's own loop costs a thread and a wake-up for each message; a publisher that wakes up every two seconds anyway
needs neither. `service()` does what has come up, `wait()` sleeps until there is something. Only connecting, which
can block for seconds (names, TCP, TLS), happens in a thread that ends when it is done, so that sampling goes on.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from ..errors import MessageTooLargeError
from .link import Link
from .options import MqttOptions, make_client, tls_context
from .reasons import explain_denial, explain_loss, explain_refusal
from .transport import Stream, Wrapper, stream_of
from .waker import Waker

__all__ = ["MAXIMUM_PAYLOAD_BYTES", "Publication", "Session"]

_log = logging.getLogger(__name__)

MAXIMUM_PAYLOAD_BYTES = 512 * 1024
"""A broker that refuses a message breaks the connection, and what is unacknowledged would be sent again for ever."""

_IN_FLIGHT = 40  # below 20 a round trip limits the rate, above 100 paho's bookkeeping costs more than it gains
_READS = 100  # in one service(): a flood of messages to us must not keep the owner from its work
_LINGER_SECONDS = 1.0


class Publication(NamedTuple):
    """One message as it goes out."""

    topic: str
    payload: bytes
    retain: bool = False


class Session:
    """One connection to a broker that comes back by itself.

    All methods but `wake` belong to one thread, which calls `service` at least twice in `keepalive_seconds`; a
    connection that has gone silent is noticed within two and a half of them.

    Args:
        options: the broker and the login.
        will: what the broker says for us when we vanish.
        greeting: called at each connection; what it returns is published first.
        farewell: published before a proper end.
        subscriptions: filters to subscribe to, QoS 1, at each connection.
        on_message: called with topic and payload.
        on_acknowledged: called with the number that `publish` returned, once the broker has the message.
        on_refused: called before that with the number of a message that the broker does not take; MQTT 5 only.
        clock: monotonic seconds.

    An exception in a function given here is logged and goes no further.
    """

    def __init__(
        self,
        options: MqttOptions,
        *,
        will: Publication | None = None,
        greeting: Callable[[], Sequence[Publication]] = tuple,
        farewell: Sequence[Publication] = (),
        subscriptions: Sequence[str] = (),
        on_message: Callable[[str, bytes], None] | None = None,
        on_acknowledged: Callable[[int], None] | None = None,
        on_refused: Callable[[int], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._will = will
        self._greeting = greeting
        self._farewell = farewell
        self._subscriptions = subscriptions
        self._on_message = on_message
        self._on_acknowledged = on_acknowledged
        self._on_refused = on_refused
        self._clock = clock
        self._waker = Waker()
        self._link = Link(options, clock=clock, wake=self._waker.wake)
        self._client: Client | None = None
        self._stream: Stream | None = None  # the last one, also after paho has dropped it
        self._in_flight = _IN_FLIGHT
        self._greet = False
        self._closing = False
        self._unacknowledged: set[int] = set()

    def open(self) -> None:
        """Prepare the connection and make the first attempt.

        Raises:
            UsageError: a certificate file cannot be used.
        """
        client = make_client(
            self._options, Wrapper(tls_context(self._options), Stream, self._clock), clean=True, in_flight=_IN_FLIGHT
        )
        if self._will is not None:
            client.will_set(self._will.topic, self._will.payload, qos=1, retain=self._will.retain)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_publish = self._published
        client.on_subscribe = self._subscribed
        client.on_message = self._received
        self._waker.open()
        self._client = client
        self._link.attempt(client)

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us and the connection is not known to be lost."""
        return self._link.up

    @property
    def connections(self) -> int:
        """How many connections there were."""
        return self._link.connections

    @property
    def trouble(self) -> str | None:
        """Why there is no connection, in one line; None while there is one."""
        return self._link.trouble

    @property
    def denied_filters(self) -> frozenset[str]:
        """The subscriptions that the broker has refused."""
        return frozenset(self._link.denied_filters)

    @property
    def room(self) -> int:
        """How many messages may be published now."""
        return max(0, self._in_flight - len(self._unacknowledged)) if self.connected else 0

    def publish(self, publication: Publication) -> int:
        """Send a message with QoS 1; call only while there is `room`.

        Returns:
            Its number, which `on_acknowledged` is called with once the broker has it. A message that is on its way
            when the connection breaks is sent again by paho at the next one, under the same number; so is one that
            is published after `room` was asked for and before `service` was called again.

        Raises:
            MessageTooLargeError: larger than `MAXIMUM_PAYLOAD_BYTES`.
            ValueError: the topic cannot be one.
        """
        if self._client is None:
            raise RuntimeError("publish() before open()")
        if len(publication.payload) > MAXIMUM_PAYLOAD_BYTES:
            raise MessageTooLargeError(f"{len(publication.payload)} bytes, brokers take {MAXIMUM_PAYLOAD_BYTES}")
        while True:
            info = self._client.publish(publication.topic, publication.payload, qos=1, retain=publication.retain)
            if (
                info.rc != MQTTErrorCode.MQTT_ERR_QUEUE_SIZE
            ):  # then a message of 65535 ago is still out; the next number
                break
        self._unacknowledged.add(info.mid)
        return info.mid

    def service(self) -> None:
        """Read, write, keep the connection alive or make a new one; never blocks."""
        client = self._client
        if client is None or self._link.attempting():
            return
        stream = stream_of(client)
        if stream is None:
            if not self._link.seconds_until_attempt():
                self._link.attempt(client)
            return
        self._stream = stream
        for _ in range(_READS):
            client.loop_read()
            if stream.drained or client.socket() is None:
                break
        # paho notices silence after up to four of its owner's rounds; this is within one of twice the keepalive.
        if self._clock() - stream.heard > 2 * self._options.keepalive_seconds:
            stream.abort(f"nothing has come from it for {2 * self._options.keepalive_seconds} s")
            client.loop_read()
        if self._greet and self.connected:
            self._greet = False
            self._publish_greeting()
        if client.want_write():
            client.loop_write()
        client.loop_misc()

    def wait(self, seconds: float, *, for_network: bool = True) -> None:
        """Sleep until the time is over, or something has come from the network, or `wake` was called.

        Without a connection it ends when the next attempt to connect is due.
        """
        client = self._client
        if client is None:
            raise RuntimeError("wait() before open()")
        if self._link.attempting():
            self._waker.wait(None, seconds)
            return
        stream = stream_of(client)
        if stream is None:
            self._waker.wait(None, min(seconds, self._link.seconds_until_attempt()))
        else:
            self._waker.wait(stream if for_network else None, seconds, writing=client.want_write())

    def wake(self) -> None:
        """End `wait` early; may be called from any thread and from a signal handler."""
        self._waker.wake()

    def close(self, *, seconds: float) -> None:
        """Send what is out, say farewell and disconnect, within the time given."""
        client, end = self._client, self._clock() + seconds
        if client is None:
            return
        linger = min(_LINGER_SECONDS, seconds / 4)
        self._drain(end - linger)
        if self.connected:
            for publication in self._farewell:
                self.publish(publication)
            self._drain(end - linger)
        self._link.abandon(until=end - linger)
        self._closing = True
        self._disconnect(client, end)
        self._waker.close()
        self._client = self._stream = None

    def _drain(self, end: float) -> None:
        while self._unacknowledged and self.connected and self._clock() < end:
            self.wait(min(0.2, end - self._clock()))
            self.service()

    def _disconnect(self, client: Client, end: float) -> None:
        stream = stream_of(client)
        if stream is None:
            return
        if self.connected:
            stream.linger(until=min(end, self._clock() + _LINGER_SECONDS))
        client.disconnect()
        while client.socket() is not None and self._clock() < end:  # something waits to be sent before it
            self._waker.wait(stream, min(0.1, end - self._clock()), writing=True)
            client.loop_read()
            client.loop_write()
        stream.close()

    def _publish_greeting(self) -> None:
        try:
            for publication in self._greeting():
                self.publish(publication)
        except Exception:  # noqa: BLE001  see the class
            _log.exception("the first messages of a connection could not be made")

    # Callbacks of paho; it runs them inside service(), in the owner's thread

    def _connected(
        self, client: Client, _userdata: Any, _flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._link.refused(explain_refusal(reason))
            return
        self._link.accepted()
        self._link.announce()
        # MQTT 5 only: how many the broker takes without an acknowledgement; paho does not look.
        self._in_flight = min(_IN_FLIGHT, getattr(properties, "ReceiveMaximum", _IN_FLIGHT))
        if self._subscriptions:
            client.subscribe([(subscription, 1) for subscription in self._subscriptions])
        # Not yet: paho first sends again what was out, and an old retained message must not replace a new one.
        self._greet = True

    def _subscribed(
        self, _client: Client, _userdata: Any, _mid: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        self._link.subscribed(self._subscriptions, reasons)

    def _disconnected(
        self,
        _client: Client,
        _userdata: Any,
        flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if not self._closing:
            self._link.lost(*explain_loss(self._stream, flags, reason))

    def _published(
        self, _client: Client, _userdata: Any, mid: int, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        self._unacknowledged.discard(mid)
        if reason.is_failure:  # MQTT 5 only; 3.1.1 cannot say so
            self._link.complain(
                f"refused a message: {explain_denial(reason)}; may this account write below mqtt.prefix?"
            )
            self._on_refused(mid)
        if self._on_acknowledged is not None:
            try:
                self._on_acknowledged(mid)
            except Exception:  # noqa: BLE001  see the class
                _log.exception("an acknowledgement could not be handled")

    def _received(self, _client: Client, _userdata: Any, message: MQTTMessage) -> None:
        if self._on_message is None:
            return
        try:
            self._on_message(message.topic, bytes(message.payload))
        except Exception:  # noqa: BLE001  see the class
            _log.exception("a message could not be handled")
