"""The task that sums up minutes.

It runs each hour, over the hours before, and once more over the rows that are about to expire, so that what came late
is in the minutes that are kept. A run that InfluxDB missed is made up for by the next ones, because they overlap.

A task has no parameters: names of buckets are written into its text, escaped.
"""

from collections.abc import Mapping

from hostpulse.bus.fields import Table
from hostpulse.bus.messages import TABLES

from .schema import AGGREGATE_TAG, AGGREGATES, ENVELOPE, PRESENT

__all__ = ["downsampling_task", "flux_text", "summing_up", "task_name"]

_RECENT_HOURS = 3
_EXPIRING_HOURS = 6
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r", "\t": r"\t", "$": r"\x24"})


def flux_text(text: str) -> str:
    """Return text as a literal of Flux; a dollar before a brace would begin an expression."""
    return f'"{text.translate(_ESCAPES)}"'


def task_name(bucket: str) -> str:
    """Return the name of the task of a bucket."""
    return f"hostpulse: minutes of {bucket}"


def downsampling_task(bucket: str, rollup_bucket: str, retention: float | None) -> str:
    """Return the Flux of the task.

    Args:
        bucket: of raw rows.
        rollup_bucket: of minutes.
        retention: seconds that raw rows are kept; None for ever.
    """
    ranges = [("date.sub(from: hour, d: 3h)".replace("3h", f"{_RECENT_HOURS}h"), "hour")]
    hours = 0 if retention is None else int(retention // 3600)
    if hours >= 2 * _EXPIRING_HOURS:
        ranges.append(
            (f"date.sub(from: hour, d: {hours - 1}h)", f"date.sub(from: hour, d: {hours - 1 - _EXPIRING_HOURS}h)")
        )
    return "\n".join(
        (
            'import "date"',
            f"option task = {{name: {flux_text(task_name(bucket))}, every: 1h, offset: 2m}}",
            "hour = date.truncate(t: now(), unit: 1h)",
            summing_up(bucket, rollup_bucket, ranges),
        )
    )


def summing_up(
    bucket: str,
    rollup_bucket: str,
    ranges: list[tuple[str, str]],
    tables: Mapping[str, Table] = TABLES,
    *,
    answer: str = "",
) -> str:
    """Return the Flux that sums up the minutes of ranges of whole minutes.

    Args:
        bucket: of raw rows.
        rollup_bucket: of minutes.
        ranges: start and stop of each, as Flux.
        tables: those that are meant.
        answer: Flux that makes the answer of what was stored; all of it by default, which a task throws away.
    """
    summed = {name: table for name, table in tables.items() if any(field.has_mean for field in table.fields)}
    left_out = [f"r._field != {flux_text(name)}" for name in (*ENVELOPE, PRESENT)]
    left_out += [
        f"(r._measurement != {flux_text(table.name)} or r._field != {flux_text(field.name)})"
        for table in summed.values()
        for field in table.fields
        if not field.has_mean
    ]
    lines = [
        "rows = (start, stop, is_meant) => from(bucket: " + flux_text(bucket) + ")",
        "    |> range(start: start, stop: stop)",
        "    |> filter(fn: is_meant)",
        f"    |> filter(fn: (r) => {' and '.join(left_out)})",
    ]
    for key, names in _by_key(summed).items():
        suffix = "" if key is None else f"_{key}"
        measurements = " or ".join(f"r._measurement == {flux_text(name)}" for name in names)
        lines += [
            f"is_meant{suffix} = (r) => {measurements}",
            f"store{suffix} = (aggregate, tables=<-) => tables",
            f"    |> map(fn: (r) => ({{{_columns(key)}}}))",
            f"    |> to(bucket: {flux_text(rollup_bucket)})",
        ]
        for start, stop in ranges:
            for name, function in AGGREGATES.items():
                as_number = " |> toFloat()" if name == "count" else ""
                window = f'aggregateWindow(every: 1m, fn: {function}, createEmpty: false, timeSrc: "_start")'
                lines += [
                    f"rows(start: {start}, stop: {stop}, is_meant: is_meant{suffix})",
                    f"    |> {window}{as_number}",
                    f'    |> store{suffix}(aggregate: "{name}")',
                    *([f"    {answer}"] if answer else []),
                    f'    |> yield(name: "{name} {len(lines)}")',
                ]
    return "\n".join(lines)


def _by_key(tables: Mapping[str, Table]) -> dict[str | None, list[str]]:
    """Return the names of tables by their key column."""
    names: dict[str | None, list[str]] = {}
    for table in tables.values():
        names.setdefault(table.key, []).append(table.name)
    return names


def _columns(key: str | None) -> str:
    """Return the columns of a point, its tags in the order of their names.

    `to` takes tags as the columns come. Points whose tags come in different orders are two to InfluxDB, and lines
    are sorted when they are written.
    """
    tags = sorted(("host", AGGREGATE_TAG, *(() if key is None else (key,))))
    columns = ["_time", "_value", "_field", "_measurement", *tags]
    return ", ".join(f"{name}: {'' if name == AGGREGATE_TAG else 'r.'}{name}" for name in columns)
