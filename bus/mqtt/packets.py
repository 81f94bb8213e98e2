"""Cutting an MQTT 3.1.1 stream into packets.

paho parses one packet at a time with several calls of recv() for each. A consumer that drains a queue gets hundreds
of PUBLISH packets in one read; cutting them out here costs a twentieth of paho's way (see docs/architecture.md).
"""

from typing import NamedTuple

__all__ = ["PUBACK_HEADER", "Cut", "cut"]

PUBACK_HEADER = b"\x40\x02"

_FLAGS_BUT_DUP = 0b1111_0111
_PUBLISH_QOS_1 = 0b0011_0010  # not retained: what the broker had stored goes through paho, which tells us so
_PACKET_IDENTIFIER_BYTES = 2


class Cut(NamedTuple):
    """Where a cut ended.

    Attributes:
        consumed: bytes that were cut into whole packets.
        needed: length of the packet that follows, as far as its header tells; more bytes than are there.
        control: the packets that are not plain QoS 1 PUBLISH, in order.
    """

    consumed: int
    needed: int
    control: list[bytes]


def cut(data: bytes, topics: list[bytes], payloads: list[bytes], identifiers: list[bytes]) -> Cut:
    """Append topic, payload and packet identifier of each whole QoS 1 PUBLISH in the data to the three lists.

    A PUBLISH whose topic does not fit into it is left to paho, which knows how to refuse it.
    """
    start, end = 0, len(data)
    control: list[bytes] = []
    add_topic, add_payload, add_identifier = topics.append, payloads.append, identifiers.append
    while start < end:
        # The fixed header: type and flags, then one to four bytes of length, seven bits each, the lowest first.
        position, length, shift = start + 1, 0, 0
        while position < end:
            byte = data[position]
            position += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80 or shift > 21:  # noqa: PLR2004  the continuation bit; four bytes are the most
                break
        else:
            return Cut(start, end - start + 1, control)
        stop = position + length
        if stop > end:
            return Cut(start, stop - start, control)
        body = position + 2 + (data[position] << 8) + data[position + 1] if length >= 2 else stop  # noqa: PLR2004
        if data[start] & _FLAGS_BUT_DUP == _PUBLISH_QOS_1 and body + _PACKET_IDENTIFIER_BYTES <= stop:
            add_topic(data[position + 2 : body])
            add_identifier(data[body : body + 2])
            add_payload(data[body + 2 : stop])
        else:
            control.append(data[start:stop])
        start = stop
    return Cut(start, 0, control)
