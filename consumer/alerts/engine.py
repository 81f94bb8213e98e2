"""The engine: takes samples and moments, and says what happens to alerts."""

from collections.abc import Iterable
from typing import Any

from msgspec import UNSET

from hostpulse.bus.codec import Sample
from hostpulse.bus.errors import UsageError
from hostpulse.bus.messages import EVENT, FROM_CONSUMERS

from .arrivals import Arrivals
from .flapping import recent
from .inhibition import Inhibition
from .machine import forget_holds, next_level
from .metrics import HOST_TABLE
from .model import Level, Reduction, Rule
from .silence import Silence
from .state import HostState, Instance, State, from_bytes, to_bytes
from .telling import alert_of, end_of, sayable, transition_of
from .transition import Alert, Kind, Transition, instance_path
from .watch import STALE_INTERVALS, Key, Plan, Watch
from .window import Window

__all__ = ["Engine", "UnknownAlertError"]

_AWAY_SECONDS = 30.0  # a clock that was not seen for longer: the consumer was away, and silence meanwhile says nothing
_FORGET_SECONDS = 86400.0
_LARGEST = 100_000
_MOST_PASSED_OVER = 10_000  # devices that no rule is about, remembered for speed
_NOBODY_KNEW = "nobody was told of it"

_Out = list[Transition]
_Times = tuple[float, float, float]  # when a value was sampled, when it came, and seconds until the next one


class UnknownAlertError(UsageError):
    """There is no such alert."""


