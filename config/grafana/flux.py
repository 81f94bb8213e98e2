"""The queries, in Flux, with the variables of Grafana in them.

Grafana puts in `v.timeRangeStart`, `v.timeRangeStop`, `v.windowPeriod` (the width of a pixel or so) and
`v.defaultBucket` (from the data source), and the variables of a dashboard. Those stand in regular expressions only,
as `${host:regex}`: there Grafana escapes every character with a meaning, which it does not for a quoted text.
"""

from collections.abc import Collection

from hostpulse.bus.fields import Field, Table
from hostpulse.bus.messages import TABLES

__all__ = [
    "condition_of",
    "field_of",
    "latest",
    "latest_of",
    "matching",
    "over_time",
    "samples",
    "table_of",
    "tag_values",
]

_LONG_RANGE = "3d"
_SUMMED_UP = "2h"  # the task that sums up minutes runs each hour; before so much time it has certainly run

_OVER_TIME = """\
import "date"

line = (tables=<-) => tables
    |> filter(fn: (r) => {condition})
    |> aggregateWindow(every: v.windowPeriod, fn: {function}, createEmpty: false)
    |> keep(columns: [{columns}])

// A range of more than {long} is read from the means of minutes, but for its last hours, which come from the samples.
start = v.timeRangeStart
stop = v.timeRangeStop
hour = date.truncate(t: date.sub(d: {summed_up}, from: now()), unit: 1h)
turn = if int(v: stop) - int(v: start) < int(v: {long}) or hour < start then
    start
else if hour > stop then
    stop
else
    hour
samples = (start, stop) => from(bucket: v.defaultBucket)
    |> range(start: start, stop: stop)
    |> line()
minutes = (start, stop) => from(bucket: v.defaultBucket + "_minutes")
    |> range(start: start, stop: stop)
    |> filter(fn: (r) => r.aggregate == "{aggregate}")
    |> line()
series = if turn == start then
    samples(start: start, stop: stop)
else if turn == stop then
    minutes(start: start, stop: stop)
else
    union(tables: [minutes(start: start, stop: turn), samples(start: turn, stop: stop)]) |> sort(columns: ["_time"])

series
"""

_AGGREGATES = {"mean": "mean", "max": "maximum", "min": "minimum"}


def table_of(name: str) -> Table:
    """Return a table of the contract.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in TABLES:
        raise ValueError(f"there is no table {name!r}")
    return TABLES[name]


def field_of(table: str, name: str) -> Field:
    """Return a field of the contract.

    Raises:
        ValueError: there is no such table or field.
    """
    found = table_of(table).field(name)
    if found is None:
        raise ValueError(f"{table} has no field {name!r}")
    return found


def matching(*variables: str) -> str:
    """Return the condition that tags are what is chosen in the variables of the same names."""
    return " and ".join(f"r.{name} =~ /^${{{name}:regex}}$/" for name in variables)


def tags_of(table: str) -> tuple[str, ...]:
    """Return what tells the devices of a table apart."""
    key = table_of(table).key
    return ("host",) if key is None else ("host", key)


def condition_of(table: str, fields: Collection[str], variables: Collection[str] = ("host",)) -> str:
    """Return the condition that a point is of some fields of a table.

    Args:
        table: of the contract.
        fields: of that table.
        variables: tags that variables of the dashboard narrow down.
    """
    for name in fields:
        field_of(table, name)
    one_of = " or ".join(f'r._field == "{name}"' for name in fields)
    chosen = f" and {matching(*variables)}" if variables else ""
    return f'r._measurement == "{table}" and {f"({one_of})" if len(fields) > 1 else one_of}{chosen}'


def _quoted(names: Collection[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def over_time(table: str, field: str, *, variables: Collection[str] = ("host",), function: str = "mean") -> str:
    """Return the query of a field over time, a line for each device.

    Args:
        table: of the contract.
        field: of that table, a number.
        variables: tags that variables of the dashboard narrow down.
        function: `mean`, `max` or `min` of what falls into one point.
    """
    return _OVER_TIME.format(
        condition=condition_of(table, [field], variables),
        columns=_quoted(("_time", "_value", "_field", *tags_of(table))),
        function=function,
        aggregate=_AGGREGATES[function],
        long=_LONG_RANGE,
        summed_up=_SUMMED_UP,
    )


def samples(condition: str) -> str:
    """Return the part of a query that reads samples of the range."""
    return (
        "from(bucket: v.defaultBucket)\n"
        "    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)\n"
        f"    |> filter(fn: (r) => {condition})\n"
    )


def latest_of(table: str, field: str, *, variables: Collection[str] = ("host",)) -> str:
    """Return the query of the last value of a field, one for each device, with its time."""
    columns = _quoted(("_time", "_value", "_field", *tags_of(table)))
    return samples(condition_of(table, [field], variables)) + f"    |> last()\n    |> keep(columns: [{columns}])\n"


def latest(table: str, *fields: str, variables: Collection[str] = ("host",), then: str = "", time: bool = False) -> str:
    """Return the query of the last values of fields, a row for each device and a column for each field.

    Args:
        table: of the contract.
        fields: of that table, all numbers or all text.
        variables: tags that variables of the dashboard narrow down.
        then: what comes after.
        time: whether the column `_time` has when a row was said; for fields that come in one message.
    """
    key = _quoted((*tags_of(table), *(("_time",) if time else ())))
    return (
        samples(condition_of(table, fields, variables))
        + "    |> last()\n"
        + "    |> group()\n"
        + f'    |> pivot(rowKey: [{key}], columnKey: ["_field"], valueColumn: "_value")\n'
        + then
    )


def tag_values(tag: str, table: str | None = None, *, variables: Collection[str] = ()) -> str:
    """Return the query of the values that a variable of that name may have."""
    conditions = [] if table is None else [f'r._measurement == "{table_of(table).name}"']
    if variables:
        conditions.append(matching(*variables))
    return (
        'import "influxdata/influxdb/schema"\n\n'
        "schema.tagValues(\n"
        "    bucket: v.defaultBucket,\n"
        f'    tag: "{tag}",\n'
        f"    predicate: (r) => {' and '.join(conditions) or 'true'},\n"
        "    start: v.timeRangeStart,\n"
        "    stop: v.timeRangeStop,\n"
        ")\n"
    )
