"""The consumer as a service: one connection and one loop for each role."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from msgspec import Struct

from hostpulse.bus.mqtt import MqttOptions, Receiver
from hostpulse.bus.topics import Topics

from .dead_letter import DeadLetterFile
from .storage import StorageUnavailableError, Writer
from .storage.options import InfluxOptions
from .store import StoreRole

__all__ = ["HISTORY_FILE", "ConsumerOptions", "StoreService"]

_log = logging.getLogger(__name__)

HISTORY_FILE = "history.db"
_DEAD_LETTER_FILE = "dead-letter.jsonl"


class ConsumerOptions(Struct, frozen=True, kw_only=True):
    """All that the consumer is told.

    Attributes:
        mqtt: the broker; the client id names the session that the broker keeps for us.
        data_dir: where history and dead letters are.
        prefix: first part of every topic.
        influxdb: where InfluxDB is; None for the embedded store.
        retention_seconds: how long every sample is kept.
        rollup_retention_seconds: how long the means of each minute are kept.
        log_level: of Python's logging.
    """

    mqtt: MqttOptions
    data_dir: str
    prefix: str = "hostpulse"
    influxdb: InfluxOptions | None = None
    retention_seconds: float
    rollup_retention_seconds: float
    log_level: Literal["debug", "info", "warning", "error"] = "info"


def _writer(options: ConsumerOptions) -> Writer:
    """Return the store that the options choose. Each is imported where it is chosen: InfluxDB's client is large."""
    if options.influxdb is not None:
        from .storage.influxdb.writer import InfluxWriter

        return InfluxWriter(
            options.influxdb, retention=options.retention_seconds, rollup_retention=options.rollup_retention_seconds
        )
    from .storage.embedded import EmbeddedWriter

    return EmbeddedWriter(
        Path(options.data_dir) / HISTORY_FILE,
        retention=options.retention_seconds,
        rollup_retention=options.rollup_retention_seconds,
    )


class StoreService:
    """Receives everything and stores it, until `stop`."""

    def __init__(self, options: ConsumerOptions) -> None:
        directory = Path(options.data_dir)
        topics = Topics(options.prefix)
        self._writer = _writer(options)
        # Of the embedded store there is one writer: while another has it we must not take its session from it, either.
        self._may_wait = options.influxdb is not None
        role = StoreRole(topics, self._writer, DeadLetterFile(directory / _DEAD_LETTER_FILE))
        self._receiver = Receiver(
            options.mqtt,
            [topics.all_hosts],
            role.take,
            batch_messages=self._writer.batch_messages,
            idle=self._idle,
        )
        self._role = role
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
            self._receiver.run()
        finally:
            self._writer.close()

    def _open(self) -> None:
        try:
            self._writer.open()
        except StorageUnavailableError as error:
            if not self._may_wait:
                raise
            _log.warning("%s (waiting for it; the broker keeps what comes)", error)

    def _idle(self) -> None:
        self._beat()
        self._role.idle()

    def stop(self) -> None:
        """End `run` soon; may be called from a signal handler."""
        self._receiver.stop()
