"""Cutting against a plain parser, and against everything that is no MQTT."""

from hypothesis import given
from hypothesis import strategies as st

from hostpulse.bus.mqtt.packets import Batch, Cut, cut, shorten

from .clients import parse_packets

PUBLISH = 3


def length_bytes(length: int) -> bytes:
    encoded = b""
    while True:
        length, digit = divmod(length, 128)
        encoded += bytes((digit | 128 if length else digit,))
        if not length:
            return encoded


def packet(first: int, body: bytes) -> bytes:
    return bytes((first,)) + length_bytes(len(body)) + body


@st.composite
def publishes(draw: st.DrawFn) -> bytes:
    quality, retain, duplicate = draw(st.integers(0, 1)), draw(st.booleans()), draw(st.booleans())
    topic = draw(st.binary(max_size=300))
    identifier = draw(st.binary(min_size=2, max_size=2)) if quality else b""
    payload = draw(st.one_of(st.binary(max_size=40), st.integers(100, 20_000).map(bytes)))
    flags = duplicate << 3 | quality << 1 | retain
    return packet(PUBLISH << 4 | flags, len(topic).to_bytes(2, "big") + topic + identifier + payload)


others = st.builds(packet, st.integers(0, 255).filter(lambda first: first >> 4 != PUBLISH), st.binary(max_size=200))


def expected(stream: bytes) -> tuple[list, list, list, set, list]:
    topics, payloads, identifiers, retained, control = [], [], [], set(), []
    for first, body in parse_packets(stream):
        if first >> 4 != PUBLISH:
            control.append(packet(first, body))
            continue
        size = int.from_bytes(body[:2], "big")
        if first & 1:
            retained.add(len(topics))
        topics.append(body[2 : 2 + size])
        rest = body[2 + size :]
        if first >> 1 & 3:
            identifiers.append(rest[:2])
            rest = rest[2:]
        payloads.append(rest)
    return topics, payloads, identifiers, retained, control


def cut_in_pieces(stream: bytes, ends: list[int]) -> tuple[Cut, Batch, list[bytes], list[bytes]]:
    batch, identifiers, control, rest, start = Batch([], [], set()), [], [], b"", 0
    result = Cut(0, 0, [])
    for end in [*sorted(ends), len(stream)]:
        rest += stream[start:end]
        start = end
        result = cut(rest, batch, identifiers)
        control += result.control
        assert 0 <= result.consumed <= len(rest)
        rest = rest[result.consumed :]
        assert bool(rest) == (result.needed > len(rest) or bool(result.fault))
        if result.fault:
            break
    return result, batch, identifiers, control


@given(st.data())
def test_cut_finds_what_a_plain_parser_finds(data):
    stream = b"".join(data.draw(st.lists(st.one_of(publishes(), others), max_size=12)))
    whole = stream[: data.draw(st.integers(0, len(stream)))] if data.draw(st.booleans()) else stream
    ends = data.draw(st.lists(st.integers(0, len(whole)), max_size=20))
    result, batch, identifiers, control = cut_in_pieces(whole, ends)
    assert not result.fault
    assert (batch.topics, batch.payloads, identifiers, batch.retained, control) == expected(whole)


@given(publishes(), publishes())
def test_cut_at_every_byte(first, second):
    stream = first[:600] if len(first) > 600 else first + second[:200]
    batch, identifiers = Batch([], [], set()), []
    result = cut(stream, batch, identifiers)
    in_bytes, other, other_identifiers, _ = cut_in_pieces(stream, list(range(len(stream))))
    assert (batch, identifiers, result.needed) == (other, other_identifiers, in_bytes.needed)


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=10))
def test_any_bytes_are_cut_or_refused_alike_however_they_come(stream, ends):
    ends = [min(end, len(stream)) for end in ends]
    result, batch, identifiers, control = cut_in_pieces(stream, ends)
    at_once, other, other_identifiers, other_control = cut_in_pieces(stream, [])
    assert (batch, identifiers, control) == (other, other_identifiers, other_control)
    assert result.fault == at_once.fault
    assert len(batch.topics) == len(batch.payloads)


@given(st.binary(min_size=4, max_size=4), st.integers(0, 255), st.binary(max_size=20))
def test_a_length_of_five_bytes_is_a_fault(digits, first, rest):
    stream = bytes((first, *(digit | 128 for digit in digits))) + rest
    result, batch, _, control = cut_in_pieces(stream, list(range(len(stream))))
    assert "more than four bytes" in result.fault
    assert (batch.topics, control) == ([], [])


def test_the_largest_length_is_known_and_nothing_is_waited_for():
    assert cut(b"\x32\xff\xff\xff\x7f", Batch([], [], set()), []) == Cut(0, 268_435_455 + 5, [])


def test_packets_without_a_body():
    assert cut(b"\xd0\x00" * 3, Batch([], [], set()), []) == Cut(6, 0, [b"\xd0\x00"] * 3)


def test_a_publish_that_is_too_short_is_a_fault_and_what_came_before_counts():
    good = packet(0x32, b"\0\1t\0\7payload")
    for first in (0x30, 0x32, 0x33, 0x3A):
        for body in (b"", b"\0", b"\0\5abc", b"\xff\xff") + ((b"\0\1t\0", b"\0\1t") if first & 6 else ()):
            batch, identifiers = Batch([], [], set()), []
            result = cut(good + packet(first, body) + good, batch, identifiers)
            assert "shorter than its topic" in result.fault
            assert result.consumed == len(good)
            assert (batch.topics, batch.payloads, identifiers) == ([b"t"], [b"payload"], [b"\0\7"])


def test_a_quality_that_was_not_asked_for_is_a_fault():
    for first in (0x34, 0x36):
        assert cut(packet(first, b"\0\1t\0\7"), Batch([], [], set()), []).fault


@given(publishes(), st.integers(0, 30_000))
def test_shorten_keeps_topic_and_identifier(publish, kept):
    before, after = (Batch([], [], set()), []), (Batch([], [], set()), [])
    cut(publish, *before)
    topic = before[0].topics[0]
    begin = publish[: max(kept, len(topic) + 10)]
    short = shorten(begin)
    assert short is not None
    result = cut(short, *after)
    assert (result.fault, result.consumed) == ("", len(short))
    assert (after[0].topics, after[0].retained, after[1]) == ([topic], before[0].retained, before[1])
    assert before[0].payloads[0].startswith(after[0].payloads[0])


def test_shorten_leaves_other_packets():
    assert shorten(packet(0x90, bytes(2_000))[:1000]) is None
