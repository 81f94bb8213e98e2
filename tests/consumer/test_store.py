"""The role `store`: what may be acknowledged, what is set aside, what is left alone."""

import base64
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostpulse.bus.codec import MAXIMUM_MESSAGE_BYTES
from hostpulse.bus.inventory import Inventory, Processor
from hostpulse.bus.messages import Event
from hostpulse.bus.mqtt import Batch
from hostpulse.bus.topics import Topics
from hostpulse.consumer.dead_letter import DeadLetterFile
from hostpulse.consumer.storage import (
    Maintenance,
    RejectedLine,
    StorageError,
    StorageUnavailableError,
    TooManyDevicesError,
    UnstorableError,
    Written,
)
from hostpulse.consumer.storage.embedded import EmbeddedReader, EmbeddedWriter
from hostpulse.consumer.store import StoreRole

from .conftest import NOW, Clock, FakeWriter, message

MakeBatch = Callable[..., Batch]

CPU = "hostpulse/web-1/cpu"
STATUS = "hostpulse/web-1/status"
INFO = "hostpulse/web-1/info"


def inventory(host: str = "web-1", **changes: Any) -> bytes:
    return msgspec.json.encode(
        Inventory(
            v=1,
            host=host,
            timestamp="2026-05-28T20:00:00.000Z",
            session="2026-05-28T19:00:00.000Z",
            versions={},
            intervals={},
            processor=Processor(),
            drives={},
            interfaces={},
            **changes,
        )
    )


def letters(dead_letters: DeadLetterFile) -> list[dict[str, Any]]:
    if not dead_letters.path.exists():
        return []
    return [json.loads(line) for line in dead_letters.path.read_text().splitlines()]


def test_samples_are_stored_in_one_batch(
    role: StoreRole, writer: FakeWriter, batch: MakeBatch, dead_letters: DeadLetterFile
) -> None:
    role.take(batch(*((CPU, message(sequence=number, load_average_1m=number)) for number in range(1, 4))))
    assert [sample.envelope.sequence for sample in writer.samples] == [1, 2, 3]
    assert writer.samples[2].fields.load_average_1m == 3  # type: ignore[attr-defined]
    assert letters(dead_letters) == []


UNUSABLE = [
    (CPU, b"", "malformed"),
    (CPU, b"{", "malformed"),
    (CPU, b"\xff\xfe", "malformed"),
    (CPU, b'{"x":' + b"[" * 100_000, "malformed"),
    (CPU, b"null", "wrong_type"),
    (CPU, message().replace(b'"sequence":1', b'"sequence":0'), "wrong_type"),
    (CPU, message().replace(b'"v":1', b'"v":2'), "wrong_version"),
    (CPU, message(age=-2 * 86400), "timestamp"),
    (CPU, message() + b" " * MAXIMUM_MESSAGE_BYTES, "too_large"),
    (CPU, message(host="web-2"), "wrong_topic"),
    (CPU, message("memory"), "wrong_topic"),
    ("hostpulse/web_x2D1/cpu", message(), "wrong_topic"),
    ("hostpulse/web-1/nonsense", message(), "unknown_subsystem"),
    ("other/web-1/cpu", message(), "wrong_topic"),
    ("hostpulse//cpu", message(), "wrong_topic"),
    ("hostpulse/a/b/c", message(), "wrong_topic"),
    (b"hostpulse/\xff/cpu", message(), "wrong_topic"),
    (b"hostpulse/\xff/status", b"online", "wrong_topic"),
    (STATUS, b"on", "malformed"),
    (STATUS, b"\xff", "malformed"),
    ("hostpulse/web_x2D1/status", b"offline", "wrong_topic"),  # web-1, spelled in another way
    ("hostpulse/w" + "x" * 300 + "/status", b"online", "wrong_topic"),
    (INFO, b"{}", "wrong_type"),
    (INFO, b"{", "malformed"),
    (INFO, b'{"x":' + b"[" * 100_000, "malformed"),
    (INFO, inventory().replace(b'"drives"', b'"x":"\xff","drives"'), "malformed"),
    (INFO, inventory(kernel="x" * MAXIMUM_MESSAGE_BYTES), "too_large"),
    (INFO, inventory("web-2"), "wrong_topic"),
]


