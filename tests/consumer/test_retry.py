"""Dead letters that are given to real stores again: what is stored leaves the file, the rest stays, nothing is lost."""

import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from influxdb_client.client.write_api import SYNCHRONOUS

from hostpulse.bus.errors import WrongVersionError
from hostpulse.bus.mqtt import Batch
from hostpulse.bus.topics import Topics
from hostpulse.consumer.dead_letter import DeadLetter, DeadLetterFile
from hostpulse.consumer.handover import Handover, retry_or_hand_over
from hostpulse.consumer.letter import Selection
from hostpulse.consumer.retry import Retried, retry
from hostpulse.consumer.storage import Reader, RowQuery, StorageError, StorageUnavailableError
from hostpulse.consumer.storage.embedded import EmbeddedReader, EmbeddedWriter
from hostpulse.consumer.storage.influxdb import InfluxOptions, InfluxReader, InfluxWriter
from hostpulse.consumer.store import StoreRole

from ..influxdb import InfluxServer
from .conftest import NOW, FakeWriter, message

MakeBatch = Callable[..., Batch]

CPU = b"hostpulse/web-1/cpu"
ALL = Selection()


def unversioned(payload: bytes, topic: bytes = CPU) -> DeadLetter:
    """A good message that an older consumer did not understand."""
    return DeadLetter(topic, payload, WrongVersionError("version 1, this is version 0"))


def sequences(reader: Reader) -> list[int]:
    """The load_average_1m of the cpu rows, where these tests put a number."""
    query = RowQuery(table="cpu", start=0, end=10**10, fields=("load_average_1m",))
    return [int(row[2]) for rows in reader.rows(query) for row in rows if isinstance(row[2], float)]


def numbered(number: int) -> bytes:
    return message(sequence=number, age=10_000 - number, load_average_1m=float(number))


@pytest.fixture
def embedded(tmp_path: Path) -> EmbeddedWriter:
    return EmbeddedWriter(tmp_path / "history.db", retention=None, rollup_retention=None)


@pytest.fixture
def embedded_role(embedded: EmbeddedWriter, dead_letters: DeadLetterFile) -> Iterator[StoreRole]:
    yield StoreRole(Topics(), embedded, dead_letters, wall=lambda: NOW)
    embedded.close()


@pytest.fixture
def bucket(influx_server: InfluxServer) -> Iterator[InfluxOptions]:
    options = influx_server.options(f"retry-{uuid.uuid4()}")
    yield options
    influx_server.forget(options)


def reasons(dead_letters: DeadLetterFile) -> list[tuple[str, str]]:
    return [(letter.kind, letter.reason) for _, letter in dead_letters.entries() if letter]


def test_what_is_stored_leaves_and_what_fails_stays_with_its_new_reason(
    embedded_role: StoreRole, dead_letters: DeadLetterFile, tmp_path: Path
) -> None:
    dead_letters.keep([unversioned(numbered(1)), unversioned(b"{"), unversioned(numbered(2))])
    before = list(dead_letters.entries())
    assert retry(dead_letters, embedded_role, ALL, wall=lambda: NOW) == Retried(stored=2, failed=1)
    [(_, letter)] = dead_letters.entries()
    assert letter
    assert before[1].letter
    assert (letter.kind, letter.time, letter.payload) == ("malformed", before[1].letter.time, b"{")
    assert "truncated" in letter.reason
    assert letter.retried == "2026-05-28T20:00:00.000Z"
    with EmbeddedReader(tmp_path / "history.db") as reader:
        assert sequences(reader) == [1, 2]
    assert retry(dead_letters, embedded_role, ALL) == Retried(failed=1)


def test_only_what_is_chosen_is_tried(embedded_role: StoreRole, dead_letters: DeadLetterFile, tmp_path: Path) -> None:
    other = message(host="web-2", load_average_1m=3.0)
    dead_letters.keep([unversioned(numbered(1)), unversioned(other, b"hostpulse/web-2/cpu")])
    assert retry(dead_letters, embedded_role, Selection(topics=("hostpulse/web-2/#",))) == Retried(stored=1)
    with EmbeddedReader(tmp_path / "history.db") as reader:
        assert sequences(reader) == [3]
    assert len(reasons(dead_letters)) == 1


def test_what_came_from_the_future_is_taken_when_its_time_has_come(
    embedded: EmbeddedWriter, dead_letters: DeadLetterFile, batch: MakeBatch, tmp_path: Path
) -> None:
    moment = NOW
    role = StoreRole(Topics(), embedded, dead_letters, wall=lambda: moment)
    role.take(batch((CPU, message(age=-3 * 86400, load_average_1m=1.0))))
    assert retry(dead_letters, role, ALL) == Retried(failed=1)
    assert [kind for kind, _ in reasons(dead_letters)] == ["timestamp"]
    moment += 3 * 86400
    assert retry(dead_letters, role, ALL) == Retried(stored=1)
    embedded.close()
    with EmbeddedReader(tmp_path / "history.db") as reader:
        assert sequences(reader) == [1]


