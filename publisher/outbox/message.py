"""A message, and the record that holds one in a file.

A record is `header, topic, payload`; the header is, little-endian:

    4 bytes   mark       where a record begins; no UTF-8 text has these bytes, so none in a topic or payload does
    4 bytes   CRC-32     of all that follows
    8 bytes   number     of the message in the log
    8 bytes   timestamp  milliseconds since the epoch
    8 bytes   session    milliseconds since the epoch
    8 bytes   sequence
    2 bytes   length of the topic
    4 bytes   length of the payload

A record without a topic is the state of the log: its payload is JSON, the ranges of numbers that are done, and its
number is the one that the next message was to have.
"""

from collections.abc import Iterable
from struct import Struct
from typing import NamedTuple
from zlib import crc32

import msgspec

from hostpulse.bus.mqtt import MAXIMUM_PAYLOAD_BYTES

__all__ = ["HEADER_BYTES", "MAXIMUM_RECORD_BYTES", "Message", "Parsed", "Record", "pack", "pack_state", "parse"]

_MARK = b"\xff\xfeH\x01"
_MARK_AND_CHECKSUM = Struct("<4sI")
_REST = Struct("<QqqQHI")
_MAXIMUM_TOPIC_BYTES = 2**16 - 1

HEADER_BYTES = _MARK_AND_CHECKSUM.size + _REST.size
MAXIMUM_RECORD_BYTES = HEADER_BYTES + _MAXIMUM_TOPIC_BYTES + MAXIMUM_PAYLOAD_BYTES


class Message(NamedTuple):
    """One message as it goes out, and what names it.

    Attributes:
        topic: where it goes; its last part is the subsystem.
        payload: the bytes.
        session: start of the publisher that made it, milliseconds since the epoch.
        sequence: its number in its subsystem and session.
        timestamp: when it was sampled, milliseconds since the epoch.
    """

    topic: str
    payload: bytes
    session: int
    sequence: int
    timestamp: int

    @property
    def subsystem(self) -> str:
        """The subsystem that it is about."""
        return self.topic.rpartition("/")[2]


class Record(NamedTuple):
    """A message and its number in the log."""

    number: int
    message: Message

    @property
    def is_state(self) -> bool:
        """Whether this is the state of the log rather than a message."""
        return not self.message.topic

    def done(self) -> list[tuple[int, int]]:
        """Return the ranges of a state: first number, and the one behind the last; nothing where it says nothing."""
        try:
            return msgspec.json.decode(self.message.payload, type=list[tuple[int, int]])
        except msgspec.DecodeError:
            return []


class Parsed(NamedTuple):
    """What was found in a piece of a file.

    Attributes:
        records: in order.
        records_end: where the last of them ends.
        end: how far the piece was understood; what follows needs more bytes.
        damaged: bytes before `end` that belong to no record.
    """

    records: list[Record]
    records_end: int
    end: int
    damaged: int


def pack(number: int, message: Message) -> bytes:
    """Return the record of a message."""
    topic = message.topic.encode()
    lengths = (len(topic), len(message.payload))
    rest = _REST.pack(number, message.timestamp, message.session, message.sequence, *lengths) + topic + message.payload
    return _MARK_AND_CHECKSUM.pack(_MARK, crc32(rest)) + rest


def pack_state(number: int, done: Iterable[tuple[int, int]]) -> bytes:
    """Return the record of the state of the log: the next number, and the ranges of those that are done."""
    return pack(number, Message("", msgspec.json.encode(list(done)), 0, 0, 0))


def parse(data: bytes, *, last: bool) -> Parsed:
    """Return the records in a piece of a file. What is damaged is passed over: the next mark begins anew.

    Args:
        data: the piece.
        last: nothing follows it, so that a record that is not whole is damaged.
    """
    records: list[Record] = []
    position = damaged = records_end = 0
    while True:
        begin = data.find(_MARK, position)
        if begin < 0:
            # A mark may begin in the last bytes.
            rest = len(data) if last else max(position, len(data) - len(_MARK) + 1)
            return Parsed(records, records_end, rest, damaged + rest - position)
        damaged += begin - position
        end = _end(data, begin)
        if end > len(data) and not last:
            return Parsed(records, records_end, begin, damaged)
        record = _unpack(data, begin, end)
        if record is None:
            damaged += 1
            position = begin + 1
        else:
            records.append(record)
            position = records_end = end


def _end(data: bytes, begin: int) -> int:
    """Return where the record that begins there ends, as far as is known; `begin` where its length cannot be right."""
    if begin + HEADER_BYTES > len(data):
        return begin + HEADER_BYTES
    *_, topic, payload = _REST.unpack_from(data, begin + _MARK_AND_CHECKSUM.size)
    return begin if payload > MAXIMUM_PAYLOAD_BYTES else begin + HEADER_BYTES + int(topic) + int(payload)


def _unpack(data: bytes, begin: int, end: int) -> Record | None:
    """Return the record that lies there; None where it is damaged."""
    if not begin < end <= len(data):
        return None
    _, checksum = _MARK_AND_CHECKSUM.unpack_from(data, begin)
    rest = data[begin + _MARK_AND_CHECKSUM.size : end]
    if crc32(rest) != checksum:
        return None
    number, timestamp, session, sequence, length, _ = _REST.unpack_from(rest)
    text = _REST.size + length
    topic = rest[_REST.size : text].decode(errors="replace")
    return Record(number, Message(topic, rest[text:], session, sequence, timestamp))
