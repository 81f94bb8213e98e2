"""Make InfluxDB ready: buckets, the task that sums up minutes, and tokens that may do no more than they must.

It needs a token that may do all of this; the tokens that it makes go into files.
"""

import argparse
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hostpulse.bus.errors import UsageError
from hostpulse.bus.times import parse_duration
from hostpulse.config.settings import Settings
from hostpulse.consumer.storage import StorageUnavailableError
from hostpulse.consumer.storage.influxdb import open_writer
from hostpulse.consumer.storage.influxdb.tokens import make_reader_token, make_writer_token, may_read, may_write
from hostpulse.consumer.storage.options import InfluxOptions
from hostpulse.stack.secret_files import read_secret, write_secret

from .arguments import add_setting_options, influx_options, load_settings

_RETRY_SECONDS = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the files of the tokens."""
    parser.add_argument("action", choices=["setup"], help="make ready what is missing")
    parser.add_argument(
        "--writer-token", type=Path, metavar="FILE", help="where a token goes that may only write and read samples"
    )
    parser.add_argument(
        "--reader-token", type=Path, metavar="FILE", help="where a token goes that may only read samples and minutes"
    )
    parser.add_argument("--wait", default="0s", metavar="TIME", help="how long to wait for the server (default 0s)")
    add_setting_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Make ready what is missing."""
    settings = load_settings(arguments).settings
    options = influx_options(settings)
    if options is None:
        raise UsageError("the history is not in InfluxDB; set store.kind to influxdb")
    logging.getLogger("hostpulse").addHandler(logging.NullHandler())  # what was done is printed
    _open_when_ready(options, settings, time.monotonic() + parse_duration(arguments.wait))
    _token("writer", arguments.writer_token, options, may_write, make_writer_token)
    _token("reader", arguments.reader_token, options, may_read, make_reader_token)
    return 0


def _open_when_ready(options: InfluxOptions, settings: Settings, deadline: float) -> None:
    """Make buckets and task, when the server answers."""
    while True:
        try:
            with open_writer(
                options,
                retention=settings.store.retention_seconds,
                rollup_retention=settings.store.rollup_retention_seconds,
            ) as writer:
                if (prepared := writer.prepared) is None:
                    raise UsageError(f"what answers at {options.url} is no InfluxDB 2, which this is for")
                print(f"bucket {options.bucket}: {prepared.bucket}")
                print(f"bucket {options.rollup_bucket}: {prepared.rollup_bucket}")
                print(f"task: {prepared.task}")
                return
        except StorageUnavailableError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(_RETRY_SECONDS)


def _token(
    name: str,
    path: Path | None,
    options: InfluxOptions,
    suffices: Callable[[InfluxOptions], bool],
    make: Callable[[InfluxOptions], str],
) -> None:
    """Write a token into a file, unless there is one in it that does."""
    if path is None:
        return
    found = read_secret(path)
    if found is not None and suffices(replace(options, token=found)):
        print(f"token of a {name}: ready")
        return
    write_secret(path, make(options))
    print(f"token of a {name}: created in {path}")
