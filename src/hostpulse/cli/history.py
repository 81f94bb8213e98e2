"""Show a metric over time, as a table, a plot or CSV.

METRIC is a table and one of its fields: cpu.utilization_percent, disk_mount.used_percent, …
Without --every the time range is divided so that the result fits a screen.
"""

import argparse
import csv
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from hostpulse.bus.errors import UsageError
from hostpulse.bus.messages import TABLES
from hostpulse.bus.times import format_duration, format_timestamp, parse_duration
from hostpulse.consumer.storage import Series, SeriesQuery

from .arguments import load_settings
from .chart import chart
from .selection import add_selection_options, chosen, open_history, time_range
from .terminal import clean, value_text

_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 604800)
_ROWS = 24
_CHART_HEIGHT = 8
_MARGIN = 14
_MILLISECONDS = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the metric and how to show it."""
    parser.add_argument("metric", metavar="METRIC", help="for example cpu.utilization_percent")
    parser.add_argument("--every", metavar="DURATION", help="one value for each 30s, 5m, 1h …; `raw` for all of them")
    parser.add_argument(
        "--format",
        choices=["table", "plot", "csv"],
        default="table" if sys.stdout.isatty() else "csv",
        help="default table, and csv where the output is no terminal",
    )
    add_selection_options(parser, since="1h")


def run(arguments: argparse.Namespace) -> int:
    """Show the metric."""
    settings = load_settings(arguments).settings
    table, field = _metric(arguments.metric)
    start, end = time_range(arguments)
    width = max(20, shutil.get_terminal_size().columns - _MARGIN)
    columns = width if arguments.format == "plot" else _ROWS
    every = _every(arguments.every, end - start, columns)
    definition = TABLES[table].field(field)
    if definition is not None and definition.type is str and arguments.every is None:
        every = None  # text has no mean
    query = SeriesQuery(
        table=table,
        field=field,
        start=start,
        end=end,
        every=every,
        hosts=chosen(arguments.host),
        keys=chosen(arguments.key),
    )
    with open_history(settings) as reader:
        series = reader.series(query)
    if not series:
        print(f"hostpulse: no {arguments.metric} between {arguments.since} and {arguments.until}", file=sys.stderr)
        return 1
    unit = "" if definition is None else str(definition.unit)
    if arguments.format == "csv":
        _print_csv(series, TABLES[table].key)
    elif arguments.format == "plot":
        _print_plot(series, query, unit, width)
    else:
        _print_table(series, unit, arguments.metric, every)
    return 0


def _metric(text: str) -> tuple[str, str]:
    table, dot, field = text.partition(".")
    if not dot:
        known = TABLES.get(table)
        names = ", ".join(f"{table}.{one.name}" for one in known.fields) if known else ""
        raise UsageError(f"{text} is no metric; write TABLE.FIELD, for example {names or 'cpu.utilization_percent'}")
    return table, field


def _every(text: str | None, seconds: float, columns: int) -> float | None:
    if text == "raw":
        return None
    if text is not None:
        return parse_duration(text)
    return next((step for step in _STEPS if seconds / step <= columns), _STEPS[-1])


def _name(series: Series) -> str:
    return clean(series.host if series.key is None else f"{series.host} {series.key}")


def _local(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / _MILLISECONDS, UTC).astimezone()
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def _print_csv(all_series: Sequence[Series], key: str | None) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["timestamp", "host", *([key] if key else []), "mean", "minimum", "maximum"])
    for series in all_series:
        for point in series.points:
            device = [] if key is None else [clean(series.key or "")]
            values = point.value, point.minimum, point.maximum
            writer.writerow([format_timestamp(point.timestamp / _MILLISECONDS), clean(series.host), *device, *values])


def _print_table(all_series: Sequence[Series], unit: str, metric: str, every: float | None) -> None:
    console = Console()
    for series in all_series:
        step = "every value" if every is None else f"every {format_duration(every)}"
        grid = Grid(title=Text(f"{_name(series)}  {metric}, {step}"), title_justify="left")
        grid.add_column("time")
        for heading in ("mean", "minimum", "maximum"):
            grid.add_column(heading, justify="right")
        for point in series.points:
            values = (Text(value_text(value, unit)) for value in (point.value, point.minimum, point.maximum))
            grid.add_row(_local(point.timestamp), *values)
        console.print(grid)


def _print_plot(all_series: Sequence[Series], query: SeriesQuery, unit: str, width: int) -> None:
    step = (query.every or (query.end - query.start) / width) * _MILLISECONDS
    begin = query.start * _MILLISECONDS // step * step
    for series in all_series:
        columns: list[float | None] = [None] * (int((query.end * _MILLISECONDS - begin) // step) + 1)
        for point in series.points:
            if isinstance(point.value, str):
                raise UsageError(f"{query.table}.{query.field} is text; use --format table")
            columns[int((point.timestamp - begin) // step)] = point.value
        known = [value for value in columns if value is not None]
        lowest, highest = min(0.0, *known), max(known)
        print(_name(series))
        for row, line in enumerate(chart(columns, height=_CHART_HEIGHT, lowest=lowest, highest=highest)):
            label = {0: value_text(highest, unit), _CHART_HEIGHT - 1: value_text(lowest, unit)}.get(row, "")
            print(f"{label:>{_MARGIN - 2}} │{line}")
        first, last = _local(int(begin)), _local(int(query.end * _MILLISECONDS))
        print(f"{'':{_MARGIN - 2}} └{first}{last:>{max(0, len(columns) - len(first))}}")