def test_a_batch_of_many_pieces_is_one(
    role: StoreRole, writer: FakeWriter, batch: MakeBatch, dead_letters: DeadLetterFile
) -> None:
    pairs = [(CPU, message(sequence=number)) for number in range(1, 1001)]
    broken = (0, 399, 400, 801, 999)
    for index in broken:
        pairs[index] = (CPU, b"%d" % index)
    rejected = (600, 998)
    stored = [index for index in range(1000) if index not in broken]
    writer.written = Written(
        993, rejected=tuple(RejectedLine(stored.index(index), b"cpu", UnstorableError("no")) for index in rejected)
    )
    role.take(batch(*pairs))
    assert [sample.envelope.sequence for sample in writer.samples] == [index + 1 for index in stored]
    kept = [base64.b64decode(letter["payload"]) for letter in letters(dead_letters)]
    assert kept == [pairs[index][1] for index in sorted((*broken, *rejected))]


@pytest.mark.parametrize(("topic", "payload", "kind"), UNUSABLE)
def test_what_cannot_be_used_is_set_aside_and_the_rest_is_stored(
    topic: str | bytes,
    payload: bytes,
    kind: str,
    *,
    role: StoreRole,
    writer: FakeWriter,
    batch: MakeBatch,
    dead_letters: DeadLetterFile,
) -> None:
    role.take(batch((CPU, message(sequence=1)), (topic, payload), (CPU, message(sequence=2))))
    assert [sample.envelope.sequence for sample in writer.samples] == [1, 2]
    assert writer.notes == []
    (letter,) = letters(dead_letters)
    assert letter["kind"] == kind
    assert letter["reason"]
    assert letter["bytes"] == len(payload)
    assert letter["topic"] == (topic if isinstance(topic, str) else topic.decode(errors="replace"))
    assert dead_letters.counts == {kind: 1}


@pytest.mark.parametrize("error", [StorageError("broken"), StorageUnavailableError("full"), RuntimeError("bug")])
def test_an_error_of_the_store_keeps_the_batch_from_being_acknowledged(
    error: Exception, *, role: StoreRole, writer: FakeWriter, batch: MakeBatch, dead_letters: DeadLetterFile
) -> None:
    given_batch = batch((CPU, message()), (CPU, b"{"), (STATUS, b"online"))
    writer.write_error = error
    with pytest.raises(type(error), match=str(error)):
        role.take(given_batch)
    assert letters(dead_letters) == []  # else it would be in there once for each attempt
    writer.write_error, writer.note_error = None, error
    with pytest.raises(type(error), match=str(error)):
        role.take(given_batch)
    assert letters(dead_letters) == []
    writer.note_error = None
    role.take(given_batch)
    assert len(letters(dead_letters)) == 1
    assert writer.notes == [("web-1", True, None)]


def test_a_dead_letter_file_that_cannot_be_written_keeps_it_too(
    role: StoreRole, batch: MakeBatch, dead_letters: DeadLetterFile
) -> None:
    dead_letters.path.mkdir()
    with pytest.raises(OSError, match="directory"):
        role.take(batch((CPU, b"{")))
    assert dead_letters.counts == {}


def test_events_are_stored_like_samples_unless_the_broker_kept_them(
    role: StoreRole, writer: FakeWriter, batch: MakeBatch, dead_letters: DeadLetterFile
) -> None:
    topic = "hostpulse/web-1/event"
    event = message("event", kind="fired", level="critical", told=True)
    role.take(batch((topic, event), (topic, b"{"), (topic, event), retained=(2,)))
    [stored] = writer.samples
    assert stored.fields == Event(kind="fired", level="critical", told=True)
    assert [letter["kind"] for letter in letters(dead_letters)] == ["malformed"]


def test_retained_samples_and_other_talk_are_ignored(
    role: StoreRole, writer: FakeWriter, batch: MakeBatch, dead_letters: DeadLetterFile
) -> None:
    role.take(
        batch(
            (CPU, message()),
            ("hostpulse/web-1/nonsense", b"{"),
            ("hostpulse/web-1/check", b"{"),
            ("hostpulse/web-1/replay", b"{"),
            (STATUS, b"online"),
            retained=(0, 1, 4),
        )
    )
    assert writer.samples == []
    assert writer.notes == [("web-1", True, None)]
    assert letters(dead_letters) == []


