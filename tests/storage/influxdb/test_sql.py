"""Queries in SQL, from a server that says on demand what a real one says seldom."""

from itertools import pairwise
from typing import Any

import pytest
from influxdb_client.rest import ApiException

from hostpulse.consumer.storage import LatestQuery, RowQuery, StorageError, StorageUnavailableError
from hostpulse.consumer.storage.influxdb import InfluxReader
from hostpulse.consumer.storage.influxdb.sql import Sql, in_parts

COLUMNS = ",".join(f'{{"table_name":"cpu","column_name":"{name}"}}' for name in ("host", "time", "user_percent"))
TOO_MANY = "query error: External error: Query would exceed file limit of 432 parquet files. Please specify a smaller"
ALL = RowQuery(table="cpu", start=0, end=10**10, fields=("user_percent",))


def too_many_files(status: int = 500) -> ApiException:
    error = ApiException(status=status)
    error.body = TOO_MANY
    return error


def test_values_are_parameters() -> None:
    sql = Sql()
    text = sql.where(1000, 2000, sql.is_any("host", ["a", "'; DROP"]), sql.is_any("core", None), "x IS NOT NULL")
    assert text == (
        "WHERE time >= to_timestamp_millis(1000) AND time < to_timestamp_millis(2000)"
        ' AND "host" IN ($parameter_0, $parameter_1) AND x IS NOT NULL'
    )
    assert sql.parameters == {"parameter_0": "a", "parameter_1": "'; DROP"}


@pytest.mark.parametrize("most", [1, 3, 100, 1000, 5000])
def test_parts_are_all_of_the_range_the_newest_first(most: int) -> None:
    def ask(start: int, end: int) -> tuple[int, int]:
        if end - start > most:
            raise too_many_files()
        return start, end

    parts = in_parts(0, 1000, ask)
    assert (parts[0][1], parts[-1][0]) == (1000, 0)
    assert all(newer[0] == older[1] for newer, older in pairwise(parts))
    assert len(parts) <= max(1, 4000 // most)


def test_what_has_another_reason_or_no_parts_left_is_an_error() -> None:
    asked = []

    def ask(start: int, end: int) -> None:
        asked.append((start, end))
        raise too_many_files() if len(asked) < 100 else ApiException(status=500)

    with pytest.raises(ApiException):
        in_parts(0, 4, ask)
    assert asked == [(0, 4), (2, 4), (3, 4)]
    asked[:] = [(0, 0)] * 100
    with pytest.raises(ApiException):
        in_parts(0, 4, ask)
    assert len(asked) == 101


@pytest.mark.parametrize("answer", ['[{"moment":1,"host":"a"},', '[{"moment":1,"host"', "", "{}", "query error: none"])
def test_an_answer_that_is_not_whole_is_seen(fake_influx: Any, answer: str) -> None:
    fake_influx.be_version_3()
    fake_influx.found = lambda _: (200, {}, answer)
    with pytest.raises(StorageUnavailableError, match=r"gave an answer that cannot be read .*; ask again") as caught:
        InfluxReader(fake_influx.options).open()
    assert "\n" not in str(caught.value)


def test_queries_name_the_database_and_their_values(fake_influx: Any) -> None:
    fake_influx.be_version_3()
    asked: list[dict[str, Any]] = []

    def found(query: dict[str, Any]) -> tuple[int, dict[str, str], str]:
        asked.append(query)
        return 200, {}, f"[{COLUMNS}]" if "information_schema" in query["q"] else "[]"

    fake_influx.found = found
    with InfluxReader(fake_influx.options) as reader:
        assert reader.latest(LatestQuery(table="cpu", since=0, hosts=("'; DROP",))) == []
        assert list(reader.rows(ALL)) == []
    assert {query["db"] for query in asked} == {"b"}
    assert {query["format"] for query in asked} == {"json"}
    assert not any("DROP" in query["q"] for query in asked)
    assert any("'; DROP" in query["params"].values() for query in asked)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, "", r"does not know the token \(401\)"),
        (404, '{"error":"query error: database not found: b"}', r"has no bucket 'b'.*database not found"),
        (500, "query error: error while planning query", r"not ready \(500: query error"),
    ],
)
def test_what_keeps_it_from_reading_is_one_line(fake_influx: Any, status: int, body: str, said: str) -> None:
    fake_influx.be_version_3()
    fake_influx.found = lambda _: (status, {}, body)
    with pytest.raises(StorageError, match=said) as caught:
        InfluxReader(fake_influx.options).open()
    assert "\n" not in str(caught.value)
