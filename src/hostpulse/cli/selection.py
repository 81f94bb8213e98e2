"""The options that choose rows of the history."""

import argparse
import time
from pathlib import Path

from hostpulse.bus.errors import UsageError
from hostpulse.bus.times import parse_moment
from hostpulse.config.settings import Settings
from hostpulse.consumer.storage import Reader
from hostpulse.consumer.storage.embedded import open_reader
from hostpulse.consumer.stores import HISTORY_FILE

from .arguments import influx_options
from .terminal import clean

__all__ = [
    "add_selection_options",
    "chosen",
    "explain_nothing",
    "moment",
    "open_history",
    "place_of_history",
    "time_range",
]

_MOST_HOSTS = 10


def add_selection_options(parser: argparse.ArgumentParser, *, since: str) -> None:
    """Add time range, hosts and keys."""
    parser.add_argument(
        "--since", default=since, metavar="TIME", help=f"begin: an age (15m, 2h, 7d) or RFC 3339 (default {since})"
    )
    parser.add_argument("--until", default="now", metavar="TIME", help="end, as above (default now)")
    parser.add_argument("--host", action="append", metavar="HOST", help="only this host; may be repeated")
    parser.add_argument(
        "--key", action="append", metavar="KEY", help="only this core, mount, device, interface …; may be repeated"
    )


def time_range(arguments: argparse.Namespace) -> tuple[float, float]:
    """Return begin and end in seconds since the epoch.

    Raises:
        UsageError: one of them is no time, or the end is not after the begin.
    """
    now = time.time()
    start, end = moment("--since", arguments.since, now), moment("--until", arguments.until, now)
    if start >= end:
        raise UsageError(f"--since {arguments.since} is not before --until {arguments.until}")
    return start, end


def moment(option: str, text: str, now: float) -> float:
    """Return the seconds since the epoch that an option names.

    Args:
        option: its name, for the error.
        text: what was given.
        now: seconds since the epoch.

    Raises:
        UsageError: the text is no time.
    """
    try:
        return parse_moment(text, now=now)
    except UsageError as error:
        raise UsageError(f"{option} {error}") from None


def chosen(values: list[str] | None) -> tuple[str, ...] | None:
    """Return repeated options as a query takes them."""
    return None if values is None else tuple(values)


def open_history(settings: Settings) -> Reader:
    """Return the history of the store that the settings choose, opened for reading.

    Raises:
        NoHistoryError: there is none yet.
        StorageError: it cannot be read.
    """
    influxdb = influx_options(settings)
    if influxdb is not None:
        # Imported here: its client takes longer to load than everything else together.
        from hostpulse.consumer.storage.influxdb import open_reader as open_influxdb

        return open_influxdb(influxdb)
    return open_reader(Path(settings.data_dir) / HISTORY_FILE)


def place_of_history(settings: Settings) -> str:
    """Return where the history is, in words."""
    if settings.store.kind == "influxdb":
        return f"InfluxDB {settings.influxdb.url}, bucket {settings.influxdb.bucket}"
    return str(settings.data_dir / HISTORY_FILE)


def explain_nothing(what: str, arguments: argparse.Namespace, reader: Reader) -> str:
    """Return why a query may have found nothing."""
    known = [host.name for host in reader.hosts()]
    strangers = [host for host in arguments.host or () if host not in known]
    if strangers:
        more = f" and {len(known) - _MOST_HOSTS} more" if len(known) > _MOST_HOSTS else ""
        return clean(f"no host {strangers[0]!r} in the history; there are {', '.join(known[:_MOST_HOSTS])}{more}")
    until = "" if arguments.until == "now" else f" and before {arguments.until}"
    key = "" if arguments.key is None else f" of {', '.join(arguments.key)}"
    return clean(f"no {what}{key} since {arguments.since}{until}")
