"""List, retry or drop messages that could not be used.

The consumer keeps them in a file of its data directory, each with the reason.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches

from hostpulse.bus.errors import MessageError, UsageError
from hostpulse.bus.topics import Topics
from hostpulse.config.settings import Settings
from hostpulse.consumer.dead_letter import DEAD_LETTER_FILE, DeadLetterFile, Entry
from hostpulse.consumer.handover import retry_or_hand_over
from hostpulse.consumer.letter import KeptLetter, Selection, encode
from hostpulse.consumer.store import StoreRole
from hostpulse.consumer.stores import make_writer

from .arguments import add_setting_options, influx_options, load_settings
from .selection import moment
from .terminal import clean, size

__all__ = ["dead_letters_of"]


def _kinds_of(error: type[MessageError]) -> set[str]:
    """Return the kinds of an error and of all below it."""
    return {error.kind}.union(*(_kinds_of(one) for one in error.__subclasses__()))


_KINDS = sorted(_kinds_of(MessageError) - {MessageError.kind})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what there is to do."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    texts = {
        "list": "Show them, one line for each topic and kind; with --json each message and its payload.",
        "retry": "Give them to the store again; what it takes now leaves the file, the rest stays with its new reason.",
        "drop": "Delete them.",
    }
    for name, text in texts.items():
        action = actions.add_parser(name, help=text, description=text, allow_abbrev=False)
        if name == "list":
            action.add_argument("--json", action="store_true", help="one JSON object for each message")
        if name == "drop":
            action.add_argument("--yes", action="store_true", help="do not ask")
        _add_filters(action)
        add_setting_options(action)


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    settings = load_settings(arguments).settings
    selection = _selection(arguments)
    actions: dict[str, Callable[[argparse.Namespace, Settings, Selection], int]] = {
        "list": _list,
        "retry": _retry,
        "drop": _drop,
    }
    return actions[arguments.action](arguments, settings, selection)


def dead_letters_of(settings: Settings) -> DeadLetterFile:
    """Return the dead letters of the data directory."""
    return DeadLetterFile(settings.data_dir / DEAD_LETTER_FILE)


def _add_filters(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("only those that")
    group.add_argument("--since", metavar="TIME", help="came since: an age (15m, 2h, 7d) or RFC 3339")
    group.add_argument("--until", metavar="TIME", help="came before, as above")
    group.add_argument(
        "--topic", action="append", default=[], metavar="FILTER", help="have this topic; + and # as in MQTT"
    )
    group.add_argument("--kind", action="append", default=[], metavar="KIND", help=f"are {', '.join(_KINDS)}")
    group.add_argument("--reason", action="append", default=[], metavar="TEXT", help="have this text in their reason")


def _selection(arguments: argparse.Namespace) -> Selection:
    for kind in arguments.kind:
        if kind not in _KINDS:
            nearest = get_close_matches(kind, _KINDS, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(_KINDS)}"
            raise UsageError(f"--kind {kind}: there is no such kind; {hint}")
    now = time.time()
    since, until = (
        None if text is None else moment(option, text, now)
        for option, text in (("--since", arguments.since), ("--until", arguments.until))
    )
    if since is not None and until is not None and since >= until:
        raise UsageError(f"--since {arguments.since} is not before --until {arguments.until}")
    return Selection(
        since=since,
        until=until,
        topics=tuple(arguments.topic),
        kinds=tuple(arguments.kind),
        reasons=tuple(arguments.reason),
    )


def _chosen(letters: DeadLetterFile, selection: Selection) -> Iterator[Entry]:
    for entry in letters.entries():
        if selection.is_everything if entry.letter is None else selection.has(entry.letter):
            yield entry


def _say(text: str) -> None:
    print(f"hostpulse: {clean(text)}", file=sys.stderr)


def _say_nothing_found(letters: DeadLetterFile, selection: Selection) -> None:
    if selection.is_everything:
        _say(f"there are no dead letters in {letters.path.parent}")
    else:
        _say(f"none of the dead letters in {letters.path.parent} is like that")


def _counted(number: int) -> str:
    return "1 message" if number == 1 else f"{number} messages"


def _by_kind(kinds: Counter[str]) -> str:
    """Return how many there are, in all and of each kind, the most first."""
    return f"{_counted(kinds.total())}: {', '.join(f'{number} {kind}' for kind, number in kinds.most_common())}"


# list


@dataclass
class _Group:
    """Messages of one topic and kind.

    Attributes:
        last: the newest of them.
        number: how many there are.
    """

    last: KeptLetter
    number: int = 0


def _list(arguments: argparse.Namespace, settings: Settings, selection: Selection) -> int:
    letters = dead_letters_of(settings)
    kinds: Counter[str] = Counter()
    unreadable = 0
    groups: dict[tuple[str, str], _Group] = {}
    for _, letter in _chosen(letters, selection):
        if letter is None:
            unreadable += 1
            continue
        kinds[letter.kind] += 1
        if arguments.json:
            print(_json_line(letter))
            continue
        group = groups.setdefault((letter.topic, letter.kind), _Group(letter))
        group.last = max(group.last, letter, key=lambda one: one.moment)
        group.number += 1
    if groups:
        _print_table(sorted(groups.values(), key=lambda group: group.last.moment))
    if kinds:
        _say(_by_kind(kinds))
    if unreadable:
        lines = "1 line" if unreadable == 1 else f"{unreadable} lines"
        _say(f"{lines} of {letters.path.name} cannot be read; `hostpulse deadletter drop` without filters deletes them")
    if not kinds and not unreadable:
        _say_nothing_found(letters, selection)
    return 0


def _print_table(groups: Iterable[_Group]) -> None:
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    rows = [("last", "number", "size", "kind", "topic", "reason of the last")]
    for group in groups:
        last = group.last
        when = datetime.fromtimestamp(last.moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        rows.append((when, str(group.number), size(last.size), clean(last.kind), clean(last.topic), clean(last.reason)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for when, number, length, kind, topic, reason in rows:
        start = f"{when:{widths[0]}}  {number:>{widths[1]}}  {length:>{widths[2]}}  "
        print(f"{start}{kind:{widths[3]}}  {topic:{widths[4]}}  {reason}")


def _json_line(letter: KeptLetter) -> str:
    """Return a letter in ASCII alone, which is harmless to a terminal; a payload that is text as such."""
    record: dict[str, object] = json.loads(encode(letter))
    try:
        text = letter.payload.decode()
    except UnicodeDecodeError:
        record["payload_base64"] = record.pop("payload")
    else:
        record["payload"] = text
    return json.dumps(record)


# retry


def _retry(_arguments: argparse.Namespace, settings: Settings, selection: Selection) -> int:
    letters = dead_letters_of(settings)
    if not any(entry.letter for entry in _chosen(letters, selection)):
        _say_nothing_found(letters, selection)
        return 0
    influxdb = influx_options(settings)
    writer = make_writer(
        data_dir=str(settings.data_dir),
        influxdb=influxdb,
        retention_seconds=settings.store.retention_seconds,
        rollup_retention_seconds=settings.store.rollup_retention_seconds,
        maximum_entries=settings.store.maximum_entries,
    )
    role = StoreRole(Topics(settings.mqtt.prefix), writer, letters, maximum_hosts=settings.store.maximum_hosts)
    done = retry_or_hand_over(letters, role, writer, selection, may_hand_over=influxdb is None)
    _say(str(done))
    return 0 if done.is_complete else 1


# drop


def _drop(arguments: argparse.Namespace, settings: Settings, selection: Selection) -> int:
    letters = dead_letters_of(settings)
    kinds: Counter[str] = Counter()
    lines: list[bytes] = []
    for line, letter in _chosen(letters, selection):
        lines.append(line)
        kinds["unreadable" if letter is None else letter.kind] += 1
    if not lines:
        _say_nothing_found(letters, selection)
        return 0
    if not arguments.yes and not _agreed(f"drop {_by_kind(kinds)}? [y/N] "):
        _say("nothing was dropped")
        return 1
    # Those that were counted, whatever has come meanwhile.
    dropped = letters.replace((line, None) for line in lines)
    _say(f"{_counted(dropped)} dropped")
    return 0


def _agreed(question: str) -> bool:
    """Ask on the terminal.

    Raises:
        UsageError: there is none.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError("drop asks on a terminal, and this is none; say --yes")
    print(clean(question), end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().casefold() in {"y", "yes"}
