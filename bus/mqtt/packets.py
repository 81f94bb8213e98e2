"""Cutting an MQTT 3.1.1 stream into packets.

paho parses one packet at a time with several calls of recv() for each. A consumer that drains a queue gets hundreds
of PUBLISH packets in one read; cutting them out here costs a twentieth of paho's way (see docs/architecture.md).
"""

from struct import Struct
from typing import NamedTuple

__all__ = ["MAXIMUM_PACKET_BYTES", "PINGREQ", "PUBACK_HEADER", "Batch", "Cut", "cut", "shorten"]

MAXIMUM_PACKET_BYTES = 1 << 20
"""What is kept of one packet; a message is at most 128 KiB, and what is larger than this is not buffered."""

PUBACK_HEADER = b"\x40\x02"
PINGREQ = b"\xc0\x00"

_PUBLISH = 0b0011_0000
_TYPE = 0b1111_0000
_QOS = 0b0000_0110
_QOS_1 = 0b0000_0010
_RETAIN = 0b0000_0001
_PUBLISH_QOS_1 = frozenset({0b0011_0010, 0b0011_1010})  # for the first or for another time, not retained
_CONTINUES = 0x80
_LAST_SHIFT = 21  # the length has four bytes at most
_HEADER = Struct(">BBBH")  # of a packet of 128 to 16,383 bytes: type and flags, its length, and that of its topic
_HEADER_BYTES = _HEADER.size


class Batch(NamedTuple):
    """Messages in the order of their arrival, as two lists of equal length.

    Attributes:
        topics: UTF-8, unless somebody sent something else.
        payloads: as they came; one larger than `MAXIMUM_PACKET_BYTES` is cut to about that.
        retained: indexes of those that the broker had kept from before we subscribed.
    """

    topics: list[bytes]
    payloads: list[bytes]
    retained: set[int]


class Cut(NamedTuple):
    """Where a cut ended.

    Attributes:
        consumed: bytes that were cut into whole packets.
        needed: length of the packet that follows, as far as its header tells; more bytes than are there.
        control: the packets that are not PUBLISH, in order.
        fault: what is wrong with the packet that follows; nothing after it can be understood.
    """

    consumed: int
    needed: int
    control: list[bytes]
    fault: str = ""


def cut(data: bytes, batch: Batch, identifiers: list[bytes]) -> Cut:  # noqa: C901, PLR0912  calls would cost double
    """Append each whole PUBLISH in the data to the batch, and the packet identifier of one with QoS 1 to the list."""
    start, end = 0, len(data)
    topics, payloads = batch.topics, batch.payloads
    control: list[bytes] = []
    add_topic, add_payload, add_identifier = topics.append, payloads.append, identifiers.append
    unpack, last = _HEADER.unpack_from, end - _HEADER_BYTES
    while start < end:
        if start <= last:  # the common case, without detours
            first, low, high, size = unpack(data, start)
            if first in _PUBLISH_QOS_1 and low >= _CONTINUES > high:
                stop = start + 3 + low - _CONTINUES + (high << 7)
                topic = start + _HEADER_BYTES
                body = topic + size
                payload = body + 2
                if payload <= stop <= end:
                    add_topic(data[topic:body])
                    add_identifier(data[body:payload])
                    add_payload(data[payload:stop])
                    start = stop
                    continue
        # The fixed header: type and flags, then one to four bytes of length, seven bits each, the lowest first.
        position, length, shift = start + 1, 0, 0
        while position < end:
            byte = data[position]
            position += 1
            length |= (byte & 0x7F) << shift
            if byte < _CONTINUES:
                break
            if shift == _LAST_SHIFT:
                return Cut(start, 0, control, "a packet whose length has more than four bytes")
            shift += 7
        else:
            return Cut(start, end - start + 1, control)
        stop = position + length
        if stop > end:
            return Cut(start, stop - start, control)
        first = data[start]
        if first & _TYPE == _PUBLISH:
            body = position + 2 + int.from_bytes(data[position : position + 2], "big")
            payload = body + 2 if first & _QOS else body
            if first & _QOS > _QOS_1 or length < 2 or payload > stop:  # noqa: PLR2004  bytes of the topic's length
                return Cut(start, 0, control, "a PUBLISH that is shorter than its topic, or of a QoS not asked for")
            if first & _RETAIN:
                batch.retained.add(len(topics))
            add_topic(data[position + 2 : body])
            add_payload(data[payload:stop])
            if payload > body:
                add_identifier(data[body:payload])
        else:
            control.append(data[start:stop])
        start = stop
    return Cut(start, 0, control)


def shorten(begin: bytes | bytearray) -> bytes | None:
    """Return the begin of a large PUBLISH packet as a whole packet with less payload; None if it is no PUBLISH."""
    if begin[0] & _TYPE != _PUBLISH:
        return None
    position = 1
    while begin[position] >= _CONTINUES:
        position += 1
    body = bytes(begin[position + 1 :])
    length = len(body)
    return bytes((begin[0], length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14 & 0x7F)) + body
