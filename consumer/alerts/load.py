"""Rules from TOML: the defaults, and over them what users write, rule by rule and key by key."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from hostpulse.bus.errors import MistakesError
from hostpulse.bus.fields import Field, Kind, Table

from .levels import read_bound, read_condition
from .metrics import METRIC_TABLES, hint, metric_names
from .model import Level, Reduction, Rule, Side
from .reading import Entry, Keys, Problems, read_toml, shown
from .selection import Globs
from .summary import placeholders, problem_of

__all__ = ["RulesError", "Source", "load_rules", "parse_source", "rule_tables"]

_RULE_KEYS = (
    "metric",
    "warning",
    "critical",
    "for",
    "recover",
    "reduce",
    "window",
    "absent",
    "absent_level",
    "no_data",
    "stale_after",
    "repeat",
    "hosts",
    "where",
    "only_if",
    "inhibited_by",
    "notify",
    "summary",
    "enabled",
)
_LEVELS = {"warning": Level.WARNING, "critical": Level.CRITICAL}
_NO_DATA = ("keep", "ok", "warning", "critical")
_COUNTER_REDUCTIONS = {Reduction.RATE, Reduction.INCREASE}
_RECOVER = 60.0
_REPEAT = 4 * 3600.0
_LONGEST_NAME = 64
_MOST_RULES = 500
_MOST_INHIBITORS = 64


class RulesError(MistakesError):
    """The rules cannot be used."""


@dataclass(frozen=True, slots=True)
class Source:
    """Rules that were written at one place.

    Attributes:
        name: of the file, for errors.
        rules: what stands below `rule`, unchecked.
    """

    name: str
    rules: Mapping[str, object]


def parse_source(name: str, text: str) -> Source:
    """Return the rules in a file.

    Args:
        name: of the file, for errors.
        text: TOML.

    Raises:
        RulesError: it is not TOML, or has other things than rules.
    """
    problems = Problems(RulesError)
    table = read_toml(name, text, problems)
    for key in table:
        if key != "rule":
            problems.add(name, f"there is no {shown(key)} in a file of rules; rules stand in [rule.NAME]")
    rules = rule_tables(name, table, problems)
    problems.check()
    return Source(name, rules)


def rule_tables(name: str, table: Mapping[str, object], problems: Problems) -> Mapping[str, object]:
    """Return what stands below `rule`.

    Args:
        name: of the file.
        table: its content.
        problems: where mistakes go.
    """
    rules = table.get("rule", {})
    if isinstance(rules, dict):
        return rules
    problems.add(name, f"rule must be a table, not {shown(rules)}; write [rule.NAME]")
    return {}


def load_rules(sources: Iterable[Source]) -> tuple[Rule, ...]:
    """Return the rules of all sources; what a later one writes takes the place of what an earlier one did.

    Args:
        sources: the defaults first.

    Returns:
        Those that are enabled, in the order of their first appearance.

    Raises:
        RulesError: with a line for each mistake.
    """
    problems = Problems(RulesError)
    merged = _merge(sources, problems)
    rules: list[Rule] = []
    for name, entries in merged.items():
        others = [other for other, table in merged.items() if "metric" in table]
        rule = _rule(name, Keys(f"rule.{name}", entries, problems), problems, others)
        if rule is not None:
            rules.append(rule)
    _check_inhibitors(rules, merged, problems)
    problems.check()
    return tuple(rules)


# Merging


def _merge(sources: Iterable[Source], problems: Problems) -> dict[str, dict[str, Entry]]:
    merged: dict[str, dict[str, Entry]] = {}
    for source in sources:
        for name, table in source.rules.items():
            if not isinstance(table, dict):
                problems.add(source.name, f"rule.{name} must be a table, not {shown(table)}; write [rule.{name}]")
            elif not _is_name(name):
                problems.add(source.name, f"rule {shown(name)} needs a name of letters, digits and underscores")
            elif len(merged) >= _MOST_RULES and name not in merged:
                problems.add(source.name, f"has too many rules: with the others they are more than {_MOST_RULES}")
                return merged
            else:
                _merge_rule(merged.setdefault(name, {}), table, source.name)
    return merged


def _is_name(name: str) -> bool:
    return name.isascii() and name.isidentifier() and len(name) <= _LONGEST_NAME


def _merge_rule(entries: dict[str, Entry], table: Mapping[str, object], origin: str) -> None:
    """Lay the keys of a table over those that there are; a level's keys count one by one, too."""
    for key, value in table.items():
        before = entries.pop(key, None)
        if key in _LEVELS and isinstance(value, dict):
            level = dict(before.value) if before is not None and isinstance(before.value, dict) else {}
            for name, inner in value.items():
                level.pop(name, None)
                level[name] = Entry(inner, origin)
            entries[key] = Entry(level, origin)
        else:
            entries[key] = Entry(value, origin)


# One rule


