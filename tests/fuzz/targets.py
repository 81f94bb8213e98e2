"""What is fuzzed: each target takes any bytes, and fails only where the product does.

An input of `message` is a topic, a newline and a payload; of `environment` lines of `NAME=value`; of `packets` a byte
that says where the stream is broken in pieces, and the stream. All others are what their reader reads.
"""

import math
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

import msgspec
from line_protocol_parser import LineFormatError, parse_line

from hostpulse.bus.codec import Sample
from hostpulse.bus.errors import HostpulseError, MessageError
from hostpulse.bus.messages import DiskMount
from hostpulse.bus.mqtt.packets import Batch, cut, shorten
from hostpulse.bus.replay import (
    MAXIMUM_REPLAY_MESSAGES,
    decode_replay_request,
    encode_replay_request,
)
from hostpulse.bus.topics import Topics
from hostpulse.cli.lines import LatestFields, line_of
from hostpulse.cli.terminal import clean
from hostpulse.config.errors import SettingsError
from hostpulse.config.load import load
from hostpulse.consumer import letter
from hostpulse.consumer.alerts import Engine, Rule, RulesError, StateError, load_rules, parse_source
from hostpulse.consumer.alerts.cases import Case, CasesError, compare, load_cases, play
from hostpulse.consumer.dead_letter import DeadLetter, DeadLetterFile
from hostpulse.consumer.importing.csv_rows import CsvRows, table_of
from hostpulse.consumer.storage import Maintenance, Written
from hostpulse.consumer.storage.embedded.rows import RowBuilder, TableRows
from hostpulse.consumer.storage.embedded.schema import read_tables, upgrade
from hostpulse.consumer.storage.influxdb.encoder import Encoder
from hostpulse.consumer.store import StoreRole
from hostpulse.publisher.outbox.message import parse
from hostpulse.publisher.outbox.recovery import recover
from hostpulse.publisher.outbox.segment import Segment

from ..alerts.support import EVERY_KIND, START, defaults
from ..alerts.support import sample as sample_of

__all__ = ["CORPUS", "TARGETS"]

CORPUS = Path(__file__).resolve().parents[1] / "corpus"
NOW = 1_780_000_000.0  # 2026-05-28


