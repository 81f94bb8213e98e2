"""Rules as the engine takes them: checked, whole, unchangeable. `load` makes them from TOML."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from hostpulse.bus.fields import Field, Table
from hostpulse.bus.times import format_duration

from .selection import EVERYTHING, Globs

__all__ = ["Bound", "Condition", "Known", "Level", "Limit", "Reading", "Reduction", "Rule", "Side"]

Reading = float | str | bool
"""What a field says in a sample."""

Known = Mapping[str, Reading]
"""Values of other fields of the same device: those of the sample, or the last ones where it does not bring them."""


class Level(IntEnum):
    """How bad it is."""

    OK = 0
    WARNING = 1
    CRITICAL = 2

    @property
    def word(self) -> str:
        """Return `ok`, `warning` or `critical`."""
        return self.name.lower()


class Side(StrEnum):
    """On which side of its limit a value is bad."""

    ABOVE = "above"
    BELOW = "below"


class Reduction(StrEnum):
    """What is made of the values in a window before it is compared."""

    LAST = "last"  # the newest value; no window
    MEAN = "mean"
    MIN = "min"
    MAX = "max"
    RATE = "rate"  # of a counter, per second
    INCREASE = "increase"  # of a counter
    ETA = "eta"  # seconds until a value that falls is 0


@dataclass(frozen=True, slots=True)
class Limit:
    """A number, or a field of the same device and an offset.

    Attributes:
        number: the limit itself, or what stands in where the field is not known; None for no limit then.
        field: name of the field; None for the number alone.
        add: what is added to the field's value.
    """

    number: float | None
    field: str | None = None
    add: float = 0.0

    def __str__(self) -> str:
        if self.field is None:
            return f"{self.number:g}"
        offset = f"{self.add:+g}" if self.add else ""
        return f"{self.field}{offset}" if self.number is None else f"{self.field}{offset} or {self.number:g}"

    def value(self, known: Known) -> float | None:
        """Return the limit; None where there is none, so that nothing is beyond it."""
        if self.field is not None:
            found = known.get(self.field)
            if isinstance(found, float | int) and math.isfinite(found):
                return found + self.add
        return self.number


@dataclass(frozen=True, slots=True)
class Bound:
    """What one level means.

    Attributes:
        side: where the value is bad; None where words are compared.
        limit: beyond which the level is reached.
        clear: up to which the value has to come back.
        words: of a text or a flag: values that are bad.
        changed_from: the level is reached only by a device that said one of these at first or for a day; empty: any.
        hold: seconds for which the value has to be bad.
    """

    side: Side | None
    limit: Limit
    clear: Limit
    words: frozenset[Reading]
    changed_from: frozenset[Reading]
    hold: float

    def __str__(self) -> str:
        hold = f" for {format_duration(self.hold)}" if self.hold else ""
        if self.side is None:
            return f"{', '.join(sorted(str(word).lower() for word in self.words))}{hold}"
        return f"{self.side} {self.limit}{hold}"

    def is_beyond(self, value: Reading, known: Known) -> bool:
        """Return whether the value is bad."""
        if self.side is None or isinstance(value, str):
            return value in self.words
        limit = self.limit.value(known)
        if limit is None:
            return False
        return value > limit if self.side is Side.ABOVE else value < limit

    def is_back(self, value: Reading, known: Known) -> bool:
        """Return whether the value is good again; between the limit and `clear` it is neither."""
        if self.side is None or isinstance(value, str):
            return value not in self.words
        clear = self.clear.value(known)
        if clear is None:
            return True
        return value <= clear if self.side is Side.ABOVE else value >= clear


@dataclass(frozen=True, slots=True)
class Condition:
    """What else has to be so for a rule to look at a device: `only_if`.

    Attributes:
        field: of the same table.
        side: where the field's value has to be; None where words are compared.
        number: the limit.
        words: of a text or a flag: values of which it has to be one.
    """

    field: str
    side: Side | None
    number: float
    words: frozenset[Reading]

    def holds(self, known: Known) -> bool:
        """Return whether it is so; not if the field is not known."""
        value = known.get(self.field)
        if value is None:
            return False
        if self.side is None or isinstance(value, str):
            return value in self.words
        return value > self.number if self.side is Side.ABOVE else value < self.number


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule.

    Attributes:
        name: of the rule.
        table: whose rows it looks at.
        field: of which it judges the values.
        bounds: what each of its levels means; none where it is about absence alone.
        recover: seconds for which a value has to be good before a level is left.
        reduce: what is made of the values in the window.
        window: seconds.
        absent: seconds without a value after which a device is missing; None where that is no matter.
        absent_level: the level of one that is missing.
        no_data: the level when values stop coming; None keeps the one there was.
        stale_after: seconds until then; None for three intervals, as the messages announce them.
        repeat: seconds between two notifications of one alert; 0 for never again.
        hosts: names of the hosts that it looks at.
        keys: labels of the devices that it looks at.
        only_if: what else has to be so.
        inhibited_by: names of the rules whose alerts keep those of this one quiet.
        notify: tags, by which routes of notifications choose.
        summary: template of the sentence for people; "" for a general one.
        references: names of the other fields that it looks at.
    """

    name: str
    table: Table
    field: Field
    bounds: Mapping[Level, Bound]
    recover: float = 60.0
    reduce: Reduction = Reduction.LAST
    window: float = 0.0
    absent: float | None = None
    absent_level: Level = Level.CRITICAL
    no_data: Level | None = None
    stale_after: float | None = None
    repeat: float = 4 * 3600.0
    hosts: Globs = EVERYTHING
    keys: Globs = EVERYTHING
    only_if: Condition | None = None
    inhibited_by: tuple[str, ...] = ()
    notify: tuple[str, ...] = ()
    summary: str = ""
    references: tuple[str, ...] = ()

    @property
    def metric(self) -> str:
        """Return the metric as the rule writes it."""
        return f"{self.table.name}.{self.field.name}"

    def labels(self, key: str | None) -> dict[str, str]:
        """Return the labels of a device: the name of its table's key, and the key."""
        return {} if key is None or self.table.key is None else {self.table.key: key}

    def quiet(self) -> Callable[[float], bool] | None:
        """Return a quick test that is true only of values that are beyond none of the bounds.

        None where limits depend on other fields, or words are compared.
        """
        sides = {bound.side for bound in self.bounds.values()}
        numbers = [bound.limit.number for bound in self.bounds.values() if bound.limit.field is None]
        fixed = [number for number in numbers if number is not None]
        if len(sides) != 1 or len(fixed) != len(self.bounds) or None in sides:
            return None
        edge = min(fixed) if Side.ABOVE in sides else max(fixed)
        return edge.__ge__ if Side.ABOVE in sides else edge.__le__
