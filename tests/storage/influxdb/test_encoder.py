import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from line_protocol_parser import parse_line
from msgspec import UNSET

from hostpulse.bus import messages
from hostpulse.bus.codec import Sample, decode, encode
from hostpulse.bus.fields import Field, Kind, Table, Unit
from hostpulse.bus.messages import SUBSYSTEMS, TABLES, Cpu, CpuCore, DiskMount
from hostpulse.bus.topics import HostTopic
from hostpulse.consumer.storage import UnstorableError
from hostpulse.consumer.storage.influxdb.encoder import Encoder
from hostpulse.consumer.storage.influxdb.line_protocol import field_name, tag_value, text_value

START = 1_770_000_000_000
SESSION = 1_767_225_600_000
Make = Callable[..., Sample]

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
VALUES = {
    float: st.floats(
        allow_nan=False, allow_infinity=False, allow_subnormal=False
    ),  # the parser takes no subnormal ones
    int: st.integers(0, 2**53),
    bool: st.booleans(),
    str: TEXT,
}
NAMES = st.one_of(st.sampled_from(["a", "/", "/var/my lib", "a,b=c d", '"', "\\x", "☃"]), TEXT.filter(bool))


def fields_of(table: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={field.name: VALUES[field.type] for field in TABLES[table].fields})


@st.composite
def messages_of_any_kind(draw: st.DrawFn) -> tuple[str, str, dict[str, Any], dict[str, dict[str, dict[str, Any]]]]:
    subsystem = draw(st.sampled_from(sorted(SUBSYSTEMS)))
    maps = {
        table.map: draw(st.dictionaries(NAMES, fields_of(table.name), max_size=3))
        for table in TABLES.values()
        if table.subsystem == subsystem and table.map and draw(st.booleans())
    }
    return subsystem, draw(NAMES), draw(fields_of(subsystem)), maps


def refused(text: str) -> bool:
    return text.endswith("\\") or any(pair in text for pair in ("\\,", "\\=", "\\ "))


def structs(subsystem: str, maps: dict[str, dict[str, dict[str, Any]]]) -> dict[str, Any]:
    return {
        name: {key: getattr(messages, subsystem.capitalize() + name.capitalize())(**entry) for key, entry in it.items()}
        for name, it in maps.items()
    }


