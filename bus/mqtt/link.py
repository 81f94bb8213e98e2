"""What is known of a connection: whether there is one, why not, and when to try again."""

import logging
import ssl
import threading
from collections.abc import Callable, Sequence

from paho.mqtt.client import Client
from paho.mqtt.reasoncodes import ReasonCode

from ..backoff import Backoff
from .options import MqttOptions
from .reasons import explain_denial, explain_error, explain_silence
from .transport import StreamError, stream_of

__all__ = ["Link"]

_log = logging.getLogger(__name__)

_FLAPPING_SECONDS = 5.0  # a connection that ends before this was of no use


class Link:
    """Makes connections and keeps the record of them. All methods belong to the owner's thread.

    Args:
        options: the broker.
        clock: monotonic seconds.
        wake: called from a thread when an attempt to connect has ended.

    Attributes:
        connections: how many there were.
        trouble: why there is no connection, in one line; None while there is one.
        denied_filters: subscriptions that the broker has refused.
    """

    def __init__(self, options: MqttOptions, *, clock: Callable[[], float], wake: Callable[[], None]) -> None:
        self._options = options
        self._clock = clock
        self._wake = wake
        self._attempt: _Attempt | None = None
        self._next_attempt = clock()
        self._since: float | None = None
        self._refused = False
        self._short_connections = 0
        self._absence = Backoff(first=0.25, most=1.5)  # an attempt costs 0.2 ms, and people wait for the answer
        self._refusal = Backoff(first=2, most=15)  # a wrong password or a rival does not go away in seconds
        self._reported = ""
        self._complaints: set[str] = set()
        self.connections = 0
        self.denied_filters: set[str] = set()
        self.trouble: str | None = None

    @property
    def up(self) -> bool:
        """Whether the broker has accepted us and the connection is not known to be lost."""
        return self._since is not None

    def attempt(self, client: Client) -> None:
        """Begin to connect. It happens in a thread that ends then, for names, TCP and TLS can take seconds."""
        self._refused = False
        self._attempt = _Attempt(client, self._wake)
        self._attempt.start()

    def attempting(self) -> bool:
        """Return whether an attempt is under way, paho's client being its thread's; judge one that has ended."""
        if self._attempt is None:
            return False
        if not self._attempt.done:
            return True
        error, self._attempt = self._attempt.error, None
        if error is not None:
            self._failed(explain_error(error, self._options), self._absence)
        return False

    def seconds_until_attempt(self) -> float:
        """Return how long it is until the next attempt is due."""
        return max(0.0, self._next_attempt - self._clock())

    def abandon(self, *, until: float) -> None:
        """Wait for an attempt that is under way, and leave it to itself when the time is over."""
        if self._attempt is not None:
            self._attempt.abandon(max(0.0, until - self._clock()))
            self._attempt = None

    def accepted(self) -> None:
        """Note that the broker has accepted us."""
        self._since = self._clock()
        self.trouble = None
        self.connections += 1
        self._absence.reset()

    def announce(self) -> None:
        """Say that the connection can be used."""
        if not self._short_connections:
            _log.info("connected to broker %s", self._options.address)

    def refused(self, reason: str) -> None:
        """Note that the broker has refused us."""
        self._refused = True
        self._failed(reason, self._refusal)

    def lost(self, error: Exception | None, reason: str | None = None) -> None:
        """Note that the connection has ended.

        Args:
            error: what ended it; None where the broker closed it.
            reason: what the broker said.
        """
        since, self._since = self._since, None
        if since is None:
            if not self._refused:  # that has been said
                self._failed(reason or self._explain_no_answer(error), self._absence)
            return
        if self._clock() - since < _FLAPPING_SECONDS and not isinstance(error, StreamError):
            self._short_connections += 1
        else:
            self._short_connections = 0
            self._refusal.reset()
            self._reported = ""
        cause = reason or ("it closed the connection" if error is None else explain_error(error, self._options))
        if self._short_connections > 1:
            # mosquitto 2.0 with TLS ends a connection that has written what it may not.
            hint = "does another client use the same mqtt.client_id? or see `hostpulse check publish` for rights"
            self._failed(f"connections end at once ({cause}); {hint}", self._refusal)
        else:
            self._failed(f"connection lost: {cause}", self._absence)

    def subscribed(self, filters: Sequence[str], reasons: Sequence[ReasonCode]) -> None:
        """Note the broker's answer to our subscriptions."""
        for one, reason in zip(filters, reasons, strict=False):
            if reason.is_failure:
                self.denied_filters.add(one)
                why = explain_denial(reason)
                self.complain(f"refused the subscription to {one}{why and f' ({why})'}; may this account read it?")

    def complain(self, text: str) -> None:
        """Say what is wrong though there is a connection; once, not each time."""
        if text not in self._complaints:
            self._complaints.add(text)
            _log.error("broker %s: %s", self._options.address, text)

    def _explain_no_answer(self, error: Exception | None) -> str:
        # The broker's alert, a reset or a plain end: which of them we see is chance, and people want one line.
        if error is None or isinstance(error, (ssl.SSLError, ConnectionError)):
            return explain_silence(self._options)
        return explain_error(error, self._options)

    def _failed(self, reason: str, backoff: Backoff) -> None:
        self._next_attempt = self._clock() + backoff.delay()
        self.trouble = f"broker {self._options.address}: {reason}"
        if self.trouble != self._reported:  # said once, not at each attempt
            self._reported = self.trouble
            _log.warning("%s (trying again)", self.trouble)


class _Attempt(threading.Thread):
    """One attempt to connect."""

    def __init__(self, client: Client, wake: Callable[[], None]) -> None:
        super().__init__(name="mqtt-connect", daemon=True)
        self._client = client
        self._wake = wake
        self._ending = threading.Lock()
        self._abandoned = False
        self.done = False
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self._client.reconnect()
        except Exception as error:  # noqa: BLE001  every failure is reported by the owner's thread
            self.error = error
        with self._ending:
            self.done = True
            self._close_if_abandoned()
        self._wake()

    def abandon(self, seconds: float) -> None:
        """Wait for the end and close what was opened; after the time given the thread does that itself."""
        self.join(seconds)
        with self._ending:
            self._abandoned = True
            self._close_if_abandoned()

    def _close_if_abandoned(self) -> None:
        if self._abandoned and self.done and (stream := stream_of(self._client)) is not None:
            stream.close()
