"""Files of tests of rules."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from hostpulse.bus.errors import MistakesError, UsageError
from hostpulse.bus.fields import Field, Fields, Table
from hostpulse.bus.messages import SUBSYSTEMS
from hostpulse.bus.times import parse_duration

from ..load import Source
from ..metrics import HOST_TABLE, METRIC_TABLES, Host, hint, metric_names
from ..model import Reading
from ..reading import Entry, Keys, Problems, read_toml, shown
from .notation import parse_series

__all__ = ["TICK_SECONDS", "Acknowledgement", "Case", "CaseFile", "CasesError", "SeriesOf", "SilenceFrom", "load_cases"]

_FILE_KEYS = ("rules", "rule", "defaults", "test")
_CASE_KEYS = ("name", "step", "interval", "until", "series", "expect", "restart", "down", "ack", "silence", "offline")
_STEP = "10s"
TICK_SECONDS = 10.0
"""How often the clock is looked at, at least."""
_SHORTEST_STEP = 0.1
_MOST_STEPS = 300_000  # of the clock and of all series, in all tests of a file
_LARGEST_SKEW = 1e9


class CasesError(MistakesError):
    """A file of tests cannot be used."""


@dataclass(frozen=True, slots=True)
class SeriesOf:
    """What one field of one device says at each step.

    Attributes:
        host: name of the machine.
        table: of the field.
        field: name of the field.
        key: of the device; None in a subsystem's own table.
        constants: other fields of the same samples.
        values: one for each step; None for no sample.
    """

    host: str
    table: Table
    field: str
    key: str | None
    constants: Mapping[str, Reading]
    values: tuple[Reading | None, ...]

    def fields(self, value: Reading) -> Fields:
        """Return what a message says that has this value; of the consumer's own table, what it then knows.

        Raises:
            ValidationError: of msgspec; no message can say that.
        """
        values = {**self.constants, self.field: value}
        if self.table is HOST_TABLE:
            return msgspec.convert(values, Host)
        content = values if self.table.map is None else {self.table.map: {self.key: values}}
        return msgspec.convert(content, SUBSYSTEMS[self.table.subsystem])


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Somebody acknowledges an alert; `moment` in seconds since the start."""

    moment: float
    host: str
    rule: str
    labels: dict[str, str]


