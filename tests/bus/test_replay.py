from datetime import UTC, datetime
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostpulse.bus.errors import (
    MalformedError,
    MessageError,
    MessageTooLargeError,
    WrongTypeError,
    WrongVersionError,
)
from hostpulse.bus.replay import (
    MAXIMUM_REPLAY_MESSAGES,
    MAXIMUM_REQUEST_BYTES,
    ReplayRequest,
    decode_replay_request,
    encode_replay_request,
)
from hostpulse.bus.schema import asyncapi_document
from hostpulse.bus.times import to_milliseconds

GOOD: dict[str, Any] = {"v": 1, "session": "2026-11-21T12:00:00.123Z", "subsystem": "cpu", "from": 3, "to": 7}
YEAR_2262 = 9_214_646_400_000


def of(**changes: Any) -> bytes:
    return msgspec.json.encode(GOOD | changes)


@given(
    st.integers(1_577_836_800_000, YEAR_2262),
    st.sampled_from(["cpu", "disk", "my_own2"]),
    st.integers(1, 2**62),
    st.integers(1, MAXIMUM_REPLAY_MESSAGES),
)
def test_what_is_encoded_is_decoded(milliseconds: int, subsystem: str, first: int, count: int) -> None:
    seconds, rest = divmod(milliseconds, 1000)
    session = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest * 1000)
    request = ReplayRequest(session=session, subsystem=subsystem, first=first, last=first + count - 1)
    payload = encode_replay_request(request)
    assert len(payload) < MAXIMUM_REQUEST_BYTES
    found = decode_replay_request(payload)
    assert found == request
    assert to_milliseconds(found.session) == milliseconds


def test_it_looks_as_documented() -> None:
    request = decode_replay_request(of())
    assert (request.subsystem, request.first, request.last) == ("cpu", 3, 7)
    assert msgspec.json.decode(encode_replay_request(request)) == GOOD
    document = asyncapi_document()
    schema = {"$ref": "#/components/schemas/ReplayRequest", "components": document["components"]}
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(GOOD)
    assert not validator.is_valid(GOOD | {"from": 0})
    assert document["operations"]["receive_replay"]["action"] == "receive"
    assert document["channels"]["replay"]["address"] == "hostpulse/{host}/replay"


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b"", MalformedError),
        (b"\xff\xfe", MalformedError),
        (b'{"v":1,', MalformedError),
        (b"[" * 1000, WrongTypeError),
        (b" " * 1025, MessageTooLargeError),
        (of(v=2), WrongVersionError),
        (of(v="1"), WrongTypeError),
        (of(session="2026-11-21T12:00:00"), WrongTypeError),  # which time zone?
        (of(session=5), WrongTypeError),
        (of(subsystem=""), WrongTypeError),
        (of(subsystem="a/b"), WrongTypeError),
        (of(subsystem="x" * 65), WrongTypeError),
        (of(**{"from": 0}), WrongTypeError),
        (of(to=2), WrongTypeError),
        (of(to=2**63), WrongTypeError),
        (of(to=3 + MAXIMUM_REPLAY_MESSAGES), WrongTypeError),
        (of(to=7.5), WrongTypeError),
        (b'{"v":1}', WrongTypeError),
    ],
)
def test_what_is_no_request_is_refused(payload: bytes, error: type[MessageError]) -> None:
    with pytest.raises(MessageError) as caught:
        decode_replay_request(payload)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=200))
def test_whatever_else_comes_is_refused(payload: bytes) -> None:
    with pytest.raises(MessageError):
        decode_replay_request(payload)
