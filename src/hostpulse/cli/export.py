"""Write history as CSV or JSON lines: RFC 3339 timestamps, units in the names of the columns.

TABLE is a subsystem (cpu, memory, …) or one of its parts (cpu_core, disk_mount, network_interface, …).
`hostpulse export list` names them all.
"""

import argparse
import contextlib
import os
import signal
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hostpulse.bus.errors import HostpulseError, UsageError
from hostpulse.bus.messages import TABLES
from hostpulse.consumer.export import FORMATS, Sink
from hostpulse.consumer.storage import RowQuery

from .arguments import add_setting_options, load_settings
from .progress import row_progress
from .selection import add_selection_options, chosen, explain_nothing, open_history, time_range
from .terminal import TerminalSink

_STANDARD = Path("-")
_TERMINATED = 143  # as a shell says that SIGTERM ended something


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what to write, and where."""
    parser.add_argument("table", metavar="TABLE", help="for example cpu or disk_mount; `list` names them all")
    parser.add_argument("--format", choices=list(FORMATS), default="csv", help="format (default csv)")
    parser.add_argument("--fields", metavar="A,B", help="only these fields, in this order")
    parser.add_argument(
        "-o", "--output", type=Path, default=_STANDARD, metavar="FILE", help="file to write instead of standard output"
    )
    add_selection_options(parser, since="24h")
    add_setting_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the rows."""
    settings = load_settings(arguments).settings
    if arguments.table == "list":
        _print_tables()
        return 0
    start, end = time_range(arguments)
    query = RowQuery(
        table=arguments.table,
        start=start,
        end=end,
        hosts=chosen(arguments.host),
        keys=chosen(arguments.key),
        fields=None if arguments.fields is None else tuple(name.strip() for name in arguments.fields.split(",")),
    )
    if not query.field_names:
        parts = [table.name for table in TABLES.values() if table.subsystem == arguments.table and table.fields]
        raise UsageError(f"{arguments.table} has no values of its own; export {' or '.join(parts)}")
    with open_history(settings) as reader:
        with _sink(arguments.output) as sink, row_progress(disable=not _has_room(arguments.output)) as progress:
            task = progress.add_task(arguments.table, total=None if progress.disable else reader.count(query))
            FORMATS[arguments.format](reader, query, sink, lambda rows: progress.advance(task, rows))
            written = progress.tasks[task].completed
            progress.update(task, total=written)
        if not written:
            print(f"hostpulse: {explain_nothing(arguments.table, arguments, reader)}", file=sys.stderr)
    return 0


def _print_tables() -> None:
    tables = [table for table in TABLES.values() if table.fields]
    width = max(len(table.name) for table in tables)
    for table in tables:
        print(f"{table.name:{width}}  {table.meaning}")


@contextmanager
def _sink(path: Path) -> Iterator[Sink]:
    """Give standard output, or a file that takes its name only when it is whole."""
    if path == _STANDARD:
        sys.stdout.reconfigure(encoding="utf-8", newline="")  # type: ignore[union-attr]
        yield TerminalSink(sys.stdout) if sys.stdout.isatty() else sys.stdout
        sys.stdout.flush()
        return
    try:
        target = path.resolve()
        if target.is_dir():
            raise HostpulseError(f"cannot write {path}: it is a directory; name a file")
        if target.exists() and not stat.S_ISREG(target.stat().st_mode):  # a pipe, a device: nothing to be replaced
            with target.open("w", encoding="utf-8", newline="") as file:
                yield file
            return
        with _replacing(target) as file:
            yield file
    except BrokenPipeError:
        raise  # the reader of a pipe has gone
    except OSError as error:
        raise HostpulseError(f"cannot write {path}: {error.strerror or error}") from None


@contextmanager
def _replacing(target: Path) -> Iterator[Sink]:
    """Give a file that takes the place of another when it is whole, with the rights of the other or the usual ones."""
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:100]}.")
    partial = Path(name)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))  # so that it leaves no half a file
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            yield file
        partial.chmod(_mode(target))
        partial.replace(target)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _mode(target: Path) -> int:
    if target.exists():
        return stat.S_IMODE(target.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _has_room(path: Path) -> bool:
    """Return whether standard error is a terminal, and rows do not go to the same one."""
    return sys.stderr.isatty() and not (path == _STANDARD and sys.stdout.isatty())