@dataclass(frozen=True, slots=True)
class SilenceFrom:
    """Somebody silences alerts; `moment` in seconds since the start, `seconds` is for how long."""

    moment: float
    seconds: float
    matchers: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One test; all times in seconds since its start.

    Attributes:
        name: of the test.
        step: between two samples of each series.
        interval: that the samples announce.
        until: end of the test; the clock goes on to there when no samples come any more.
        series: what is sampled.
        expect: the lines of the transcript.
        restarts: when the engine is ended and made again from its state.
        downs: from when to when the consumer is away, and nothing reaches it.
        acknowledgements: of alerts.
        silences: of alerts.
        offline: when the Last Will of which host comes.
    """

    name: str
    step: float
    interval: float
    until: float
    series: tuple[SeriesOf, ...]
    expect: tuple[str, ...]
    restarts: tuple[float, ...] = ()
    downs: tuple[tuple[float, float], ...] = ()
    acknowledgements: tuple[Acknowledgement, ...] = ()
    silences: tuple[SilenceFrom, ...] = ()
    offline: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True, slots=True)
class CaseFile:
    """A file of tests.

    Attributes:
        cases: the tests.
        rules: path of the file of rules that they are about, as written; None for those in effect.
        own: rules that stand in the file itself.
        defaults: whether the default rules are there, too.
    """

    cases: tuple[Case, ...]
    rules: str | None
    own: Source
    defaults: bool


def load_cases(name: str, text: str) -> CaseFile:
    """Return the tests in a file.

    Args:
        name: of the file, for errors.
        text: TOML.

    Raises:
        CasesError: with a line for each mistake.
    """
    problems = Problems(CasesError)
    table = read_toml(name, text, problems)
    problems.check()
    for key in table:
        if key not in _FILE_KEYS:
            problems.add(name, f"there is no key {shown(key)}{hint(key, _FILE_KEYS)}")
    file = Keys("file", {key: Entry(value, name) for key, value in table.items()}, problems)
    own = table.get("rule", {})
    if not isinstance(own, dict):
        problems.add(name, f"rule must be a table, not {shown(own)}; write [rule.NAME]")
        own = {}
    tests = table.get("test", [])
    if not isinstance(tests, list) or not tests or not all(isinstance(test, dict) for test in tests):
        problems.add(name, "there is no test; write [[test]] and its keys below it")
        tests = []
    allowance = _Allowance()
    cases = [_Reader(name, number, test, problems, allowance).case() for number, test in enumerate(tests, 1)]
    found = CaseFile(
        tuple(cases), file.text("rules", "") or None, Source(name, own), file.flag("defaults", default=True)
    )
    problems.check()
    return found


@dataclass
class _Allowance:
    """How many steps a file may still have."""

    left: int = _MOST_STEPS

    def take(self, steps: float) -> bool:
        """Take some; return whether there were so many."""
        if steps > self.left:
            return False
        self.left -= math.ceil(steps)
        return True


@dataclass(frozen=True)
class _Reader:
    """Reads one test; what is wrong becomes a problem."""

    file: str
    number: int
    table: Mapping[str, object]
    problems: Problems
    allowance: _Allowance
    keys: Keys = field(init=False)

    def __post_init__(self) -> None:
        name = self.table.get("name")
        path = f"test {shown(name)}" if isinstance(name, str) else f"test {self.number}"
        entries = {key: Entry(value, self.file) for key, value in self.table.items()}
        object.__setattr__(self, "keys", Keys(path, entries, self.problems))

    def case(self) -> Case:
        """Return the test, as far as it could be read."""
        keys = self.keys
        keys.check_names(_CASE_KEYS)
        for name in ("name", "series", "expect"):
            if name not in keys:
                keys.wrong(name, "is missing")
        step = keys.duration("step", parse_duration(_STEP))
        if step < _SHORTEST_STEP:
            keys.wrong("step", f"must be at least {_SHORTEST_STEP} s")
            step = 1.0
        series = tuple(self._series())
        longest = max((len(one.values) for one in series), default=1)
        until = max(keys.duration("until", 0.0), (longest - 1) * step)
        if not self.allowance.take(until / min(step, TICK_SECONDS)):
            keys.wrong("until", f"makes the tests of this file longer than {_MOST_STEPS} steps; part it")
            until = 0.0
        return Case(
            name=keys.text("name", ""),
            step=step,
            interval=keys.duration("interval", step),
            until=until,
            series=series,
            expect=tuple(self._expected()),
            restarts=tuple(self._moment("restart", line) for line in keys.texts("restart")),
            downs=tuple(self._down(line) for line in keys.texts("down")),
            acknowledgements=tuple(self._acknowledgement(line) for line in keys.texts("ack")),
            silences=tuple(self._silence(line) for line in keys.texts("silence")),
            offline=tuple(self._offline(line) for line in keys.texts("offline")),
        )

    def _moment(self, key: str, text: str) -> float:
        try:
            return parse_duration(text)
        except UsageError as error:
            self.keys.wrong(key, f": {error}")
            return 0.0

    def _words(self, key: str, line: str, least: int, form: str) -> list[str]:
        words = line.split()
        if len(words) < least:
            self.keys.wrong(key, f"must be like {shown(form)}, not {shown(line)}")
            return form.split()
        return words

    def _pairs(self, key: str, words: list[str]) -> dict[str, str]:
        for word in words:
            if "=" not in word:
                self.keys.wrong(key, f"has {shown(word)}; write NAME=VALUE")
        return dict(word.split("=", 1) for word in words if "=" in word)

    def _down(self, line: str) -> tuple[float, float]:
        begin, end, *_ = self._words("down", line, 2, "1m 10m")
        return self._moment("down", begin), self._moment("down", end)

    def _offline(self, line: str) -> tuple[float, str]:
        moment, host, *_ = self._words("offline", line, 2, "1m web-1")
        return self._moment("offline", moment), host

    def _acknowledgement(self, line: str) -> Acknowledgement:
        moment, host, rule, *labels = self._words("ack", line, 3, "2m web-1 disk_full mount=/")
        return Acknowledgement(self._moment("ack", moment), host, rule, self._pairs("ack", labels))

    def _silence(self, line: str) -> SilenceFrom:
        moment, seconds, *matchers = self._words("silence", line, 2, "2m 1h host=web-1 rule=disk_* mount=/")
        pairs = self._pairs("silence", matchers)
        return SilenceFrom(self._moment("silence", moment), self._moment("silence", seconds), pairs)

    def _expected(self) -> list[str]:
        lines = self.keys.text("expect", "").strip().splitlines()
        normal = []
        for line in lines:
            moment, _, rest = " ".join(line.split()).partition(" ")
            normal.append(f"{self._moment('expect', moment):g} {rest}")
        return normal

    def _series(self) -> list[SeriesOf]:
        series = self.keys.raw("series")
        if series is None:
            return []
        if not isinstance(series, dict):
            self.keys.wrong("series", 'must be a table; write series."web-1 cpu.temperature_celsius" = "70x6 90"')
            return []
        found = [self._one_series(str(name), values) for name, values in series.items()]
        return [one for one in found if one is not None]

    def _one_series(self, name: str, values: object) -> SeriesOf | None:
        host, metric, *rest = self._words("series", name, 2, "web-1 disk_mount.used_percent mount=/")
        table_name, _, field_name = metric.partition(".")
        table = METRIC_TABLES.get(table_name)
        about = None if table is None else table.field(field_name)
        if table is None or about is None:
            self.keys.wrong("series", f"names {shown(metric)}, which does not exist{hint(metric, metric_names())}")
            return None
        pairs = self._pairs("series", rest)
        key = None if table.key is None else pairs.pop(table.key, None)
        if table.key is not None and key is None:
            self.keys.wrong("series", f"{shown(name)} lacks its {table.key}; write {table.key}=NAME")
            return None
        constants = {name: self._constant(table, name, text) for name, text in pairs.items()}
        found = SeriesOf(host, table, field_name, key, constants, self._values(name, values, about))
        return found if self._can_be_said(name, found) else None

    def _can_be_said(self, name: str, series: SeriesOf) -> bool:
        """Return whether messages can say that; complain of the first value with which none can."""
        for value in {value for value in series.values if value is not None}:
            try:
                fields = series.fields(value)
            except msgspec.ValidationError as error:
                words = str(error).partition(" - at ")[0]
                self.keys.wrong("series", f"{shown(name)}: {shown(value)} cannot be: {words[:1].lower()}{words[1:]}")
                return False
            skew = fields.clock_skew_seconds if isinstance(fields, Host) else 0.0
            if skew and abs(skew) > _LARGEST_SKEW:
                self.keys.wrong("series", f"{shown(name)}: no clock is wrong by {shown(skew)} seconds")
                return False
        return True

    def _constant(self, table: Table, name: str, text: str) -> Reading:
        about = table.field(name)
        if about is None:
            known = [one.name for one in table.fields]
            self.keys.wrong("series", f"names {shown(name)}, which {table.name} does not have{hint(name, known)}")
            return text
        values = self._values(name, f"'{text}'" if about.type is str else text, about)
        return values[0] if values and values[0] is not None else text

    def _values(self, name: str, text: object, about: Field) -> tuple[Reading | None, ...]:
        if not isinstance(text, str):
            self.keys.wrong("series", f"{shown(name)} must be text such as '70x6 90', not {shown(text)}")
            return ()
        try:
            values = parse_series(text, self.allowance.left)
        except UsageError as error:
            self.keys.wrong("series", f"{shown(name)}: {error}")
            return ()
        self.allowance.take(len(values))
        wanted = about.type if about.type in {str, bool} else float
        for value in values:
            if value is not None and type(value) is not wanted:
                word = {str: "text in single quotes", bool: "true or false"}.get(wanted, "a number")
                self.keys.wrong("series", f"{shown(name)}: {about.name} is {word}, not {shown(value)}")
                return ()
        whole = about.type is int
        return tuple(round(value) if whole and isinstance(value, float) else value for value in values)
