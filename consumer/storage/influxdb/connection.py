"""The client, and what InfluxDB's answers mean to a person."""

import contextlib
import math
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.rest import ApiException
from influxdb_client.service.ping_service import PingService
from urllib3.exceptions import HTTPError, ReadTimeoutError

from ..errors import StorageError, StorageUnavailableError
from ..options import InfluxOptions

__all__ = ["Server", "connect", "detect", "is_hidden", "message_of", "one_line", "reported"]

_HIDDEN = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})
_NO_PING = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED})
_PASSING = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
_NO_ORGANISATION = re.compile(r"organization name .* not found")
_BUILDS_OF_3 = frozenset({"Core", "Enterprise"})
_LONGEST_WAIT = 3600.0
_SHOWN = 300


class Server(NamedTuple):
    """What answers `/ping`.

    Attributes:
        build: `OSS` of InfluxDB 2, `Core` or `Enterprise` of 3; None if it does not say, as VictoriaMetrics does not.
        version: without its `v`; None if it does not say.
    """

    build: str | None
    version: str | None

    @property
    def has_flux(self) -> bool:
        """Whether it has buckets, tasks and Flux: whether it is InfluxDB 2."""
        return self.version is not None and self.version.startswith("2.")

    @property
    def is_version_3(self) -> bool:
        """Whether it is InfluxDB 3, Core or Enterprise."""
        return self.build in _BUILDS_OF_3

    @property
    def description(self) -> str:
        """Build and version as far as they are known, for people."""
        known = " ".join(part for part in (self.build, self.version) if part)
        return known or "it does not say what it is"


def connect(options: InfluxOptions) -> InfluxDBClient:
    """Return a client, which has not connected yet. It does not retry: we know better what may be repeated."""
    return InfluxDBClient(
        url=options.url.rstrip("/"),
        token=options.token,
        org=options.org,
        timeout=round(options.timeout * 1000),
        ssl_ca_cert=options.ca_file,
        retries=False,
        enable_gzip=False,  # at level 9 it costs a hundred times what all the rest of a write does
    )


def detect(client: InfluxDBClient) -> Server:
    """Ask what kind of server there is; call it inside `reported`.

    Raises:
        StorageError: a web server that knows no `/ping`.
        ApiException: it does not let us ask.
    """
    try:
        _, _, headers = PingService(client.api_client).get_ping_with_http_info()
    except ApiException as error:
        said = one_line(message_of(error))
        if error.status in _NO_PING and "Authorization" not in said:  # to InfluxDB 3 a token with a space in it is none
            raise StorageError(
                f"what answers at {client.url} is no InfluxDB ({error.status} to /ping: {said}); set influxdb.url to "
                "one"
            ) from error
        raise
    found: dict[str, str] = {name.lower(): value for name, value in dict(headers).items()}
    version = found.get("x-influxdb-version")
    return Server(found.get("x-influxdb-build"), None if version is None else version.removeprefix("v"))


def is_hidden(error: ApiException) -> bool:
    """Return whether a token may not see or do this: it answers as if the thing were not there."""
    return error.status in _HIDDEN


@contextlib.contextmanager
def reported(options: InfluxOptions, purpose: str, *, wall: Callable[[], float] = time.time) -> Iterator[None]:
    """Turn what the client says inside into a `StorageError`.

    Args:
        options: where InfluxDB is.
        purpose: what the token must be allowed to do, behind "that may".
        wall: seconds since the epoch.
    """
    try:
        yield
    except ApiException as error:
        raise _explained(error, options, purpose, wall()) from error
    except ReadTimeoutError as error:
        # In words of our own: those of the client have what was left of the time, so that no two are the same, and
        # what is the same trouble would be told again and again.
        raise StorageUnavailableError(
            f"InfluxDB at {options.url} does not answer within {options.timeout:g} s; look at its log and load, or set "
            "influxdb.url"
        ) from error
    except (HTTPError, OSError, UnicodeDecodeError) as error:
        reason = one_line(str(error)) or type(error).__name__
        raise StorageUnavailableError(
            f"InfluxDB at {options.url} cannot be reached ({reason}); start it, or set influxdb.url"
        ) from error


def message_of(error: ApiException) -> str:
    """Return what the server said, as one line."""
    body: Any = error.body
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body or error.reason or "")
    with contextlib.suppress(msgspec.MsgspecError):
        found = msgspec.json.decode(text)
        if isinstance(found, dict):
            text = str(found.get("message") or found.get("error") or text)
    return text


def one_line(text: str) -> str:
    """Return text of a server as one line that is not too long."""
    return " ".join(text.split())[:_SHOWN]


def _explained(error: ApiException, options: InfluxOptions, purpose: str, now: float) -> StorageError:
    status: int = error.status or 0
    said = one_line(message_of(error))
    if status == HTTPStatus.UNAUTHORIZED:
        return StorageError(
            f"InfluxDB at {options.url} does not know the token (401): set influxdb.token to one of organisation "
            f"{options.org!r} that may {purpose}"
        )
    if status == HTTPStatus.FORBIDDEN:
        return StorageError(
            f"InfluxDB at {options.url} does not let the token {purpose} (403): give it that right, or set "
            "influxdb.token to one that has it"
        )
    # A query of an unknown organisation is a bad request to InfluxDB.
    if status == HTTPStatus.NOT_FOUND or (status == HTTPStatus.BAD_REQUEST and _NO_ORGANISATION.search(said)):
        return StorageError(
            f"InfluxDB at {options.url} has no bucket {options.bucket!r} in organisation {options.org!r}, or the token "
            f"may not see it ({status}: {said}): create it, set influxdb.bucket and influxdb.org, or give a token that "
            f"may {purpose}"
        )
    if status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return StorageUnavailableError(
            f"InfluxDB at {options.url} is not ready ({status}: {said}); look at its log",
            retry_after=_retry_after(error, now),
        )
    if not status:
        return StorageError(
            f"InfluxDB at {options.url} has a certificate that is not trusted ({said}); set influxdb.ca_file"
        )
    return StorageError(f"InfluxDB at {options.url} refuses ({status}: {said}); mend that, or set influxdb.url")


def _retry_after(error: ApiException, now: float) -> float | None:
    """Return the seconds that the server asked to wait: a number or a date."""
    value = dict(error.headers or {}).get("Retry-After") or dict(error.headers or {}).get("retry-after")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - now
    return min(max(seconds, 0.0), _LONGEST_WAIT) if math.isfinite(seconds) else None
