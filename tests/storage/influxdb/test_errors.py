"""What a server may say of a write, from one that says it on demand."""

import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from hostpulse.bus.codec import Sample
from hostpulse.bus.errors import UsageError
from hostpulse.consumer.storage import StorageError, StorageUnavailableError
from hostpulse.consumer.storage.influxdb import InfluxOptions, InfluxReader, InfluxWriter

START = 1_770_000_000_000
Make = Callable[..., Sample]
NOON = 1_767_268_800.0  # 2026-01-01T12:00:00Z


def writer_to(fake: Any) -> InfluxWriter:
    return InfluxWriter(fake.options, retention=None, rollup_retention=None, wall=lambda: NOON)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 408])
@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": "Thu, 01 Jan 2026 12:00:30 GMT"}, 30.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-5"}, 0.0),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "1e9"}, 3600.0),
    ],
)
def test_what_passes_says_when(
    fake_influx: Any, sample: Make, status: int, header: dict[str, str], seconds: float | None
) -> None:
    fake_influx.answer = lambda _: (status, header, "<html>busy</html>")
    with writer_to(fake_influx) as writer:
        with pytest.raises(StorageUnavailableError, match=f"not ready .{status}: <html>busy") as caught:
            writer.write([sample("cpu", START)])
        assert caught.value.retry_after == seconds
        assert len(fake_influx.bodies) == 1  # the client itself does not try again
        fake_influx.answer = lambda _: (204, {}, "")
        assert writer.write([sample("cpu", START)]).rows == 1


@pytest.mark.parametrize("status", [401, 403, 404, 405, 301])
def test_what_a_person_has_to_mend_is_one_line(fake_influx: Any, sample: Make, status: int) -> None:
    fake_influx.answer = lambda _: (status, {"Location": "http://elsewhere"}, '{"code":"x","message":"no\\nway"}')
    with writer_to(fake_influx) as writer, pytest.raises(StorageError, match=str(status)) as caught:
        writer.write([sample("cpu", START)])
    assert not isinstance(caught.value, StorageUnavailableError)
    assert "\n" not in str(caught.value)
    assert len(fake_influx.bodies) == 1


@pytest.mark.parametrize("status", [500, 400, 422])
@pytest.mark.parametrize("words", ["partial write of line protocol occurred", "unable to parse 'x'"])
def test_a_fault_of_the_data_is_known_whatever_the_status(
    fake_influx: Any, sample: Make, status: int, words: str
) -> None:
    fake_influx.answer = lambda body: (status, {}, words) if b"user_percent=13" in body else (204, {}, "")
    with writer_to(fake_influx) as writer:
        written = writer.write([sample("cpu", START + index, user_percent=float(index)) for index in range(64)])
    assert written.rows == 63
    [rejected] = written.rejected
    assert rejected.index == 13
    assert b"user_percent=13" in rejected.line
    assert words in str(rejected.error)
    assert len(fake_influx.bodies) <= 2 * 7


def test_a_body_that_is_too_large_is_split(fake_influx: Any, sample: Make) -> None:
    fake_influx.answer = lambda body: (413, {}, "too large") if body.count(b"\n") >= 10 else (204, {}, "")
    with writer_to(fake_influx) as writer:
        assert writer.write([sample("cpu", START + index) for index in range(100)]).rows == 100
    stored = [line for body in fake_influx.bodies if 0 < body.count(b"\n") < 10 for line in body.split(b"\n")]
    assert len(stored) == len(set(stored)) == 100


def test_a_line_that_is_too_large_alone_is_rejected(fake_influx: Any, sample: Make) -> None:
    fake_influx.answer = lambda body: (413, {}, "too large") if b"host=big" in body else (204, {}, "")
    with writer_to(fake_influx) as writer:
        written = writer.write([sample("cpu", START, "small"), sample("cpu", START, "big")])
    assert (written.rows, [line.index for line in written.rejected]) == (1, [1])


@pytest.mark.parametrize("status", [400, 422])
def test_what_refuses_everything_is_not_blamed_on_the_lines(fake_influx: Any, sample: Make, status: int) -> None:
    fake_influx.answer = lambda _: (status, {}, "plain HTTP was sent to an HTTPS port")
    with writer_to(fake_influx) as writer, pytest.raises(StorageError, match="refuses whatever"):
        writer.write([sample("cpu", START + index) for index in range(50)])
    assert len(fake_influx.bodies) == 2


