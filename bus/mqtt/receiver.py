"""The connection that receives: QoS 1 in batches, acknowledged only when the batch is safe.

paho connects, subscribes and disconnects. With MQTT 3.1.1 the PUBLISH packets are cut out of large reads before paho
sees them and a batch is acknowledged by one send; with MQTT 5 paho parses each message and the rest is the same, at
some twenty times the cost.
"""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from .intake import Intake, Taking
from .link import Link
from .options import MqttOptions, make_client, tls_context
from .packets import MAXIMUM_PACKET_BYTES, PINGREQ, PUBACK_HEADER, Batch, cut, shorten
from .reasons import explain_loss, explain_refusal
from .transport import CutStream, Stream, Wrapper, stream_of
from .waker import Waker

__all__ = ["Batch", "Receiver"]

_log = logging.getLogger(__name__)

_KEEPALIVE_SECONDS = 60  # as the broker is told: a take() longer than this costs the connection; we ask more often
_LINGER_SECONDS = 1.0
_DEPARTURE_SECONDS = 5.0
_MOST_OUTGOING = 100  # messages of ours that the broker has not acknowledged
_SILENCE_SECONDS = 0.5  # a broker that has sent nothing for so long after our acknowledgements has nothing left


class Receiver:
    """Receives the messages of some filters in batches, with a session that the broker keeps.

    Args:
        options: the broker and the login. Its client id names the session: while we are away the broker keeps what
            comes for it.
        filters: what to subscribe to, QoS 1.
        take: is given each batch. When it returns, the batch is acknowledged; where it returns a `Taking`, when that is
            finished, and one more batch may come until then. If it raises, or `finish` does, nothing is, and the same
            messages come again, with what has come since, not before the exception's `retry_after` seconds if it has
            such an attribute. What was unacknowledged when a connection broke comes twice.
        batch_messages: how many make a batch; at most half of what the broker sends without an acknowledgement.
        linger_seconds: how long a batch may wait to grow.
        idle: called between batches, at least every `idle_seconds`. An exception in it is logged and goes no further.
        idle_seconds: see `idle`.
        acknowledged: called when the broker has acknowledged all that was published. Like `idle` it may publish, and
            an exception in it is logged.
        subscribed: called when the broker has answered our subscriptions.
        leave: asked when `run` ends and there is a connection. True gives the subscriptions up, so that nothing more is
            kept for the session, and takes what the broker has kept for it until then; `left` tells whether that is
            done. Members of a shared subscription need this: the broker also gives those their share that are away.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        options: MqttOptions,
        filters: Sequence[str],
        take: Callable[[Batch], Taking | None],
        *,
        batch_messages: int = 500,
        linger_seconds: float = 0.5,
        idle: Callable[[], None] = lambda: None,
        idle_seconds: float = 5.0,
        acknowledged: Callable[[], None] = lambda: None,
        subscribed: Callable[[], None] = lambda: None,
        leave: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._filters = filters
        self._batch_messages = batch_messages
        self._idle = idle
        self._idle_seconds = idle_seconds
        self._when_acknowledged = acknowledged
        self._when_subscribed = subscribed
        self._leave = leave
        self._client: Client | None = None  # paho's, while `run` has one
        self._outgoing: set[int] = set()  # packet identifiers of what `publish` has sent
        self._is_acknowledged = False  # all of it, and nobody knows yet
        self._receiving = False  # on this connection, or on the one before until there is another
        self._unsubscribed = False
        self._left = False
        self._clock = clock
        self._cuts = options.protocol == "3.1.1"
        self._stopping = False
        self._next_idle = 0.0
        self._idle_failure = ""
        self._stream: Stream | None = None  # the last one, also after paho has dropped it
        self._asked: float | None = None  # when we asked the broker whether it is there
        self._waker = Waker()
        self._link = Link(options, clock=clock, wake=self._waker.wake)
        self._intake = Intake(
            take, batch_messages=batch_messages, linger_seconds=linger_seconds, clock=clock, wake=self._waker.wake
        )

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us and the connection is not known to be lost."""
        return self._link.up

    @property
    def receiving(self) -> bool:
        """Whether the broker has also answered our subscriptions, so that what is sent from now on comes."""
        return self._link.up and self._receiving

    @property
    def connections(self) -> int:
        """How many connections there were."""
        return self._link.connections

    @property
    def failing(self) -> bool:
        """Whether the last batch could not be taken."""
        return self._intake.failing

    @property
    def left(self) -> bool:
        """Whether `run` has ended without a subscription and without a message that is kept for us."""
        return self._left

    @property
    def trouble(self) -> str | None:
        """Why there is no connection, in one line; None while there is one."""
        return self._link.trouble

    def run(self) -> None:
        """Connect, receive and come back after every loss, until `stop`; then take what is there and disconnect.

        Raises:
            UsageError: a certificate file cannot be used.
        """
        wrapper = Wrapper(tls_context(self._options), CutStream if self._cuts else Stream, self._clock)
        client = make_client(
            self._options,
            wrapper,
            clean=False,
            keepalive_seconds=max(_KEEPALIVE_SECONDS, self._options.keepalive_seconds),
            receive_maximum=min(2 * self._batch_messages, 0xFFFF),
            maximum_packet_bytes=MAXIMUM_PACKET_BYTES,
        )
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_subscribe = self._subscribed
        client.on_unsubscribe = self._gave_up
        client.on_message = self._received
        client.on_publish = self._published
        self._client = client
        self._waker.open()
        try:
            while not self._stopping:
                self._turn(client)
            if self.connected and self._leave():
                self._depart(client)
            self._finish(client)
        finally:
            if self._stream is not None:
                self._stream.close()
            self._waker.close()

    @property
    def unacknowledged(self) -> int:
        """How many messages of ours the broker has not acknowledged."""
        return len(self._outgoing)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """Send a message with QoS 1; only to be called from `take`, `finish`, `idle` and `acknowledged`.

        One that was sent is sent again after a loss of the connection; nothing is kept where it could not be sent.

        Args:
            topic: where to.
            payload: the message.
            retain: whether the broker keeps it for those who come later.

        Returns:
            Whether it was sent: False without a connection, or while too many are not acknowledged.
        """
        if self._client is None or not self.connected or len(self._outgoing) >= _MOST_OUTGOING:
            return False
        sent = self._client.publish(topic, payload, qos=1, retain=retain)
        if sent.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return False
        self._outgoing.add(sent.mid)
        return True

    def stop(self) -> None:
        """End `run` soon; may be called from any thread and from a signal handler."""
        self._stopping = True
        self._waker.wake()

    # One turn of the loop

    def _turn(self, client: Client, longest: float = math.inf) -> None:
        stream = None if self._link.attempting() else stream_of(client)
        if stream is None:
            self._waker.wait(None, min(longest, self._pause(client)))
        else:
            self._stream = stream
            self._waker.wait(stream, min(longest, self._pause(client)), writing=self._writing(client, stream))
            # Read before anything is judged: take() may have been long, and the broker's answer lies there.
            if not self._intake.overfull:
                self._read(client, stream)
            self._write(client, stream)
            client.loop_misc()
            self._watch(client, stream)
        self._acknowledge(client, self._intake.work())
        self._keep_up_if_due()

    def _pause(self, client: Client) -> float:
        """Return how long there is nothing to do unless something comes; begin an attempt to connect if it is time."""
        limit = min(self._options.keepalive_seconds / 4, self._idle_seconds)
        if (due := self._intake.due()) is not None:
            limit = min(limit, due - self._clock())
        if not self._link.attempting() and client.socket() is None and not self._intake.overfull:
            wait = self._link.seconds_until_attempt()
            if not wait:
                self._begin_attempt(client)
            limit = min(limit, wait or limit)
        return limit

    def _begin_attempt(self, client: Client) -> None:
        self._intake.restart()
        self._receiving = False
        self._asked = None
        self._link.attempt(client)

    def _watch(self, client: Client, stream: Stream) -> None:
        """Ask a broker that is silent whether it is there, and leave one that does not answer."""
        now, patience = self._clock(), self._options.keepalive_seconds
        if self._intake.overfull:
            stream.abort("what has come cannot be stored")  # the broker keeps the rest until it can
        elif now - stream.heard < patience:
            self._asked = None
            return
        elif self._asked is None and self.connected:
            if not client.want_write():  # not into the middle of a packet
                self._asked = now
                self._send(stream, PINGREQ)
            return
        elif self._asked is None or now - self._asked >= patience:
            stream.abort("it does not answer")
        else:
            return
        client.loop_read()

    def _depart(self, client: Client) -> None:
        """Give the subscriptions up, and take what comes until the broker has nothing left for us."""
        end = self._clock() + _DEPARTURE_SECONDS
        client.unsubscribe(list(self._filters))
        while self.connected and self._clock() < end and not self._left:
            self._turn(client, _SILENCE_SECONDS / 2)
            silence = 0.0 if self._stream is None else self._clock() - self._stream.heard
            self._left = self._unsubscribed and self._intake.empty and silence >= _SILENCE_SECONDS

    def _keep_up_if_due(self) -> None:
        if self._clock() >= self._next_idle:
            self._keep_up(self._idle)
            self._next_idle = self._clock() + self._idle_seconds
        if self._is_acknowledged:
            self._is_acknowledged = False
            self._keep_up(self._when_acknowledged)

    def _keep_up(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  see the class
            if (text := str(error)) != self._idle_failure:  # said once, not at each call
                self._idle_failure = text
                _log.exception("upkeep failed")
        else:
            self._idle_failure = ""

    def _acknowledge(self, client: Client, identifiers: list[bytes]) -> None:
        stream = self._stream
        if not identifiers or stream is None or stream_of(client) is not stream:
            return
        if self._cuts:
            stream.send(PUBACK_HEADER + PUBACK_HEADER.join(identifiers))
            return
        for identifier in identifiers:
            client.ack(int.from_bytes(identifier, "big"), 1)

    # Reading and writing

    def _read(self, client: Client, stream: Stream) -> None:
        """Read what has come, up to about a batch."""
        before = len(self._intake.batch.topics)
        if isinstance(stream, CutStream):
            self._read_cutting(client, stream)
        else:
            while stream_of(client) is stream and not self._intake.full:
                client.loop_read()
                if stream.drained:
                    break
        if len(self._intake.batch.topics) > before:
            self._intake.arrived()

    def _read_cutting(self, client: Client, stream: CutStream) -> None:
        while not stream.ended:
            data = stream.read()
            if data is None:
                return
            if stream.skip:
                skipped = min(stream.skip, len(data))
                stream.skip -= skipped
                data = data[skipped:]
            if stream.rest:
                stream.rest += data
                if len(stream.rest) < min(stream.needed, MAXIMUM_PACKET_BYTES):
                    continue
                data = bytes(stream.rest)
            control = self._cut(stream, data)
            for packet in control:
                stream.lay(packet)
                if client.loop_read() != MQTTErrorCode.MQTT_ERR_SUCCESS or stream_of(client) is not stream:
                    return
            if self._intake.full:
                return
        client.loop_read()  # paho sees the end, closes and calls on_disconnect

    def _cut(self, stream: CutStream, data: bytes) -> list[bytes]:
        """Take the messages out of the data and keep the rest; return the packets that are for paho."""
        consumed, stream.needed, control, fault = cut(data, self._intake.batch, self._intake.identifiers)
        self._intake.size += consumed
        stream.rest = bytearray(data[consumed:])
        if stream.needed > MAXIMUM_PACKET_BYTES and len(stream.rest) >= MAXIMUM_PACKET_BYTES:
            # One message that is too large must not stop all others, which it would do if we ended the connection:
            # it would come again. So its begin is taken like any other message, and what follows is not kept.
            begin, stream.rest, stream.skip = stream.rest, bytearray(), stream.needed - len(stream.rest)
            short = shorten(begin)
            if short is None:
                fault = f"a packet of {stream.needed} bytes"
            else:
                size = stream.needed
                control += self._cut(stream, short)
                _log.error(
                    "a message of %d bytes came on %r: only its begin is kept",
                    size,
                    self._intake.batch.topics[-1][:200],
                )
        if fault:
            stream.abort(f"it sent {fault}; is it an MQTT broker?")
        return control

    def _writing(self, client: Client, stream: Stream) -> bool:
        return client.want_write() or (isinstance(stream, CutStream) and stream.writing)

    def _write(self, client: Client, stream: Stream) -> None:
        if isinstance(stream, CutStream):
            stream.flush()
        if client.want_write():
            client.loop_write()

    @staticmethod
    def _send(stream: Stream, packet: bytes) -> None:
        with contextlib.suppress(OSError):  # the next read finds the end, if it is that
            stream.send(packet)

    def _finish(self, client: Client) -> None:
        """Take what is there, and leave so that the broker reads our last acknowledgements."""
        end = self._clock() + _LINGER_SECONDS
        attempting = self._link.attempting()
        self._link.abandon(until=end)  # which also closes
        self._acknowledge(client, self._intake.drain())
        stream = self._stream
        if attempting or stream is None or stream_of(client) is not stream:
            return
        end = self._clock() + _LINGER_SECONDS
        if self.connected:
            stream.linger(until=end)
        client.disconnect()
        while client.socket() is not None and self._clock() < end:  # something waits to be sent before it
            self._waker.wait(stream, min(0.1, end - self._clock()), writing=True)
            client.loop_read()
            client.loop_write()

    # Callbacks of paho

    def _connected(
        self, client: Client, _userdata: Any, _flags: ConnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._link.refused(explain_refusal(reason))
            return
        self._link.accepted()
        client.subscribe([(one, 1) for one in self._filters])

    def _subscribed(
        self, _client: Client, _userdata: Any, _mid: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        self._receiving = True
        self._link.announce()
        self._link.subscribed(self._filters, reasons)
        if not any(reason.is_failure for reason in reasons):
            self._when_subscribed()

    def _gave_up(
        self, _client: Client, _userdata: Any, _mid: int, _reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        self._unsubscribed = True

    def _disconnected(
        self,
        _client: Client,
        _userdata: Any,
        flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if not self._stopping:
            self._link.lost(*explain_loss(self._stream, flags, reason))

    def _published(
        self, _client: Client, _userdata: Any, identifier: int, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        self._outgoing.discard(identifier)
        self._is_acknowledged = not self._outgoing
        if reason.is_failure:
            self._link.complain(f"refused a message of ours ({reason}); may this account write it?")

    def _received(self, _client: Client, _userdata: Any, message: MQTTMessage) -> None:
        """Take a message that paho has parsed: with MQTT 5 all of them."""
        intake = self._intake
        if message.qos:
            intake.identifiers.append(message.mid.to_bytes(2, "big"))
        try:
            topic = message.topic.encode()
        except UnicodeDecodeError:
            _log.error("a message came on a topic that is not UTF-8; it is dropped")
            return
        if message.retain:
            intake.batch.retained.add(len(intake.batch.topics))
        intake.batch.topics.append(topic)
        intake.batch.payloads.append(bytes(message.payload))
        intake.size += len(topic) + len(message.payload)
