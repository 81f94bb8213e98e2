"""The consumer as a service: one connection and one loop for each role."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal, NamedTuple
from uuid import uuid4

from msgspec import Struct
from msgspec.structs import replace

from hostpulse.bus.heartbeat import Heartbeat
from hostpulse.bus.mqtt import MqttOptions, Receiver
from hostpulse.bus.topics import Topics

from .dead_letter import DEAD_LETTER_FILE, DeadLetterFile
from .delivery import PATIENCE, Delivery, Group, Patience
from .handover import Handover
from .health import Health
from .letter import Selection
from .members import Member, Members
from .retry import Retried, retry
from .storage import Reader, StorageUnavailableError, Writer
from .storage.options import InfluxOptions
from .store import StoreRole

__all__ = ["HISTORY_FILE", "ConsumerOptions", "StoreService", "make_writer"]

_log = logging.getLogger(__name__)

HISTORY_FILE = "history.db"


class ConsumerOptions(Struct, frozen=True, kw_only=True):
    """All that the consumer is told.

    Attributes:
        host: name of this machine, under which the consumer tells how it is.
        mqtt: the broker; the client id names the session that the broker keeps for us.
        data_dir: where history and dead letters are.
        prefix: first part of every topic.
        influxdb: where InfluxDB is; None for the embedded store.
        retention_seconds: how long every sample is kept.
        rollup_retention_seconds: how long the means of each minute are kept.
        share: name of the group of consumers that share the storing; None to store everything.
        heartbeat_file: renewed while messages are received and stored; None for none.
        log_level: of Python's logging.
    """

    host: str
    mqtt: MqttOptions
    data_dir: str
    prefix: str = "hostpulse"
    influxdb: InfluxOptions | None = None
    retention_seconds: float
    rollup_retention_seconds: float
    share: str | None = None
    heartbeat_file: str | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"


def make_writer(
    *, data_dir: str, influxdb: InfluxOptions | None, retention_seconds: float, rollup_retention_seconds: float
) -> Writer:
    """Return the store that the options choose; they are those of `ConsumerOptions`.

    Each is imported where it is chosen: InfluxDB's client is large.
    """
    if influxdb is not None:
        from .storage.influxdb.writer import InfluxWriter

        return InfluxWriter(influxdb, retention=retention_seconds, rollup_retention=rollup_retention_seconds)
    from .storage.embedded import EmbeddedWriter

    return EmbeddedWriter(
        Path(data_dir) / HISTORY_FILE, retention=retention_seconds, rollup_retention=rollup_retention_seconds
    )


def _reader(options: ConsumerOptions) -> Reader:
    """Return what reads that store."""
    if options.influxdb is not None:
        from .storage.influxdb import InfluxReader

        return InfluxReader(options.influxdb)
    from .storage.embedded import EmbeddedReader

    return EmbeddedReader(Path(options.data_dir) / HISTORY_FILE)


def _group(options: ConsumerOptions) -> Group | None:
    """Return the group of a consumer that shares the storing; the settings have it that these use InfluxDB."""
    if options.share is None or options.influxdb is None:
        return None
    from .storage.influxdb.lease import InfluxLease

    return Group(InfluxLease(options.influxdb, name=f"{options.prefix} {options.share}", owner=str(uuid4())))


class _Store(NamedTuple):
    """What is done with messages, and what is known of them."""

    role: StoreRole
    delivery: Delivery
    health: Health


class StoreService:
    """Receives everything, or its share of it, and stores it, until `stop`.

    Args:
        options: all that it is told.
        clock: monotonic seconds.
        patience: how long messages may be missing before something is done about it.
    """

    def __init__(
        self,
        options: ConsumerOptions,
        *,
        clock: Callable[[], float] = time.monotonic,
        patience: Patience = PATIENCE,
    ) -> None:
        self._options = options
        self._directory = Path(options.data_dir)
        self._topics = Topics(options.prefix)
        self._writer = make_writer(
            data_dir=options.data_dir,
            influxdb=options.influxdb,
            retention_seconds=options.retention_seconds,
            rollup_retention_seconds=options.rollup_retention_seconds,
        )
        self._dead_letters = DeadLetterFile(self._directory / DEAD_LETTER_FILE)
        self._handover = Handover(self._directory)
        # Of the embedded store there is one writer: while another has it we must not take its session from it, either.
        self._may_wait = options.influxdb is not None
        self._clock = clock
        self._patience = patience
        self._heartbeat = Heartbeat(options.heartbeat_file, clock=clock)
        self._receiver: Receiver | None = None
        self._stopping = False

    def run(self) -> None:
        """Store until `stop`.

        A database that is away is waited for: what comes meanwhile is not acknowledged, so the broker keeps it.

        Raises:
            StorageError: the store cannot be opened.
            UsageError: a certificate file cannot be used.
        """
        try:
            self._open()
            if self._options.share is None:
                self._receive(self._options.mqtt, [self._topics.all_hosts])
            else:
                self._share(self._options.share)
        finally:
            self._writer.close()

    def _open(self) -> None:
        try:
            self._writer.open()
        except StorageUnavailableError as error:
            if not self._may_wait:
                raise
            _log.warning("%s (waiting for it; the broker keeps what comes)", error)

    def stop(self) -> None:
        """End `run` soon; may be called from a signal handler."""
        self._stopping = True
        if self._receiver is not None:
            self._receiver.stop()

    def _receive(self, mqtt: MqttOptions, filters: Sequence[str]) -> None:
        """Receive everything in one session."""
        store = self._store("store")
        receiver = self._receiver = Receiver(
            mqtt,
            filters,
            store.role.take,
            batch_messages=self._writer.batch_messages,
            idle=lambda: self._idle(receiver, store),
        )
        with closing(store.delivery):
            self._run(receiver)

    def _share(self, group: str) -> None:
        """Receive a share as one of several members."""
        members = Members(self._directory / f"share-{group}")
        member: Member | None = members.join()
        while member is not None:
            member = self._be(member, members, self._topics.shared(group))

    def _be(self, member: Member, members: Members, filters: Sequence[str]) -> Member | None:
        """Receive as one member, until the end or until another one is found to have been lost; return that one."""
        found: list[Member] = []

        def idle() -> None:
            self._idle(receiver, store)
            if receiver.connected and not found and (lost := members.abandoned()) is not None:
                _log.info("consumer %d is gone; taking over what the broker keeps for it", lost.number)
                found.append(lost)
                receiver.stop()

        mqtt = replace(self._options.mqtt, client_id=f"{self._options.mqtt.client_id}-{member.number}")
        name = f"store-{member.number}"
        store = self._store(name)
        receiver = self._receiver = Receiver(
            mqtt,
            filters,
            store.role.take,
            batch_messages=self._writer.batch_messages,
            idle=idle,
            subscribed=member.subscribed,
            leave=member.may_leave,
        )
        try:
            with closing(store.delivery):
                self._run(receiver)
            if receiver.left:
                member.left()
        finally:
            member.release()
            if self._stopping:
                for lost in found:
                    lost.release()
        return None if self._stopping else found[0]

    def _publish(self, topic: str, payload: bytes) -> bool:
        return self._receiver is not None and self._receiver.publish(topic, payload)

    def _store(self, member: str) -> _Store:
        """Return what is done with messages.

        Args:
            member: what tells this consumer from the others of the machine.
        """
        options = self._options
        delivery = Delivery(
            self._topics,
            self._publish,
            lambda: _reader(options),
            self._directory,
            group=_group(options),
            wall=time.time,
            clock=self._clock,
            patience=self._patience,
        )
        role = StoreRole(self._topics, self._writer, self._dead_letters, delivery=delivery)
        health = Health(
            self._topics,
            host=options.host,
            member=member,
            role=role,
            delivery=delivery,
            publish=self._publish,
            wall=time.time,
            clock=self._clock,
        )
        return _Store(role, delivery, health)

    def _run(self, receiver: Receiver) -> None:
        if self._stopping:  # a signal came while there was no receiver to stop
            receiver.stop()
        receiver.run()

    def _idle(self, receiver: Receiver, store: _Store) -> None:
        if receiver.connected and not receiver.failing:
            self._heartbeat.beat()
        store.role.idle()
        store.health.publish_if_due()
        store.delivery.idle()
        self._handover.serve(lambda selection: self._retry(store.role, selection))

    def _retry(self, role: StoreRole, selection: Selection) -> Retried:
        done = retry(self._dead_letters, role, selection)
        _log.info("dead letters were tried again: %s", done)
        return done