def test_nobody_listens() -> None:
    options = InfluxOptions(url="http://127.0.0.1:1", token="t", org="o", bucket="b")
    for opened in (InfluxWriter(options, retention=None, rollup_retention=None), InfluxReader(options)):
        with pytest.raises(StorageUnavailableError, match=r"127\.0\.0\.1:1 cannot be reached .*; start it") as caught:
            opened.open()
        assert "\n" not in str(caught.value)


def test_a_server_that_hangs(fake_influx: Any, sample: Make) -> None:
    done = threading.Event()
    fake_influx.answer = lambda _: (204, {}, "") if done.wait(10) else (500, {}, "")
    options = InfluxOptions(url=fake_influx.options.url, token="t", org="o", bucket="b", timeout=0.3)
    with InfluxWriter(options, retention=None, rollup_retention=None) as writer:
        told = set()
        for _ in range(3):
            with pytest.raises(
                StorageUnavailableError, match=r"does not answer within 0\.3 s; look at its log"
            ) as caught:
                writer.write([sample("cpu", START)])
            told.add(str(caught.value))
        assert len(told) == 1  # what differs is logged again
        done.set()


def test_influxdb_3_says_what_it_is(fake_influx: Any, sample: Make) -> None:
    fake_influx.be_version_3()
    with writer_to(fake_influx) as writer:
        assert (writer.server.build, writer.server.version, writer.prepared) == ("Core", "3.6.0", None)
        assert writer.write([sample("cpu", START)]).rows == 1


def test_what_influxdb_3_left_out_is_told_with_the_reason_of_the_line(fake_influx: Any, sample: Make) -> None:
    """Its answer is taken at its word: all other lines are stored."""
    wrong = "invalid column type for column 'user_percent', expected iox::column_type::field::string"

    def answer(body: bytes) -> tuple[int, dict[str, str], str]:
        bad = [number for number, line in enumerate(body.split(b"\n"), 1) if b"user_percent=13" in line]
        lines = [{"original_line": "cpu,host=a", "line_number": number, "error_message": wrong} for number in bad]
        said = msgspec.json.encode({"error": "partial write of line protocol occurred", "data": lines}).decode()
        return (400, {}, said) if bad else (204, {}, "")

    fake_influx.be_version_3()
    fake_influx.answer = answer
    with writer_to(fake_influx) as writer:
        fake_influx.bodies.clear()
        written = writer.write([sample("cpu", START + index, user_percent=float(index)) for index in range(64)])
    assert written.rows == 63
    [rejected] = written.rejected
    assert rejected.index == 13
    assert str(rejected.error) == f"InfluxDB refuses a line: {wrong}"
    assert len(fake_influx.bodies) == 1


@pytest.mark.parametrize(
    "said",
    [
        "plain HTTP was sent to an HTTPS port",
        "write buffer error: catalog update error: no",
        '{"error":"Adding a new database would exceed limit of 5 databases"}',
        '{"error":"partial write of line protocol occurred","data":[]}',
        '{"error":"partial write of line protocol occurred","data":[{"line_number":65,"error_message":"x"}]}',
        '{"error":"partial write of line protocol occurred","data":[{"line_number":0,"error_message":"x"}]}',
        '{"error":"partial write of line protocol occurred","data":{"line_number":1,"error_message":"x"}}',
    ],
)
def test_what_influxdb_3_does_not_say_of_a_line_is_blamed_on_none(fake_influx: Any, sample: Make, said: str) -> None:
    fake_influx.be_version_3()
    with writer_to(fake_influx) as writer:
        fake_influx.answer = lambda _: (400, {}, said)
        fake_influx.bodies.clear()
        with pytest.raises(StorageError, match=r"refuses \(400: "):
            writer.write([sample("cpu", START + index) for index in range(64)])
    assert len(fake_influx.bodies) == 1


def test_influxdb_3_that_ends_is_asked_again(fake_influx: Any, sample: Make) -> None:
    fake_influx.be_version_3()
    with writer_to(fake_influx) as writer:
        fake_influx.answer = lambda _: (500, {}, "write buffer error: error from wal: wal is shutdown")
        with pytest.raises(StorageUnavailableError, match=r"not ready \(500: .*wal is shutdown"):
            writer.write([sample("cpu", START + index) for index in range(64)])


def test_influxdb_3_behind_what_hides_it_blames_no_line_for_its_end(fake_influx: Any, sample: Make) -> None:
    """A proxy may take the headers away by which it is known; then it is written as InfluxDB 2 is."""
    said = {
        "wal": "write buffer error: error from wal: wal is shutdown",
        "": "write buffer error: incoming write was empty",
    }
    fake_influx.answer = lambda body: (400, {}, said["wal" if body else ""])
    with writer_to(fake_influx) as writer, pytest.raises(StorageError, match=r"refuses \(400: .*wal is shutdown"):
        writer.write([sample("cpu", START + index) for index in range(64)])
    assert len(fake_influx.bodies) == 2


