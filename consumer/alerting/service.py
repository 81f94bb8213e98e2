"""The role `alerts` as a service: one connection, one loop."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from msgspec import Struct

from hostpulse.bus.heartbeat import Heartbeat
from hostpulse.bus.lock import FileLock
from hostpulse.bus.messages import Consumer, ConsumerMember
from hostpulse.bus.mqtt import Batch, MqttOptions, Receiver
from hostpulse.bus.topics import Topics

from ..alerts import load_rules, parse_source
from ..health import Health
from ..notifications import Notifications, RouteOptions
from ..storage import NoHistoryError, Reader, RowQuery, StorageError
from ..storage.options import InfluxOptions
from ..stores import make_reader
from .journal import JOURNAL_FILE, Journal
from .publication import Publication
from .role import AlertRole

__all__ = ["LOCK_FILE", "AlertOptions", "AlertService", "RuleText"]

_log = logging.getLogger(__name__)

LOCK_FILE = "alerts.lock"

_BATCH_MESSAGES = 500
_IDLE_SECONDS = 1.0
_WAIT_SECONDS = 1.0  # between two looks whether we may take over
_BATTERY_SECONDS = 30 * 86400.0
_HISTORY_SECONDS = 5.0


class RuleText(Struct, frozen=True):
    """Rules that stand at one place.

    Attributes:
        name: of the file, for errors.
        text: TOML.
    """

    name: str
    text: str


class AlertOptions(Struct, frozen=True, kw_only=True):
    """All that the role `alerts` is told.

    Attributes:
        host: name of this machine.
        mqtt: the broker; the client id names the session that the broker keeps for us.
        data_dir: where the journal is, and the history where that is embedded.
        rules: what rules there are; later ones change earlier ones.
        routes: who is told; none for nobody.
        prefix: first part of every topic.
        influxdb: where history is; None for the embedded store.
        maximum_hosts: how many hosts are looked at.
        heartbeat_file: renewed while messages are received and evaluated; None for none.
        log_level: of Python's logging.
    """

    host: str
    mqtt: MqttOptions
    data_dir: str
    rules: tuple[RuleText, ...]
    routes: tuple[RouteOptions, ...] = ()
    prefix: str = "hostpulse"
    influxdb: InfluxOptions | None = None
    maximum_hosts: int = 1000
    heartbeat_file: str | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class AlertService:
    """Evaluates rules over everything that comes, until `stop`. Of several with one data_dir, one at a time does.

    Args:
        options: all that it is told.
        wall: seconds since the epoch.
        clock: monotonic seconds.

    Raises:
        RulesError: the rules cannot be used.
    """

    def __init__(
        self,
        options: AlertOptions,
        *,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._directory = Path(options.data_dir)
        self._topics = Topics(options.prefix)
        self._wall = wall
        self._clock = clock
        self._lock = FileLock(self._directory / LOCK_FILE)
        self._journal = Journal(self._directory / JOURNAL_FILE)
        rules = load_rules(parse_source(rules.name, rules.text) for rules in options.rules)
        self._notifications = Notifications(
            options.routes, self._journal.path, {rule.name: rule.notify for rule in rules}, wall=wall, clock=clock
        )
        self._role = AlertRole(
            self._topics,
            rules,
            self._journal,
            maximum_hosts=options.maximum_hosts,
            had_battery=self._had_battery,
            wall=wall,
            monotonic=clock,
        )
        self._heartbeat = Heartbeat(options.heartbeat_file, clock=clock)
        self._receiver: Receiver | None = None
        self._connections = 0
        self._trouble = ""
        self._stopping = False

    def run(self, beat: Callable[[], None] = lambda: None) -> None:
        """Evaluate until `stop`.

        Args:
            beat: called when the journal is open (or waited for), and then about every second.

        Raises:
            RoutesError: routes that cannot work.
            StorageError: the journal cannot be used.
            UsageError: a certificate file cannot be used.
        """
        if not self._is_ours(beat):
            return
        try:
            self._role.open()
            self._notifications.start()
            self._receive(beat)
        finally:
            self._notifications.stop()
            self._role.close()
            self._lock.release()

    def stop(self) -> None:
        """End `run` soon; may be called from a signal handler and from another thread."""
        self._stopping = True
        if self._receiver is not None:
            self._receiver.stop()

    def _is_ours(self, beat: Callable[[], None]) -> bool:
        """Wait until no other consumer evaluates the alerts of this data_dir; False if we are to end."""
        told = False
        while not self._stopping:
            try:
                self._directory.mkdir(parents=True, exist_ok=True)
                if self._lock.acquire():
                    return True
            except OSError as error:
                raise StorageError(
                    f"{self._lock.path} cannot be written ({error.strerror}): make it writable or set another data_dir"
                ) from error
            if not told:
                told = True
                _log.info("another consumer evaluates the alerts (process %s)", self._lock.holder() or "unknown")
            beat()
            time.sleep(_WAIT_SECONDS)
        return False

    def _receive(self, beat: Callable[[], None]) -> None:
        receiver = self._receiver = Receiver(
            self._options.mqtt,
            [self._topics.all_hosts, self._topics.all_alerts],
            lambda batch: self._take(batch, publication),
            batch_messages=_BATCH_MESSAGES,
            idle=lambda: self._idle(receiver, publication, health, beat),
            idle_seconds=_IDLE_SECONDS,
            acknowledged=lambda: self._go_on(publication),
        )
        publication = Publication(
            self._topics,
            self._journal,
            alerts=self._role,
            publish=lambda topic, payload, retain: receiver.publish(topic, payload, retain=retain),
            unacknowledged=lambda: receiver.unacknowledged,
            wall=self._wall,
        )
        health = Health(
            self._topics,
            host=self._options.host,
            member="alerts",
            read=self._account,
            publish=receiver.publish,
            wall=self._wall,
            clock=self._clock,
        )
        if self._stopping:  # a signal came while there was no receiver to stop
            receiver.stop()
        beat()
        receiver.run()

    def _take(self, batch: Batch, publication: Publication) -> None:
        if self._role.take(batch):
            self._notifications.wake()
        publication.take(batch)
        publication.advance()

    def _account(self, member: ConsumerMember) -> Consumer:
        """Note what this consumer has done."""
        member.received_messages = self._role.received
        member.firing_alerts = self._role.firing
        routes = self._notifications.status()
        if routes:
            member.waiting_notifications = sum(route.waiting for route in routes)
            member.sent_notifications = sum(route.sent for route in routes)
            member.failed_notifications = sum(route.failed for route in routes)
            member.failing_routes = sum(route.failing_since is not None for route in routes)
        return Consumer()

    def _idle(self, receiver: Receiver, publication: Publication, health: Health, beat: Callable[[], None]) -> None:
        beat()
        if receiver.connected and receiver.connections != self._connections:
            self._connections = receiver.connections
            publication.connected()
        if receiver.connected and not receiver.failing:
            self._heartbeat.beat()
        health.publish_if_due()
        try:
            if self._role.tick(listening=receiver.receiving):
                self._notifications.wake()
            if receiver.connected:
                publication.advance()
        except StorageError as error:
            self._complain(error)
        else:
            self._trouble = ""

    def _go_on(self, publication: Publication) -> None:
        """Send what waits as fast as the broker takes it."""
        try:
            publication.advance()
        except StorageError as error:
            self._complain(error)

    def _complain(self, error: StorageError) -> None:
        if str(error) != self._trouble:  # once, not each second
            self._trouble = str(error)
            _log.error("alerts cannot be kept: %s (trying again)", error)

    def _had_battery(self, host: str) -> bool | None:
        """Return whether the history of the last month has a battery of a host; None where it cannot be read now."""
        now = self._wall()
        query = RowQuery(
            table="battery", start=now - _BATTERY_SECONDS, end=now, hosts=(host,), fields=("charge_percent",)
        )
        try:
            with self._reader() as reader:
                return next(iter(reader.rows(query)), None) is not None
        except NoHistoryError:  # this is the very first start
            return False
        except StorageError as error:
            _log.info("whether %r has a battery is not known, so its silence is no alert yet: %s", host, error)
            return None

    def _reader(self) -> Reader:
        influxdb = self._options.influxdb
        if influxdb is not None:  # alerts wait meanwhile
            influxdb = replace(influxdb, timeout=min(influxdb.timeout, _HISTORY_SECONDS))
        return make_reader(influxdb, self._directory)
