"""Write history as CSV or JSON lines: RFC 3339 timestamps, units in the names of the columns.

TABLE is a subsystem (cpu, memory, …) or one of its parts (cpu_core, disk_mount, network_interface, …).
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hostpulse.bus.errors import HostpulseError, UsageError
from hostpulse.bus.messages import TABLES
from hostpulse.consumer.export import FORMATS, Sink
from hostpulse.consumer.storage import RowQuery

from .arguments import load_settings
from .selection import add_selection_options, chosen, open_history, time_range


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what to write, and where."""
    parser.add_argument("table", metavar="TABLE", help="for example cpu or disk_mount; `list` names them all")
    parser.add_argument("--format", choices=list(FORMATS), default="csv", help="format (default csv)")
    parser.add_argument("--fields", metavar="A,B", help="only these fields, in this order")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="file to write instead of standard output")
    add_selection_options(parser, since="24h")


def run(arguments: argparse.Namespace) -> int:
    """Write the rows."""
    settings = load_settings(arguments).settings
    if arguments.table == "list":
        for table in TABLES.values():
            if table.fields:
                print(f"{table.name:20} {table.meaning}")
        return 0
    start, end = time_range(arguments)
    query = RowQuery(
        table=arguments.table,
        start=start,
        end=end,
        hosts=chosen(arguments.host),
        keys=chosen(arguments.key),
        fields=None if arguments.fields is None else tuple(arguments.fields.split(",")),
    )
    if not query.field_names:
        parts = [table.name for table in TABLES.values() if table.subsystem == arguments.table and table.fields]
        raise UsageError(f"{arguments.table} has no values of its own; export {' or '.join(parts)}")
    with open_history(settings) as reader, _sink(arguments.output) as sink, _progress(arguments.output) as progress:
        task = progress.add_task(arguments.table, total=reader.count(query))
        FORMATS[arguments.format](reader, query, sink, lambda rows: progress.advance(task, rows))
        progress.update(task, total=progress.tasks[task].completed)
    return 0


@contextmanager
def _sink(path: Path | None) -> Iterator[Sink]:
    """Give standard output, or a file that takes its name only when it is whole."""
    if path is None:
        sys.stdout.reconfigure(encoding="utf-8", newline="")  # type: ignore[union-attr]
        yield sys.stdout
        sys.stdout.flush()
        return
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            yield file
        partial.replace(path)
    except OSError as error:
        raise HostpulseError(f"cannot write {path}: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)


def _progress(path: Path | None) -> Progress:
    """Return a progress bar on standard error, unless rows go to the same terminal."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal or (path is None and sys.stdout.isatty()),
    )