def test_status_and_inventory_are_noted_the_last_of_each(
    role: StoreRole, writer: FakeWriter, batch: MakeBatch, dead_letters: DeadLetterFile
) -> None:
    role.take(
        batch(
            (STATUS, b"online"),
            (STATUS, b"offline"),
            (INFO, inventory(kernel="6.1")),
            ("hostpulse/Z_C3_BC/status", b"online"),
            ("hostpulse/Z_xC3_xBC/status", b"online"),
            ("hostpulse/gone/status", b""),  # a retained message that was cleared
            ("hostpulse/gone/info", b""),
        )
    )
    assert ("web-1", False, None) in writer.notes
    assert ("web-1", None, inventory(kernel="6.1").decode()) in writer.notes
    assert ("Zü", True, None) in writer.notes
    assert ("Z_C3_BC", True, None) in writer.notes
    assert len(writer.notes) == 4
    assert letters(dead_letters) == []


@pytest.mark.parametrize("start", ["yesterday", "2026-05-28T20:00:00", "0001-01-01T00:00:00+23:00"])
def test_an_inventory_with_a_start_that_is_no_moment(
    start: str, role: StoreRole, writer: FakeWriter, batch: MakeBatch, dead_letters: DeadLetterFile
) -> None:
    role.take(batch((INFO, inventory(earlier_sessions={start: {"cpu": 3}}))))
    assert writer.notes == []
    assert len(letters(dead_letters)) == 1


def test_a_table_that_is_full_is_said_once_and_stops_nothing(
    role: StoreRole, writer: FakeWriter, batch: MakeBatch, caplog: pytest.LogCaptureFixture
) -> None:
    full = TooManyDevicesError(table="disk_mount", rows=3, host="web-1", key="/x", limit=4096)
    writer.written = Written(1, (full,))
    writer.note_error = TooManyDevicesError(table="_host", rows=1, host="web-1", key=None, limit=4096)
    for _ in range(3):
        role.take(batch((CPU, message()), (STATUS, b"online")))
    assert [record.getMessage().partition(" holds")[0] for record in caplog.records] == [
        "table disk_mount",
        "table _host",
    ]


