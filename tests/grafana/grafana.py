"""What Grafana does with a query before it sends it, and with the answer before a panel draws it.

Written after what the InfluxDB data source of Grafana does in Flux mode: its variables are put in by the browser, its
`v.` macros by the server, and a table of the answer is a series if it has a `_value` and a time.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from influxdb_client.client.influxdb_client import InfluxDBClient

__all__ = ["ALL", "DASHBOARDS", "FOLDER", "Frame", "Grafana", "panels_of", "targets_of"]

FOLDER = Path(__file__).resolve().parents[2] / "config" / "grafana"
DASHBOARDS: dict[str, dict[str, Any]] = {
    file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted((FOLDER / "dashboards").glob("*.json"))
}
ALL = "$__all"

_VARIABLE = re.compile(r"\$(\w+)|\[\[(\w+?)(?::(\w+))?\]\]|\$\{(\w+)(?:\.([^:^}]+))?(?::([^}]+))?\}")
_MACRO = re.compile(r"([a-zA-Z]+)\.([a-zA-Z]+)")
_SPECIAL = re.compile(r"[\\^$*+?.()|\[\]{}/]")
_TIMES = {"dateTime:RFC3339", "dateTime:RFC3339Nano"}

Choice = str | Sequence[str]
"""Of a variable: its value, several, or ALL."""


def panels_of(dashboard: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the panels that ask for something, folded ones too."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panel["panels"]
        else:
            yield panel


def targets_of(dashboard: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield a name and the query of every panel and every variable."""
    for panel in panels_of(dashboard):
        for target in panel["targets"]:
            yield f"{panel['title']} {target['refId']}", target["query"]
    for variable in dashboard["templating"]["list"]:
        yield f"variable {variable['name']}", variable["query"]["query"]


@dataclass
class Frame:
    """A table of an answer as panels see it.

    Attributes:
        columns: values of each column; `Time` and the field's name if it is a series.
        labels: of its values; empty if it is no series.
        is_series: whether it has a time and a value.
    """

    columns: dict[str, list[Any]]
    labels: dict[str, str] = field(default_factory=dict)
    is_series: bool = False

    @property
    def length(self) -> int:
        return max(map(len, self.columns.values()), default=0)


def _escaped(value: str) -> str:
    return _SPECIAL.sub(lambda match: "\\" + match[0], value)


def _regex(value: Choice, all_value: str | None) -> str:
    if value == ALL:
        assert all_value is not None
        return all_value
    if isinstance(value, str):
        return _escaped(value)
    escaped = [_escaped(one) for one in value]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


class Grafana:
    """Asks as Grafana does.

    Args:
        client: of the server.
        bucket: what the data source names as its bucket.
        start: of the range, seconds since the epoch.
        stop: of the range.
        points: that a panel has room for.
    """

    def __init__(self, client: InfluxDBClient, bucket: str, start: float, stop: float, *, points: int = 300) -> None:
        self._client = client
        self._macros = {
            "timeRangeStart": _moment(start),
            "timeRangeStop": _moment(stop),
            "windowPeriod": f"{max(round((stop - start) / points), 1)}s",
            "defaultBucket": f'"{bucket}"',
            "bucket": '""',
            "organization": f'"{client.org}"',
        }

    def interpolated(
        self, query: str, choices: Mapping[str, Choice], variables: Sequence[Mapping[str, Any]] = ()
    ) -> str:
        """Return the text that is sent."""
        all_values = {variable["name"]: variable.get("allValue") for variable in variables}

        def chosen(match: re.Match[str]) -> str:
            name = match[4]
            assert name is not None, f"{match[0]}: write it as ${{name:regex}}"
            assert match[6] == "regex", f"{match[0]} is not escaped"
            return _regex(choices[name], all_values.get(name))

        query = _VARIABLE.sub(chosen, query)
        for whole, name in {(match[0], match[2]) for match in _MACRO.finditer(query)}:
            if name in self._macros:
                query = query.replace(whole, self._macros[name])
        return query

    def ask(
        self, query: str, choices: Mapping[str, Choice], variables: Sequence[Mapping[str, Any]] = ()
    ) -> list[Frame]:
        """Return the frames of the answer."""
        tables = self._client.query_api().query(self.interpolated(query, choices, variables))
        return [self._frame(table) for table in tables]

    def choices(
        self, variable: Mapping[str, Any], choices: Mapping[str, Choice], variables: Sequence[Mapping[str, Any]] = ()
    ) -> list[str]:
        """Return what a variable offers: the first column of text of the first frame."""
        frames = self.ask(variable["query"]["query"], choices, variables)
        if not frames:
            return []
        assert not frames[0].is_series
        values = frames[0].columns.values()
        return next(column for column in values if all(isinstance(value, str) for value in column))

    @staticmethod
    def _frame(table: Any) -> Frame:
        columns = [column for column in table.columns if column.label not in {"result", "table"}]
        names = [column.label for column in columns]
        times = [column.label for column in columns if column.data_type in _TIMES]
        values = {name: [record.values.get(name) for record in table.records] for name in names}
        if "_value" not in names or not times:
            return Frame(values)
        time = "_time" if "_time" in times else times[0]
        name = values["_field"][0] if "_field" in values else "_value"
        labels = {name: values[name][0] for name in names if not name.startswith("_")}
        return Frame({"Time": values[time], name: values["_value"]}, labels, is_series=True)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
