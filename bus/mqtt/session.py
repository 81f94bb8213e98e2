"""The connection that sends: paho without its thread, driven by its owner.

paho's own loop costs a thread and a wake-up for each message; a publisher that wakes up every two seconds anyway
needs neither. `service()` does what has come up, `wait()` sleeps until there is something. Only connecting, which
can block for seconds (names, TCP, TLS), happens in a thread that ends when it is done, so that sampling goes on.
"""

import contextlib
import logging
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from .backoff import Backoff
from .options import MqttOptions, configure, connect_arguments, tls_context
from .reasons import explain_error, explain_refusal

__all__ = ["Publication", "Session"]

_log = logging.getLogger(__name__)

_IN_FLIGHT = 40  # below 20 a round trip limits the rate, above 100 paho's bookkeeping costs more than it gains
_CONNECT_TIMEOUT_SECONDS = 5.0
_FLAPPING_SECONDS = 5.0


class Publication(NamedTuple):
    """One message as it goes out."""

    topic: str
    payload: bytes
    retain: bool = False


class Session:
    """One connection to a broker that comes back by itself.

    All methods but `wake` belong to one thread.

    Args:
        options: the broker and the login.
        will: what the broker says for us when we vanish (retained).
        greeting: called at each connection; what it returns is published first, retained ones included.
        farewell: published before a proper end.
        subscriptions: filters to subscribe to, QoS 1, at each connection.
        on_message: called with topic and payload. An exception in it is logged and goes no further.
        on_acknowledged: called with the number that `publish` returned, once the broker has the message.
        clock: monotonic seconds.
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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._will = will
        self._greeting = greeting
        self._farewell = farewell
        self._subscriptions = subscriptions
        self._on_message = on_message
        self._on_acknowledged = on_acknowledged
        self._clock = clock
        self._client: Client | None = None
        self._attempt: threading.Thread | None = None
        self._attempt_error: BaseException | None = None
        self._backoff = Backoff(first=0.25, most=2)  # a refused attempt costs 0.2 ms, and 2 s is what users wait
        self._refusals = Backoff(first=2, most=30)  # a wrong password does not mend itself in seconds
        self._next_attempt = 0.0
        self._connected_since: float | None = None
        self._short_connections = 0
        self._unacknowledged: set[int] = set()
        self._reported = ""
        self._wake_receiver: socket.socket | None = None
        self._wake_sender: socket.socket | None = None
        self.connections = 0
        self.trouble: str | None = None
        """Why there is no connection, in one line; None while there is one."""

    def open(self) -> None:
        """Prepare the connection and make the first attempt.

        Raises:
            UsageError: a certificate file cannot be used.
        """
        context = tls_context(self._options)
        client = Client(**connect_arguments(self._options, clean=True))  # type: ignore[arg-type]
        if context is not None:
            client.tls_set_context(context)
        client.connect_timeout = _CONNECT_TIMEOUT_SECONDS
        client.max_inflight_messages_set(_IN_FLIGHT)
        if self._will is not None:
            client.will_set(self._will.topic, self._will.payload, qos=1, retain=self._will.retain)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_publish = self._published
        client.on_message = self._received
        configure(client, self._options, clean=True)
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._wake_receiver.setblocking(False)
        self._wake_sender.setblocking(False)
        self._client = client
        self._connect(client)

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us and the connection is not known to be lost."""
        return self._connected_since is not None

    @property
    def room(self) -> int:
        """How many messages may be published now."""
        return _IN_FLIGHT - len(self._unacknowledged) if self.connected else 0

    def publish(self, publication: Publication) -> int:
        """Send a message with QoS 1; call only while there is `room`.

        Returns:
            Its number, which `on_acknowledged` is called with once the broker has it. A message that is on its way
            when the connection breaks is sent again by paho at the next one, under the same number.
        """
        if self._client is None or not self.connected:
            raise RuntimeError("publish() without a connection")
        info = self._client.publish(publication.topic, publication.payload, qos=1, retain=publication.retain)
        self._unacknowledged.add(info.mid)
        return info.mid

    def service(self) -> None:
        """Read, write, keep the connection alive or make a new one; never blocks."""
        client = self._client
        if client is None or self._connecting():
            return
        if client.socket() is None:
            if self._clock() >= self._next_attempt:
                self._connect(client)
            return
        # One call takes as many packets as messages are out; what is left after that is for the next round.
        client.loop_read()
        if client.want_write():
            client.loop_write()
        client.loop_misc()

    def wait(self, seconds: float, *, for_network: bool = True) -> None:
        """Sleep until the time is over, or something has come from the network, or `wake` was called."""
        if self._wake_receiver is None or self._client is None:
            raise RuntimeError("wait() before open()")
        connection = None if not for_network or self._attempt is not None else self._client.socket()
        readers: list[Any] = [self._wake_receiver] if connection is None else [self._wake_receiver, connection]
        if isinstance(connection, ssl.SSLSocket) and connection.pending():
            return  # decrypted already, so select() would not see it
        writers = [connection] if connection is not None and self._client.want_write() else []
        readable, _, _ = select.select(readers, writers, [], max(0.0, seconds))
        if self._wake_receiver in readable:
            self._wake_receiver.recv(4096)

    def wake(self) -> None:
        """End `wait` early; may be called from any thread and from a signal handler."""
        if self._wake_sender is not None:
            with contextlib.suppress(BlockingIOError):  # then the other end has bytes enough to wake up from
                self._wake_sender.send(b"\0")

    def close(self, *, seconds: float) -> None:
        """Send what is out, say farewell and disconnect, within the time given."""
        client, end = self._client, self._clock() + seconds
        if client is None:
            return
        self._drain(end)
        if self.connected:
            for publication in self._farewell:
                self.publish(publication)
            self._drain(end)
        if self._attempt is not None:
            self._attempt.join(max(0.0, end - self._clock()))
        if self._attempt is None or not self._attempt.is_alive():
            client.disconnect()
            while client.socket() is not None and self._clock() < end:
                client.loop_read()
                self.wait(0.05)
        for wake in (self._wake_receiver, self._wake_sender):
            if wake is not None:
                wake.close()
        self._client = self._wake_receiver = self._wake_sender = None

    def _drain(self, end: float) -> None:
        while self._unacknowledged and self.connected and self._clock() < end:
            self.wait(min(0.2, end - self._clock()))
            self.service()

    # Connecting

    def _connect(self, client: Client) -> None:
        self._attempt_error = None

        def attempt() -> None:
            try:
                client.reconnect()
            except Exception as error:  # noqa: BLE001  every failure is reported by the owner's thread
                self._attempt_error = error
            finally:
                self.wake()

        self._attempt = threading.Thread(target=attempt, name="mqtt-connect", daemon=True)
        self._attempt.start()

    def _connecting(self) -> bool:
        """Whether an attempt is under way; one that has just ended is judged."""
        if self._attempt is None:
            return False
        if self._attempt.is_alive():
            return True
        self._attempt = None
        if self._attempt_error is not None:
            self._failed(explain_error(self._attempt_error, self._options), self._backoff)
            return True
        return False

    def _failed(self, reason: str, backoff: Backoff) -> None:
        self._next_attempt = self._clock() + backoff.delay()
        self.trouble = f"broker {self._options.address}: {reason}"
        if self.trouble != self._reported:  # said once, not at each attempt
            self._reported = self.trouble
            _log.warning("%s (trying again)", self.trouble)

    # Callbacks of paho; it runs them inside service(), in the owner's thread

    def _connected(
        self, client: Client, _userdata: Any, _flags: ConnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._failed(explain_refusal(reason), self._refusals)
            return
        self.trouble = None
        self._reported = ""
        self._connected_since = self._clock()
        self.connections += 1
        self._backoff.reset()
        self._refusals.reset()
        _log.info("connected to broker %s", self._options.address)
        for subscription in self._subscriptions:
            client.subscribe(subscription, qos=1)
        for publication in self._greeting():
            self.publish(publication)

    def _disconnected(
        self,
        _client: Client,
        _userdata: Any,
        _flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        since, self._connected_since = self._connected_since, None
        if since is None:
            if self.trouble is None:
                self._failed("it closed the connection without an answer", self._backoff)
            return
        self._short_connections = self._short_connections + 1 if self._clock() - since < _FLAPPING_SECONDS else 0
        backoff = self._refusals if self._short_connections else self._backoff
        if self._short_connections > 1:
            self._failed("connections end at once; does another client use the same mqtt.client_id?", backoff)
        elif reason.is_failure:
            self._failed(f"connection lost ({explain_refusal(reason)})", backoff)

    def _published(
        self, _client: Client, _userdata: Any, mid: int, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        self._unacknowledged.discard(mid)
        if reason.is_failure:  # MQTT 5 only; 3.1.1 cannot say so
            trouble = f"broker {self._options.address} refused a message: {reason.getName().lower()}"
            if trouble != self._reported:
                self._reported = trouble
                _log.error("%s; may this account write below mqtt.prefix?", trouble)
        if self._on_acknowledged is not None:
            self._on_acknowledged(mid)

    def _received(self, _client: Client, _userdata: Any, message: MQTTMessage) -> None:
        if self._on_message is None:
            return
        try:
            self._on_message(message.topic, bytes(message.payload))
        except Exception:  # noqa: BLE001  a fault of the handler must not end the connection
            _log.exception("a message on %s could not be handled", message.topic)
