"""Playing a test: samples, the clock and what people do, in virtual time."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from msgspec import UNSET

from hostpulse.bus.codec import Envelope, Sample
from hostpulse.bus.fields import Fields
from hostpulse.bus.messages import SUBSYSTEMS

from ..engine import Engine, UnknownAlertError
from ..metrics import Host
from ..model import Reading, Rule
from ..silence import Silence
from ..transition import Transition
from .case import TICK_SECONDS, Case, SeriesOf, SilenceFrom

__all__ = ["START", "play"]

START = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
"""The moment at which every test begins, seconds since the epoch."""


def play(
    case: Case, rules: Sequence[Rule], *, restart_always: bool = False, copies: int = 1
) -> tuple[list[Transition], list[str]]:
    """Play a test.

    Args:
        case: the test.
        rules: that it is about.
        restart_always: make the engine again from its state after every step.
        copies: how often each sample is given.

    Returns:
        What happened, and what could not be done: alerts that were to be acknowledged and were not there.
    """
    player = _Player(case, rules, restart_always=restart_always, copies=copies)
    player.run()
    return player.transitions, player.troubles


@dataclass
class _Player:
    """One run of a test; its moments are seconds since the start."""

    case: Case
    rules: Sequence[Rule]
    restart_always: bool
    copies: int
    transitions: list[Transition] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._engine = Engine(self.rules)
        self._sequences: Counter[tuple[str, str]] = Counter()
        self._done = -math.inf

    def run(self) -> None:
        """Play it."""
        away = False
        for moment, step in self._moments():
            if any(begin < moment < end for begin, end in self.case.downs):
                away = True
                continue
            if away:
                self._restart()
                away = False
            if step is not None:
                self._sample(step, moment)
            self.transitions += self._engine.tick(START + moment)
            self._events(moment)
            if self.restart_always or any(self._is_due(restart, moment) for restart in self.case.restarts):
                self._restart()
            self._done = moment

    def _moments(self) -> Iterator[tuple[float, int | None]]:
        """Yield when the clock is looked at, and which step of the series it is."""
        longest = max((len(one.values) for one in self.case.series), default=0)
        ticks = max(1, math.ceil(self.case.step / TICK_SECONDS))
        pause = self.case.step / ticks
        for number in range(round(self.case.until / pause) + 1):
            step, rest = divmod(number, ticks)
            yield round(number * pause, 3), None if rest or step >= longest else step

    def _is_due(self, event: float, moment: float) -> bool:
        return self._done < event <= moment

    def _restart(self) -> None:
        self._engine = Engine(self.rules, self._engine.dump())

    def _events(self, moment: float) -> None:
        for begin, host in self.case.offline:
            if self._is_due(begin, moment):
                self._engine.status(host, online=False, received=START + moment)
        for silence in self.case.silences:
            if self._is_due(silence.moment, moment):
                self._engine.silence(_silence(silence, moment))
        for one in self.case.acknowledgements:
            if self._is_due(one.moment, moment):
                try:
                    acknowledged = self._engine.acknowledge(one.host, one.rule, one.labels, START + moment)
                except UnknownAlertError as error:
                    self.troubles.append(str(error))
                else:
                    self.transitions.append(acknowledged)

    def _sample(self, step: int, moment: float) -> None:
        for series in self.case.series:
            value = series.values[step] if step < len(series.values) else None
            if value is None:
                continue
            sample = self._sample_of(series, value, START + moment)
            for _ in range(self.copies):
                self.transitions += self._engine.take(sample, START + moment)

    def _sample_of(self, series: SeriesOf, value: Reading, moment: float) -> Sample:
        fields = series.fields(value)
        if not isinstance(fields, Host):
            return self._message(series.host, series.table.subsystem, fields, moment)
        # Nothing that a message says, so it comes with one that says nothing.
        subsystem = "battery" if fields.has_battery is True else "system"
        late = 0.0 if fields.clock_skew_seconds is UNSET else fields.clock_skew_seconds
        return self._message(series.host, subsystem, SUBSYSTEMS[subsystem](), moment - late)

    def _message(self, host: str, subsystem: str, fields: Fields, moment: float) -> Sample:
        self._sequences[host, subsystem] += 1
        envelope = Envelope(
            v=1,
            host=host,
            subsystem=subsystem,
            timestamp=datetime.fromtimestamp(moment, UTC),
            sequence=self._sequences[host, subsystem],
            session=datetime.fromtimestamp(START, UTC),
            interval=self.case.interval,
        )
        return Sample(envelope, fields)


def _silence(silence: SilenceFrom, moment: float) -> Silence:
    labels: dict[str, tuple[str, ...]] = {
        name: (pattern,) for name, pattern in silence.matchers.items() if name not in {"host", "rule"}
    }
    return Silence(
        id=f"at {silence.moment:g}",
        hosts=(silence.matchers["host"],) if "host" in silence.matchers else (),
        rules=(silence.matchers["rule"],) if "rule" in silence.matchers else (),
        labels=labels,
        until=START + moment + silence.seconds,
        comment="test",
    )
