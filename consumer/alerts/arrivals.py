"""What comes, apart from what is in it: which message is new, whether it is live, and what that says of its host."""

import math

from hostpulse.bus.codec import Envelope
from hostpulse.bus.messages import FROM_CONSUMERS

from .metrics import Host
from .state import HostState, Stream

__all__ = ["Arrivals"]

_LIVE_PACE = 0.5  # messages that come in less than half the time in which they were sampled are backlog
_MOMENT_SECONDS = 1.0  # how often a host is looked at, at most
_AHEAD_SECONDS = 60.0
_MOST_FORGOTTEN = 10_000


class Arrivals:
    """The newest message of each subsystem of each host, and what is known of the hosts."""

    def __init__(self) -> None:
        self.streams: dict[tuple[str, str], Stream] = {}
        self.hosts: dict[str, HostState] = {}
        self.forgotten: dict[str, None] = {}  # hosts, in the order in which somebody had them forgotten

    def delay(self, envelope: Envelope, session: float, moment: float, received: float) -> float | None:
        """Note a message; return how long it was on its way. None for one that is late or came before.

        Within a session the number says which message is newer, whatever the host's clock did meanwhile. Of the
        first message and of backlog the delay says nothing; then it is NaN.

        Args:
            envelope: of the message.
            session: its session, seconds since the epoch.
            moment: when it was sampled.
            received: when it came.
        """
        name = (envelope.host, envelope.subsystem)
        stream = self.streams.get(name)
        if stream is None:
            self.streams[name] = Stream(*name, session, envelope.sequence, moment, received)
            self.forgotten.pop(envelope.host, None)
            return math.nan
        is_late = envelope.sequence <= stream.sequence if session == stream.session else moment <= stream.moment
        if is_late and not (session != stream.session and _is_set_right(stream, moment, received)):
            return None
        elapsed = moment - stream.moment
        is_live = received - stream.received >= _LIVE_PACE * elapsed > 0
        stream.session, stream.sequence, stream.moment, stream.received = session, envelope.sequence, moment, received
        return received - moment if is_live else math.nan

    def host(self, envelope: Envelope, session: float) -> HostState:
        """Note what a message says of its host. One of a consumer there says that there is one, and no more.

        Args:
            envelope: of the message.
            session: its session, seconds since the epoch.
        """
        is_publisher = envelope.subsystem not in FROM_CONSUMERS
        state = self.hosts.get(envelope.host)
        if state is None:
            state = self.hosts[envelope.host] = HostState(
                envelope.host, session if is_publisher else 0.0, envelope.interval, 0.0, has_battery=False
            )
        elif not is_publisher:
            return state
        elif session > state.session:
            state.session, state.interval = session, envelope.interval
        elif envelope.interval < state.interval:
            state.interval = envelope.interval
        if envelope.subsystem == "battery":
            state.has_battery = True
        return state

    @staticmethod
    def row(state: HostState, delay: float | None, received: float) -> Host | None:
        """Return what there is to judge of a host; None where it was looked at just now.

        Args:
            state: of the host.
            delay: what `delay` said.
            received: when the message came.
        """
        if 0.0 <= received - state.seen < min(_MOMENT_SECONDS, state.interval):
            return None
        state.seen = received
        row = Host(heartbeat=1, has_battery=state.has_battery)
        if delay is not None and not math.isnan(delay):
            row.clock_skew_seconds = abs(delay)
        return row

    def forget(self, host: str) -> None:
        """Forget a host, and what its Last Will says until a message of it comes again."""
        self.hosts.pop(host, None)
        self.forgotten[host] = None
        while len(self.forgotten) > _MOST_FORGOTTEN:
            del self.forgotten[next(iter(self.forgotten))]
        self.streams = {name: stream for name, stream in self.streams.items() if name[0] != host}


def _is_set_right(stream: Stream, moment: float, received: float) -> bool:
    """Return whether a host's clock was ahead and is right now. What it says would else be late until then."""
    return stream.moment > received + _AHEAD_SECONDS and abs(received - moment) <= _AHEAD_SECONDS
