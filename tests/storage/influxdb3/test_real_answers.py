"""What a real InfluxDB 3 Core answers, as the writer relies on it."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
import urllib3

from hostpulse.consumer.storage.influxdb import InfluxOptions

from ...influxdb3 import Influx3Server, OwnInflux3Server

MOMENT = 1_770_000_000_000
OLD, OWN = "/api/v2/write?bucket=%s&precision=ms", "/api/v3/write_lp?db=%s&precision=millisecond"
CONFLICT = (
    "invalid column type for column 'f', expected iox::column_type::field::float, got iox::column_type::field::string"
)
Write = Callable[..., tuple[int, Any]]


@pytest.fixture
def database(influx3_server: Influx3Server) -> Iterator[InfluxOptions]:
    with influx3_server.database() as options:
        yield options


def writer(options: InfluxOptions) -> Write:
    """Return a function that sends lines to an endpoint and returns status and answer."""

    def write(path: str, *lines: str, database: str = options.bucket, authorization: str = "") -> tuple[int, Any]:
        headers = {"Authorization": authorization or f"Token {options.token}"}
        body = "\n".join(lines).encode()
        with urllib3.PoolManager(retries=False) as http:
            answer = http.request("POST", f"{options.url}{path % database}", body=body, headers=headers, timeout=90)
        text = answer.data.decode()
        return answer.status, msgspec.json.decode(text) if text.startswith("{") else text

    return write


@pytest.fixture
def write(database: InfluxOptions) -> Write:
    return writer(database)


@pytest.fixture
def stored(influx3_server: Influx3Server, database: InfluxOptions) -> Callable[[], list[float]]:
    return lambda: [row["f"] for row in influx3_server.rows(database.bucket, "SELECT f FROM m ORDER BY time")]


def test_it_says_what_it_is(influx3_server: Influx3Server) -> None:
    headers = {"Authorization": f"Bearer {influx3_server.token}"}
    with urllib3.PoolManager(retries=False) as http:
        answer = http.request("GET", f"{influx3_server.url}/ping", headers=headers, timeout=90)
        unknown = http.request("GET", f"{influx3_server.url}/ping", timeout=90)
    assert answer.status == 200
    assert answer.headers["X-Influxdb-Build"] == "Core"
    assert answer.headers["X-Influxdb-Version"].startswith("3.")
    assert (unknown.status, unknown.data) == (401, b"")


BAD = [
    (f'm f="text" {MOMENT}', CONFLICT),
    (f"m f=NaN {MOMENT}", "No fields were provided"),
    (f"m f= {MOMENT}", "No fields were provided"),
    (f"m,host= f=1 {MOMENT}", "Tag Set Malformed"),
    (f"m,host=a\\ f=1 {MOMENT}", "No fields were provided"),
    (f"m,time=a f=1 {MOMENT}", "invalid column type for column 'time'"),
    (f"m,host=a time=1 {MOMENT}", "invalid column type for column 'time'"),
    (f"m,f=a f=1 {MOMENT}", "invalid column type for column 'f'"),
]


@pytest.mark.parametrize(("bad", "said"), BAD)
def test_its_own_endpoint_stores_the_good_lines_and_names_the_others(
    write: Write, stored: Any, bad: str, said: str
) -> None:
    assert write(OWN, f"m f=1 {MOMENT}") == (204, "")
    status, answer = write(OWN, f"m f=2 {MOMENT + 1}", bad, f"m f=3 {MOMENT + 2}", bad)
    assert (status, answer["error"]) == (400, "partial write of line protocol occurred")
    assert [line["line_number"] for line in answer["data"]] == [2, 4]
    assert all(line["error_message"].startswith(said) for line in answer["data"])
    assert stored() == [1, 2, 3]


@pytest.mark.parametrize("bad", [bad for bad, _ in BAD])
def test_that_of_version_2_stores_none_of_them(write: Write, stored: Any, bad: str) -> None:
    assert write(OLD, f"m f=1 {MOMENT}") == (204, "")
    status, answer = write(OLD, f"m f=2 {MOMENT + 1}", bad, f"m f=3 {MOMENT + 2}")
    assert (status, answer["code"]) == (400, "invalid")
    assert answer["message"].startswith(
        ("write buffer error: parsing for line protocol failed", "write buffer error: line protocol parse failed: ")
    )
    assert stored() == [1]


def test_nothing_is_refused_and_makes_the_database(
    write: Write, influx3_server: Influx3Server, database: InfluxOptions
) -> None:
    assert database.bucket not in influx3_server.databases()
    status, answer = write(OWN, "")
    assert (status, "incoming write was empty" in answer) == (400, True)
    assert database.bucket in influx3_server.databases()


def test_the_same_point_again_is_one_and_the_last_counts(write: Write, stored: Any) -> None:
    for line in ("m,host=a,key=b f=1 %d", "m,key=b,host=a f=1 %d", "m,host=a,key=b f=2 %d"):
        assert write(OWN, line % MOMENT) == (204, "")
    assert stored() == [2]


@pytest.mark.parametrize("name", ["my bucket", "_name", "näme", "a/b/c", "n" * 65])
def test_names_that_are_none(write: Write, name: str) -> None:
    assert write(OWN, f"m f=1 {MOMENT}", database=name)[0] == 400


@pytest.mark.parametrize(
    ("authorization", "status"), [("Token wrong", 401), ("Bearer wrong", 401), ("Token two words", 400)]
)
@pytest.mark.parametrize("path", [OLD, OWN])
def test_tokens_that_are_none(write: Write, path: str, authorization: str, status: int) -> None:
    assert write(path, f"m f=1 {MOMENT}", authorization=authorization)[0] == status


def test_a_token_may_be_called_a_bearer_s(write: Write, database: InfluxOptions) -> None:
    for path in (OLD, OWN):
        assert write(path, f"m f=1 {MOMENT}", authorization=f"Bearer {database.token}") == (204, "")


def test_a_body_that_is_too_large(make_influx3_server: Callable[..., OwnInflux3Server]) -> None:
    write = writer(make_influx3_server("--max-http-request-size", "2000").options("d"))
    lines = [f"m f=1 {MOMENT + index}" for index in range(200)]
    status, answer = write(OLD, *lines)
    assert (status, answer["message"]) == (413, "max request size (2000 bytes) exceeded")
    status, answer = write(OWN, *lines)
    assert status in {413, 500}  # as newer and older versions have it
    assert answer == "max request size (2000 bytes) exceeded"
