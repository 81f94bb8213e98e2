"""What there is of alerts now, and what people ask of them: through the journal of the consumer that evaluates them."""

import argparse
import getpass
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

import msgspec

from hostpulse.bus.errors import HostpulseError, MalformedError, UsageError
from hostpulse.bus.lock import is_held
from hostpulse.bus.times import format_duration, parse_duration
from hostpulse.config.settings import Settings
from hostpulse.consumer.alerting.commands import (
    Acknowledge,
    Forget,
    Lift,
    Request,
    Silencing,
    decode_answer,
    encode_request,
)
from hostpulse.consumer.alerting.journal import JOURNAL_FILE, Journal
from hostpulse.consumer.alerting.service import LOCK_FILE
from hostpulse.consumer.alerts import MOST_PATTERNS, Alert, Silence

from .terminal import clean

__all__ = ["REQUESTS", "add_request_actions"]

_ANSWER_SECONDS = 10.0
_LOOK_SECONDS = 0.1

_AddAction = Callable[[str, str], argparse.ArgumentParser]


def add_request_actions(add: _AddAction) -> None:
    """Add the actions.

    Args:
        add: adds one by its name and what it does.
    """
    shown = add("list", "Show the alerts that are not ok, and the silences.")
    shown.add_argument("--json", action="store_true", help="a JSON object for each alert, a line each")
    acknowledge = add("ack", "Say that somebody knows of alerts: no repeats until they get worse or end.")
    acknowledge.add_argument(
        "instances", nargs="+", metavar="INSTANCE", help="as `list` shows it, web-1/disk_full/mount=/; with * and ?"
    )
    _add_comment(acknowledge)
    silence = add("silence", "Keep alerts quiet for a while; they are told when it ends, if they still fire then.")
    silence.add_argument("--for", dest="duration", required=True, metavar="TIME", help="for how long: 30m, 2h, 7d")
    silence.add_argument(
        "--host", action="append", metavar="HOST", help="only this host, with * and ?; may be repeated"
    )
    silence.add_argument(
        "--rule", action="append", metavar="RULE", help="only this rule, with * and ?; may be repeated"
    )
    silence.add_argument(
        "--label", action="append", metavar="NAME=VALUE", help="only this mount, sensor, …, with * and ?: mount=/srv/*"
    )
    silence.add_argument("--all", action="store_true", help="everything, where neither host, rule nor label is given")
    _add_comment(silence)
    lift = add("lift", "End a silence before its time.")
    lift.add_argument("silence", metavar="ID", help="as `list` shows it")
    forget = add("forget", "Forget a host that is gone for good; nobody is told anything.")
    forget.add_argument("host", metavar="HOST", help="name of the machine")


def _add_comment(action: argparse.ArgumentParser) -> None:
    action.add_argument("--comment", default="", metavar="TEXT", help="why; your name is put before it")


# list


def _list(arguments: argparse.Namespace, settings: Settings) -> int:
    with Journal(settings.data_dir / JOURNAL_FILE).open() as journal:
        overview = journal.overview()
    is_evaluated = is_held(settings.data_dir / LOCK_FILE)
    now = time.time()
    if arguments.json:
        for alert in overview.alerts:
            print(msgspec.json.encode(alert).decode())
    else:
        _print_alerts(overview.alerts)
        for silence in overview.silences:
            if silence.until > now:
                print(clean(_silence_line(silence)))
    # A consumer that runs has told the journal of all that has happened, however long ago that is.
    age = "" if is_evaluated else f", as of {format_duration(round(max(0.0, now - overview.moment)))} ago"
    _say(f"{_alerts(len(overview.alerts))} not ok{age}" if overview.moment else "nothing was evaluated yet")
    if not is_evaluated:
        _say(f"warning: {_nobody(settings)}")
    return 0


def _alerts(number: int) -> str:
    return f"{number or 'no'} {'alert is' if number in {0, 1} else 'alerts are'}"


def _nobody(settings: Settings) -> str:
    return (
        f"no consumer evaluates the alerts of {settings.data_dir} now; start `hostpulse up` or `hostpulse consume`, "
        "or name the data_dir of one that runs"
    )


def _say(text: str) -> None:
    """Tell the person beside what goes to programs."""
    sys.stdout.flush()  # where both are one terminal, what was printed before stands above
    print(f"hostpulse: {clean(text)}", file=sys.stderr)