def _rule(name: str, keys: Keys, problems: Problems, others: Sequence[str]) -> Rule | None:
    """Return a rule; None if it is not enabled or cannot be told. Others are those whose name may have been meant."""
    keys.check_names(_RULE_KEYS)
    metric = _metric(keys, others)
    if metric is None:
        return None
    table, field = metric
    reduce = Reduction(keys.choice("reduce", tuple(Reduction), Reduction.LAST))
    window = keys.duration("window", 0.0)
    _check_window(keys, field, reduce, window)
    hold = keys.duration("for", 0.0)
    references: list[str] = []
    bounds = {}
    for word, level in _LEVELS.items():
        bound = read_bound(keys, word, (table, field), hold=hold, references=references)
        if bound is not None:
            bounds[level] = bound
    only_if = read_condition(keys, table, references)
    absent = keys.duration("absent", 0.0) if "absent" in keys else None
    if absent is None and not any(word in keys and keys.raw(word) is not False for word in _LEVELS):
        problems.add(keys.origin, f"{keys.path} has neither a level (warning, critical) nor absent; add one")
    no_data = keys.choice("no_data", _NO_DATA, "keep")
    rule = Rule(
        name=name,
        table=table,
        field=field,
        bounds=bounds,
        recover=keys.duration("recover", _RECOVER),
        reduce=reduce,
        window=window,
        absent=absent,
        absent_level=_LEVELS[keys.choice("absent_level", tuple(_LEVELS), "critical")],
        no_data=None if no_data == "keep" else _LEVELS.get(no_data, Level.OK),
        stale_after=keys.duration("stale_after", 0.0) if "stale_after" in keys else None,
        repeat=keys.duration("repeat", _REPEAT),
        hosts=Globs(keys.texts("hosts")),
        keys=_where(keys, table),
        only_if=only_if,
        inhibited_by=keys.texts("inhibited_by"),
        notify=keys.texts("notify"),
        summary=keys.text("summary", ""),
    )
    rule = replace(rule, references=tuple(dict.fromkeys([*references, *_mentioned(keys, rule)])))
    _check_summary(keys, rule)
    _check_order(keys, rule)
    return rule if keys.flag("enabled", default=True) else None


def _metric(keys: Keys, others: Sequence[str]) -> tuple[Table, Field] | None:
    if "metric" not in keys:
        nearest = get_close_matches(keys.path.removeprefix("rule."), others, n=1)
        meant = f"; did you mean rule.{nearest[0]}?" if nearest else ""
        keys.wrong("metric", f"is missing; name a metric such as cpu.utilization_percent{meant}")
        return None
    name = keys.text("metric", "")
    table_name, _, field_name = name.partition(".")
    table = METRIC_TABLES.get(table_name)
    field = None if table is None else table.field(field_name)
    if table is None or field is None:
        if name:
            keys.wrong("metric", f"names {shown(name)}, which does not exist{hint(name, metric_names())}")
        return None
    return table, field


def _check_window(keys: Keys, field: Field, reduce: Reduction, window: float) -> None:
    if reduce is Reduction.LAST:
        if window:
            keys.wrong("window", "has no effect on the last value; set reduce, to mean for example")
        return
    if not window:
        keys.wrong("reduce", f"= {reduce} needs a window, such as 5m")
    if field.type is str or field.type is bool:
        keys.wrong("reduce", f"= {reduce} makes no sense of {field.name}, which is no number")
    elif reduce in _COUNTER_REDUCTIONS and field.kind is not Kind.COUNTER:
        keys.wrong("reduce", f"= {reduce} needs a counter, and {field.name} is a {field.kind}; mean may be meant")


def _where(keys: Keys, table: Table) -> Globs:
    where = keys.table("where")
    if where is None:
        return Globs()
    if table.key is None:
        keys.wrong("where", f"has nothing to choose: a host has one {table.name} only")
        return Globs()
    where.check_names((table.key,))
    return Globs(where.texts(table.key))


def _check_order(keys: Keys, rule: Rule) -> None:
    """Complain where critical is easier to reach than warning."""
    warning, critical = rule.bounds.get(Level.WARNING), rule.bounds.get(Level.CRITICAL)
    if warning is None or critical is None or warning.side is None:
        return
    if warning.side is not critical.side:
        keys.wrong_together(
            "critical", f"is {critical.side} and warning is {warning.side} a limit; both must have one side"
        )
        return
    at, more = warning.limit.number, critical.limit.number
    if at is not None and more is not None and (more < at if warning.side is Side.ABOVE else more > at):
        keys.wrong_together("critical", f"is reached at {more:g}, before warning at {at:g}; it must be the worse one")


def _mentioned(keys: Keys, rule: Rule) -> list[str]:
    """Return the other fields that the summary names."""
    names = [field.name for field in rule.table.fields]
    return [name for name in names if f"{{{name}}}" in keys.text("summary", "")]


def _check_summary(keys: Keys, rule: Rule) -> None:
    names = placeholders(rule.table.key, tuple(field.name for field in rule.table.fields))
    wrong = problem_of(rule.summary, names)
    if wrong is not None:
        keys.wrong("summary", f"has {shown('{' + wrong + '}')}, which means nothing{hint(wrong, names)}")


def _check_inhibitors(rules: list[Rule], merged: Mapping[str, Mapping[str, Entry]], problems: Problems) -> None:
    by_name = {rule.name: rule for rule in rules}
    for rule in rules:
        keys = Keys(f"rule.{rule.name}", merged[rule.name], problems)
        if len(rule.inhibited_by) > _MOST_INHIBITORS:
            keys.wrong("inhibited_by", f"names {len(rule.inhibited_by)} rules, more than {_MOST_INHIBITORS}")
            continue
        for name in rule.inhibited_by:
            if name not in merged:
                keys.wrong("inhibited_by", f"names {shown(name)}, which is no rule{hint(name, merged)}")
        if _inhibits_itself(rule.name, by_name):
            keys.wrong("inhibited_by", "leads back to the rule itself; alerts would keep each other quiet for ever")


def _inhibits_itself(name: str, rules: Mapping[str, Rule]) -> bool:
    waiting, seen = list(rules[name].inhibited_by), set[str]()
    while waiting:
        other = waiting.pop()
        if other == name:
            return True
        if other in rules and other not in seen:
            seen.add(other)
            waiting += rules[other].inhibited_by
    return False
