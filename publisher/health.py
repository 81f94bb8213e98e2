"""The publisher's own health, as a collector like any other."""

import os
from collections.abc import Callable, Sequence

from msgspec import UNSET

from hostpulse.bus.messages import Publisher, PublisherCollector

from .clock import Clock
from .collectors.base import Collector
from .files import read_bytes
from .outbox import Outbox
from .rates import Stopwatch, percent
from .schedule import Entry

__all__ = ["HealthCollector"]


class HealthCollector(Collector):
    """Own CPU and memory, the outbox, the connections, and how each collector fares.

    Args:
        clock: the clocks.
        outbox: messages on their way.
        connections: returns the number of connections made.
        entries: returns the collectors.
    """

    name = "publisher"
    subsystem = "publisher"
    period_seconds = 30.0
    inline = True

    def __init__(
        self, clock: Clock, *, outbox: Outbox, connections: Callable[[], int], entries: Callable[[], Sequence[Entry]]
    ) -> None:
        self._stopwatch = Stopwatch(clock)
        self._outbox = outbox
        self._connections = connections
        self._entries = entries
        self._cpu_before = 0.0

    def read(self) -> Publisher:
        """Return all of it now."""
        seconds = self._stopwatch.lap()
        times = os.times()
        cpu = times.user + times.system
        before, self._cpu_before = self._cpu_before, cpu
        fields = Publisher(
            cpu_percent=UNSET if seconds is None else percent(cpu - before, seconds),
            outbox_messages=len(self._outbox),
            outbox_bytes=self._outbox.bytes,
            outbox_age_seconds=round(self._outbox.age_seconds, 1),
            sent_messages=self._outbox.sent_messages,
            sent_bytes=self._outbox.sent_bytes,
            dropped_messages=self._outbox.dropped_messages,
            replayed_messages=self._outbox.replay.sent,
            replay_unavailable_messages=self._outbox.replay.unavailable,
            connections=self._connections(),
            collector={
                entry.collector.name: PublisherCollector(
                    duration_seconds=UNSET if entry.duration is None else round(entry.duration, 6), state=entry.state
                )
                for entry in self._entries()
            },
        )
        statm = read_bytes("/proc/self/statm")  # our own process, whichever machine's trees are read
        if statm is not None:
            fields.memory_bytes = int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return fields