def _print_alerts(alerts: list[Alert]) -> None:
    rows = [(alert.level, _when(alert.since), alert.instance, alert.summary + _remarks(alert)) for alert in alerts]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print(clean("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()))


def _remarks(alert: Alert) -> str:
    remarks = [
        *(["acknowledged"] if alert.acknowledged else []),
        *(["no values come"] if alert.stale else []),
        *([alert.quiet] if alert.quiet else []),
    ]
    return f" ({', '.join(remarks)})" if remarks else ""


def _silence_line(silence: Silence) -> str:
    about = [
        *(f"host {pattern}" for pattern in silence.hosts),
        *(f"rule {pattern}" for pattern in silence.rules),
        *(f"{name} {pattern}" for name, patterns in silence.labels.items() for pattern in patterns),
    ]
    comment = f" ({silence.comment})" if silence.comment else ""
    return f"silence {silence.id} until {_when(silence.until)}: {', '.join(about) or 'everything'}{comment}"


def _when(moment: float) -> str:
    return datetime.fromtimestamp(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")


# What is asked for


def _acknowledge(arguments: argparse.Namespace, settings: Settings) -> int:
    done = _ask(settings, Acknowledge(patterns=tuple(arguments.instances), comment=_signed(arguments)))
    for instance in done:
        print(clean(instance))
    _say(f"{_alerts(len(done))} acknowledged: no repeats until it gets worse or ends")
    return 0


def _silence(arguments: argparse.Namespace, settings: Settings) -> int:
    labels: dict[str, tuple[str, ...]] = {}
    for label in arguments.label or ():
        name, equals, pattern = label.partition("=")
        if not equals or not name:
            raise UsageError(f"--label {label}: write NAME=VALUE, for example --label mount=/srv")
        labels[name] = (*labels.get(name, ()), pattern)
    hosts, rules = tuple(arguments.host or ()), tuple(arguments.rule or ())
    if not (hosts or rules or labels or arguments.all):
        raise UsageError("what is to be quiet? give --host, --rule or --label, or --all for everything")
    if arguments.all and (hosts or rules or labels):
        raise UsageError("--all is for everything; leave it out beside --host, --rule or --label")
    for option, patterns in (("--host", hosts), ("--rule", rules), *(("--label", many) for many in labels.values())):
        if len(patterns) > MOST_PATTERNS:
            raise UsageError(f"{option} may be given {MOST_PATTERNS} times; use patterns with *, or several silences")
    request = Silencing(
        hosts=hosts, rules=rules, labels=labels, seconds=_seconds(arguments), comment=_signed(arguments)
    )
    for silence in _ask(settings, request):
        print(silence)
        _say(f"quiet for {arguments.duration}; `hostpulse alerts lift {silence}` ends it before")
    return 0


def _seconds(arguments: argparse.Namespace) -> float:
    try:
        seconds = parse_duration(arguments.duration)
    except UsageError as error:
        raise UsageError(f"--for {error}") from None
    if not seconds:
        raise UsageError(f"--for {arguments.duration} is no time at all; write for example 30m, 2h, 7d")
    return seconds


def _lift(arguments: argparse.Namespace, settings: Settings) -> int:
    _ask(settings, Lift(id=arguments.silence))
    _say(f"the silence {arguments.silence} has ended; what fires and was not told is told now")
    return 0


def _forget(arguments: argparse.Namespace, settings: Settings) -> int:
    _ask(settings, Forget(host=arguments.host))
    _say(f"{arguments.host} is forgotten; should it send again, it is a new host")
    return 0


def _signed(arguments: argparse.Namespace) -> str:
    """Return the comment with the name of who makes it."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a number without a name, as containers have
        return str(arguments.comment)
    return f"{name}: {arguments.comment}" if arguments.comment else f"by {name}"


def _ask(settings: Settings, request: Request) -> tuple[str, ...]:
    """Have the consumer that evaluates the alerts do something; return what it did.

    Raises:
        HostpulseError: there is none, it did not answer, or it could not do it.
    """
    with Journal(settings.data_dir / JOURNAL_FILE).open() as journal, _asking(journal, request) as number:
        if not is_held(settings.data_dir / LOCK_FILE):
            raise HostpulseError(_nobody(settings))
        deadline = time.monotonic() + _ANSWER_SECONDS
        while (found := journal.answer_to(number)) is None:
            if time.monotonic() >= deadline:
                raise HostpulseError(
                    f"the consumer did not answer within {_ANSWER_SECONDS:.0f} s; its log says what is wrong, and "
                    "`hostpulse alerts list` whether it has done it"
                )
            time.sleep(_LOOK_SECONDS)
    try:
        answer = decode_answer(found)
    except MalformedError as error:
        raise HostpulseError(str(error)) from None
    if answer.trouble:
        raise HostpulseError(answer.trouble)
    return answer.done


@contextmanager
def _asking(journal: Journal, request: Request) -> Iterator[int]:
    """Leave a request, and take it back at the end if nobody has answered."""
    number = journal.ask(encode_request(request), time.time())
    try:
        yield number
    finally:
        journal.withdraw(number)


REQUESTS: dict[str, Callable[[argparse.Namespace, Settings], int]] = {
    "list": _list,
    "ack": _acknowledge,
    "silence": _silence,
    "lift": _lift,
    "forget": _forget,
}
"""The actions by name."""
