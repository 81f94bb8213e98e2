"""The consumer as a service: one connection and one loop for each role."""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal
from uuid import uuid4

from msgspec import UNSET, Struct
from msgspec.structs import replace

from hostpulse.bus.heartbeat import Heartbeat
from hostpulse.bus.messages import Consumer, ConsumerMember
from hostpulse.bus.mqtt import MqttOptions, Receiver
from hostpulse.bus.topics import Topics

from .dead_letter import DEAD_LETTER_FILE, DeadLetterFile
from .delivery import PATIENCE, Delivery, Group, Patience
from .handover import Handover
from .health import Health
from .letter import Selection
from .members import Member, Members
from .retry import Retried, retry
from .storage import StorageUnavailableError
from .storage.options import InfluxOptions
from .store import StoreRole
from .stores import make_reader, make_writer

__all__ = ["ConsumerOptions", "StoreService", "account"]

_log = logging.getLogger(__name__)


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
        maximum_hosts: how many hosts are stored.
        maximum_entries: new entries of one host in one map in a day.
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
    maximum_hosts: int = 1000
    maximum_entries: int = 1000
    share: str | None = None
    heartbeat_file: str | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"


def _group(options: ConsumerOptions) -> Group | None:
    """Return the group of a consumer that shares the storing; the settings have it that these use InfluxDB."""
    if options.share is None or options.influxdb is None:
        return None
    from .storage.influxdb.lease import InfluxLease

    return Group(InfluxLease(options.influxdb, name=f"{options.prefix} {options.share}", owner=str(uuid4())))


def account(role: StoreRole, delivery: Delivery, member: ConsumerMember) -> Consumer:
    """Return what is missing, as far as this consumer keeps account of it, and note what it has done.

    Args:
        role: what it does.
        delivery: its account.
        member: where that is noted.
    """
    member.received_messages = role.received
    member.stored_rows = role.stored_rows
    member.dead_letter_messages = role.dead_letters
    member.lag_seconds = UNSET if role.lag_seconds is None else round(role.lag_seconds, 3)
    fields = Consumer()
    if delivery.keeps_account:
        fields.missing_messages = delivery.missing_messages
        fields.asked_messages = delivery.asked_messages
        fields.recovered_messages = delivery.recovered_messages
        fields.lost_messages = delivery.lost_messages
    return fields


class StoreService:
    """Receives everything, or its share of it, and stores it, until `stop`.

    Args:
        options: all that it is told.
        clock: monotonic seconds.
        patience: how long messages may be missing before something is done about it.
        healthy: whether what else runs in the process goes on; the heartbeat speaks for all of it.
    """

    def __init__(
        self,
        options: ConsumerOptions,
        *,
        clock: Callable[[], float] = time.monotonic,
        patience: Patience = PATIENCE,
        healthy: Callable[[], bool] = lambda: True,
    ) -> None:
        self._options = options
        self._directory = Path(options.data_dir)
        self._topics = Topics(options.prefix)
        self._writer = make_writer(
            data_dir=options.data_dir,
            influxdb=options.influxdb,
            retention_seconds=options.retention_seconds,
            rollup_retention_seconds=options.rollup_retention_seconds,
            maximum_entries=options.maximum_entries,
        )
        # Of the embedded store there is one writer: while another has it we must not take its session from it, either.
        self._may_wait = options.influxdb is not None
        self._dead_letters = DeadLetterFile(self._directory / DEAD_LETTER_FILE)
        self._clock = clock
        self._delivery = Delivery(
            self._topics,
            self._publish,
            lambda: make_reader(options.influxdb, self._directory),
            self._directory,
            group=_group(options),
            wall=time.time,
            clock=clock,
            patience=patience,
        )
        self._role = StoreRole(
            self._topics,
            self._writer,
            self._dead_letters,
            maximum_hosts=options.maximum_hosts,
            delivery=self._delivery,
        )
        self._handover = Handover(self._directory)
        self._healthy = healthy
        self._heartbeat = Heartbeat(options.heartbeat_file, clock=clock)
        self._receiver: Receiver | None = None
        self._stopping = False
        self._beat: Callable[[], None] = lambda: None

    def run(self, beat: Callable[[], None] = lambda: None) -> None:
        """Store until `stop`.

        A database that is away is waited for: what comes meanwhile is not acknowledged, so the broker keeps it.

        Args:
            beat: called when the store is open (or waited for), and then every few seconds.

        Raises:
            StorageError: the store cannot be opened.
            UsageError: a certificate file cannot be used.
        """
        try:
            self._open()
            self._beat = beat
            self._beat()
            if self._options.share is None:
                self._receive()
            else:
                self._share(self._options.share)
        finally:
            self._role.close()
            self._delivery.close()
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

    def _receive(self) -> None:
        """Receive everything in one session."""
        health = self._health("store")
        receiver = self._receiver = Receiver(
            self._options.mqtt,
            [self._topics.all_hosts],
            self._role.take,
            batch_messages=self._writer.batch_messages,
            idle=lambda: self._idle(receiver, health),
        )
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
            self._idle(receiver, health)
            if receiver.connected and not found and (lost := members.abandoned()) is not None:
                _log.info("consumer %d is gone; taking over what the broker keeps for it", lost.number)
                found.append(lost)
                receiver.stop()

        health = self._health(f"store-{member.number}")
        mqtt = replace(self._options.mqtt, client_id=f"{self._options.mqtt.client_id}-{member.number}")
        receiver = self._receiver = Receiver(
            mqtt,
            filters,
            self._role.take,
            batch_messages=self._writer.batch_messages,
            idle=idle,
            subscribed=member.subscribed,
            leave=member.may_leave,
        )
        try:
            self._run(receiver)
            if receiver.left:
                member.left()
        finally:
            member.release()
            if self._stopping:
                for lost in found:
                    lost.release()
        return None if self._stopping else found[0]

    def _run(self, receiver: Receiver) -> None:
        if self._stopping:  # a signal came while there was no receiver to stop
            receiver.stop()
        receiver.run()

    def _publish(self, topic: str, payload: bytes) -> bool:
        return self._receiver is not None and self._receiver.publish(topic, payload)

    def _health(self, member: str) -> Health:
        """Return what tells how we are, under a name that the other consumers of the machine do not have."""
        return Health(
            self._topics,
            host=self._options.host,
            member=member,
            read=lambda member: account(self._role, self._delivery, member),
            publish=self._publish,
            wall=time.time,
            clock=self._clock,
        )

    def _idle(self, receiver: Receiver, health: Health) -> None:
        self._beat()
        if receiver.connected and not receiver.failing and self._healthy():
            self._heartbeat.beat()
        self._role.idle()
        health.publish_if_due()
        self._delivery.idle()
        self._handover.serve(self._retry)

    def _retry(self, selection: Selection) -> Retried:
        done = retry(self._dead_letters, self._role, selection)
        _log.info("dead letters were tried again: %s", done)
        return done
