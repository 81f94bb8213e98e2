"""Messages to bytes and back.

A message is one JSON object: the envelope's fields, then those of its subsystem. What comes from the bus is not to
be trusted: it is bounded before it is parsed, and every fault is a `MessageError` that says what was wrong.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import isfinite
from typing import Annotated, Any, Generic, TypeVar, cast

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from .errors import (
    MalformedError,
    MessageTooLargeError,
    TimestampError,
    UnknownSubsystemError,
    UsageError,
    WrongTopicError,
    WrongTypeError,
    WrongVersionError,
)
from .fields import Fields
from .messages import SUBSYSTEMS
from .times import format_timestamp
from .topics import HostTopic, escape, unescape

__all__ = [
    "MAXIMUM_MESSAGE_BYTES",
    "NO_INTERVAL",
    "VERSION",
    "Envelope",
    "Reader",
    "Sample",
    "decode",
    "encode",
    "latest_timestamp",
    "reader",
]

VERSION = 1
MAXIMUM_MESSAGE_BYTES = 128 * 1024

NO_INTERVAL = 1e9
"""The interval of a message that announces no next one, such as an event: the longest there is, some thirty years."""

_FUTURE = timedelta(days=1)  # a clock may be wrong by hours (a time zone, a dual boot); a day is a broken one
_OLDEST = datetime(2020, 1, 1, tzinfo=UTC)  # before this software: a machine that does not know the time yet
_LATEST = datetime(2262, 1, 1, tzinfo=UTC)  # where 64-bit nanoseconds end

_S = TypeVar("_S", bound=Struct)
_Moment = Annotated[datetime, Meta(tz=True)]


class Envelope(Struct, kw_only=True, gc=False, forbid_unknown_fields=True):
    """What every message begins with."""

    v: Annotated[int, Meta(description="Version of this contract.", ge=0, le=2**31)]
    host: Annotated[str, Meta(description="Name of the machine.", min_length=1, max_length=255)]
    subsystem: Annotated[str, Meta(description="What the fields are about.", max_length=64)]
    timestamp: Annotated[_Moment, Meta(description="When it was sampled; RFC 3339, UTC, milliseconds.")]
    sequence: Annotated[int, Meta(description="Number of the message in its subsystem, from 1.", ge=1, le=2**63 - 1)]
    session: Annotated[_Moment, Meta(description="When the publisher was started.")]
    interval: Annotated[
        float,
        Meta(
            description=f"Seconds until the next message of its kind; {NO_INTERVAL:.0f} where none is announced.",
            gt=0,
            le=NO_INTERVAL,
        ),
    ]
    omitted: (
        Annotated[dict[str, int], Meta(description="Entries of a map that were left out to fit.", max_length=64)]
        | UnsetType
    ) = UNSET


class Sample(Struct, frozen=True, gc=False):
    """A message that was understood.

    Attributes:
        envelope: what it began with.
        fields: the rest.
        text: the rest as it came, a JSON object that says what `fields` do and nothing else; empty if there is none.
    """

    envelope: Envelope
    fields: Fields
    text: bytes = b""


Reader = Callable[[bytes, datetime], Sample]
"""Decodes the payloads of one topic; see `reader`."""


class _Versioned(Struct):
    v: int


class _Understanding(Generic[_S]):
    """Decoders of one of our structs.

    Attributes:
        exact: decodes an object that says nothing else.
    """

    def __init__(self, struct: type[_S]) -> None:
        self.exact = msgspec.json.Decoder(struct).decode
        self._struct = struct
        lenient = msgspec.defstruct(struct.__name__, [], bases=(struct,), forbid_unknown_fields=False)
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(lenient).decode

    def lenient(self, text: bytes) -> _S:
        """Decode an object that may say more."""
        found = self._decode(text)
        found.__class__ = self._struct  # the same but for what may be decoded; a copy would cost more than decoding it
        return cast("_S", found)


_VERSIONED = msgspec.json.Decoder(_Versioned)
_ENVELOPE = _Understanding(Envelope)
_FIELDS = {name: _Understanding(struct) for name, struct in SUBSYSTEMS.items()}
_SESSION = b',"session":"'
_SEAM = re.compile(_SESSION + rb'[^"]{,40}","interval":[^,"]{,40},"')
_encode_json = msgspec.json.encode


def encode(
    fields: Fields, *, host: str, subsystem: str, timestamp: float, sequence: int, session: float, interval: float
) -> bytes:
    """Return the message of one sample, at most `MAXIMUM_MESSAGE_BYTES` long.

    Args:
        fields: what was sampled.
        host: name of the machine, not escaped.
        subsystem: which one the fields belong to.
        timestamp: when it was sampled, seconds since the epoch.
        sequence: number of the message in its subsystem and session, from 1.
        session: start of the publisher, seconds since the epoch.
        interval: seconds until the next message of its kind, `NO_INTERVAL` where none is announced.

    Maps that do not fit are cut, and `omitted` counts what was left out of each. A number that is none (NaN,
    infinity) is left out, and bytes in a text that are not UTF-8 (a mount point can be any) are written in hexadecimal.

    Raises:
        UsageError: the host's name is not UTF-8.
    """
    _check_host(host)
    head = (
        f'{{"v":{VERSION},"host":{_encode_json(host).decode()},"subsystem":"{subsystem}"'
        f',"timestamp":"{format_timestamp(timestamp)}","sequence":{sequence}'
        f',"session":"{format_timestamp(session)}","interval":{interval:.10g}'
    ).encode()
    try:
        body = _encode_json(fields)
    except UnicodeEncodeError:
        body = b"null"
    if b"null" in body:  # what JSON has instead of NaN and infinity; our messages have none of it
        fields = _cleaned(fields)
        body = _encode_json(fields)
    message = _join(head, body)
    if len(message) > MAXIMUM_MESSAGE_BYTES:
        fields, omitted = _cut(fields, MAXIMUM_MESSAGE_BYTES - len(head) - 256)
        message = _join(head + b',"omitted":' + _encode_json(omitted), _encode_json(fields))
    return message


def _check_host(host: str) -> None:
    try:
        host.encode()
    except UnicodeEncodeError:
        raise UsageError(f"host {host!r} is not UTF-8; set host to another name") from None


def _cleaned(fields: Fields) -> Fields:
    """Return the fields without what JSON cannot say."""
    changes: dict[str, object] = {}
    for name in fields.__struct_fields__:
        value = getattr(fields, name)
        if isinstance(value, float) and not isfinite(value):
            changes[name] = UNSET
        elif isinstance(value, str):
            changes[name] = _cleaned_text(value)
        elif isinstance(value, dict):
            changes[name] = {_cleaned_text(key): _cleaned(entry) for key, entry in value.items()}
    return msgspec.structs.replace(fields, **changes)


def _cleaned_text(text: str) -> str:
    """Return the text with each byte that is not UTF-8 in hexadecimal, so that names which differ still do."""
    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        raw = text.encode("utf-8", "surrogatepass")
    return raw.decode("utf-8", "backslashreplace")


def _join(head: bytes, body: bytes) -> bytes:
    return head + b"}" if body == b"{}" else b"%b,%b" % (head, body[1:])


def _cut(fields: Fields, room: int) -> tuple[Fields, dict[str, int]]:
    """Halve the largest map until the rest fits; also return how many entries each map lost."""
    maps = {name: value for name in fields.__struct_fields__ if isinstance(value := getattr(fields, name), dict)}
    before = {name: len(entries) for name, entries in maps.items()}
    while len(_encode_json(fields)) > room and any(maps.values()):
        name = max(maps, key=lambda name: len(_encode_json(maps[name])))
        maps[name] = dict(list(maps[name].items())[: len(maps[name]) // 2])
        fields = msgspec.structs.replace(fields, **{name: maps[name]})
    return fields, {name: lost for name, entries in maps.items() if (lost := before[name] - len(entries))}


def decode(topic: HostTopic, payload: bytes, *, now: datetime) -> Sample:
    """Return the sample in a payload that came on a topic.

    Args:
        topic: where it came.
        payload: what came.
        now: aware; a sample from later than a day after it is refused.

    Raises:
        UnknownSubsystemError: the topic names none of ours.
        MessageTooLargeError: over `MAXIMUM_MESSAGE_BYTES`.
        MalformedError: not JSON, or nested too deeply.
        WrongTypeError: a field is missing or not of its type.
        WrongVersionError: not version 1.
        WrongTopicError: host or subsystem of topic and message differ.
        TimestampError: sampled in the future or impossibly long ago.
    """
    return reader(topic)(payload, latest_timestamp(now))


def latest_timestamp(now: datetime) -> datetime:
    """Return the latest moment that a sample may be from when it is some aware moment now."""
    return min(now + _FUTURE, _LATEST)


@lru_cache(maxsize=4096)
def reader(topic: HostTopic) -> Reader:
    """Return what decodes the payloads of a topic; it is remembered, for topics come again and again.

    It takes a payload and `latest_timestamp` of now, returns the sample and raises as `decode` does.
    """
    subsystem = topic.leaf
    understanding = _FIELDS.get(subsystem)
    if understanding is None:
        return _refuse_subsystem(subsystem)
    decode_envelope, decode_fields = _ENVELOPE.exact, understanding.exact
    host = unescape(topic.host)
    # Where the topic spells it in a way of its own, no message agrees with it.
    expected = host if escape(host) == topic.host else None
    seam = b"\0", b"", False  # what no message has

    def read(payload: bytes, latest: datetime) -> Sample:
        nonlocal seam
        if len(payload) > MAXIMUM_MESSAGE_BYTES:
            raise MessageTooLargeError(f"{len(payload)} bytes, a message has at most {MAXIMUM_MESSAGE_BYTES}")
        middle, end, exact = seam  # at once, for other threads may read messages of this topic, too
        begin, known, rest = payload.partition(middle)
        if not known:
            begin, middle, rest = _part(payload)
            end, exact = middle[:-2] + b"}", bool(middle)
        if exact:
            text = b'{"' + rest
            try:
                envelope = decode_envelope(begin + end)
                fields = decode_fields(text)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                envelope, fields, text = _decode_any(payload, understanding)
        else:
            envelope, fields, text = _decode_any(payload, understanding)
        if envelope.v != VERSION or envelope.host != expected or envelope.subsystem != subsystem:
            raise _disagreement(envelope, topic)
        is_known = known and text  # so its session was accepted before
        if not (_OLDEST <= envelope.timestamp <= latest and (is_known or _OLDEST <= envelope.session <= _LATEST)):
            raise TimestampError(
                f"sampled at {envelope.timestamp.isoformat()} by a publisher of {envelope.session.isoformat()}; "
                f"a sample is from {_OLDEST:%Y} or later, and none is from after {latest.isoformat(timespec='seconds')}"
            )
        if middle and not is_known:
            seam = middle, end, bool(text)  # who says more than we know will say so in all of a session
        return Sample(envelope, fields, text)

    return read


def _part(payload: bytes) -> tuple[bytes, bytes, bytes]:
    """Part a payload between the number of the message and its fields; also return what stands there.

    Our publishers write the envelope, which ends in session and interval, and then the fields. All that is the same in
    every message of a session makes a seam at which others fall apart into two objects; decoding these takes half the
    time of finding each among the other. All parts are empty where there is no seam.
    """
    start = payload.find(_SESSION)
    found = _SEAM.match(payload, start) if start >= 0 else None
    return (payload[:start], found[0], payload[found.end() :]) if found else (b"", b"", b"")


def _decode_any(payload: bytes, understanding: _Understanding[Fields]) -> tuple[Envelope, Fields, bytes]:
    """Return what is in a payload, in whatever order and among whatever else it stands there, and no text."""
    try:
        envelope = _ENVELOPE.lenient(payload)
        if envelope.v != VERSION:
            raise _wrong_version(envelope.v)
        return envelope, understanding.lenient(payload), b""
    except msgspec.ValidationError as error:
        _check_version(payload)  # another version may have another envelope
        raise WrongTypeError(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedError(str(error)) from None
    except RecursionError:
        raise MalformedError("nested too deeply") from None


def _refuse_subsystem(subsystem: str) -> Reader:
    def refuse(_payload: bytes, _latest: datetime) -> Sample:
        raise UnknownSubsystemError(f"there is no subsystem {subsystem[:64]!r}")

    return refuse


def _disagreement(envelope: Envelope, topic: HostTopic) -> WrongVersionError | WrongTopicError:
    if envelope.v != VERSION:
        return _wrong_version(envelope.v)
    return WrongTopicError(
        f"a message of {envelope.host!r} {envelope.subsystem!r} on the topic of {topic.host!r} {topic.leaf!r}"
    )


def _wrong_version(version: int) -> WrongVersionError:
    return WrongVersionError(f"version {version}, this is version {VERSION}")


def _check_version(payload: bytes) -> None:
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        version = _VERSIONED.decode(payload).v
        if version != VERSION:
            raise _wrong_version(version)
