"""Webhooks: a notification as JSON by POST, with an id that stays the same and a signature.

Idempotency-Key: the notification's id, the same at each attempt
X-Hostpulse-Timestamp: seconds since the epoch, of this attempt
X-Hostpulse-Signature: sha256=HMAC-SHA256 of the timestamp, a dot and the body
"""

import hashlib
import hmac
import ssl
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError, SSLError
from urllib3.exceptions import TimeoutError as NoAnswerError

from hostpulse import __version__
from hostpulse.bus.errors import UsageError

from .notification import Notification
from .options import RouteOptions
from .patience import asked_wait
from .secrecy import Mask, hush_libraries
from .sender import DeliveryError

__all__ = ["Timeouts", "WebhookSender", "signature"]

_SUCCESS = range(200, 300)
_REDIRECTS = range(300, 400)
_CLIENT_ERRORS = range(400, 500)
_PASSING = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
)
_SAID = 100


class Timeouts(NamedTuple):
    """How long a server is waited for, seconds."""

    connect: float = 5.0
    answer: float = 10.0


TIMEOUTS = Timeouts()


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Return what stands in `X-Hostpulse-Signature`.

    Args:
        secret: the key of the route.
        timestamp: what stands in `X-Hostpulse-Timestamp`.
        body: of the request, as it was sent.
    """
    return f"sha256={hmac.new(secret.encode(), timestamp.encode() + b'.' + body, hashlib.sha256).hexdigest()}"


class WebhookSender:
    """Sends notifications to one address.

    Args:
        options: of a route that has a webhook.
        timeouts: how long the server is waited for.
    """

    def __init__(self, options: RouteOptions, *, timeouts: Timeouts = TIMEOUTS) -> None:
        self._address = options.webhook or ""
        self._secret = options.secret
        self._ca_file = options.ca_file
        parts = urlsplit(self._address)
        self._server = parts.hostname or ""
        self._login = ":".join(map(unquote, (parts.username or "", parts.password or ""))) if parts.username else None
        self._timeouts = timeouts
        self._mask = Mask(self._address, self._secret or "", shown=self._server)
        self._pool = urllib3.PoolManager()

    def open(self) -> None:
        """Load the certificates.

        Raises:
            UsageError: they cannot be used.
        """
        hush_libraries()
        self._pool = urllib3.PoolManager(
            retries=False,
            timeout=urllib3.Timeout(connect=self._timeouts.connect, read=self._timeouts.answer),
            ssl_context=self._tls() if self._address.startswith("https:") else None,
        )

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self._ca_file is not None:
            try:
                context.load_verify_locations(self._ca_file)
            except OSError as error:  # SSLError is one
                raise UsageError(f"ca_file cannot be used ({error.strerror or error}); name a file in PEM") from None
        return context

    def send(self, notification: Notification, now: float) -> None:
        """Post it.

        Raises:
            DeliveryError: the server did not say that it has it.
        """
        body = notification.document()
        try:
            # Redirects are not followed: who is redirected here would get the signature, and POST becomes GET.
            answer = self._pool.request(
                "POST", self._address, body=body, headers=self._headers(notification, body, now), redirect=False
            )
        except (HTTPError, OSError) as error:
            raise DeliveryError(f"{self._server}: {self._mask(self._words(error))}") from None
        if answer.status not in _SUCCESS:
            raise self._refusal(answer, now)

    def _headers(self, notification: Notification, body: bytes, now: float) -> dict[str, str]:
        timestamp = str(int(now))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"hostpulse/{__version__}",
            "Idempotency-Key": notification.id,
            "X-Hostpulse-Timestamp": timestamp,
        }
        if self._secret is not None:
            headers["X-Hostpulse-Signature"] = signature(self._secret, timestamp, body)
        if self._login is not None:
            headers |= urllib3.make_headers(basic_auth=self._login)
        return headers

    def _words(self, error: HTTPError | OSError) -> str:
        if isinstance(error, NewConnectionError):
            cause = error.__cause__
            return f"cannot be reached ({(isinstance(cause, OSError) and cause.strerror) or error})"
        if isinstance(error, NoAnswerError):
            return f"did not answer within {self._timeouts.answer:g} s"
        if isinstance(error, SSLError):
            return f"has a certificate that is not trusted, or speaks no TLS ({error})"
        return f"broke off ({error})"

    def _refusal(self, answer: urllib3.BaseHTTPResponse, now: float) -> DeliveryError:
        said = self._mask(answer.data[:_SAID].decode("utf-8", "replace"))
        text = f"{self._server} answered {answer.status}{f': {said}' if said else ''}"
        if answer.status in _REDIRECTS:
            text = f"{self._server} redirects ({answer.status}), which is not followed; name the address it means"
        return DeliveryError(
            text,
            is_lasting=answer.status in _REDIRECTS
            or (answer.status in _CLIENT_ERRORS and answer.status not in _PASSING),
            retry_after=asked_wait(answer.headers.get("Retry-After"), now),
        )