class Engine:
    """Evaluates rules. For one thread; it has no clock, no files and no connection of its own.

    Args:
        rules: what `load_rules` gave.
        state: what `dump` gave; empty to begin anew. What it has of rules that are gone, or that are about something
            else now, is dropped: the next `tick` ends their alerts.
        maximum_instances: devices of all rules together; further ones are not looked at, and counted in `refused`.

    Raises:
        StateError: the state cannot be read.
    """

    def __init__(self, rules: Iterable[Rule], state: bytes = b"", *, maximum_instances: int = _LARGEST) -> None:
        self._watches = {rule.name: Watch(rule) for rule in rules}
        self._inhibition = Inhibition({name: watch.rule for name, watch in self._watches.items()})
        self._maximum = maximum_instances
        self._number = 0
        self._passed_over = 0
        self.refused = 0
        tables: dict[str, list[Watch]] = {}
        for watch in self._watches.values():
            tables.setdefault(watch.rule.table.name, []).append(watch)
        self._host_plan = Plan(None, tables.pop(HOST_TABLE.name, []))
        self._plans: dict[str, list[Plan]] = {}
        for watches in tables.values():
            table = watches[0].rule.table
            self._plans.setdefault(table.subsystem, []).append(Plan(table.map, watches))
        self._moment: float | None = None
        self._listening = 0.0
        self._arrivals = Arrivals()
        self._silences: dict[str, Silence] = {}
        self._orphans: list[Instance] = []
        if state:
            self._restore(from_bytes(state))

    # What comes in

    def take(self, sample: Sample, received: float) -> list[Transition]:
        """Take a message; one that is late or came before moves nothing, and neither does one about alerts.

        Args:
            sample: from the bus, or from history.
            received: seconds since the epoch by the consumer's clock; the sample's own moment where it is history.

        Returns:
            What happened, in order.
        """
        out: _Out = []
        envelope = sample.envelope
        if envelope.subsystem == EVENT:  # what we have said of the host ourselves is no sign of its life
            return out
        moment = envelope.timestamp.timestamp()
        session = envelope.session.timestamp()
        delay = self._arrivals.delay(envelope, session, moment, received)
        state = self._arrivals.host(envelope, session)
        if envelope.subsystem not in FROM_CONSUMERS:  # a consumer may well live on a machine without a publisher
            self._take_host(state, delay, received, out)
        if delay is None:
            return out
        host, times = envelope.host, (moment, received, envelope.interval)
        for plan in self._plans.get(envelope.subsystem, ()):
            for key, row in plan.rows(sample.fields):
                for watch in plan.watches:
                    self._look(watch, (host, key), row, times, out)
        return out

    def tick(self, now: float) -> list[Transition]:
        """Look at the clock: what is absent or stale, what is to be repeated, what need no longer be quiet.

        Call it every few seconds. After more than 30 seconds without a call the consumer counts as having been
        away: silence of hosts meanwhile is nobody's fault. A clock that was set back begins all waiting anew.

        Args:
            now: seconds since the epoch.

        Returns:
            What happened, in order.
        """
        out: _Out = []
        if self._moment is None or now - self._moment > _AWAY_SECONDS:
            self._listening = now
        elif now < self._moment:
            self._set_back(now)
        self._moment = now
        out += [_end_of_orphan(orphan, now) for orphan in self._orphans]
        self._orphans = []
        self._silences = {name: silence for name, silence in self._silences.items() if silence.until > now}
        for watch in self._watches.values():
            for instance in watch.known_instances():
                self._look_at_clock(watch, instance, now, out)
        return out

    def status(self, host: str, *, online: bool, received: float, has_battery: bool = False) -> None:
        """Take what a host's retained status (Last Will) says.

        `offline` starts the clock of absence for a host of which nothing else is known; for others it runs already,
        since their last message. Of one that was forgotten it says nothing new.

        Args:
            host: name of the machine, not escaped.
            online: what it says.
            received: seconds since the epoch by the consumer's clock.
            has_battery: whether history has a battery of it; counts for a host of which nothing else is known.
        """
        if online or self.has_forgotten(host):
            return
        state = self._arrivals.hosts.get(host)
        for watch in self._host_plan.watches:
            if watch.rule.absent is not None and (host, None) not in watch.instances:
                instance = self._enrol(watch, (host, None))
                if instance is not None:
                    instance.last = instance.seen = received
                    if "has_battery" in watch.rule.references:
                        instance.known = {"has_battery": has_battery if state is None else state.has_battery}

    def listening(self, now: float) -> None:
        """Say that messages come again after a time without a connection: silence until now says nothing.

        Args:
            now: seconds since the epoch.
        """
        self._listening = now

    # What people do

    def acknowledge(self, host: str, rule: str, labels: dict[str, str], now: float, *, comment: str = "") -> Transition:
        """Stop the repeats of an alert until it escalates or resolves.

        Args:
            host: name of the machine.
            rule: name of the rule.
            labels: which one of several of a kind.
            now: seconds since the epoch.
            comment: why, and who says so.

        Raises:
            UnknownAlertError: it is not firing.
        """
        watch = self._watches.get(rule)
        instance = None if watch is None else watch.instances.get((host, next(iter(labels.values()), None)))
        if watch is None or instance is None or not instance.level or instance.labels != labels:
            raise UnknownAlertError(f"{instance_path(host, rule, labels)} is not an alert that is firing")
        instance.acknowledged = True
        out: _Out = []
        why = f"acknowledged: {comment}" if comment else "acknowledged"
        self._say(watch, instance, Kind.ACKNOWLEDGED, out, before=instance.level, moment=now, why=why)
        return out[0]

    def silence(self, silence: Silence) -> None:
        """Keep alerts quiet until a moment; a silence with the same id is replaced. The next tick tells what is left.

        Args:
            silence: what, until when and why.
        """
        self._silences[silence.id] = silence

    def lift(self, silence_id: str) -> None:
        """End a silence.

        Args:
            silence_id: of the silence.

        Raises:
            UnknownAlertError: there is none with that id.
        """
        if self._silences.pop(silence_id, None) is None:
            raise UnknownAlertError(f"there is no silence {silence_id!r}")

    def forget(self, host: str, now: float) -> list[Transition]:
        """Forget a host that is gone for good.

        Args:
            host: name of the machine.
            now: seconds since the epoch.

        Returns:
            The ends of its alerts, which nobody is told.
        """
        out: _Out = []
        for watch in self._watches.values():
            for instance in watch.known_instances():
                if instance.host == host:
                    if instance.level:
                        out.append(end_of(instance, now, summary=f"{host} is forgotten", why="the host is forgotten"))
                    self._drop(watch, instance)
        self._arrivals.forget(host)
        return out

    # What there is

    def knows(self, host: str) -> bool:
        """Return whether a message of a host has come, or its absence is looked at."""
        return host in self._arrivals.hosts or any(
            watch.instances.get((host, None)) is not None for watch in self._host_plan.watches
        )

    def has_forgotten(self, host: str) -> bool:
        """Return whether somebody had a host forgotten of which no message has come since."""
        return host in self._arrivals.forgotten

    @property
    def rules(self) -> list[str]:
        """The names of the rules."""
        return list(self._watches)

    @property
    def labels(self) -> list[str]:
        """The names of the labels by which the rules tell devices apart."""
        return sorted({watch.rule.table.key for watch in self._watches.values() if watch.rule.table.key is not None})

    @property
    def hosts(self) -> int:
        """How many hosts are known: those that have sent messages, and those whose absence is looked at."""
        return max(len(self._arrivals.hosts), *(len(watch.instances) for watch in self._host_plan.watches), 0)

    @property
    def silences(self) -> list[Silence]:
        """The silences that have not ended."""
        return list(self._silences.values())

    @property
    def instances(self) -> int:
        """How many devices are looked at, by all rules together."""
        return self._number

    @property
    def firing(self) -> int:
        """How many alerts are not ok."""
        return sum(bool(one.level) for watch in self._watches.values() for one in watch.known_instances())

    def alerts(self) -> list[Alert]:
        """Return the alerts that are not ok, the longest first."""
        now = self._moment or 0.0
        found = [
            alert_of(watch.rule, instance, now=now, quiet=self._quiet(instance, now))
            for watch in self._watches.values()
            for instance in watch.known_instances()
            if instance.level
        ]
        return sorted(found, key=lambda alert: (alert.since, alert.instance))

    def alert(self, host: str, rule: str, key: str | None) -> Alert | None:
        """Return one of `alerts`; None if it is not among them.

        Args:
            host: name of the machine.
            rule: name of the rule.
            key: of the device; None where a host has one only.
        """
        watch = self._watches.get(rule)
        instance = None if watch is None else watch.instances.get((host, key))
        if watch is None or instance is None or not instance.level:
            return None
        now = self._moment or 0.0
        return alert_of(watch.rule, instance, now=now, quiet=self._quiet(instance, now))

    def dump(self) -> bytes:
        """Return all that must survive a restart, as JSON for `Engine(rules, state)`."""
        watches = self._watches.values()
        return to_bytes(
            State(
                moment=self._moment,
                listening=self._listening,
                instances=[instance for watch in watches for instance in watch.known_instances()],
                streams=list(self._arrivals.streams.values()),
                hosts=list(self._arrivals.hosts.values()),
                silences=self.silences,
                forgotten=list(self._arrivals.forgotten),
                metrics={name: watch.rule.metric for name, watch in self._watches.items()},
                orphans=self._orphans,
            )
        )

    def _restore(self, state: State) -> None:
        self._moment = state.moment
        self._listening = state.listening
        self._arrivals.streams = {(stream.host, stream.subsystem): stream for stream in state.streams}
        self._arrivals.hosts = {host.name: host for host in state.hosts}
        self._orphans = state.orphans
        self._arrivals.forgotten = dict.fromkeys(state.forgotten)
        self._silences = {silence.id: silence for silence in state.silences}
        for instance in state.instances:
            watch = self._watches.get(instance.rule)
            metric = state.metrics.get(instance.rule)
            if watch is None or not self._is_about(watch.rule, instance, metric):
                if instance.level:
                    self._orphans.append(instance)
                continue
            if (instance.host, instance.key) in watch.instances:  # nobody has written such a state but by hand
                continue
            if watch.rule.reduce is Reduction.LAST:
                instance.window = None
            elif instance.window is None:
                instance.window = Window()
            watch.instances[instance.host, instance.key] = instance
            self._number += 1
            if instance.level:
                self._inhibition.count(instance.host, instance.rule, instance.key, 1)

    # Samples

    def _take_host(self, state: HostState, delay: float | None, received: float, out: _Out) -> None:
        """Look at what a message says of its host, whatever is in it."""
        row = self._arrivals.row(state, delay, received)
        if row is None:
            return
        times = (received, received, state.interval)
        for watch in self._host_plan.watches:
            self._look(watch, (state.name, None), row, times, out)

    def _look(self, watch: Watch, key: Key, row: object, times: _Times, out: _Out) -> None:
        """Let a row of a table move the instance of its device."""
        value = watch.read(row)
        if value is UNSET and not watch.references:
            return
        try:
            instance = watch.instances[key]
        except KeyError:
            instance = self._enrol(watch, key)
        if instance is None:
            return
        for name, read in watch.references:
            if (other := read(row)) is not UNSET:
                instance.known[name] = other if isinstance(other, str | bool) else float(other)
        if value is not UNSET:
            self._judge(watch, instance, value, times, out)

    def _judge(self, watch: Watch, instance: Instance, value: Any, times: _Times, out: _Out) -> None:
        """Let a value move an instance."""
        moment, received, interval = times
        elapsed = moment - instance.last
        if not 0.0 <= elapsed < watch.stale_seconds(instance):
            forget_holds(instance)
        window = instance.window
        if window is not None:
            if elapsed < 0:  # the host's clock was set back
                window.clear()
            window.add(moment, value, watch.rule.window, watch.rule.reduce)
            value = window.reduce(watch.rule.reduce, watch.rule.window)
        instance.last, instance.seen, instance.interval = moment, received, interval
        instance.stale = instance.absent = False
        if value is None:  # too little of the window is known
            return
        if watch.quiet is not None and not instance.level and not instance.over and watch.quiet(value):
            instance.value = sayable(value)
            return
        level = next_level(watch.rule, instance, value, moment)
        instance.value = sayable(value)
        if level is not instance.level:
            self._move(watch, instance, level, out, moment=moment, received=received)
        elif level > instance.told:
            self._announce(watch, instance, received, out)

    @staticmethod
    def _is_meant(rule: Rule, key: Key) -> bool:
        host, label = key
        return rule.hosts.match(host) and (label is None or rule.keys.match(label))

    def _is_about(self, rule: Rule, instance: Instance, metric: str | None) -> bool:
        """Return whether a rule, which may have changed since, still looks at what an instance was about."""
        label = rule.table.key
        is_such = (
            metric in {None, rule.metric} and instance.label == label and (instance.key is None) == (label is None)
        )
        return is_such and self._is_meant(rule, (instance.host, instance.key))

    def _enrol(self, watch: Watch, key: Key) -> Instance | None:
        """Make the instance of a device that is new; None if the rule does not look at it."""
        if not self._is_meant(watch.rule, key):
            self._pass_over(watch, key)
            return None
        if self._number >= self._maximum:
            self.refused += 1
            return None
        instance = Instance(host=key[0], rule=watch.rule.name, key=key[1], label=watch.rule.table.key)
        if watch.rule.reduce is not Reduction.LAST:
            instance.window = Window()
        self._number += 1
        watch.instances[key] = instance
        return instance

    def _pass_over(self, watch: Watch, key: Key) -> None:
        """Remember that a rule is not about a device: some have names that never come again, such as of containers."""
        if self._passed_over >= _MOST_PASSED_OVER:
            self._passed_over = 0
            for one in self._watches.values():
                one.forget_passed_over()
        self._passed_over += 1
        watch.instances[key] = None

    def _drop(self, watch: Watch, instance: Instance) -> None:
        if instance.level:
            self._inhibition.count(instance.host, instance.rule, instance.key, -1)
        del watch.instances[instance.host, instance.key]
        self._number -= 1

    # The clock

    def _set_back(self, now: float) -> None:
        """Let nothing have come or been told later than now, for it would be waited for until then."""
        self._listening = now
        for watch in self._watches.values():
            for instance in watch.known_instances():
                instance.seen = min(instance.seen, now)
                instance.told_at = min(instance.told_at, now)

    def _look_at_clock(self, watch: Watch, instance: Instance, now: float, out: _Out) -> None:
        rule = watch.rule
        age = now - max(instance.seen, self._listening)
        if rule.absent is not None:
            self._look_for_absence(watch, instance, now, age, out)
        elif instance.stale:
            if now - instance.seen >= _FORGET_SECONDS:
                if instance.level:
                    self._move(watch, instance, Level.OK, out, moment=now, received=now)
                self._drop(watch, instance)
                return
        elif age >= watch.stale_seconds(instance):
            self._grow_stale(watch, instance, now, out)
        if instance.level > instance.told:
            self._announce(watch, instance, now, out)
        elif instance.level and rule.repeat and now - instance.told_at >= rule.repeat:
            self._repeat(watch, instance, now, out)

    def _look_for_absence(self, watch: Watch, instance: Instance, now: float, age: float, out: _Out) -> None:
        rule = watch.rule
        patience = max(rule.absent or 0.0, STALE_INTERVALS * instance.interval)
        if instance.absent or age < patience or not (rule.only_if is None or rule.only_if.holds(instance.known)):
            return
        instance.absent = True
        forget_holds(instance)
        if rule.absent_level > instance.level:
            self._move(watch, instance, rule.absent_level, out, moment=now, received=now)

    def _grow_stale(self, watch: Watch, instance: Instance, now: float, out: _Out) -> None:
        """A gap counts neither as held nor as recovered."""
        instance.stale = True
        forget_holds(instance)
        level = watch.rule.no_data
        if level is not None and level is not instance.level:
            self._move(watch, instance, level, out, moment=now, received=now)
        elif instance.level:
            self._say(
                watch, instance, Kind.NO_DATA, out, before=instance.level, moment=now, why="values have stopped coming"
            )

    # What happens to an alert

    def _move(
        self, watch: Watch, instance: Instance, level: Level, out: _Out, *, moment: float, received: float
    ) -> None:
        before, instance.level = instance.level, level
        instance.episodes = recent(instance.episodes, moment)
        if before is Level.OK:
            instance.since = moment
            instance.episodes = [*instance.episodes, moment]
            self._inhibition.count(instance.host, instance.rule, instance.key, 1)
        if level is Level.OK:
            self._inhibition.count(instance.host, instance.rule, instance.key, -1)
            self._resolve(watch, instance, before, moment, out)
        elif level > before:
            instance.acknowledged = False  # worse than what somebody knows of
            kind = Kind.ESCALATED if before else Kind.FIRED
            why = self._quiet(instance, received)
            if not why:
                instance.told, instance.told_at = level, received
            self._say(watch, instance, kind, out, before=before, moment=moment, why=why)
        else:
            instance.told = min(instance.told, level)  # so that it is told when it gets worse again
            self._say(watch, instance, Kind.EASED, out, before=before, moment=moment, why="better, and not over")

    def _resolve(self, watch: Watch, instance: Instance, before: Level, moment: float, out: _Out) -> None:
        """Who was told that it fires is told that it ends, and nobody else."""
        why = "" if instance.told else _NOBODY_KNEW
        instance.told, instance.acknowledged = Level.OK, False
        self._say(watch, instance, Kind.RESOLVED, out, before=before, moment=moment, why=why)

    def _announce(self, watch: Watch, instance: Instance, now: float, out: _Out) -> None:
        """Tell what was kept quiet, if nothing does so any more."""
        is_about_silence = watch.rule.no_data is not None  # then there is no value to wait for
        if (instance.stale and not is_about_silence) or self._quiet(instance, now):
            return
        instance.told, instance.told_at = instance.level, now
        self._say(watch, instance, Kind.ANNOUNCED, out, before=instance.level, moment=now, why="")

    def _repeat(self, watch: Watch, instance: Instance, now: float, out: _Out) -> None:
        if instance.acknowledged or self._quiet(instance, now):
            return
        instance.told_at = now
        self._say(watch, instance, Kind.REPEATED, out, before=instance.level, moment=now, why="")

    def _quiet(self, instance: Instance, now: float) -> str:
        """Return why nobody is to be told now; "" if nothing speaks against it."""
        inhibitor = self._inhibition.inhibitor(instance.host, instance.rule, instance.key)
        if inhibitor is not None:
            return f"inhibited by {inhibitor}"
        if self._silences:
            for silence in self._silences.values():
                if silence.until > now and silence.covers(instance.host, instance.rule, instance.labels):
                    return f"silenced: {silence.comment or silence.id}"
        return ""

    @staticmethod
    def _say(watch: Watch, instance: Instance, kind: Kind, out: _Out, **words: Any) -> None:
        out.append(transition_of(watch.rule, instance, kind, **words))


def _end_of_orphan(instance: Instance, now: float) -> Transition:
    summary = f"the rule {instance.rule} is gone, or is no longer about this"
    return end_of(instance, now, summary=summary, why="" if instance.told else _NOBODY_KNEW)
