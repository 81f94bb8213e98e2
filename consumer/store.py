"""The role `store`: what comes from the bus goes into the history, and is acknowledged when it is there."""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from hostpulse.bus.codec import MAXIMUM_MESSAGE_BYTES, Sample, decode
from hostpulse.bus.errors import MalformedError, MessageError, WrongTopicError
from hostpulse.bus.inventory import Inventory
from hostpulse.bus.mqtt import Batch
from hostpulse.bus.topics import HostTopic, Topics, unescape

from .dead_letter import DeadLetterFile
from .storage import Writer

__all__ = ["StoreRole"]

_log = logging.getLogger(__name__)

_NOT_SAMPLES = frozenset({"event", "replay"})  # other talk directly below a host
_STATUSES = {b"online": True, b"offline": False}
_REPORT_SECONDS = 60.0


class StoreRole:
    """Stores batches of messages.

    Args:
        topics: the prefix.
        writer: an open store.
        dead_letters: where unusable messages go.
        wall: seconds since the epoch.
        monotonic: seconds.
    """

    def __init__(
        self,
        topics: Topics,
        writer: Writer,
        dead_letters: DeadLetterFile,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._writer = writer
        self._dead_letters = dead_letters
        self._wall = wall
        self._monotonic = monotonic
        self._inventory = msgspec.json.Decoder(Inventory)
        self._parse = lru_cache(maxsize=65536)(lambda topic: topics.parse(topic.decode()))
        self._next_report = 0.0
        self._unreported = 0
        self._refused_tables: set[str] = set()

    def take(self, batch: Batch) -> None:
        """Store a batch; on return all of it is durable, in the history or in the dead-letter file.

        Raises:
            StorageError: nothing was stored.
            OSError: a message could not be put into the dead-letter file.
        """
        now = datetime.fromtimestamp(self._wall(), UTC)
        samples: list[Sample] = []
        unusable: list[tuple[bytes, bytes, MessageError]] = []
        notes: list[tuple[HostTopic, bytes]] = []
        for index, (name, payload) in enumerate(zip(batch.topics, batch.payloads, strict=True)):
            try:
                topic = self._topic(name)
                if topic.leaf in {"status", "info"}:
                    notes.append((topic, payload))
                elif topic.leaf in _NOT_SAMPLES or index in batch.retained:
                    continue  # a sample that the broker kept is one that somebody made it keep, and came before
                else:
                    samples.append(decode(topic, payload, now=now))
            except MessageError as error:
                unusable.append((name, payload, error))
        written = self._writer.write(samples)
        for refusal in written.refused:
            if refusal.table not in self._refused_tables:
                self._refused_tables.add(refusal.table)
                _log.error("%s", refusal)
        for topic, payload in notes:
            try:
                self._note(topic, payload)
            except MessageError as error:
                unusable.append((f"{topic.host}/{topic.leaf}".encode(), payload, error))
        for name, payload, fault in unusable:
            self._dead_letters.keep(name, payload, fault)
        self._report(unusable)

    def idle(self) -> None:
        """Do a slice of the store's upkeep."""
        self._writer.maintain(self._wall())

    def _topic(self, name: bytes) -> HostTopic:
        try:
            return self._parse(name)
        except UnicodeDecodeError:
            raise WrongTopicError(f"topic {name[:100]!r} is not UTF-8") from None

    def _note(self, topic: HostTopic, payload: bytes) -> None:
        """Remember what a host's status or inventory says; an empty one is a retained message that was cleared."""
        host = unescape(topic.host)
        if topic.leaf == "status":
            if payload and payload not in _STATUSES:
                raise MalformedError(f"status {payload[:40]!r} is neither online nor offline")
            if payload:
                self._writer.note_host(host, online=_STATUSES[payload])
        elif payload:
            if len(payload) > MAXIMUM_MESSAGE_BYTES:
                raise MalformedError(f"an inventory of {len(payload)} bytes")
            try:
                self._inventory.decode(payload)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                raise MalformedError(f"inventory: {error}") from None
            self._writer.note_host(host, info=payload.decode())

    def _report(self, unusable: list[tuple[bytes, bytes, MessageError]]) -> None:
        """Say that messages were unusable, at most once a minute."""
        self._unreported += len(unusable)
        now = self._monotonic()
        if not unusable or now < self._next_report:
            return
        name, _, error = unusable[-1]
        _log.warning(
            "%d unusable messages, kept in %s; the last one on %s: %s",
            self._unreported,
            self._dead_letters.path,
            ascii(name.decode("utf-8", "replace")[:100]),
            error,
        )
        self._unreported = 0
        self._next_report = now + _REPORT_SECONDS
