"""Check, test and list the rules of the alerts, and play them over the history.

The rules are the default ones and, over them, those of the file in `alerts.rules`: docs/alerts.md.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from hostpulse.bus.errors import UsageError
from hostpulse.bus.mqtt import MqttOptions
from hostpulse.bus.times import format_duration
from hostpulse.config.rules import DEFAULT_RULES_FILE
from hostpulse.config.settings import Settings
from hostpulse.consumer.alerting.service import AlertOptions, RuleText
from hostpulse.consumer.alerts import Rule, RulesError, Source, Transition, load_rules, parse_source
from hostpulse.consumer.alerts.cases import CaseFile, CasesError, compare, load_cases, play
from hostpulse.consumer.alerts.history import replay
from hostpulse.consumer.alerts.metrics import hint
from hostpulse.consumer.notifications import check_routes, unknown_tags

from .arguments import add_action, influx_options, load_settings
from .notifications import route_options
from .selection import chosen, open_history, time_range
from .terminal import clean

__all__ = ["alert_options", "rule_sources"]

_DEFAULTS = "config/alerts.toml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what there is to do."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = add_action(actions, "check", "Tell every mistake in a file of rules.")
    check.add_argument("file", nargs="?", type=Path, metavar="FILE", help="default: the file in alerts.rules")
    test = add_action(actions, "test", "Play tests of rules; exit code 1 if one fails.")
    test.add_argument("files", nargs="+", type=Path, metavar="FILE", help="TOML, as docs/alerts.md explains it")
    add_action(actions, "list", "Show the rules in effect, a line for each.")
    history = add_action(actions, "replay", "Show what would have been told of the history, and what not and why.")
    history.add_argument("--since", default="7d", metavar="TIME", help="begin: an age or RFC 3339 (default 7d)")
    history.add_argument("--until", default="now", metavar="TIME", help="end, as above (default now)")
    history.add_argument("--host", action="append", metavar="HOST", help="only this host; may be repeated")
    history.add_argument("--rule", action="append", metavar="RULE", help="only this rule; may be repeated")
    history.add_argument("--all", action="store_true", help="also what nobody would have been told")


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    settings = load_settings(arguments).settings
    actions: dict[str, Callable[[argparse.Namespace, Settings], int]] = {
        "check": _check,
        "test": _test,
        "list": _list,
        "replay": _replay,
    }
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    return actions[arguments.action](arguments, settings)


def alert_options(settings: Settings, mqtt: MqttOptions) -> AlertOptions:
    """Return what the role `alerts` is told.

    Raises:
        UsageError: the rules cannot be used; with a line for each mistake.
    """
    texts = _texts(settings)
    load_rules(parse_source(rules.name, rules.text) for rules in texts)  # a mistake is to be told here and now
    routes = route_options(settings)
    check_routes(routes)
    return AlertOptions(
        host=settings.host,
        mqtt=mqtt,
        data_dir=str(settings.data_dir),
        rules=tuple(texts),
        routes=routes,
        prefix=settings.mqtt.prefix,
        influxdb=influx_options(settings),
        maximum_hosts=settings.store.maximum_hosts,
        log_level=settings.log_level,
    )


def rule_sources(settings: Settings) -> list[Source]:
    """Return the rules in effect, unchecked: the default ones, and over them the user's.

    Raises:
        UsageError: the user's file cannot be read, or is no file of rules.
    """
    return [parse_source(rules.name, rules.text) for rules in _texts(settings)]


def _texts(settings: Settings) -> list[RuleText]:
    mine = settings.alerts.rules
    defaults = RuleText(_DEFAULTS, DEFAULT_RULES_FILE.read_text(encoding="utf-8"))
    return [defaults, *([] if mine is None else [RuleText(str(mine), _read(mine, "alerts.rules: "))])]


def _defaults() -> Source:
    return parse_source(_DEFAULTS, DEFAULT_RULES_FILE.read_text(encoding="utf-8"))


def _source(path: Path, option: str = "") -> Source:
    return parse_source(str(path), _read(path, option))


def _read(path: Path, option: str = "") -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")  # editors of Windows begin a text with a mark
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}, line {line}: not UTF-8 text") from None
    except OSError as error:
        raise UsageError(f"{option}{path} cannot be read: {error.strerror or error}") from None


# check


def _check(arguments: argparse.Namespace, settings: Settings) -> int:
    sources = rule_sources(settings) if arguments.file is None else [_defaults(), _source(arguments.file)]
    rules = load_rules(sources)
    for line in unknown_tags({rule.name: rule.notify for rule in rules}, route_options(settings)):
        print(f"hostpulse: warning: {line}", file=sys.stderr)
    name = sources[-1].name
    own = 0 if len(sources) == 1 else len(sources[-1].rules)
    changed = "the default rules alone" if len(sources) == 1 else f"{own} in {name}"
    print(f"hostpulse: {len(rules)} rules are right, {changed}", file=sys.stderr)
    return 0


# list


def _list(_arguments: argparse.Namespace, settings: Settings) -> int:
    sources = rule_sources(settings)
    rows: list[tuple[str, ...]] = [("rule", "metric", "warning", "critical", "from")]
    rows += [_row(rule, sources) for rule in load_rules(sources)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print(clean("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()))
    return 0


def _row(rule: Rule, sources: Sequence[Source]) -> tuple[str, ...]:
    levels = {level.word: str(bound) for level, bound in rule.bounds.items()}
    if rule.absent is not None:
        levels.setdefault(rule.absent_level.word, f"absent {format_duration(rule.absent)}")
    about = rule.metric if rule.window == 0 else f"{rule.reduce} of {rule.metric} in {format_duration(rule.window)}"
    origin = " and ".join(source.name for source in sources if rule.name in source.rules)
    return rule.name, about, levels.get("warning", "-"), levels.get("critical", "-"), origin


# test


def _test(arguments: argparse.Namespace, settings: Settings) -> int:
    failed = played = 0
    problems: list[str] = []
    for path in arguments.files:
        try:
            file = load_cases(str(path), _read(path))
            rules = load_rules(_sources_of(file, path, settings))
        except (CasesError, RulesError) as error:
            problems += error.problems
            continue
        for case in file.cases:
            difference = compare(case, *play(case, rules))
            played += 1
            failed += bool(difference)
            print(clean(f"{'FAIL' if difference else 'ok  '} {path}: {case.name}"))
            for line in difference:
                print(clean(f"     {line}"))
    if problems:
        raise CasesError(*problems)
    print(f"hostpulse: {played - failed} of {played} tests are right", file=sys.stderr)
    return 1 if failed else 0


def _sources_of(file: CaseFile, path: Path, settings: Settings) -> list[Source]:
    """Return the rules that the tests of a file are about."""
    sources = [_defaults()] if file.defaults else []
    if file.rules is not None:
        sources.append(_source(path.parent / file.rules, f"{path}: "))
    elif file.defaults:
        sources = rule_sources(settings)
    return [*sources, file.own]


# replay


def _replay(arguments: argparse.Namespace, settings: Settings) -> int:
    rules = load_rules(rule_sources(settings))
    names = [rule.name for rule in rules]
    for name in arguments.rule or ():
        if name not in names:
            raise UsageError(f"--rule {name}: there is no such rule{hint(name, names)}")
    start, end = time_range(arguments)
    told: Counter[str] = Counter()
    with open_history(settings) as reader:
        for transition in replay(rules, reader, start=start, end=end, hosts=chosen(arguments.host)):
            if arguments.rule and transition.rule not in arguments.rule:
                continue
            if transition.told:
                told[transition.rule] += 1
            if transition.told or arguments.all:
                print(_line(transition))
    counts = ", ".join(f"{number} {rule}" for rule, number in told.most_common())
    what = f"{told.total()} would have been told since {arguments.since}{counts and ': '}{counts}"
    print(f"hostpulse: {what}", file=sys.stderr)
    return 0


def _line(transition: Transition) -> str:
    when = datetime.fromtimestamp(transition.moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    told = "" if transition.told else f" ({transition.why})"
    line = f"{when}  {transition.level:8}  {transition.kind:12}  {transition.instance}  {transition.summary}{told}"
    return clean(line)
