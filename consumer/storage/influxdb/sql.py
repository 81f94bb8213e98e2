"""Queries of InfluxDB 3, in SQL: text of ours, names of the contract in quotes, values of others as parameters only.

A query that would open more files than the server lets it is asked for again in two halves of its time. InfluxDB 3 Core
writes a file for each table and ten minutes and never joins them, so this is so wherever a range has more than days.
"""

from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.rest import ApiException

from ..errors import StorageUnavailableError
from .connection import message_of

__all__ = ["MOMENT", "Catalog", "Found", "Sql", "in_parts", "quoted"]

_PATH = "/api/v3/query_sql"
_HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}
_TOO_MANY_FILES = "would exceed file limit"

MOMENT = "CAST(time AS BIGINT) / 1000000"
"""The time of a row, milliseconds since the epoch."""

Found = dict[str, Any]
"""A row of an answer by the names of its columns; what is null is absent."""

_decode = msgspec.json.Decoder(list[Found]).decode
_Result = TypeVar("_Result")


class Sql:
    """A query that grows, with its parameters.

    Attributes:
        parameters: values by their names.
    """

    def __init__(self) -> None:
        self.parameters: dict[str, str] = {}

    def where(self, start: int, end: int, *conditions: str) -> str:
        """Return the clause that chooses the rows of a range.

        Args:
            start: milliseconds since the epoch, included.
            end: milliseconds since the epoch, not included.
            conditions: all of which have to hold; an empty one holds.
        """
        bounds = f"time >= to_timestamp_millis({start:d})", f"time < to_timestamp_millis({end:d})"
        return f"WHERE {' AND '.join([*bounds, *filter(None, conditions)])}"

    def is_any(self, column: str, values: Iterable[str] | None) -> str:
        """Return the condition that a column has one of some values; empty if it may have any.

        Args:
            column: a name of the contract.
            values: one at least; None for any.
        """
        if values is None:
            return ""
        return f"{quoted(column)} IN ({', '.join(map(self._bind, values))})"

    def ask(self, client: InfluxDBClient, database: str, text: str) -> list[Found]:
        """Return the rows of an answer, which comes as one JSON array: one that was cut off is none.

        Args:
            client: whose token is used.
            database: its name.
            text: the query.

        Raises:
            ApiException: the query cannot be answered.
            StorageUnavailableError: the answer is not whole.
        """
        query = {"db": database, "q": text, "format": "json", "params": self.parameters}
        api: Any = client.api_client
        answer = api.call_api(
            _PATH,
            "POST",
            header_params=dict(_HEADERS),
            body=query,
            _preload_content=False,
            _return_http_data_only=True,
        )
        try:
            return _decode(answer.data)
        except msgspec.MsgspecError as error:
            raise StorageUnavailableError(
                f"InfluxDB gave an answer that cannot be read ({error}); ask again"
            ) from error

    def _bind(self, value: str) -> str:
        name = f"parameter_{len(self.parameters)}"
        self.parameters[name] = value
        return f"${name}"


class Catalog:
    """What tables and columns there are.

    Args:
        client: whose token is used.
    """

    def __init__(self, client: InfluxDBClient) -> None:
        self._client = client
        self._known: dict[tuple[str, str], set[str]] = {}

    def columns(self, database: str, table: str, *, wanted: Iterable[str]) -> set[str]:
        """Return the columns of a table; none where it is not there.

        They only become more, so what is known already is asked for again only where one is missing that is wanted.
        """
        known = self._known.get((database, table), set())
        if not known or not known.issuperset(wanted):
            known = self._known[database, table] = self.tables(database, table).get(table, set())
        return known

    def tables(self, database: str, table: str | None = None) -> dict[str, set[str]]:
        """Return the columns of all tables, or of one, by name; nothing where the database is not there."""
        sql = Sql()
        chosen = "" if table is None else f" AND {sql.is_any('table_name', [table])}"
        text = f"SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'iox'{chosen}"  # noqa: S608 - a parameter
        found: dict[str, set[str]] = {}
        try:
            for row in sql.ask(self._client, database, text):
                found.setdefault(row["table_name"], set()).add(row["column_name"])
        except ApiException as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
        return found

    def forget(self) -> None:
        """Ask for everything anew."""
        self._known.clear()


def in_parts(start: int, end: int, ask: Callable[[int, int], _Result]) -> Sequence[_Result]:
    """Return the answers for a range of time: one, or one for each of its parts, the newest first.

    Args:
        start: milliseconds since the epoch, included.
        end: milliseconds since the epoch, not included.
        ask: is given such a range.

    Raises:
        ApiException: a part cannot be answered.
    """
    answers: list[_Result] = []
    waiting = [(start, end)]
    while waiting:
        first, last = waiting.pop()
        try:
            answers.append(ask(first, last))
        except ApiException as error:
            if last - first <= 1 or _TOO_MANY_FILES not in message_of(error):
                raise
            middle = (first + last) // 2
            waiting += (first, middle), (middle, last)
    return answers


def quoted(name: str) -> str:
    """Return a name of the contract as it stands in a query."""
    return f'"{name}"'
