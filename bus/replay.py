"""Asking a publisher for messages once more: what is sent to `<prefix>/<host>/replay`.

A publisher keeps what it has sent for a while. A consumer that sees a gap in the sequence asks for it, and the
publisher sends these messages again on their usual topics, byte for byte as they were. It sends what it still has and
says nothing of the rest: what has not come after a while is not to be had. Several requests for the same messages are
answered once.
"""

import re
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from .codec import VERSION
from .errors import MalformedError, MessageTooLargeError, WrongTypeError, WrongVersionError

__all__ = [
    "MAXIMUM_REPLAY_MESSAGES",
    "MAXIMUM_REQUEST_BYTES",
    "ReplayRequest",
    "decode_replay_request",
    "encode_replay_request",
]

MAXIMUM_REPLAY_MESSAGES = 100_000
"""Messages that one request may ask for: more than two days of one every two seconds."""

MAXIMUM_REQUEST_BYTES = 1024

_SUBSYSTEM = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)

_Sequence = Annotated[int, Meta(ge=1, le=2**63 - 1)]


class ReplayRequest(Struct, kw_only=True, frozen=True, rename={"first": "from", "last": "to"}):
    """A request for messages that were missed.

    Attributes:
        v: version of the contract.
        session: start of the publisher that made them, as their envelopes have it.
        subsystem: theirs.
        first: lowest sequence; `from` in JSON.
        last: highest sequence, this one included; `to` in JSON.
    """

    v: Annotated[int, Meta(description="Version of this contract.", ge=0, le=2**31)] = VERSION
    session: Annotated[datetime, Meta(description="Session of the messages, as in their envelopes.", tz=True)]
    subsystem: Annotated[str, Meta(description="Their subsystem.", min_length=1, max_length=64)]
    first: Annotated[_Sequence, Meta(description="Lowest sequence that is asked for.")]
    last: Annotated[_Sequence, Meta(description=f"Highest one; at most {MAXIMUM_REPLAY_MESSAGES} messages.")]


_DECODER = msgspec.json.Decoder(ReplayRequest)


def encode_replay_request(request: ReplayRequest) -> bytes:
    """Return the payload of a request."""
    return msgspec.json.encode(
        {
            "v": request.v,
            "session": request.session.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "subsystem": request.subsystem,
            "from": request.first,
            "to": request.last,
        }
    )


def decode_replay_request(payload: bytes) -> ReplayRequest:
    """Return the request in a payload.

    Raises:
        MessageTooLargeError: over `MAXIMUM_REQUEST_BYTES`.
        MalformedError: not JSON.
        WrongTypeError: a field is missing or not of its type and range, or the range is empty or too long.
        WrongVersionError: not version 1.
    """
    if len(payload) > MAXIMUM_REQUEST_BYTES:
        raise MessageTooLargeError(f"{len(payload)} bytes, a request has at most {MAXIMUM_REQUEST_BYTES}")
    try:
        request = _DECODER.decode(payload)
    except msgspec.ValidationError as error:
        raise WrongTypeError(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedError(str(error)) from None
    if request.v != VERSION:
        raise WrongVersionError(f"version {request.v}, this is version {VERSION}")
    try:
        request.session.astimezone(UTC)
    except OverflowError:
        raise WrongTypeError(f"session {request.session.isoformat()} is no moment") from None
    if not _SUBSYSTEM.fullmatch(request.subsystem):
        raise WrongTypeError("subsystem is no name of one")
    count = request.last - request.first + 1
    if not 1 <= count <= MAXIMUM_REPLAY_MESSAGES:
        raise WrongTypeError(f"from {request.first} to {request.last}: 1 to {MAXIMUM_REPLAY_MESSAGES} may be asked for")
    return request
