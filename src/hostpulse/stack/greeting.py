"""The first words to a nats-server that has just started, in plain MQTT 3.1.1: is it ready, and bound its queue.

nats-server keeps the messages for absent sessions in one stream, without a bound of its own. Once that stream has
filled the whole store, the server refuses every CONNECT, so nobody can empty it again (measured with 2.15.1). We
therefore bound the stream below the store: the oldest messages make room, as in any other broker with a full queue.
The stream's interface is the subject `$JS.API.…`, and MQTT reaches every subject: `/` stands for `.`.
"""

import json
import secrets
import socket
from typing import IO

from hostpulse.bus.errors import BrokerError

from .endpoint import Endpoint

__all__ = ["greet"]

_STREAM = "$MQTT_msgs"
_UPDATE = f"$JS/API/STREAM/UPDATE/{_STREAM}"
_UPDATED = f"$JS/EVENT/ADVISORY/STREAM/UPDATED/{_STREAM}"

_CONNECT, _CONNACK, _PUBLISH, _SUBSCRIBE, _SUBACK = 0x10, 0x20, 0x30, 0x82, 0x90
_DISCONNECT = b"\xe0\x00"
_CLEAN_WITH_USER_AND_PASSWORD = 0b1100_0010


def greet(endpoint: Endpoint, *, queue_bytes: int, timeout: float) -> bool:
    """Connect with the credentials, then bound the queue; return whether the server confirmed the bound.

    Raises:
        OSError: it does not answer (yet).
        BrokerError: it refuses us.
    """
    with (
        socket.create_connection((endpoint.host, endpoint.port), timeout) as connection,
        connection.makefile("rb") as answers,
    ):
        client_id = f"hostpulse-up-{secrets.token_hex(4)}"
        flags = bytes((4, _CLEAN_WITH_USER_AND_PASSWORD)) + (60).to_bytes(2)
        credentials = _text(client_id) + _text(endpoint.username) + _text(endpoint.password)
        connection.sendall(_packet(_CONNECT, _text("MQTT") + flags + credentials))
        code = _await(answers, _CONNACK)[1]
        if code:
            raise BrokerError(f"the broker on {endpoint.host}:{endpoint.port} refuses our user (CONNACK {code})")
        connection.sendall(_packet(_SUBSCRIBE, b"\x00\x01" + _text(_UPDATED) + b"\x00"))
        _await(answers, _SUBACK)
        connection.sendall(_packet(_PUBLISH, _text(_UPDATE) + _stream(queue_bytes)))
        try:
            _await(answers, _PUBLISH)
        except TimeoutError:
            return False
        finally:
            connection.sendall(_DISCONNECT)
    return True


def _stream(queue_bytes: int) -> bytes:
    """The stream as nats-server makes it, but for its bound: an update has to repeat what it leaves as it is."""
    return json.dumps(
        {
            "name": _STREAM,
            "subjects": ["$MQTT.msgs.>"],
            "retention": "interest",
            "storage": "file",
            "num_replicas": 1,
            "max_bytes": queue_bytes,
            "discard": "old",
        }
    ).encode()


def _await(answers: IO[bytes], kind: int) -> bytes:
    """Return the body of the next packet of this kind."""
    while True:
        found = _take(answers, 1)[0] & 0xF0
        length = shift = 0
        more = True
        while more:
            byte = _take(answers, 1)[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            more = bool(byte & 0x80)
        body = _take(answers, length)
        if found == kind:
            return body


def _take(answers: IO[bytes], count: int) -> bytes:
    taken = answers.read(count)
    if len(taken) < count:
        raise ConnectionError("the broker closed the connection")
    return taken


def _packet(kind: int, body: bytes) -> bytes:
    length = len(body)
    digits = bytearray()
    while length > 0x7F:  # noqa: PLR2004 - seven bits a byte
        digits.append(length & 0x7F | 0x80)
        length >>= 7
    digits.append(length)
    return bytes((kind,)) + bytes(digits) + body


def _text(text: str) -> bytes:
    raw = text.encode()
    return len(raw).to_bytes(2) + raw
