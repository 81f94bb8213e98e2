"""Move a history into InfluxDB: an embedded store, or CSV files that `hostpulse export` wrote.

The target is the InfluxDB of the settings (influxdb.url, .org, .bucket, .token), whatever store.kind says.
What was interrupted goes on where it was with the same command. Moving something twice changes nothing.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.progress import Progress

from hostpulse.bus.errors import UsageError
from hostpulse.config.settings import Settings
from hostpulse.consumer.dead_letter import DeadLetterFile
from hostpulse.consumer.importing import Move, Positions, Report, Source, source_of
from hostpulse.consumer.storage.influxdb import InfluxOptions, InfluxWriter, open_writer
from hostpulse.consumer.storage.interface import table_named
from hostpulse.consumer.stores import HISTORY_FILE

from .arguments import add_setting_options, influx_target, load_settings
from .progress import row_progress
from .terminal import clean

_DIRECTORY = "import"
_DEAD_LETTER_FILE = "dead-letter.jsonl"
_FAILED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what to move."""
    parser.add_argument(
        "sources",
        nargs="*",
        type=Path,
        metavar="SOURCE",
        help="a history.db, a directory that holds one, or a CSV file; several are moved one after the other "
        "(default: the history in data_dir)",
    )
    parser.add_argument("--table", metavar="TABLE", help="table of the CSV files, where their columns do not tell")
    parser.add_argument("--restart", action="store_true", help="begin again, whatever was moved before")
    add_setting_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Move everything; return 1 if something could not be."""
    settings = load_settings(arguments).settings
    target = influx_target(settings)
    if arguments.table is not None:
        table_named(arguments.table)
        if not arguments.sources:
            raise UsageError("--table is for CSV files; name them")
    paths = arguments.sources or [settings.data_dir / HISTORY_FILE]
    sources = [source_of(path, HISTORY_FILE, arguments.table) for path in paths]
    directory = settings.data_dir / _DIRECTORY
    dead_letters = DeadLetterFile(directory / _DEAD_LETTER_FILE)
    whole = Report()
    try:
        with _opened(settings, target) as writer:
            for source in sources:
                positions = _positions(source, writer, target, directory, restart=arguments.restart)
                whole.add(_move(source, writer, positions, dead_letters))
    except KeyboardInterrupt:
        print("hostpulse: interrupted; the same command goes on where this one was", file=sys.stderr)
        raise
    place = f"InfluxDB {target.url}, bucket {target.bucket}"
    for line in (*whole.unmoved, whole.summary(place, dead_letters.path)):
        print(f"hostpulse: {clean(line)}", file=sys.stderr)
    return _FAILED if whole.unmoved else 0


@contextmanager
def _opened(settings: Settings, target: InfluxOptions) -> Iterator[InfluxWriter]:
    retention, rollups = settings.store.retention_seconds, settings.store.rollup_retention_seconds
    with open_writer(target, retention=retention, rollup_retention=rollups) as writer:
        yield writer


def _positions(
    source: Source, writer: InfluxWriter, target: InfluxOptions, directory: Path, *, restart: bool
) -> Positions:
    positions = Positions(
        directory,
        source=source.path,
        identity=source.identity,
        target=(target.url, target.org, target.bucket),
        bucket=writer.kept().bucket,
    )
    if not restart:
        positions.load()
    return positions


def _move(source: Source, writer: InfluxWriter, positions: Positions, dead_letters: DeadLetterFile) -> Report:
    progress = row_progress(disable=not sys.stderr.isatty())
    with source.opened(), progress:

        def say(text: str) -> None:
            _say(progress, text)

        task = progress.add_task(clean(source.path.name), total=None)
        if positions.resumed:
            say(f"going on with {source.path} where the last import was; --restart begins again")
        move = Move(source, writer, positions, dead_letters, say=say, advance=lambda rows: progress.advance(task, rows))
        if not progress.disable:
            progress.update(task, total=move.left())
        report = move.run()
        progress.update(task, total=progress.tasks[task].completed)
    return report


def _say(progress: Progress, text: str) -> None:
    """Write a line of talk, above the bar if there is one."""
    line = f"hostpulse: {clean(text)}"
    if progress.disable:
        print(line, file=sys.stderr, flush=True)
    else:
        progress.console.print(line, markup=False, highlight=False, soft_wrap=True)
