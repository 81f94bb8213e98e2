"""The consumer as a service: one connection and one loop for each role."""

import logging
from pathlib import Path
from typing import Literal

from msgspec import Struct

from hostpulse.bus.mqtt import MqttOptions, Receiver
from hostpulse.bus.topics import Topics

from .dead_letter import DEAD_LETTER_FILE, DeadLetterFile
from .handover import Handover
from .letter import Selection
from .retry import Retried, retry
from .storage import StorageUnavailableError, Writer
from .storage.options import InfluxOptions
from .store import StoreRole

__all__ = ["HISTORY_FILE", "ConsumerOptions", "StoreService", "make_writer"]

_log = logging.getLogger(__name__)

HISTORY_FILE = "history.db"


class ConsumerOptions(Struct, frozen=True, kw_only=True):
    """All that the consumer is told.

    Attributes:
        mqtt: the broker; the client id names the session that the broker keeps for us.
        data_dir: where history and dead letters are.
        prefix: first part of every topic.
        influxdb: where InfluxDB is; None for the embedded store.
        retention_seconds: how long every sample is kept.
        rollup_retention_seconds: how long the means of each minute are kept.
        maximum_hosts: how many hosts are stored.
        maximum_entries: new entries of one host in one map in a day.
        log_level: of Python's logging.
    """

    mqtt: MqttOptions
    data_dir: str
    prefix: str = "hostpulse"
    influxdb: InfluxOptions | None = None
    retention_seconds: float
    rollup_retention_seconds: float
    maximum_hosts: int = 1000
    maximum_entries: int = 1000
    log_level: Literal["debug", "info", "warning", "error"] = "info"


def make_writer(
    *,
    data_dir: str,
    influxdb: InfluxOptions | None,
    retention_seconds: float,
    rollup_retention_seconds: float,
    maximum_entries: int,
) -> Writer:
    """Return the store that the options choose; they are those of `ConsumerOptions`.

    Each is imported where it is chosen: InfluxDB's client is large.
    """
    if influxdb is not None:
        from .storage.influxdb.writer import InfluxWriter

        return InfluxWriter(
            influxdb,
            retention=retention_seconds,
            rollup_retention=rollup_retention_seconds,
            maximum_entries=maximum_entries,
        )
    from .storage.embedded import EmbeddedWriter

    return EmbeddedWriter(
        Path(data_dir) / HISTORY_FILE,
        retention=retention_seconds,
        rollup_retention=rollup_retention_seconds,
        maximum_entries=maximum_entries,
    )


class StoreService:
    """Receives everything and stores it, until `stop`."""

    def __init__(self, options: ConsumerOptions) -> None:
        directory = Path(options.data_dir)
        topics = Topics(options.prefix)
        self._writer = make_writer(
            data_dir=options.data_dir,
            influxdb=options.influxdb,
            retention_seconds=options.retention_seconds,
            rollup_retention_seconds=options.rollup_retention_seconds,
            maximum_entries=options.maximum_entries,
        )
        # Of the embedded store there is one writer: while another has it we must not take its session from it, either.
        self._may_wait = options.influxdb is not None
        self._dead_letters = DeadLetterFile(directory / DEAD_LETTER_FILE)
        self._handover = Handover(directory)
        self._role = StoreRole(topics, self._writer, self._dead_letters, maximum_hosts=options.maximum_hosts)
        self._receiver = Receiver(
            options.mqtt,
            [topics.all_hosts],
            self._role.take,
            batch_messages=self._writer.batch_messages,
            idle=self._idle,
        )

    def run(self) -> None:
        """Store until `stop`.

        A database that is away is waited for: what comes meanwhile is not acknowledged, so the broker keeps it.

        Raises:
            StorageError: the store cannot be opened.
            UsageError: a certificate file cannot be used.
        """
        try:
            self._open()
            self._receiver.run()
        finally:
            self._role.close()
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
        self._receiver.stop()

    def _idle(self) -> None:
        self._role.idle()
        self._handover.serve(self._retry)

    def _retry(self, selection: Selection) -> Retried:
        done = retry(self._dead_letters, self._role, selection)
        _log.info("dead letters were tried again: %s", done)
        return done