def test_an_old_status_never_replaces_a_newer_one(
    role: StoreRole, writer: FakeWriter, dead_letters: DeadLetterFile
) -> None:
    dead_letters.keep([unversioned(b"offline", b"hostpulse/web-1/status"), unversioned(b"", b"hostpulse/web-1/info")])
    assert retry(dead_letters, role, ALL) == Retried(notes=2)
    assert writer.notes == []
    assert len(reasons(dead_letters)) == 2


def test_a_message_of_which_only_the_begin_was_kept_is_left(
    role: StoreRole, writer: FakeWriter, dead_letters: DeadLetterFile
) -> None:
    dead_letters.keep([unversioned(message() + b" " * 300_000)])
    before = list(dead_letters.entries())
    assert retry(dead_letters, role, ALL) == Retried(cut=1)
    assert writer.samples == []
    assert list(dead_letters.entries()) == before


def test_a_store_that_fails_half_way_keeps_the_rest_in_the_file(
    role: StoreRole, writer: FakeWriter, dead_letters: DeadLetterFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead_letters.keep(unversioned(message(sequence=number)) for number in range(1, 1201))
    write = writer.write

    def fail_after_the_first(samples: list[object]) -> object:
        if writer.samples:
            raise StorageUnavailableError("the disk is full")
        return write(samples)  # type: ignore[arg-type]

    monkeypatch.setattr(writer, "write", fail_after_the_first)
    with pytest.raises(StorageUnavailableError, match="the disk is full"):
        retry(dead_letters, role, ALL)
    stored = [sample.envelope.sequence for sample in writer.samples]
    left = [
        int(letter.payload.split(b'"sequence":')[1].split(b",")[0]) for _, letter in dead_letters.entries() if letter
    ]
    assert stored
    assert left
    assert stored + left == list(range(1, 1201))


def test_a_row_that_influxdb_refused_is_stored_once_the_fault_is_mended(
    bucket: InfluxOptions, influx_server: InfluxServer, dead_letters: DeadLetterFile, batch: MakeBatch
) -> None:
    """Another program has written a field of ours as text into the bucket; so another bucket is chosen."""
    with InfluxWriter(bucket, retention=None, rollup_retention=None) as writer:
        role = StoreRole(Topics(), writer, dead_letters, wall=lambda: NOW)
        with influx_server.client() as client:
            client.write_api(write_options=SYNCHRONOUS).write(
                bucket.bucket, bucket.org, f'cpu,host=web-1 load_average_1m="x" {int(NOW * 1e9)}'
            )
        taking = role.take(batch((CPU, message(load_average_1m=7.0, core={}))))
        assert taking is not None
        taking.finish()
        [(kind, reason)] = reasons(dead_letters)
        assert kind == "unstorable"
        assert "load_average_1m" in reason
        [(_, letter)] = dead_letters.entries()
        assert letter
        assert str(letter.row).startswith("cpu,host=web-1 ")
        assert retry(dead_letters, role, ALL) == Retried(failed=1)
        other = InfluxOptions(url=bucket.url, token=bucket.token, org=bucket.org, bucket=f"{bucket.bucket}-mended")
        try:
            with InfluxWriter(other, retention=None, rollup_retention=None) as mended:
                assert retry(dead_letters, StoreRole(Topics(), mended, dead_letters, wall=lambda: NOW), ALL).stored == 1
                with InfluxReader(other) as reader:
                    assert sequences(reader) == [7]
        finally:
            influx_server.forget(other)
    assert reasons(dead_letters) == []


RETRIER = """
import sys
from pathlib import Path
from hostpulse.bus.topics import Topics
from hostpulse.consumer import retry as module
from hostpulse.consumer.dead_letter import DeadLetterFile
from hostpulse.consumer.letter import Selection
from hostpulse.consumer.storage.embedded import EmbeddedWriter
from hostpulse.consumer.store import StoreRole
module._BATCH_MESSAGES = 5
directory = Path(sys.argv[1])
writer = EmbeddedWriter(directory / "history.db", retention=None, rollup_retention=None)
class Told(StoreRole):
    def store(self, batch):
        faults = super().store(batch)
        print(len(batch.topics), flush=True)
        return faults
letters = DeadLetterFile(directory / "dead-letter.jsonl")
print(module.retry(letters, Told(Topics(), writer, letters, wall=lambda: float(sys.argv[2])), Selection()), flush=True)
"""


@pytest.mark.parametrize("batches", [1, 3, 20])
def test_kill_9_in_the_middle_loses_nothing_and_doubles_nothing(
    dead_letters: DeadLetterFile, tmp_path: Path, batches: int
) -> None:
    dead_letters.keep(unversioned(numbered(number)) for number in range(1, 101))
    with subprocess.Popen(
        [sys.executable, "-c", RETRIER, str(tmp_path), str(NOW)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        for _ in range(batches):
            assert process.stdout.readline() == "5\n"
        process.send_signal(signal.SIGKILL)
    left = [
        int(letter.payload.split(b'"sequence":')[1].split(b",")[0]) for _, letter in dead_letters.entries() if letter
    ]
    with EmbeddedReader(tmp_path / "history.db") as reader:
        stored = sequences(reader)
        assert len(stored) >= 5 * batches
        assert set(stored) | set(left) == set(range(1, 101))
        again = subprocess.run(
            [sys.executable, "-c", RETRIER, str(tmp_path), str(NOW)], capture_output=True, text=True, check=True
        )
        assert again.stdout.endswith(f"{len(left)} stored\n")
        assert sequences(reader) == list(range(1, 101))
    assert reasons(dead_letters) == []


# By the consumer that runs


def hand_over(dead_letters: DeadLetterFile, path: Path, role: StoreRole, patience: float = 60) -> Retried:
    writer = EmbeddedWriter(path, retention=None, rollup_retention=None)
    return retry_or_hand_over(dead_letters, role, writer, ALL, may_hand_over=True, patience=patience)


def test_the_writer_that_has_the_store_does_it(
    embedded: EmbeddedWriter, dead_letters: DeadLetterFile, role: StoreRole, tmp_path: Path
) -> None:
    dead_letters.keep([unversioned(numbered(1)), unversioned(b"{")])
    ended = threading.Event()

    def consume() -> None:
        with EmbeddedWriter(tmp_path / "history.db", retention=None, rollup_retention=None) as writer:
            ready.set()
            own = StoreRole(Topics(), writer, dead_letters, wall=lambda: NOW)
            while not ended.wait(0.05):
                Handover(tmp_path).serve(lambda selection: retry(dead_letters, own, selection))

    ready = threading.Event()
    consumer = threading.Thread(target=consume)
    consumer.start()
    try:
        assert ready.wait(90)
        assert hand_over(dead_letters, tmp_path / "history.db", role) == Retried(stored=1, failed=1)
    finally:
        ended.set()
        consumer.join()
    assert not (tmp_path / "dead-letter-retry.json").exists()
    with EmbeddedReader(tmp_path / "history.db") as reader:
        assert sequences(reader) == [1]
    embedded.close()


def test_a_writer_that_does_not_answer_is_said_and_the_request_is_taken_back(
    embedded: EmbeddedWriter, dead_letters: DeadLetterFile, role: StoreRole, tmp_path: Path
) -> None:
    dead_letters.keep([unversioned(numbered(1))])
    with (
        embedded,
        pytest.raises(StorageError, match=r"another hostpulse writes to .* \(it was asked .* and did not answer\)"),
    ):
        hand_over(dead_letters, tmp_path / "history.db", role, patience=0.3)
    assert not (tmp_path / "dead-letter-retry.json").exists()
    assert len(reasons(dead_letters)) == 1


def test_a_writer_that_ends_meanwhile_leaves_it_to_the_command(
    embedded: EmbeddedWriter, dead_letters: DeadLetterFile, tmp_path: Path
) -> None:
    dead_letters.keep([unversioned(numbered(1))])
    own = EmbeddedWriter(tmp_path / "history.db", retention=None, rollup_retention=None)
    embedded.open()
    done = retry_or_hand_over(
        dead_letters,
        StoreRole(Topics(), own, dead_letters, wall=lambda: NOW),
        own,
        ALL,
        may_hand_over=True,
        sleep=lambda _: embedded.close(),
    )
    assert done == Retried(stored=1)
    assert not (tmp_path / "dead-letter-retry.json").exists()


def test_a_consumer_that_could_not_do_it_says_why(tmp_path: Path) -> None:
    handover = Handover(tmp_path)

    def fail(_: Selection) -> Retried:
        raise StorageUnavailableError("the disk is full")

    handover.serve(fail)  # nobody asked
    asked = handover.ask(ALL)
    assert handover.answer(asked) is None
    handover.serve(fail)
    with pytest.raises(StorageError, match="could not do it: the disk is full"):
        handover.answer(asked)
    assert handover.answer("another") is None
    handover.serve(fail)  # an answer is no request
    handover.withdraw()
    handover.withdraw()
    assert handover.answer(asked) is None


def test_a_request_that_cannot_be_read_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    handover = Handover(tmp_path)
    handover.path.write_bytes(b"{")
    for _ in range(3):
        handover.serve(lambda _: Retried())
    assert [record.getMessage().split(" (")[0] for record in caplog.records] == [f"{handover.path} cannot be read"]
