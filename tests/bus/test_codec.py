import json
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from hostpulse.bus.codec import MAXIMUM_MESSAGE_BYTES, Envelope, decode, encode, reader
from hostpulse.bus.errors import (
    MalformedError,
    MessageError,
    MessageTooLargeError,
    TimestampError,
    UnknownSubsystemError,
    UsageError,
    WrongTopicError,
    WrongTypeError,
    WrongVersionError,
)
from hostpulse.bus.messages import SUBSYSTEMS, TABLES, Cpu, CpuCore, Disk, DiskDevice, DiskMount, Memory, System
from hostpulse.bus.topics import HostTopic, escape

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
TOPIC = HostTopic("host", "cpu")

_VALUES = {
    int: st.integers(0, 2**63 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    str: st.text(max_size=50),
}


def structs(table):
    """Draw structs of a table's fields, some of them absent."""
    own = SUBSYSTEMS[table.subsystem]
    if table.map is None:
        maps = {
            other.map: st.dictionaries(st.text(min_size=1, max_size=20), structs(other), max_size=3)
            for other in TABLES.values()
            if other.subsystem == table.subsystem and other.map is not None
        }
        return st.fixed_dictionaries({}, optional={**_fields(table), **maps}).map(lambda values: own(**values))
    described: Any = msgspec.inspect.type_info(own)
    information: Any = next(field for field in described.fields if field.name == table.map).type
    while isinstance(information, msgspec.inspect.Metadata):
        information = information.type
    struct = information.value_type.cls
    return st.fixed_dictionaries({}, optional=_fields(table)).map(lambda values: struct(**values))


def _fields(table):
    return {field.name: _VALUES[field.type] for field in table.fields}


SAMPLES = st.sampled_from(list(SUBSYSTEMS)).flatmap(lambda name: st.tuples(st.just(name), structs(TABLES[name])))


def message(fields=None, **changes):
    arguments = {"host": "host", "subsystem": "cpu", "timestamp": NOW.timestamp(), "sequence": 1}
    arguments |= {"session": NOW.timestamp() - 60, "interval": 2.0}
    return encode(Cpu() if fields is None else fields, **(arguments | changes))


def changed(**changes) -> bytes:
    """Return a message with members of its JSON object replaced, by text."""
    values = {name: json.dumps(value) for name, value in json.loads(message()).items()} | changes
    return ("{" + ",".join(f'"{name}":{value}' for name, value in values.items()) + "}").encode()


@given(
    SAMPLES,
    st.text(min_size=1, max_size=60).filter(lambda name: len(escape(name)) <= 255),
    st.integers(1_600_000_000_000, 1_790_000_000_000),
    st.integers(1, 2**63 - 1),
    st.floats(0.001, 1e9),
)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_decode_undoes_encode(sample, host, milliseconds, sequence, interval):
    subsystem, fields = sample
    payload = encode(
        fields,
        host=host,
        subsystem=subsystem,
        timestamp=milliseconds / 1000,
        sequence=sequence,
        session=1_600_000_000,
        interval=interval,
    )
    decoded = decode(HostTopic(escape(host), subsystem), payload, now=NOW)
    envelope = decoded.envelope
    assert decoded.fields == fields
    assert (envelope.host, envelope.subsystem, envelope.sequence) == (host, subsystem, sequence)
    assert envelope.timestamp == datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=milliseconds)
    assert envelope.interval == pytest.approx(interval, rel=1e-9)
    assert json.loads(payload)["v"] == 1


@given(
    st.sampled_from([*SUBSYSTEMS, "no_such", ""]),
    st.one_of(st.binary(max_size=200), st.text(max_size=100).map(str.encode)),
)
def test_any_bytes_are_a_sample_or_a_message_error(subsystem, payload):
    with pytest.raises(MessageError):
        decode(HostTopic("host", subsystem), payload, now=NOW)


_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=6,
)


