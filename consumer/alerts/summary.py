"""The sentence that tells people of an alert, made from the rule's template."""

from collections.abc import Mapping
from string import Formatter

from hostpulse.bus.fields import Unit
from hostpulse.bus.sizes import format_size
from hostpulse.bus.times import format_duration

from .model import Level, Reading, Reduction, Rule

__all__ = ["placeholders", "problem_of", "reduced_unit", "summary", "with_unit"]

_GENERAL = "{metric} is {value}"
_WITH_LIMIT = "{metric} is {value}, the limit is {limit}"
_MISSING = "{metric}: nothing has come for {value}"
_BACK = "{metric} of {host} comes again"
_WORDS = ("host", "rule", "level", "metric", "value", "limit", "window")
_LARGE = 86400 * 365.0


def placeholders(rule_key: str | None, references: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names that a template may have in braces."""
    return (*_WORDS, *(() if rule_key is None else (rule_key,)), *references)


def problem_of(template: str, names: tuple[str, ...]) -> str | None:
    """Return the first placeholder that means nothing, or what is wrong with the braces; None if all is right.

    Args:
        template: with names in braces.
        names: that it may have.
    """
    try:
        for _, name, specification, conversion in Formatter().parse(template):
            if name is not None and (name not in names or specification or conversion):
                return name + (f"!{conversion}" if conversion else "") + (f":{specification}" if specification else "")
    except ValueError:
        return template
    return None


def reduced_unit(rule: Rule) -> str:
    """Return the unit of what the rule judges."""
    if rule.reduce is Reduction.ETA:
        return Unit.SECONDS
    if rule.reduce is Reduction.RATE:
        return f"{rule.field.unit}/s" if rule.field.unit else Unit.PER_SECOND
    return rule.field.unit


def with_unit(value: float | str | None, unit: str) -> str:
    """Return a value as people read it; `never` for one without end."""
    if isinstance(value, str):
        return value
    if value is None or (unit == Unit.SECONDS and abs(value) > _LARGE):
        return "never"
    if unit in {Unit.BYTES, Unit.BYTES_PER_SECOND}:
        return format_size(value) + unit[1:]
    if unit == Unit.SECONDS:
        return f"{'-' if value < 0 else ''}{format_duration(abs(value))}"
    return f"{value:.4g}{f' {unit}' if unit else ''}"


def summary(
    rule: Rule,
    *,
    host: str,
    key: str | None,
    level: Level,
    value: float | str | None,
    limit: float | str | None,
    known: Mapping[str, Reading],
    missing: bool,
) -> str:
    """Return the sentence.

    Args:
        rule: its template counts, but for one about values while there are none, and one about absence when it is over.
        host: name of the machine.
        key: of the device.
        level: that the sentence is about.
        value: what was judged; seconds without a value where the device is missing.
        limit: what it was compared with.
        known: the other fields that the rule looks at.
        missing: whether the device is absent.
    """
    unit = Unit.SECONDS if missing else reduced_unit(rule)
    template = rule.summary
    if missing and (rule.bounds or not template):
        template = _MISSING
    elif not missing and not rule.bounds:  # the template is about absence
        template = _BACK
    elif not template:
        template = _GENERAL if limit is None else _WITH_LIMIT
    units = {field.name: field.unit for field in rule.table.fields}
    values = {
        "host": host,
        "rule": rule.name,
        "level": level.word,
        "metric": rule.metric,
        "value": with_unit(value, unit),
        "limit": "none" if limit is None else with_unit(limit, unit),
        "window": format_duration(rule.window),
        **rule.labels(key),
        **{name: _text(known.get(name), units[name]) for name in rule.references},
    }
    return template.format_map(values)


def _text(value: Reading | None, unit: str) -> str:
    if value is None:
        return "unknown"
    return str(value).lower() if isinstance(value, bool) else with_unit(value, unit)