def test_influxdb_3_behind_what_hides_it_leaves_out_bad_lines_only(fake_influx: Any, sample: Make) -> None:
    said = "write buffer error: parsing for line protocol failed"
    fake_influx.answer = lambda body: (400, {}, said) if b"user_percent=13" in body else (204, {}, "")
    with writer_to(fake_influx) as writer:
        written = writer.write([sample("cpu", START + index, user_percent=float(index)) for index in range(64)])
    assert (written.rows, [line.index for line in written.rejected]) == (63, [13])


@pytest.mark.parametrize(
    ("status", "said"), [(413, "max request size (9 bytes) exceeded"), (500, "max request size (9 bytes) exceeded")]
)
def test_influxdb_3_that_takes_smaller_bodies_only(fake_influx: Any, sample: Make, status: int, said: str) -> None:
    fake_influx.be_version_3()
    fake_influx.answer = lambda body: (status, {}, said) if body.count(b"\n") >= 10 else (204, {}, "")
    with writer_to(fake_influx) as writer:
        assert writer.write([sample("cpu", START + index) for index in range(100)]).rows == 100
        fake_influx.answer = lambda body: (status, {}, said) if b"host=big" in body else (204, {}, "")
        written = writer.write([sample("cpu", START, "small"), sample("cpu", START, "big")])
    assert (written.rows, [line.index for line in written.rejected]) == (1, [1])


@pytest.mark.parametrize("status", [400, 422])
def test_a_name_that_influxdb_3_takes_for_no_database(fake_influx: Any, status: int) -> None:
    fake_influx.be_version_3()
    fake_influx.answer = lambda _: (status, {}, '{"error":"invalid character in database"}')
    with pytest.raises(StorageError, match=rf"does not take 'b' as a database \({status}: invalid .*influxdb.bucket"):
        writer_to(fake_influx).open()


def test_a_wrong_token_for_influxdb_3_is_said_at_once(fake_influx: Any) -> None:
    fake_influx.be_version_3()
    options = InfluxOptions(url=fake_influx.options.url, token="wrong", org="o", bucket="b")
    for opened in (InfluxWriter(options, retention=None, rollup_retention=None), InfluxReader(options)):
        with pytest.raises(StorageError, match=r"does not know the token \(401\)"):
            opened.open()


@pytest.mark.parametrize("status", [400, 404, 405])
def test_a_web_server_that_is_no_influxdb(fake_influx: Any, status: int) -> None:
    fake_influx.pong = (status, {}, "<html>\nnothing here</html>")
    for opened in (writer_to(fake_influx), InfluxReader(fake_influx.options)):
        with pytest.raises(StorageError, match=f"no InfluxDB .{status} to /ping: <html> nothing.*set influxdb.url"):
            opened.open()


def test_what_does_not_say_what_it_is_is_written_and_not_read(fake_influx: Any, sample: Make) -> None:
    fake_influx.pong = (204, {}, "")
    with writer_to(fake_influx) as writer:
        assert writer.write([sample("cpu", START)]).rows == 1
    with pytest.raises(StorageError, match=r"no InfluxDB 2 or 3 .it does not say what it is., so it is write only"):
        InfluxReader(fake_influx.options).open()


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "localhost:8086"},
        {"url": "ftp://localhost"},
        {"url": "http://"},
        {"url": "http://[::1"},
        {"url": "http://host:port"},
        {"token": ""},
        {"token": "a\nb"},
        {"token": "ключ"},
        {"org": ""},
        {"bucket": ""},
    ],
)
def test_options_that_make_no_sense(wrong: dict[str, str]) -> None:
    right: dict[str, Any] = {"url": "http://localhost:8086", "token": "t", "org": "o", "bucket": "b"}
    InfluxOptions(**right)
    with pytest.raises(UsageError, match=next(iter(wrong))):
        InfluxOptions(**{**right, **wrong})


def test_a_token_is_not_shown() -> None:
    assert "secret" not in repr(InfluxOptions(url="http://localhost:8086", token="secret", org="o", bucket="b"))


@pytest.mark.parametrize(("raw", "minutes"), [(60, None), (0, None), (3600, 60), (None, 7200), (7200, 3600)])
def test_a_retention_that_makes_no_sense(fake_influx: Any, raw: float | None, minutes: float | None) -> None:
    with pytest.raises(UsageError):
        InfluxWriter(fake_influx.options, retention=raw, rollup_retention=minutes)