@given(SAMPLES, st.data())
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_a_mutated_message_is_a_sample_or_a_message_error(sample, data):
    subsystem, fields = sample
    payload = bytearray(message(fields, subsystem=subsystem))
    if data.draw(st.booleans()):
        for _ in range(data.draw(st.integers(1, 4))):
            position = data.draw(st.integers(0, len(payload) - 1))
            payload[position : position + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
            assume(payload)
        mutated = bytes(payload)
    else:
        values = json.loads(payload)
        values[data.draw(st.sampled_from(sorted(values)))] = data.draw(_JSON)
        mutated = json.dumps(values).encode()
    try:
        decoded = decode(HostTopic("host", subsystem), mutated, now=NOW)
    except MessageError:
        pass
    else:
        assert decoded.envelope.host == "host"
        # What was accepted can be sent on: nothing came in that has no place in a message.
        msgspec.json.decode(msgspec.json.encode(decoded.fields))


def read_by_the_book(topic: HostTopic, payload: bytes) -> tuple[Envelope, Any]:
    """Return envelope and fields as another parser has them: members by their names, wherever they stand."""
    values = json.loads(payload)
    struct = SUBSYSTEMS[topic.leaf]
    envelope, fields = (
        {name: value for name, value in values.items() if name in some.__struct_fields__} for some in (Envelope, struct)
    )
    return msgspec.convert(envelope, Envelope), msgspec.convert(fields, struct)


def members(payload: bytes) -> list[str]:
    return [f"{json.dumps(name)}:{json.dumps(value)}" for name, value in json.loads(payload).items()]


_ODD_MEMBERS = st.sampled_from(
    [
        '"invented_later":{"a":[1,2]}',
        '"interval":3',
        '"session":"2026-11-20T00:00:00.000Z"',
        '"host":"host"',
        '"omitted":{"core":2}',
        '"x":{"session":"2026-11-20T00:00:00.000Z","interval":2,"y":1}',
        '"timestamp":"2026-11-20T00:00:00.000Z"',
        '"sequ\\u0065nce":7',
    ]
)


@given(SAMPLES, st.lists(_ODD_MEMBERS, max_size=3), st.data())
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_a_message_means_the_same_in_whatever_order_its_members_stand(sample, odd, data):
    subsystem, fields = sample
    topic = HostTopic("host", subsystem)
    parts = members(message(fields, subsystem=subsystem))
    for member in odd:
        parts.insert(data.draw(st.integers(0, len(parts))), member)
    if data.draw(st.booleans()):
        parts = data.draw(st.permutations(parts))
    space = data.draw(st.sampled_from(["", " ", "\n"]))
    payload = ("{" + f",{space}".join(parts) + space + "}").encode()
    decoded = decode(topic, payload, now=NOW)
    assert (decoded.envelope, decoded.fields) == read_by_the_book(topic, payload)
    # The text of the fields is theirs alone, word for word.
    if decoded.text:
        assert decoded.text[1:] in payload
        assert set(json.loads(decoded.text)) <= set(SUBSYSTEMS[subsystem].__struct_fields__)
        assert msgspec.json.decode(decoded.text, type=SUBSYSTEMS[subsystem]) == fields


@given(SAMPLES)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_what_our_publishers_write_falls_apart_into_envelope_and_fields(sample):
    subsystem, fields = sample
    assume(fields != SUBSYSTEMS[subsystem]())
    payload = message(fields, subsystem=subsystem)
    reader.cache_clear()  # what was understood of other messages of that session
    decoded = decode(HostTopic("host", subsystem), payload, now=NOW)
    assert payload.endswith(b"," + decoded.text[1:])
    assert decoded.text == msgspec.json.encode(fields)


@pytest.mark.parametrize(
    "change", [lambda text: text[:-1] + b",}", lambda text: text[:-1] + b',"}', lambda text: text + b"}"]
)
def test_what_falls_apart_wrongly(change):
    for whole in (message(), message(Cpu(user_percent=1.0))):
        decode(TOPIC, whole, now=NOW)  # so that it is known where messages of this session fall apart
        with pytest.raises(MalformedError):
            decode(TOPIC, change(whole), now=NOW)


def test_a_message_without_fields_has_no_text():
    assert decode(TOPIC, message(), now=NOW).text == b""


def test_a_session_that_cannot_be_is_refused_each_time():
    payload = message(Cpu(user_percent=1.0), session=-1.0)
    for _ in range(3):
        with pytest.raises(TimestampError):
            decode(TOPIC, payload, now=NOW)
        decode(TOPIC, message(Cpu(user_percent=1.0)), now=NOW)


def test_messages_of_sessions_and_intervals_that_take_turns():
    for number in range(1, 5):
        for session, interval in (
            (NOW.timestamp() - 60, 2.0),
            (NOW.timestamp() - 90, 2.0),
            (NOW.timestamp() - 60, 30.0),
        ):
            payload = message(Cpu(user_percent=1.0), session=session, interval=interval, sequence=10**number)
            envelope = decode(TOPIC, payload, now=NOW).envelope
            assert envelope.session.timestamp() == session
            assert (envelope.interval, envelope.sequence) == (interval, 10**number)


def test_a_session_in_which_some_messages_say_more_than_we_know():
    reader.cache_clear()
    plain = message(Cpu(user_percent=1.0))
    more = plain[:-1] + b',"invented_later":{"a":1}}'
    texts = []
    for payload in (plain, more, plain, more, message(Cpu(user_percent=1.0), session=NOW.timestamp() - 30)):
        sample = decode(TOPIC, payload, now=NOW)
        assert sample.fields == Cpu(user_percent=1.0)
        texts.append(sample.text)
    # Once one has said more, the others are not tried to be understood at their seam; in another session they are.
    assert texts == [b'{"user_percent":1.0}', b"", b"", b"", b'{"user_percent":1.0}']


@pytest.fixture
def restless_threads():
    """Have threads take turns as often as the interpreter can."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("restless_threads")
def test_the_reader_of_a_topic_for_several_threads():
    """Each with a session of its own, so that what one has learned of the topic is wrong for the other."""
    read = reader(TOPIC)

    def read_all(session):
        payload = message(Cpu(user_percent=1.0), session=session)
        for _ in range(20_000):
            assert read(payload, NOW).envelope.session.timestamp() == session

    with ThreadPoolExecutor(3) as threads:
        for done in [threads.submit(read_all, NOW.timestamp() - age) for age in (60, 90, 120)]:
            done.result()


def test_the_bound_of_size():
    padding = MAXIMUM_MESSAGE_BYTES - len(message())
    assert decode(TOPIC, message() + b" " * padding, now=NOW).envelope.sequence == 1
    with pytest.raises(MessageTooLargeError, match="131073 bytes, a message has at most 131072"):
        decode(TOPIC, message() + b" " * (padding + 1), now=NOW)


@pytest.mark.parametrize("depth", [500, 5_000, 60_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_depth(depth, opening, closing):
    depth = min(depth, (MAXIMUM_MESSAGE_BYTES - 1000) // len(opening + closing))
    nested = opening * depth + ("1" if opening != "[" else "") + closing * depth
    for name in ("utilization_percent", "core", "unknown", "v"):
        try:
            sample = decode(TOPIC, changed(**{name: nested}), now=NOW)
        except (MalformedError, WrongTypeError):
            continue
        # Passed over as something that is not known: as a field, or as a field of an entry of the map.
        assert name in {"unknown", "core"}
        assert sample.fields in (Cpu(), Cpu(core={"a": CpuCore()}))
    with pytest.raises(MessageError):
        decode(TOPIC, nested.encode(), now=NOW)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "nan"])
def test_numbers_that_are_none(value):
    for name in ("utilization_percent", "interval", "sequence"):
        with pytest.raises((MalformedError, WrongTypeError)):
            decode(TOPIC, changed(**{name: value}), now=NOW)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("utilization_percent", "null"),
        ("utilization_percent", '"12"'),
        ("utilization_percent", "true"),
        ("utilization_percent", "[1]"),
        ("frequency_hertz", "-1"),
        ("frequency_hertz", "1.5"),
        ("frequency_hertz", str(2**63)),
        ("core", "null"),
        ("core", "[]"),
        ("core", '{"0":null}'),
        ("core", '{"":{}}'),
        ("core", '{"' + "k" * 513 + '":{}}'),
        ("v", "null"),
        ("v", '"1"'),
        ("host", "null"),
        ("host", '""'),
        ("host", '"' + "h" * 256 + '"'),
        ("subsystem", "null"),
        ("timestamp", "1773480413"),
        ("timestamp", '"yesterday"'),
        ("timestamp", '"2026-11-21T12:00:00"'),
        ("session", "null"),
        ("sequence", "0"),
        ("sequence", "-1"),
        ("sequence", str(2**63)),
        ("interval", "0"),
        ("interval", "-2"),
        ("interval", "null"),
    ],
)
def test_values_of_a_wrong_type_or_range(name, value):
    with pytest.raises(WrongTypeError):
        decode(TOPIC, changed(**{name: value}), now=NOW)


def test_a_text_that_is_too_long():
    with pytest.raises(WrongTypeError):
        decode(HostTopic("host", "system"), message(System(kernel="k" * 1025), subsystem="system"), now=NOW)


def test_a_map_with_too_many_entries():
    with pytest.raises(WrongTypeError):
        decode(TOPIC, changed(core="{" + ",".join(f'"{number}":{{}}' for number in range(4097)) + "}"), now=NOW)


@pytest.mark.parametrize("name", ["v", "host", "subsystem", "timestamp", "sequence", "session", "interval"])
def test_what_must_be_there(name):
    values = json.loads(message())
    del values[name]
    with pytest.raises(WrongTypeError, match=name):
        decode(TOPIC, json.dumps(values).encode(), now=NOW)


def test_what_is_not_known_is_passed_over():
    sample = decode(TOPIC, changed(invented_later='{"a":[1,2]}', utilization_percent="12.5"), now=NOW)
    assert sample.fields == Cpu(utilization_percent=12.5)


@pytest.mark.parametrize("version", [0, 2, 2**31])
def test_another_version(version):
    with pytest.raises(WrongVersionError, match=f"version {version}, this is version 1"):
        decode(TOPIC, changed(v=str(version)), now=NOW)


def test_another_version_is_named_though_its_fields_differ():
    with pytest.raises(WrongVersionError):
        decode(TOPIC, b'{"v":2,"machine":{"name":"host"},"at":1}', now=NOW)


@pytest.mark.parametrize("topic", [HostTopic("other", "cpu"), HostTopic("host", "memory"), HostTopic("Host", "cpu")])
def test_another_topic(topic):
    with pytest.raises(WrongTopicError, match="on the topic of"):
        decode(topic, message(), now=NOW)


def test_an_unknown_subsystem():
    with pytest.raises(UnknownSubsystemError, match="'weather'"):
        decode(HostTopic("host", "weather"), message(), now=NOW)


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"[]", b"null", b"1", b'"x"', b"{}x", b"\xff\xfe", b'{"host":"\xff"}', b"\0"]
)
def test_what_is_no_message(payload):
    with pytest.raises((MalformedError, WrongTypeError)):
        decode(TOPIC, payload, now=NOW)


@pytest.mark.parametrize(
    "moment",
    [
        "2019-12-31T23:59:59Z",
        "1970-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "2026-11-22T12:00:01Z",
        "9999-12-31T23:59:59Z",
    ],
)
def test_a_moment_that_cannot_be(moment):
    with pytest.raises(TimestampError):
        decode(TOPIC, changed(timestamp=f'"{moment}"'), now=NOW)


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
@pytest.mark.parametrize("name", ["timestamp", "session"])
def test_a_moment_at_the_end_of_time(name, moment):
    with pytest.raises(MessageError):
        decode(TOPIC, changed(**{name: f'"{moment}"'}), now=NOW)


@pytest.mark.parametrize("moment", ["2020-01-01T00:00:00Z", "2026-11-22T12:00:00Z", "2026-11-21T13:00:00+01:00"])
def test_a_moment_that_can_be(moment):
    decode(TOPIC, changed(timestamp=f'"{moment}"'), now=NOW)


def understood(topic: HostTopic, payload: bytes) -> Any:
    """Return the sample; its fields are those of whatever subsystem the test made it of."""
    return decode(topic, payload, now=NOW)


def test_maps_that_do_not_fit_are_cut_and_the_rest_is_counted():
    mounts = {f"/mnt/{number:04}": DiskMount(total_bytes=2**62, device="d" * 200) for number in range(1000)}
    devices = {f"sd{number}": DiskDevice(reads_per_second=1.5) for number in range(10)}
    fields = Disk(read_bytes_per_second=7, mount=mounts, device=devices)
    payload = message(fields, subsystem="disk")
    assert len(payload) <= MAXIMUM_MESSAGE_BYTES
    sample = understood(HostTopic("host", "disk"), payload)
    envelope, decoded = sample.envelope, sample.fields
    assert decoded.device == devices
    assert decoded.read_bytes_per_second == 7
    assert 0 < len(decoded.mount) < 1000
    assert list(decoded.mount) == list(mounts)[: len(decoded.mount)]
    assert envelope.omitted == {"mount": 1000 - len(decoded.mount)}
    assert len(mounts) == 1000, "the sample itself was cut"


@given(st.integers(0, 4096), st.integers(1, 512))
@settings(max_examples=30, deadline=None)
def test_no_message_is_too_large(count, width):
    cores = {str(number).ljust(width, "\0"): CpuCore(utilization_percent=1 / 3) for number in range(count)}
    payload = message(Cpu(core=cores))
    assert len(payload) <= MAXIMUM_MESSAGE_BYTES
    sample = understood(TOPIC, payload)
    envelope, decoded = sample.envelope, sample.fields
    omitted = 0 if envelope.omitted is msgspec.UNSET else envelope.omitted["core"]
    assert len(decoded.core) + omitted == len(cores)


def test_a_message_that_fits_says_nothing_of_cuts():
    assert decode(TOPIC, message(), now=NOW).envelope.omitted is msgspec.UNSET
    assert b"omitted" not in message(Memory(total_bytes=1), subsystem="memory")


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_numbers_that_are_none_never_leave(value):
    payload = message(Cpu(utilization_percent=value))
    expected = value if math.isfinite(value) else msgspec.UNSET
    core = Cpu(utilization_percent=value, core={"0": CpuCore(utilization_percent=value)})
    assert decode(TOPIC, payload, now=NOW).fields == Cpu(utilization_percent=expected)
    decoded = decode(TOPIC, message(core), now=NOW).fields
    assert decoded == Cpu(utilization_percent=expected, core={"0": CpuCore(utilization_percent=expected)})


@pytest.mark.parametrize("host", ["a\udcffb", "\ud800"])
def test_a_host_name_that_is_not_utf_8(host):
    with pytest.raises(UsageError, match="is not UTF-8; set host"):
        message(host=host)


def test_names_of_any_bytes_stay_apart():
    fields = Disk(mount={name: DiskMount(device=name) for name in ("/a\udcff", "/a\udcfe", "/a", "/\ud800")})
    decoded = understood(HostTopic("host", "disk"), message(fields, subsystem="disk")).fields
    assert list(decoded.mount) == ["/a\\xff", "/a\\xfe", "/a", "/\\xed\\xa0\\x80"]
    assert decoded.mount["/a\\xff"].device == "/a\\xff"
