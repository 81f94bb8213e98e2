"""Sending lines to InfluxDB 3, at its own endpoint.

It takes them at `/api/v2/write`, too, but refuses all of a body with a bad line there and may not say which one it is,
so that they would have to be searched for, and each request with good lines takes until its log is flushed, a second.
And a disk that is full is a 400 there, as if the lines were at fault. Its own endpoint names each line that it left
out and says why, has stored all others, and answers 5xx where the fault is its own.
"""

from http import HTTPStatus
from typing import Any

import msgspec
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.rest import ApiException

from ..errors import StorageError
from ..options import InfluxOptions
from .connection import message_of, one_line
from .delivery import Refusal, bodies, halves, is_too_large
from .lines import Lines

__all__ = ["Version3"]

_PATH = "/api/v3/write_lp"
_HEADERS = {"Content-Type": "text/plain; charset=utf-8", "Accept": "application/json"}
_EMPTY = "write was empty"
_UNPROCESSABLE = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY})


class _LeftOut(msgspec.Struct):
    """A line that was left out.

    Attributes:
        line_number: from 1.
        error_message: why.
    """

    line_number: int
    error_message: str


class _Partial(msgspec.Struct):
    """The answer to a body with bad lines."""

    data: list[_LeftOut]


_decode_partial = msgspec.json.Decoder(_Partial).decode


class Version3:
    """A database of InfluxDB 3 that lines are sent to.

    Args:
        client: whose token is used.
        options: where the server is.
        database: its name; the server makes it with the first write.
    """

    def __init__(self, client: InfluxDBClient, options: InfluxOptions, database: str) -> None:
        self._client = client
        self._options = options
        self._database = database

    def probe(self) -> None:
        """Write nothing, to see whether the token may write and the server takes a database of that name.

        Raises:
            ApiException: the server is not ready, or the token may not.
            StorageError: it takes none of that name, or no further one.
        """
        try:
            self._post(b"", waits=True)
        except ApiException as error:
            said = message_of(error)
            if error.status not in _UNPROCESSABLE:
                raise
            if _EMPTY not in said:  # it says so where nothing else is wrong
                raise StorageError(
                    f"InfluxDB at {self._options.url} does not take {self._database!r} as a database ({error.status}: "
                    f"{one_line(said)}); set influxdb.bucket to another name"
                ) from error

    def deliver(self, lines: Lines, *, waits: bool = True) -> list[Refusal]:
        """Send lines; on return all are stored but those returned.

        Args:
            lines: all of them.
            waits: until they are durable. If not, they are within a second, should the server not be killed meanwhile.

        Raises:
            ApiException: the fault is not in the data.
        """
        refusals: list[Refusal] = []
        waiting = list(bodies(lines))
        while waiting:
            part = waiting.pop()
            try:
                self._post(lines.body(part), waits=waits)
            except ApiException as error:
                left_out = _left_out(error, len(part))
                if left_out:
                    refusals.extend(
                        Refusal(part[one.line_number - 1], one_line(one.error_message), is_too_old=False)
                        for one in left_out
                    )
                elif not is_too_large(error):
                    raise
                elif len(part) == 1:
                    refusals.append(Refusal(part[0], one_line(message_of(error)), is_too_old=False))
                else:
                    waiting.extend(halves(part))
        return sorted(refusals)

    def _post(self, body: bytes, *, waits: bool) -> None:
        api: Any = self._client.api_client
        api.call_api(
            _PATH,
            "POST",
            query_params=[
                ("db", self._database),
                ("precision", "millisecond"),
                ("accept_partial", "true"),
                ("no_sync", "false" if waits else "true"),
            ],
            header_params=dict(_HEADERS),
            body=body,
        )


def _left_out(error: ApiException, lines: int) -> list[_LeftOut]:
    """Return what the server says that it left out of a body; nothing if it does not say that."""
    try:
        found = _decode_partial(error.body or b"").data
    except msgspec.MsgspecError:
        return []
    return found if all(1 <= one.line_number <= lines for one in found) else []
