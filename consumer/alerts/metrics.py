"""What rules can be about: every field of the contract, and what the consumer itself knows of a host."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Annotated

from msgspec import UNSET

from hostpulse.bus.fields import Count, Fields, Flag, Float, Table, condition, gauge, tables_of
from hostpulse.bus.messages import EVENT, TABLES

__all__ = ["HOST_TABLE", "METRIC_TABLES", "Host", "hint", "metric_names"]

_FEW = 24


class Host(Fields):
    """What the consumer itself knows of a host."""

    heartbeat: Annotated[Count, gauge("1 whenever a message of the host comes, whatever is in it.")] = UNSET
    clock_skew_seconds: Annotated[
        Float, gauge("How far the host's clock is from the consumer's, either way; measured while messages come live.")
    ] = UNSET
    has_battery: Annotated[Flag, condition("Whether the host ever told of a battery, so that it may well sleep.")] = (
        UNSET
    )


HOST_TABLE: Table = tables_of("host", Host)[0]
"""Its one table."""

METRIC_TABLES: Mapping[str, Table] = {
    **{name: table for name, table in TABLES.items() if table.subsystem != EVENT},
    HOST_TABLE.name: HOST_TABLE,
}
"""Every table that a rule can name: no rule is about what rules have told."""


def metric_names() -> list[str]:
    """Return every metric as rules write it: `cpu.utilization_percent`."""
    return [f"{table.name}.{field.name}" for table in METRIC_TABLES.values() for field in table.fields]


def hint(wrong: str, known: Iterable[str]) -> str:
    """Return the end of an error line: the nearest right name, or all where there are few."""
    names = list(known)
    nearest = get_close_matches(wrong, names, n=1)
    if not nearest:  # the right name in a wrong place: cpu.used_percent
        last = wrong.rpartition(".")[2]
        nearest = [name for name in names if name.rpartition(".")[2] == last][:1]
    if nearest:
        return f"; did you mean {nearest[0]}?"
    return f"; there are {', '.join(names)}" if 0 < len(names) <= _FEW else ""
