"""The connection that receives: QoS 1 in batches, acknowledged only when the batch is safe.

paho connects, subscribes, keeps the connection alive and disconnects. With MQTT 3.1.1 the PUBLISH packets are cut
out of large reads before paho sees them and a batch is acknowledged by one send; with MQTT 5 paho parses each message
and the rest is the same, at some twenty times the cost.
"""

import contextlib
import logging
import select
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from .backoff import Backoff
from .options import MqttOptions, configure, connect_arguments, tls_context
from .packets import PUBACK_HEADER, cut
from .reasons import explain_error, explain_refusal
from .transport import Connection, Wrapper

__all__ = ["Batch", "Receiver"]

_log = logging.getLogger(__name__)

_PACKET_IDENTIFIER_BYTES = 2
_OVERFULL = 10
_SMALL_WINDOW = 10  # half of what mosquitto sends by default
_SHORT_LINGER_SECONDS = 0.02


class Batch(NamedTuple):
    """Messages in the order of their arrival, as two lists of equal length.

    Attributes:
        topics: UTF-8.
        payloads: as they came.
        retained: indexes of those that the broker had kept from before we subscribed.
    """

    topics: list[bytes]
    payloads: list[bytes]
    retained: set[int]


class Receiver(Client):
    """Receives the messages of some filters in batches, with a session that the broker keeps.

    Args:
        options: the broker and the login. Its client id names the session: while we are away the broker keeps what
            comes for it.
        filters: what to subscribe to, QoS 1.
        take: is given each batch. When it returns, the batch is acknowledged. If it raises, nothing is, and the same
            messages come again, with what has come since.
        batch_messages: how many make a batch; at most half of what the broker sends without an acknowledgement.
        linger_seconds: how long a batch may wait to grow. From a few messages on it waits shorter: a broker that
            sends only twenty without an acknowledgement would otherwise send twenty in each of these.
        idle: called between batches, at least every `idle_seconds`.
        idle_seconds: see `idle`.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        options: MqttOptions,
        filters: Sequence[str],
        take: Callable[[Batch], None],
        *,
        batch_messages: int = 500,
        linger_seconds: float = 0.5,
        idle: Callable[[], None] = lambda: None,
        idle_seconds: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(**connect_arguments(options, clean=False), manual_ack=True)  # type: ignore[arg-type]
        self._options = options
        self._filters = filters
        self._take = take
        self._batch_messages = batch_messages
        self._linger_seconds = linger_seconds
        self._idle = idle
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._cuts = options.protocol == "3.1.1"
        self._stopping = False
        self._batch = Batch([], [], set())
        self._identifiers: list[bytes] = []
        self._due: float | None = None  # when the batch must be taken, if there is one
        self._not_before = 0.0  # after a failure of take()
        self._next_idle = 0.0
        self._retry = Backoff(first=0.5, most=30)
        self._reconnect = Backoff(first=0.25, most=2)
        self._refusals = Backoff(first=2, most=30)
        self._refused = False
        self._reported = ""
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._wake_receiver.setblocking(False)
        self._wake_sender.setblocking(False)
        self.connections = 0
        self.trouble: str | None = None
        """Why there is no connection, in one line; None while there is one."""
        self.on_connect = self._connected
        self.on_disconnect = self._disconnected
        self.on_message = self._received

    def run(self) -> None:
        """Connect, receive and come back after every loss, until `stop`; then take what is there and disconnect.

        Raises:
            UsageError: a certificate file cannot be used.
        """
        context = tls_context(self._options)
        if self._cuts:
            self.tls_set_context(Wrapper(context))  # type: ignore[arg-type]
        elif context is not None:
            self.tls_set_context(context)
        configure(self, self._options, clean=False)
        try:
            while not self._stopping:
                self._refused = False
                try:
                    self.reconnect()
                except (OSError, ValueError) as error:
                    self._report(explain_error(error, self._options))
                while self.socket() is not None and not self._stopping:
                    self._turn()
                if not self._stopping:
                    self._pause((self._refusals if self._refused else self._reconnect).delay())
            self._finish()
        finally:
            self._wake_receiver.close()
            self._wake_sender.close()

    def stop(self) -> None:
        """End `run` soon; may be called from any thread and from a signal handler."""
        self._stopping = True
        with contextlib.suppress(OSError):  # run() has ended, or has bytes enough to wake up from
            self._wake_sender.send(b"\0")

    # One turn of the loop

    def _turn(self) -> None:
        connection: Any = self.socket()
        ready = self._cuts and connection.readable_without_select()
        limit = min(self._options.keepalive_seconds / 4, self._idle_seconds)
        if self._due is not None:
            limit = min(limit, max(self._due, self._not_before) - self._clock())
        writers = [connection] if self.want_write() else []
        readable, writable, _ = select.select(
            [connection, self._wake_receiver], writers, [], 0 if ready else max(0.0, limit)
        )
        if writable:
            self.loop_write()
        if ready or connection in readable:
            self.loop_read()
        self._take_if_due()
        self.loop_misc()

    def _pause(self, seconds: float) -> None:
        """Wait for the next attempt to connect; what has come is still taken, without an acknowledgement."""
        end = self._clock() + seconds
        while not self._stopping and (left := end - self._clock()) > 0:
            select.select([self._wake_receiver], [], [], min(left, self._idle_seconds))
            self._take_if_due()

    def _take_if_due(self) -> None:
        now = self._clock()
        waiting = len(self._batch.topics)
        if waiting and self._due is None:
            self._due = now + self._linger_seconds
        if self._due is not None and waiting >= _SMALL_WINDOW:
            self._due = min(self._due, now + _SHORT_LINGER_SECONDS)
        full = waiting >= self._batch_messages
        if self._due is not None and now >= self._not_before and (full or now >= self._due):
            self._take_batch()
        if now >= self._next_idle:
            self._next_idle = now + self._idle_seconds
            self._idle()

    def _take_batch(self) -> None:
        try:
            self._take(self._batch)
        except Exception as error:  # noqa: BLE001  whatever it was, nothing is acknowledged and all of it comes again
            self._due = self._not_before = self._clock() + self._retry.delay()
            self._report_failure(error)
            return
        self._retry.reset()
        self._reported = "" if self._reported.startswith("store") else self._reported
        identifiers, self._identifiers = self._identifiers, []
        self._batch, self._due = Batch([], [], set()), None
        self._acknowledge(identifiers)

    def _acknowledge(self, identifiers: list[bytes]) -> None:
        connection: Any = self.socket()
        if connection is None or not identifiers:
            return
        if self._cuts:
            connection.send(PUBACK_HEADER + PUBACK_HEADER.join(identifiers))
            return
        for identifier in identifiers:
            self.ack(int.from_bytes(identifier, "big"), 1)

    def _finish(self) -> None:
        if self._batch.topics:
            self._take_batch()
        self.disconnect()
        if self.socket() is not None:
            self.loop_write()
            self.loop_read()

    # paho's side

    def reconnect(self) -> MQTTErrorCode:
        """Connect again. Identifiers of the old connection mean nothing in the new one."""
        self._identifiers = []
        return super().reconnect()

    def want_write(self) -> bool:
        """Whether something waits to be sent."""
        connection: Any = self.socket()
        return (isinstance(connection, Connection) and connection.writing) or super().want_write()

    def loop_write(self) -> MQTTErrorCode:
        """Send what waits."""
        connection = self.socket()
        if isinstance(connection, Connection):
            connection.flush()
        return super().loop_write()

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Read what has come, up to about a batch; paho gets its control packets one by one."""
        connection: Any = self.socket()
        if not self._cuts or connection is None:
            return super().loop_read(max_packets)
        while not connection.ended:
            data = connection.read()
            if data is None:
                return MQTTErrorCode.MQTT_ERR_SUCCESS
            if connection.rest:
                connection.rest += data
                if len(connection.rest) < connection.needed:
                    continue
                data = bytes(connection.rest)
            consumed, connection.needed, control = cut(
                data, self._batch.topics, self._batch.payloads, self._identifiers
            )
            connection.rest = bytearray(data[consumed:])
            for packet in control:
                connection.lay(packet)
                code = super().loop_read()
                if code != MQTTErrorCode.MQTT_ERR_SUCCESS or self.socket() is not connection:
                    return code
            if len(self._batch.topics) >= self._batch_messages:
                return MQTTErrorCode.MQTT_ERR_SUCCESS
        return super().loop_read()  # paho sees the end, closes and calls on_disconnect

    def _connected(
        self, client: Client, _userdata: Any, flags: ConnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._refused = True
            self._report(explain_refusal(reason))
            return
        self.trouble, self._reported = None, ""
        self.connections += 1
        self._reconnect.reset()
        self._refusals.reset()
        if flags.session_present and self._not_before > self._clock():
            self._batch = Batch([], [], set())  # take() fails; without this each reconnection would double what we hold
        _log.info("connected to broker %s", self._options.address)
        client.subscribe([(one, 1) for one in self._filters])

    def _disconnected(
        self,
        _client: Client,
        _userdata: Any,
        _flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if not self._stopping and not self._refused:
            self._report(f"connection lost ({explain_refusal(reason)})")

    def _received(self, _client: Client, _userdata: Any, message: MQTTMessage) -> None:
        """Take what was not cut: retained messages, QoS 0, and everything under MQTT 5."""
        if not message.qos and len(self._batch.topics) >= _OVERFULL * self._batch_messages:
            return  # the broker's window bounds QoS 1 while take() fails; nothing bounds QoS 0, and nothing is promised
        if message.retain:
            self._batch.retained.add(len(self._batch.topics))
        self._batch.topics.append(message.topic.encode())
        self._batch.payloads.append(bytes(message.payload))
        if message.qos:
            self._identifiers.append(message.mid.to_bytes(_PACKET_IDENTIFIER_BYTES, "big"))

    def _report(self, reason: str) -> None:
        self.trouble = f"broker {self._options.address}: {reason}"
        if self.trouble != self._reported:  # said once, not at each attempt
            self._reported = self.trouble
            _log.warning("%s (trying again)", self.trouble)

    def _report_failure(self, error: Exception) -> None:
        text = f"store: {error}"
        if text != self._reported:
            self._reported = text
            _log.error("%s (nothing is acknowledged; trying again)", text)