class BothStores:
    """A `Writer` that does what both stores do, and keeps nothing: rows into a database in memory, and lines."""

    batch_messages = 500

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        upgrade(self._connection)
        self._tables = {
            name: TableRows(self._connection, info, 100) for name, info in read_tables(self._connection).items()
        }
        self._builder = RowBuilder(self._tables)
        self._encoder = Encoder(maximum_entries=100)

    def write(self, samples: Sequence[Sample]) -> Written:
        for sample in samples:
            check_view(sample)
        self._connection.execute("BEGIN")
        self._builder.add(samples)
        for table in self._tables.values():
            taken = table.take()
            if taken.rows:
                self._connection.executemany(taken.insert, taken.rows)
            table.devices.forget()
        self._connection.execute("ROLLBACK")
        lines, _, rejected = self._encoder.encode((samples,))
        for line in lines:
            check_line(line)
        return Written(len(lines), rejected=tuple(rejected))

    def submit(self, pieces: Iterable[Sequence[Sample]]) -> Future[Written]:
        work: Future[Written] = Future()
        work.set_result(self.write([sample for piece in pieces for sample in piece]))
        return work

    def hosts(self, now: float) -> set[str] | None:
        assert now == NOW
        return set()

    def note_host(self, host: str, *, online: bool | None = None, info: str | None = None) -> None:
        assert host
        assert online is not None or info

    def maintain(self, now: float) -> Maintenance:
        raise NotImplementedError(now)

    def open(self) -> Self:
        return self

    def close(self) -> None:
        """There is nothing to close."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def check_line(line: bytes) -> None:
    """See that a line is one, to a parser that is not ours."""
    assert b"\n" not in line
    try:
        parsed = parse_line(line.decode())
    except LineFormatError:
        # That parser takes no number below 1e-300 or so, and InfluxDB does.
        assert b"e-3" in line, line
        return
    assert parsed["tags"]["host"]
    assert parsed["fields"]
    assert all(math.isfinite(value) for value in parsed["fields"].values() if isinstance(value, float))


def check_view(sample: Sample) -> None:
    """See that a message is a line of what `hostpulse up` shows."""
    latest = LatestFields()
    latest.add(sample.fields)
    latest.add(sample.fields)
    line = line_of(sample.envelope.subsystem, latest.values)
    assert clean(line) == line


def check_words(error: HostpulseError, *lines: str) -> None:
    """See that an error says something, and that what a person sees of it are lines that steer no terminal."""
    assert str(error)
    assert all(line.isprintable() for line in lines), lines


_STORES = BothStores()


def store(topic: bytes, payload: bytes) -> None:
    """Give a message to the consumer; what it refuses has to survive the dead-letter file."""
    role = StoreRole(Topics(), _STORES, DeadLetterFile(Path("nowhere")), wall=lambda: NOW)
    faults = role.store(Batch([topic], [payload], set()))
    for fault in faults:
        assert fault.index == 0
        assert str(fault.error)
        kept = letter.kept(DeadLetter(topic, payload, fault.error, fault.row), NOW)
        line = letter.encode(kept)
        assert b"\n" not in line
        assert letter.decode(line) == kept


def message(data: bytes) -> None:
    topic, _, payload = data.partition(b"\n")
    store(topic, payload)


def inventory(data: bytes) -> None:
    store(b"hostpulse/web-1/info", data)


def packets(data: bytes) -> None:
    size, stream = data[0] + 1 if data else 1, data[1:]
    whole, whole_identifiers = Batch([], [], set()), list[bytes]()
    result = cut(stream, whole, whole_identifiers)
    assert 0 <= result.consumed <= len(stream)
    assert len(whole.topics) == len(whole.payloads)
    assert whole.retained <= set(range(len(whole.topics)))
    pieces, identifiers, control, rest = Batch([], [], set()), list[bytes](), list[bytes](), b""
    for begin in range(0, len(stream), size):
        rest += stream[begin : begin + size]
        found = cut(rest, pieces, identifiers)
        control += found.control
        rest = rest[found.consumed :]
        if found.fault:
            assert found.fault == result.fault
            break
    assert (pieces, identifiers, control) == (whole, whole_identifiers, result.control)
    if result.needed > len(stream) - result.consumed > 2**12:
        short = shorten(stream[result.consumed :])
        assert short is None or cut(short, Batch([], [], set()), []).consumed in {0, len(short)}


def replay(data: bytes) -> None:
    try:
        request = decode_replay_request(data)
    except MessageError as error:
        check_words(error)
        return
    assert 1 <= request.last - request.first + 1 <= MAXIMUM_REPLAY_MESSAGES
    again = decode_replay_request(encode_replay_request(request))
    assert (again.subsystem, again.first, again.last) == (request.subsystem, request.first, request.last)


def _load(file: Path | None, environ: Mapping[str, str], directory: Path) -> None:
    try:
        load(
            overrides={},
            config_file=file,
            environ=environ,
            secrets_dir=directory / "none",
            system_file=directory / "no",
        )
    except SettingsError as error:
        check_words(error, *error.problems)


def settings(data: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        file = Path(directory, "config.toml")
        file.write_bytes(data)
        _load(file, {}, Path(directory))


def environment(data: bytes) -> None:
    lines = [line.partition("=") for line in data.decode(errors="surrogateescape").replace("\0", "").split("\n")]
    # Without the prefix nothing is looked at; what names a file would have it read, wherever it lies.
    environ = {
        f"HOSTPULSE_{name}": value for name, _, value in lines if not name.endswith("_FILE") and name != "CONFIG"
    }
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        _load(None, environ, Path(directory))


def csv(data: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        file = Path(directory, "cpu.csv")
        file.write_bytes(data)
        try:
            rows = CsvRows(file, lambda columns: table_of(columns, file))
            for page in rows.pages(0):
                for block in page.blocks:
                    for moment, device, values in block.rows:
                        assert 0 <= moment < 2**53
                        assert device
                        assert len(values) == len(block.numbers) + len(block.texts)
        except HostpulseError as error:
            check_words(error, str(error))


def outbox(data: bytes) -> None:
    directory = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        (directory / f"{1:020}.log").write_bytes(data)
        segments = Segment.find(directory)
        whole = parse(data, last=True)
        read = [record for segment in segments for piece in segment.pieces() for record in piece.records]
        assert read == whole.records
        found = recover(segments)
        assert all(record.number < found.next_number for record in read if not record.is_state)
        assert (directory / f"{1:020}.log").read_bytes() == data[: whole.records_end]
    finally:
        shutil.rmtree(directory)


def dead_letter(data: bytes) -> None:
    found = letter.decode(data)
    if found is None:
        return
    choice = letter.Selection(
        since=0.0, until=1e12, topics=("hostpulse/#", "+/+/cpu"), kinds=("malformed",), reasons=("JSON",)
    )
    choice.has(found)
    assert letter.Selection().has(found)
    assert letter.decode(letter.encode(found)) == found
    assert msgspec.json.decode(letter.encode(found))["bytes"] == found.size


_DEFAULT_RULES = defaults()
_SHORT_STEPS = 200


def rules(data: bytes) -> None:
    text = data.decode(errors="replace")
    try:
        source = parse_source("mine.toml", text)
        found = load_rules([_DEFAULT_RULES, source])
    except RulesError as error:
        check_words(error, *error.problems)
        return
    assert load_rules([_DEFAULT_RULES, parse_source("mine.toml", text)]) == found
    assert load_rules([_DEFAULT_RULES, source, source]) == found
    use(Engine(found), found)


def cases(data: bytes) -> None:
    try:
        file = load_cases("tests.toml", data.decode(errors="replace"))
        found = load_rules([file.own])
    except (CasesError, RulesError) as error:
        check_words(error, *error.problems)
        return
    assert all(_is_short(case) or case.until < 1e11 for case in file.cases)
    for case in file.cases:
        if _is_short(case):
            transitions, troubles = play(case, found)
            compare(case, transitions, troubles)
            assert play(case, found, restart_always=True) == (transitions, troubles)


def _is_short(case: Case) -> bool:
    steps = case.until / min(case.step, 10.0)
    return steps * max(1, len(case.series)) <= _SHORT_STEPS


def alert_state(data: bytes) -> None:
    try:
        engine = Engine(EVERY_KIND, data)
    except StateError as error:
        check_words(error, str(error))
        return
    use(engine, EVERY_KIND)


def use(engine: Engine, found: Sequence[Rule]) -> None:
    """Let time pass for an engine, and see that what it would keep is what it then has again."""
    said = [*engine.tick(START)]
    for number, percent in enumerate((10.0, 99.0, 100.0, 0.0), 1):
        for one in (
            sample_of("cpu", number * 5, utilization_percent=percent, temperature_celsius=percent),
            sample_of("disk", number * 5, mount={"/": DiskMount(used_percent=percent, available_bytes=9, state="ok")}),
            sample_of("publisher", number * 5, dropped_messages=round(percent) << 50),
            sample_of("battery", number * 5, mains=percent < 50, charge_percent=percent),
        ):
            said += engine.take(one, START + number * 5)
        said += engine.tick(START + number * 5)
        kept = engine.dump()
        assert Engine(found, kept).dump() == kept
    engine.status("h2", online=False, received=START + 30)
    said += engine.tick(START + 200)
    said += engine.tick(START + 100)
    said += engine.tick(START + 200_000)
    assert all(one.instance in one.id and one.summary for one in said)
    assert all(one.summary for one in engine.alerts())
    said = engine.forget("h1", START + 200_000)
    assert all(one.summary and not one.told for one in said)


TARGETS: Mapping[str, Callable[[bytes], None]] = MappingProxyType(
    {
        "message": message,
        "inventory": inventory,
        "packets": packets,
        "replay": replay,
        "settings": settings,
        "environment": environment,
        "csv": csv,
        "outbox": outbox,
        "dead_letter": dead_letter,
        "rules": rules,
        "cases": cases,
        "alert_state": alert_state,
    }
)
