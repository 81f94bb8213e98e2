"""What must survive a restart: every instance of every rule, what was seen of each host, and the silences."""

import msgspec
from msgspec import Struct

from hostpulse.bus.errors import HostpulseError

from .model import Level, Reading
from .silence import Silence
from .window import Window

__all__ = ["HostState", "Instance", "State", "StateError", "Stream", "from_bytes", "to_bytes"]

_VERSION = 1


class StateError(HostpulseError):
    """What was kept of the alerts cannot be read."""


class Instance(Struct, kw_only=True, omit_defaults=True):
    """One device under one rule. Moments are seconds since the epoch; `over` and `under` are by level.

    Attributes:
        host: name of the machine.
        rule: name of the rule.
        key: of the device; None where a host has one only.
        label: what the key is: `mount`, `sensor`; None where there is none.
        level: now.
        since: from when on it is at a level at all.
        over: since when the value has been beyond the limit.
        under: since when it has been back past `clear`.
        last: moment of the last sample, by its own clock.
        seen: when that came, by ours.
        interval: seconds until the next one, as it announced.
        value: what was judged last; None where it is not known or without end.
        known: last values of the other fields that the rule looks at.
        changed_from: levels whose `changed_from` was said at first, or for a day.
        window: values over time.
        stale: whether values have stopped coming.
        absent: whether the device is missing.
        told: the level that people were told.
        told_at: when, by our clock.
        acknowledged: whether somebody knows.
        episodes: when it fired, in the last hour.
    """

    host: str
    rule: str
    key: str | None
    label: str | None
    level: Level = Level.OK
    since: float = 0.0
    over: dict[Level, float] = {}
    under: dict[Level, float] = {}
    last: float = 0.0
    seen: float = 0.0
    interval: float = 0.0
    value: float | str | None = None
    known: dict[str, Reading] = {}
    changed_from: list[Level] = []
    window: Window | None = None
    stale: bool = False
    absent: bool = False
    told: Level = Level.OK
    told_at: float = 0.0
    acknowledged: bool = False
    episodes: list[float] = []

    @property
    def labels(self) -> dict[str, str]:
        """Return which one of several of a kind it is: `{"mount": "/"}`."""
        return {} if self.key is None or self.label is None else {self.label: self.key}


class Stream(Struct, array_like=True, gc=False):
    """The newest message of one subsystem of one host.

    Attributes:
        host: name of the machine.
        subsystem: of the message.
        session: start of the publisher.
        sequence: number of the message in its session.
        moment: when it was sampled.
        received: when it came.
    """

    host: str
    subsystem: str
    session: float
    sequence: int
    moment: float
    received: float


class HostState(Struct, array_like=True, gc=False):
    """What is known of a host beyond its samples.

    Attributes:
        name: of the host.
        session: start of the publisher whose interval this is.
        interval: the shortest that it announces.
        seen: when a message last counted as a heartbeat.
        has_battery: whether it ever told of one.
    """

    name: str
    session: float
    interval: float
    seen: float
    has_battery: bool


class State(Struct, kw_only=True):
    """All of it.

    Attributes:
        version: of this form.
        moment: of the last tick.
        listening: from when on silence counts.
        instances: of every rule.
        streams: of every host and subsystem.
        hosts: every host.
        silences: those that have not ended.
        forgotten: hosts that are gone for good, and whose Last Will says nothing new.
        metrics: what each rule was about, by its name.
        orphans: instances that no rule is about any more, whose end is not told yet.
    """

    version: int = _VERSION
    moment: float | None = None
    listening: float = 0.0
    instances: list[Instance] = []
    streams: list[Stream] = []
    hosts: list[HostState] = []
    silences: list[Silence] = []
    forgotten: list[str] = []
    metrics: dict[str, str] = {}
    orphans: list[Instance] = []


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(State)


def to_bytes(state: State) -> bytes:
    """Return the state as JSON."""
    return _ENCODER.encode(state)


def from_bytes(data: bytes) -> State:
    """Return the state in JSON.

    Raises:
        StateError: it is none, or of another version.
    """
    try:
        state = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StateError(f"the state of the alerts cannot be read: {error}; delete it to begin anew") from None
    if state.version != _VERSION:
        raise StateError(f"the state of the alerts is of version {state.version}, not {_VERSION}; delete it")
    return state
