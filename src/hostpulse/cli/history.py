"""Show a metric over time, as a table, a plot or CSV.

METRIC is a table and one of its fields: cpu.utilization_percent, disk_mount.used_percent, …
`hostpulse history list` names them all.
Without --every the time range is divided so that the result fits a screen.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from hostpulse.bus.errors import UsageError
from hostpulse.bus.fields import Field, Table
from hostpulse.bus.messages import TABLES
from hostpulse.bus.times import format_duration, format_timestamp, parse_duration
from hostpulse.consumer.export import CsvWriter, safe_cell
from hostpulse.consumer.storage import Series, SeriesQuery
from hostpulse.consumer.storage.interface import field_named, table_named

from .arguments import add_setting_options, load_settings
from .chart import chart
from .selection import add_selection_options, chosen, explain_nothing, open_history, time_range
from .terminal import TerminalSink, clean, value_text

_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 604800)
_ROWS = 24
_CHART_HEIGHT = 8
_LABEL = 12  # columns for the value at the axis
_AXIS = 2
_NARROWEST = 20
_DAY = 86400
_MILLISECONDS = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the metric and how to show it."""
    parser.add_argument("metric", metavar="METRIC", help="for example cpu.utilization_percent; `list` names them all")
    parser.add_argument("--every", metavar="DURATION", help="one value for each 30s, 5m, 1h …; `raw` for all of them")
    parser.add_argument(
        "--format",
        choices=["table", "plot", "csv"],
        default="table" if sys.stdout is not None and sys.stdout.isatty() else "csv",
        help="default table, and csv where the output is no terminal",
    )
    add_selection_options(parser, since="1h")
    add_setting_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Show the metric."""
    settings = load_settings(arguments).settings
    if arguments.metric == "list":
        _print_metrics()
        return 0
    table, field = _metric(arguments.metric)
    if arguments.format == "plot" and not field.has_mean:
        what = "text" if field.type is str else "of single events"
        raise UsageError(f"{arguments.metric} is {what} and has no plot; use --format table")
    start, end = time_range(arguments)
    width = max(_NARROWEST, shutil.get_terminal_size().columns - _LABEL - _AXIS)
    every = _every(arguments.every, end - start, width - 1 if arguments.format == "plot" else _ROWS)
    if not field.has_mean and arguments.every is None:
        every = None
    if arguments.format == "plot" and every is not None and (end - start) / every > width - 1:
        raise UsageError(
            f"--every {arguments.every} makes a plot of {(end - start) / every:.0f} columns, here are {width - 1};"
            " leave it out, or take a shorter time"
        )
    query = SeriesQuery(
        table=table.name,
        field=field.name,
        start=start,
        end=end,
        every=every,
        hosts=chosen(arguments.host),
        keys=chosen(arguments.key),
    )
    with open_history(settings) as reader:
        series = reader.series(query)
        if not series:
            print(f"hostpulse: {explain_nothing(arguments.metric, arguments, reader)}", file=sys.stderr)
            return 1
    if arguments.format == "csv":
        _print_csv(series, table.key)
        return 0
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # an encoding without blocks and lines
    if arguments.format == "plot":
        _print_plot(series, query, field.unit, width)
    else:
        _print_table(series, field.unit, arguments.metric, every)
    return 0


def _print_metrics() -> None:
    metrics = [(f"{table.name}.{field.name}", field) for table in TABLES.values() for field in table.fields]
    width = max(len(name) for name, _ in metrics)
    units = max(len(field.unit) for _, field in metrics)
    for name, field in metrics:
        print(f"{name:{width}}  {field.unit:{units}}  {field.meaning}")


def _metric(text: str) -> tuple[Table, Field]:
    name, dot, field = text.partition(".")
    table = table_named(name)
    if dot and table.fields:
        return table, field_named(table, field)
    example = next(one for one in TABLES.values() if one.subsystem == table.subsystem and one.fields)
    metrics = ", ".join(f"{example.name}.{one.name}" for one in (table.fields or example.fields))
    raise UsageError(f"{text} is no metric; write TABLE.FIELD: {metrics}")


def _every(text: str | None, seconds: float, columns: int) -> float | None:
    if text == "raw":
        return None
    if text is not None:
        try:
            return parse_duration(text)
        except UsageError as error:
            raise UsageError(f"--every {error}, or raw") from None
    return next((step for step in _STEPS if seconds / step <= columns), seconds / columns)


def _name(series: Series) -> str:
    return clean(series.host if series.key is None else f"{series.host} {series.key}")


def _local(milliseconds: float, template: str = "%Y-%m-%d %H:%M:%S") -> str:
    return datetime.fromtimestamp(milliseconds / _MILLISECONDS, UTC).astimezone().strftime(template)


def _print_csv(all_series: Sequence[Series], key: str | None) -> None:
    sys.stdout.reconfigure(encoding="utf-8", newline="")  # type: ignore[union-attr]
    writer = CsvWriter(TerminalSink(sys.stdout) if sys.stdout.isatty() else sys.stdout)
    writer.rows([["timestamp", "host", *([key] if key else []), "mean", "minimum", "maximum"]])
    for series in all_series:
        device = [series.host] if key is None else [series.host, series.key]
        for point in series.points:
            cells = map(safe_cell, (*device, point.value, point.minimum, point.maximum))
            writer.rows([[format_timestamp(point.timestamp / _MILLISECONDS), *cells]])


def _print_table(all_series: Sequence[Series], unit: str, metric: str, every: float | None) -> None:
    console = Console()
    for series in all_series:
        step = "every value" if every is None else f"every {format_duration(every)}"
        grid = Grid(title=Text(f"{_name(series)}  {metric}, {step}"), title_justify="left")
        grid.add_column("time")
        headings = ["value"] if every is None else ["mean", "minimum", "maximum"]
        for heading in headings:
            grid.add_column(heading, justify="right")
        for point in series.points:
            values = (point.value, point.minimum, point.maximum)[: len(headings)]
            grid.add_row(_local(point.timestamp), *(Text(value_text(value, unit)) for value in values))
        console.print(grid)


def _print_plot(all_series: Sequence[Series], query: SeriesQuery, unit: str, width: int) -> None:
    step = (query.every or (query.end - query.start) / (width - 1)) * _MILLISECONDS
    begin = query.start * _MILLISECONDS
    if query.every is not None:
        begin = begin // step * step  # buckets begin at multiples of their width
    count = int((query.end * _MILLISECONDS - begin) // step) + 1
    for series in all_series:
        columns: list[float | None] = [None] * count
        for point in series.points:
            if not isinstance(point.value, str):
                columns[min(count - 1, int((point.timestamp - begin) // step))] = point.value
        known = [value for value in columns if value is not None]
        lowest, highest = min(0.0, *known), max(known)
        print(_name(series))
        for row, line in enumerate(chart(columns, height=_CHART_HEIGHT, lowest=lowest, highest=highest)):
            label = {0: value_text(highest, unit), _CHART_HEIGHT - 1: value_text(lowest, unit)}.get(row, "")
            print(f"{label:>{_LABEL}} │{line}".rstrip())
        print(f"{'':{_LABEL}} └{_time_axis(begin, query.end * _MILLISECONDS, count)}")


def _time_axis(begin: float, end: float, columns: int) -> str:
    """Return the first and the last moment below the ends of the axis, as exactly as there is room."""
    templates = ["%Y-%m-%d %H:%M:%S", "%m-%d %H:%M", "%m-%d"]
    if end - begin < _DAY * _MILLISECONDS:
        templates = ["%Y-%m-%d %H:%M:%S", "%H:%M:%S", "%H:%M"]
    pairs = [(_local(begin, template), _local(end, template)) for template in templates]
    first, last = next((pair for pair in pairs if len(pair[0]) * 2 + 2 <= columns), pairs[-1])
    return f"{first}{last:>{max(len(last) + 2, columns - len(first))}}"