def test_unusable_messages_are_said_once_a_minute(
    role: StoreRole, batch: MakeBatch, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    role.take(batch((CPU, b"{")))
    role.take(batch((CPU, b"{"), (b"hostpulse/\xff\x1b[2J/cpu", b"{")))
    assert len(caplog.records) == 1
    assert caplog.records[0].getMessage().startswith("1 unusable message, kept in ")
    clock.seconds += 61
    role.take(batch((CPU, message())))
    assert len(caplog.records) == 1
    role.take(batch((b"hostpulse/\xff\x1b[2J/cpu", b"{")))
    text = caplog.records[1].getMessage()
    assert text.startswith("3 unusable messages, kept in ")
    assert "\x1b" not in text
    assert "�" not in text


def test_upkeep_goes_on_while_there_is_more_but_not_for_long(
    role: StoreRole, writer: FakeWriter, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    slices = 3

    def maintain(_now: float) -> Maintenance:
        nonlocal slices
        slices -= 1
        clock.seconds += 0.1
        return Maintenance(0, 5000, more=slices > 0)

    monkeypatch.setattr(writer, "maintain", maintain)
    role.idle()
    assert slices == 0
    slices = 1000
    role.idle()
    assert slices == 997


def test_a_consumer_that_ends_says_what_it_has_not_said_yet(
    role: StoreRole, batch: MakeBatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    for _ in range(3):
        role.take(batch((CPU, b"{")))
    assert len(caplog.records) == 1
    role.close()
    assert caplog.records[1].getMessage().startswith("2 unusable messages, kept in ")
    role.close()
    assert len(caplog.records) == 2


def test_upkeep_that_fails_is_said_once_and_stops_nothing(
    role: StoreRole, writer: FakeWriter, caplog: pytest.LogCaptureFixture
) -> None:
    role.idle()
    assert writer.maintained == [NOW]
    writer.maintain_error = StorageUnavailableError("the disk is full")
    role.idle()
    role.idle()
    assert len(caplog.records) == 1
    assert caplog.records[0].levelno == logging.WARNING
    writer.maintain_error = None
    role.idle()
    writer.maintain_error = StorageUnavailableError("the disk is full")
    role.idle()
    assert len(caplog.records) == 2


# What comes from the bus is not to be trusted: whatever it is, the real store takes it or it is set aside.

TEXT = st.text(st.characters(), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
KEYS = [
    *("host", "subsystem", "timestamp", "sequence", "session", "interval", "omitted", "v", "core", "mount"),
    *("load_average_1m", "frequency_hertz", "kernel", "processes", "uptime_seconds"),
]
VALUES = JSON | st.sampled_from(
    ["web-1", "2026-05-28T20:00:00.000Z", "0001-01-01T00:00:00+23:59", 2**63 - 1, 2**64, 1e308, {"/": {}}, {"": {}}]
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    host=st.sampled_from(["web-1", "web_x2D1", "\ud800", "_xFF", "a\x00b"]) | TEXT.filter(lambda text: "/" not in text),
    leaf=st.sampled_from(["cpu", "system", "disk", "status", "info"]),
    changes=st.dictionaries(st.sampled_from(KEYS) | TEXT, VALUES, max_size=4),
    garbage=st.binary(max_size=3),
)
def test_nothing_stops_the_real_store(
    tmp_path: Path, host: str, leaf: str, changes: dict[str, Any], garbage: bytes
) -> None:
    base = json.loads(message() if leaf != "info" else inventory()) | {"subsystem": leaf, "host": host}
    payload = json.dumps(base | changes).encode() + garbage  # with NaN, lone surrogates and all that
    topic = f"hostpulse/{host}/{leaf}".encode("utf-8", "surrogatepass")
    path = tmp_path / "history.db"
    dead_letters = DeadLetterFile(tmp_path / "dead-letter.jsonl", maximum_bytes=100_000)
    with EmbeddedWriter(path, retention=None, rollup_retention=None) as writer:
        role = StoreRole(Topics(), writer, dead_letters, wall=lambda: NOW)
        role.take(Batch([topic, CPU.encode()], [payload, message()], set()))
    with EmbeddedReader(path) as reader:
        assert "web-1" in [known.name for known in reader.hosts()]


def test_a_row_that_can_never_be_stored_is_a_dead_letter_and_the_rest_is_acknowledged(
    role: StoreRole, writer: FakeWriter, dead_letters: DeadLetterFile, batch: Callable[..., Batch]
) -> None:
    writer.written = Written(1, rejected=(RejectedLine(1, b"disk_mount,host=b ...", UnstorableError("no such tag")),))
    role.take(
        batch(
            ("hostpulse/a/cpu", message(host="a")), ("hostpulse/b c/cpu", b"{"), ("hostpulse/b/cpu", message(host="b"))
        )
    )
    letters = [json.loads(line) for line in dead_letters.path.read_text().splitlines()]
    assert [(one["topic"], one["kind"]) for one in letters] == [
        ("hostpulse/b c/cpu", "malformed"),
        ("hostpulse/b/cpu", "unstorable"),
    ]
    assert base64.b64decode(letters[1]["payload"]) == message(host="b")  # so that it can be tried again
    assert letters[1]["row"] == "disk_mount,host=b ..."
    assert "row" not in letters[0]


def test_a_host_that_can_never_be_noted_is_a_dead_letter(
    role: StoreRole, writer: FakeWriter, dead_letters: DeadLetterFile, batch: Callable[..., Batch]
) -> None:
    writer.note_error = UnstorableError("no such host")
    role.take(batch(("hostpulse/a/status", b"online")))
    (line,) = dead_letters.path.read_text().splitlines()
    assert (json.loads(line)["topic"], json.loads(line)["kind"]) == ("hostpulse/a/status", "unstorable")
    assert base64.b64decode(json.loads(line)["payload"]) == b"online"


def test_rows_of_one_message_are_one_dead_letter(
    role: StoreRole, writer: FakeWriter, dead_letters: DeadLetterFile, batch: Callable[..., Batch]
) -> None:
    rows = [(1, b"first"), (1, b"second"), (0, b"alone"), (1, b"third")]
    writer.written = Written(
        1, rejected=tuple(RejectedLine(index, row, UnstorableError(f"no {row.decode()}")) for index, row in rows)
    )
    role.take(batch((CPU, message(sequence=1)), (CPU, b"{"), (CPU, message(sequence=2))))
    found = [(one["reason"], one.get("row"), base64.b64decode(one["payload"])) for one in letters(dead_letters)]
    assert [one[:2] for one in found[:1] + found[2:]] == [
        ("no alone", "alone"),
        ("no first (and 2 more of its rows)", "first"),
    ]
    assert [payload for *_, payload in found] == [message(sequence=1), b"{", message(sequence=2)]
