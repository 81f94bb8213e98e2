"""Show alerts and what happened to them, acknowledge and silence them, and try who is told.

docs/alerts.md explains the rules, docs/notifications.md who is told.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from hostpulse.bus.messages import EVENT
from hostpulse.config.settings import Settings
from hostpulse.consumer.alerts.metrics import hint
from hostpulse.consumer.storage import Reader, RowQuery
from hostpulse.consumer.storage.interface import Value

from .alert_requests import REQUESTS, add_request_actions
from .arguments import add_action, load_settings
from .notifications import add_test_action, run_test
from .selection import chosen, explain_nothing, open_history, time_range
from .terminal import clean

_MILLISECONDS = 1000
_LEVELS = ("ok", "warning", "critical")
_FIELDS = ("rule", "labels", "kind", "level", "summary", "told", "why")
_MOST_RULES = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what there is to do."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    add_request_actions(lambda name, text: add_action(actions, name, text))
    history = add_action(actions, "history", "Show what was told of alerts, a line for each time, the oldest first.")
    history.add_argument("--since", default="7d", metavar="TIME", help="begin: an age or RFC 3339 (default 7d)")
    history.add_argument("--until", default="now", metavar="TIME", help="end, as above (default now)")
    history.add_argument("--host", action="append", metavar="HOST", help="only this host; may be repeated")
    history.add_argument("--rule", action="append", metavar="RULE", help="only this rule; may be repeated")
    history.add_argument(
        "--level", action="append", choices=_LEVELS, help="only what led to this level; may be repeated"
    )
    history.add_argument("--all", action="store_true", help="also what nobody was told, and why")
    history.set_defaults(key=None)
    add_test_action(actions)


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    settings = load_settings(arguments).settings
    actions: dict[str, Callable[[argparse.Namespace, Settings], int]] = {
        **REQUESTS,
        "history": _history,
        "test": run_test,
    }
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    return actions[arguments.action](arguments, settings)


# history


class _Transition(NamedTuple):
    """A stored transition; what it does not say is empty."""

    moment: float
    host: str
    rule: str
    labels: str
    kind: str
    level: str
    summary: str
    told: bool
    why: str


def _history(arguments: argparse.Namespace, settings: Settings) -> int:
    start, end = time_range(arguments)
    query = RowQuery(table=EVENT, start=start, end=end, hosts=chosen(arguments.host), fields=_FIELDS)
    told: Counter[str] = Counter()
    rules: set[str] = set()
    shown = 0
    with open_history(settings) as reader:
        for transition in _transitions(reader, query):
            if len(rules) < _MOST_RULES:  # who makes names up must not fill our memory
                rules.add(transition.rule)
            if arguments.rule and transition.rule not in arguments.rule:
                continue
            if arguments.level and transition.level not in arguments.level:
                continue
            if transition.told:
                told[transition.rule if transition.rule in rules else "others"] += 1
            if transition.told or arguments.all:
                shown += 1
                print(_line(transition))
        problem = "" if shown else _explain(arguments, reader, rules)
    if problem:
        print(f"hostpulse: {clean(problem)}", file=sys.stderr)
        return 1
    counts = ", ".join(f"{number} {rule}" for rule, number in told.most_common())
    what = f"{told.total()} told since {arguments.since}{counts and ': '}{counts}"
    print(f"hostpulse: {clean(what)}", file=sys.stderr)
    return 0


def _transitions(reader: Reader, query: RowQuery) -> Iterator[_Transition]:
    for rows in reader.rows(query):
        for timestamp, host, rule, labels, kind, level, summary, told, why in rows:
            yield _Transition(
                moment=float(timestamp or 0) / _MILLISECONDS,
                host=_text(host),
                rule=_text(rule),
                labels=_text(labels),
                kind=_text(kind),
                level=_text(level),
                summary=_text(summary),
                told=bool(told),
                why=_text(why),
            )


def _text(value: Value) -> str:
    return "" if value is None else str(value)


def _explain(arguments: argparse.Namespace, reader: Reader, rules: set[str]) -> str:
    """Return what may be a mistake where nothing was found; empty where it is good news."""
    known = [host.name for host in reader.hosts()]
    if any(host not in known for host in arguments.host or ()):
        return explain_nothing("alert", arguments, reader)
    strangers = [rule for rule in arguments.rule or () if rule not in rules]
    if strangers and rules:
        return f"no alert of rule {strangers[0]} since {arguments.since}{hint(strangers[0], sorted(rules))}"
    return ""


def _line(transition: _Transition) -> str:
    when = datetime.fromtimestamp(transition.moment, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    instance = "/".join(filter(None, (transition.host, transition.rule, transition.labels)))
    told = "" if transition.told else f" ({transition.why or 'not told'})"
    line = f"{when}  {transition.level:8}  {transition.kind:12}  {instance}  {transition.summary}{told}"
    return clean(line)
