"""The publisher's main loop: sample, encode, send."""

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from hostpulse.bus.codec import encode
from hostpulse.bus.heartbeat import Heartbeat
from hostpulse.bus.mqtt import MqttOptions, Publication, Session
from hostpulse.bus.topics import Topics

from .collectors import Choice, Collector, build
from .health import HealthCollector
from .inventory import take_inventory
from .machine import Machine
from .outbox import Message, Outbox, OutboxOptions
from .schedule import Reading, Schedule
from .timestamps import Timestamps

__all__ = ["PublisherOptions", "PublisherService"]

_log = logging.getLogger(__name__)

_DRAIN_SECONDS = 5.0
_OUTBOX_DIRECTORY = "outbox"


class PublisherOptions(Struct, frozen=True, kw_only=True):
    """All that the publisher is told.

    Attributes:
        host: name to publish under.
        interval: seconds between two samples of what is sampled most often.
        mqtt: the broker.
        prefix: first part of every topic.
        proc: where the machine's /proc is.
        sys: where its /sys is.
        filesystem: where its root directory is.
        choice: what to collect.
        data_dir: where the outbox is; None keeps it in memory.
        outbox: its bounds.
        heartbeat_file: renewed while there is a connection; None for none.
        log_level: of Python's logging.
    """

    host: str
    interval: float
    mqtt: MqttOptions
    prefix: str = "hostpulse"
    proc: str = "/proc"
    sys: str = "/sys"
    filesystem: str = "/"
    choice: Choice = Choice()
    data_dir: str | None = None
    outbox: OutboxOptions = OutboxOptions()
    heartbeat_file: str | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class PublisherService:
    """Samples one machine and publishes it, until `stop`.

    Args:
        options: all that it is told.
        machine: what is sampled.
        collectors: what samples it; None for those of this operating system.
        session: makes the connection to the broker.
    """

    def __init__(
        self,
        options: PublisherOptions,
        machine: Machine,
        *,
        collectors: Sequence[Collector] | None = None,
        session: Callable[..., Session] = Session,
    ) -> None:
        self._options = options
        self._machine = machine
        self._clock = machine.clock
        self._topics = Topics(options.prefix)
        self._session_start = 0  # milliseconds since the epoch
        self._sequences: defaultdict[str, int] = defaultdict(int)
        self._timestamps: defaultdict[str, Timestamps] = defaultdict(Timestamps)
        self._unspeakable: set[str] = set()
        self._stopping = False
        directory = None if options.data_dir is None else Path(options.data_dir) / _OUTBOX_DIRECTORY
        self._outbox = Outbox(directory, options.outbox, self._clock)
        status = self._topics.status(options.host)
        self._session = session(
            options.mqtt,
            will=Publication(status, b"offline", retain=True),
            greeting=self._greeting,
            farewell=[Publication(status, b"offline", retain=True)],
            subscriptions=[self._topics.replay(options.host)],
            on_message=lambda _topic, payload: self._outbox.replay.ask(payload),
            on_acknowledged=self._outbox.acknowledge,
            clock=self._clock.monotonic,
        )
        self._heartbeat = Heartbeat(options.heartbeat_file, clock=self._clock.monotonic)
        scheduled = build(machine, options.choice) if collectors is None else list(collectors)
        if "publisher" not in options.choice.disable:
            scheduled.append(
                HealthCollector(
                    self._clock,
                    outbox=self._outbox,
                    connections=lambda: self._session.connections,
                    entries=lambda: self._schedule.entries,
                )
            )
        self._schedule = Schedule(scheduled, interval=options.interval, clock=self._clock, wake=self._session.wake)

    def run(self, beat: Callable[[], None] = lambda: None) -> None:
        """Publish until `stop`; then send what is out, say `offline` and disconnect.

        Args:
            beat: called in each turn, the first time when everything has been read once.

        Raises:
            UsageError: a certificate file cannot be used.
        """
        self._session_start = round(self._clock.wall() * 1000)
        self._session.open()
        self._outbox.open()
        while not self._stopping:
            self._session.service()
            if self._session.connected:
                self._heartbeat.beat()
            for reading in self._schedule.run():
                self._put_out(reading)
            self._outbox.store()  # before anything of it is sent: what was sent can always be asked for again
            self._outbox.send(lambda: self._session.room, self._session.publish)
            beat()
            # Acknowledgements can wait until the next sample, unless there is more to send than fits at once.
            idle = self._session.connected and not self._outbox.waiting
            pause = min(self._schedule.seconds_until_due(), self._outbox.replay.seconds_until_due())
            longest = self._options.mqtt.keepalive_seconds / 2
            self._session.wait(min(pause, longest), for_network=not idle or pause > longest)
        self._schedule.stop()
        trouble = self._session.trouble or "no time left"
        self._session.close(seconds=_DRAIN_SECONDS)
        self._outbox.close(trouble)

    def stop(self) -> None:
        """End `run` soon; may be called from a signal handler."""
        self._stopping = True
        self._session.wake()

    def _greeting(self) -> Sequence[Publication]:
        """Return what every connection begins with: the machine is there, and what it is."""
        inventory = take_inventory(
            self._machine,
            host=self._options.host,
            session=self._session_start / 1000,
            earlier_sessions={
                start: last for start, last in self._outbox.sessions().items() if start != self._session_start
            },
            intervals={entry.collector.name: entry.period for entry in self._schedule.entries},
            ignore_interfaces=self._options.choice.ignore_interfaces,
            ignore_devices=self._options.choice.ignore_devices,
        )
        host = self._options.host
        return [
            Publication(self._topics.status(host), b"online", retain=True),
            Publication(self._topics.info(host), msgspec.json.encode(inventory), retain=True),
        ]

    def _put_out(self, reading: Reading) -> None:
        """Make a message and put it in the outbox; one that cannot be made ends nothing else."""
        try:
            self._outbox.add(self._message(reading))
        except Exception:  # noqa: BLE001  whatever it is, the next reading may be better
            name = reading.collector.name
            if name not in self._unspeakable:  # said once
                self._unspeakable.add(name)
                _log.exception("what collector %s read is no message", name)

    def _message(self, reading: Reading) -> Message:
        subsystem = reading.collector.subsystem
        timestamp = self._timestamps[subsystem].take(round(reading.timestamp * 1000))
        payload = encode(
            reading.fields,
            host=self._options.host,
            subsystem=subsystem,
            timestamp=timestamp / 1000,
            sequence=self._sequences[subsystem] + 1,
            session=self._session_start / 1000,
            interval=reading.interval,
        )
        self._sequences[subsystem] += 1
        return Message(
            self._topics.sample(self._options.host, subsystem),
            payload,
            session=self._session_start,
            sequence=self._sequences[subsystem],
            timestamp=timestamp,
        )