@pytest.mark.parametrize("with_text", [True, False])
@given(batch=st.lists(messages_of_any_kind(), max_size=12))
def test_an_independent_parser_reads_what_was_written(batch: list[Any], sample: Make, *, with_text: bool) -> None:
    expected: list[tuple[int, str, dict[str, str], dict[str, Any]]] = []
    rejected: list[int] = []
    samples = []
    for index, (subsystem, host, own, maps) in enumerate(batch):
        made = sample(subsystem, START + index, host, index + 1, **own, **structs(subsystem, maps))
        samples.append(made if with_text else Sample(made.envelope, made.fields))
        context = {"session": SESSION, "interval": 2.0, "sequence": index + 1}
        if refused(host):
            rejected.append(index)
        else:
            expected.append((index, subsystem, {"host": host}, {**own, **context}))
        for name, entries in maps.items():
            table = TABLES[f"{subsystem}_{name}"]
            for key, entry in entries.items():
                if refused(host) or refused(key):
                    rejected.append(index)
                else:
                    expected.append((index, table.name, {"host": host, table.key or "": key}, entry or {"present": 1}))
    encoded = Encoder().encode([samples])
    assert sorted(line.index for line in encoded.rejected) == rejected
    found = []
    for owner, line in zip(encoded.owners, encoded.lines, strict=True):
        parsed = parse_line(line.decode())
        assert parsed["time"] == START + owner
        assert all(type(value) in {float, str} for value in parsed["fields"].values())
        found.append((owner, parsed["measurement"], parsed["tags"], parsed["fields"]))
    order = lambda row: (row[0], row[1], sorted(row[2].items()))  # noqa: E731
    assert sorted(found, key=order) == sorted(expected, key=order)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("a\\", "backslash"),
        ("a\\ b", "backslash"),
        ("a\\,b", "backslash"),
        ("a\\=b", "backslash"),
        ("a\nb", "control"),
        ("\x00", "control"),
        ("\x85", "control"),
        ("\udcff", "Unicode"),
        ("x" * 65_536, "65536 bytes"),
    ],
)
def test_what_no_tag_can_say(text: str, reason: str) -> None:
    with pytest.raises(UnstorableError, match=reason) as caught:
        tag_value(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_backslashes_that_a_line_can_have() -> None:
    assert tag_value("a\\b") == b"a\\b"
    assert text_value("a\\ b\\") == b'"a\\\\ b\\\\"'


@pytest.mark.parametrize("name", ["time", "_field", "_measurement", "a b", "", "9", "a=b", "_x"])
def test_names_that_no_field_can_have(name: str) -> None:
    with pytest.raises(UnstorableError):
        field_name(name)
    table = Table("cpu", "cpu", None, None, (Field(name, float, Unit.NONE, Kind.GAUGE, ""),), "")
    with pytest.raises(UnstorableError):
        Encoder({"cpu": table})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_rejects_its_row_alone(value: float, sample: Make) -> None:
    first = [
        sample("cpu", START, user_percent=1.0),
        sample("cpu", START + 1, user_percent=value, core={"0": CpuCore(utilization_percent=2.0)}),
    ]
    cores = {"0": CpuCore(utilization_percent=value), "1": CpuCore(frequency_hertz=3)}
    encoded = Encoder().encode([[*first, sample("cpu", START + 2, core=cores)]])
    assert [(line.index, line.error.kind) for line in encoded.rejected] == [(1, "unstorable"), (2, "unstorable")]
    assert encoded.owners == [0, 2, 1, 2]
    assert [line.partition(b",")[0] for line in encoded.lines] == [b"cpu", b"cpu", b"cpu_core", b"cpu_core"]


@pytest.mark.parametrize(
    "members",
    [
        '"user_percent":1E5',
        '"user_percent":1e+5',
        '"user_percent": 12.50',
        '"user_percent"\t:1',
        '"user_percent":1,\n"steal_percent":2',
        '"user_percent":1,\r"steal_percent":2',
        '"user\\u005fpercent":1',
        '"user_percent":-0',
        '"user_percent":0.1000000000000000055511151231257827',
        '"user_percent":123456789012345678901234567890',
        '"frequency_hertz":1,"user_percent":2',
        '"core":{},"user_percent":2',
        '"user_percent":1,"core":{"0":{"utilization_percent":3}}',
    ],
)
def test_fields_in_any_spelling_are_the_numbers_that_they_mean(members: str, sample: Make) -> None:
    """Some of them JSON only has; one among plain ones must not spoil these."""
    plain = sample("cpu", START, user_percent=0.5)
    head = encode(Cpu(), host="alpha", subsystem="cpu", timestamp=START / 1000, sequence=7, session=0, interval=2)
    odd = f"{head[:-1].decode()},{members}}}".replace("1970-01-01", "2026-01-01").encode()
    came = decode(HostTopic("alpha", "cpu"), odd, now=datetime.fromtimestamp(START / 1000, UTC))
    encoded = Encoder().encode([[plain, came, plain]])
    assert encoded.rejected == []
    found = [parse_line(line.decode())["fields"] for line in encoded.lines if line.startswith(b"cpu,")]
    values = {name: getattr(came.fields, name) for name in came.fields.__struct_fields__ if name != "core"}
    known = {name: float(value) for name, value in values.items() if value is not UNSET}
    assert found[1] == {"session": SESSION, "interval": 2.0, "sequence": 7.0} | known
    assert found[0] == found[2] == {"session": SESSION, "interval": 2.0, "sequence": 1.0, "user_percent": 0.5}


def test_one_bad_entry_leaves_the_others(sample: Make) -> None:
    mounts = {"/": DiskMount(used_bytes=1), "/a\n": DiskMount(used_bytes=2), "/b": DiskMount(state="o\tk")}
    encoded = Encoder().encode(
        [[sample("disk", START, mount=mounts), sample("disk", START + 1, mount={"/c": DiskMount()})]]
    )
    assert [(line.index, line.line) for line in encoded.rejected] == [
        (0, b"disk_mount,alpha,/a\n"),
        (0, b"disk_mount,alpha,/b"),
    ]
    assert encoded.owners == [0, 1, 0, 1]
    assert list(encoded.lines)[2:] == [
        b"disk_mount,host=alpha,mount=/ used_bytes=1 1770000000000",
        b"disk_mount,host=alpha,mount=/c present=1 1770000000001",
    ]


def test_a_host_of_another_session_has_that_session(sample: Make) -> None:
    first, second = sample("cpu", START, sequence=8), sample("cpu", START + 1, sequence=1)
    second.envelope.session = second.envelope.timestamp
    lines = Encoder().encode([[first, second], [first]]).lines
    sessions = [parse_line(line.decode())["fields"]["session"] for line in lines]
    assert sessions == [SESSION, START + 1, SESSION]


def test_pieces_of_a_batch_are_counted_on(sample: Make) -> None:
    good, bad = sample("cpu", START, user_percent=1.0), sample("cpu", START, user_percent=math.inf)
    mount = sample("disk", START, mount={"/": DiskMount(used_bytes=1)})
    encoded = Encoder().encode([[good, bad], [mount], [], [good, bad]])
    assert [line.index for line in encoded.rejected] == [1, 4]
    assert encoded.owners == [0, 2, 2, 3]
    assert len(encoded.lines) == 4


def test_more_devices_than_are_remembered(sample: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hostpulse.consumer.storage.influxdb.plans._REMEMBERED", 3)
    encoder = Encoder()
    for _ in range(2):
        lines = encoder.encode([[sample("cpu", START, f"host {number}", 1) for number in range(10)]]).lines
        assert [parse_line(line.decode())["tags"]["host"] for line in lines] == [
            f"host {number}" for number in range(10)
        ]
    assert len(encoder._plans["cpu"][0].heads) <= 3
