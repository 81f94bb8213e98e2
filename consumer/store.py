"""The role `store`: what comes from the bus goes into the history, and is acknowledged when it is there."""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Annotated, NamedTuple

import msgspec

from hostpulse.bus.codec import MAXIMUM_MESSAGE_BYTES, Envelope, Reader, Sample, latest_timestamp, reader
from hostpulse.bus.errors import (
    MalformedError,
    MessageError,
    MessageTooLargeError,
    WrongTopicError,
    WrongTypeError,
)
from hostpulse.bus.inventory import Inventory
from hostpulse.bus.mqtt import Batch, Taking
from hostpulse.bus.topics import HostTopic, Topics, escape, unescape

from .dead_letter import DeadLetter, DeadLetterFile
from .delivery import Delivery
from .hosts import Crowd, Hosts
from .storage import RejectedLine, StorageError, TooManyDevicesError, TooManyError, UnstorableError, Writer, Written

__all__ = ["NOTES", "Fault", "StoreRole"]

_log = logging.getLogger(__name__)

NOTES = frozenset({"status", "info"})
"""What a host says about itself; the broker keeps the last of each and gives it at every connection."""

_NO_SAMPLES = NOTES | {"check", "replay"}  # these are other talk directly below a host

_STATUSES = {b"online": True, b"offline": False}
_Moment = Annotated[datetime, msgspec.Meta(tz=True)]
_REPORT_SECONDS = 60.0
_UPKEEP_SECONDS = 0.25  # of every five; a slice takes some hundredths
_REMEMBERED = 16_384  # topics; beyond that they are parsed anew
_PIECE = 400  # messages, which with all that is made of them fit into the cache of one core
_NEWEST = 16  # samples at the end of a batch; among them may be old ones that come late


@dataclass(frozen=True, slots=True)
class Fault:
    """A message that cannot be stored, now or later.

    Attributes:
        index: of the message in its batch.
        error: says why.
        row: the first row of it that the store refuses; empty where nothing of the message is stored.
    """

    index: int
    error: MessageError
    row: bytes = b""


class _Note(NamedTuple):
    """What a host says about itself."""

    host: str
    online: bool | None = None
    info: str | None = None
    sessions: Mapping[datetime, Mapping[str, int]] = {}


@dataclass(slots=True)
class _Understood:
    """What is in a batch.

    Attributes:
        owners: the index of the message of each sample.
        envelopes: of the samples; without a `Delivery` only of some at the end.
        notes: the last status and the last inventory on each topic, with the index of its message.
        faults: what cannot be used.
    """

    owners: list[int] = field(default_factory=list)
    envelopes: list[Envelope] = field(default_factory=list)
    notes: dict[bytes, tuple[int, _Note]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)


class _Readers(dict[bytes, Reader | None]):
    """What decodes the messages of each topic, made when it is first asked for; None where they are no samples.

    Args:
        topics: the prefix.

    Raises:
        MessageError: when a topic is asked for that has no meaning.
    """

    def __init__(self, topics: Topics) -> None:
        super().__init__()
        self._topics = topics

    def __missing__(self, name: bytes) -> Reader | None:
        try:
            topic = self._topics.parse(name.decode())
        except UnicodeDecodeError:
            raise WrongTopicError(f"topic {name[:100]!r} is not UTF-8") from None
        if len(self) >= _REMEMBERED:
            self.clear()
        self[name] = read = None if topic.leaf in _NO_SAMPLES else reader(topic)
        return read


class _Begun(NamedTuple):
    """A batch that is being stored.

    Attributes:
        understood: what is in it.
        work: stores its samples.
    """

    understood: _Understood
    work: Future[Written]


class StoreRole:
    """Stores batches of messages.

    Args:
        topics: the prefix.
        writer: a store, opened by the first batch if it is not open yet.
        dead_letters: where unusable messages go.
        maximum_hosts: how many hosts are stored; see `Hosts`.
        delivery: is told what is stored, and keeps account of what is not; None for no account.
        wall: seconds since the epoch.
        monotonic: seconds.

    Attributes:
        received: messages that were taken.
        stored_rows: rows that were stored.
        lag_seconds: age of the newest of the last samples when they were stored; None before the first.
    """

    def __init__(
        self,
        topics: Topics,
        writer: Writer,
        dead_letters: DeadLetterFile,
        *,
        maximum_hosts: int = 1000,
        delivery: Delivery | None = None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topics = topics
        self._writer = writer
        self._dead_letters = dead_letters
        self._delivery = delivery
        self._wall = wall
        self._monotonic = monotonic
        self._inventory = msgspec.json.Decoder(Inventory)
        self._readers = _Readers(topics)
        self._next_report = 0.0
        self._unreported = 0
        self._last: DeadLetter | None = None
        self._hosts = Hosts(writer, maximum_hosts, wall=wall, monotonic=monotonic)
        self._crowd = Crowd(dead_letters.path, monotonic=monotonic)
        self._refused: set[tuple[str, bool]] = set()
        self._upkeep_trouble = ""
        self.received = 0
        self.stored_rows = 0
        self.lag_seconds: float | None = None

    @property
    def dead_letters(self) -> int:
        """How many messages were set aside."""
        return self._dead_letters.counts.total()

    def take(self, batch: Batch) -> Taking | None:
        """Begin to store a batch.

        Returns:
            What finishes it, where the store works in the background; None where all of it is durable, in the history
            or in the dead-letter file.

        Raises:
            StorageError: nothing was stored.
            OSError: the unusable messages could not be put into the dead-letter file.
        """
        begun = self._begin(batch)
        if begun.work.done():
            self._finish(batch, begun)
            return None
        return Taking(begun.work, lambda: self._finish(batch, begun))

    def store(self, batch: Batch) -> list[Fault]:
        """Store what can be of a batch; on return that is durable.

        Returns:
            What cannot be stored, in the order of the batch, one for a message. It is nowhere yet.

        Raises:
            StorageError: nothing was stored.
        """
        return self._end(self._begin(batch))

    def _begin(self, batch: Batch) -> _Begun:
        self._writer.open()  # it may have been away until now
        self._hosts.load()
        if self._delivery is not None:
            self._delivery.begin()
        understood = _Understood()
        return _Begun(understood, self._writer.submit(self._samples(batch, understood)))

    def _end(self, begun: _Begun) -> list[Fault]:
        """Wait until a batch is stored; return what cannot be."""
        understood, work = begun
        faults = understood.faults
        written = work.result()
        if understood.envelopes:
            self._note_stored(understood.envelopes, written.rows)
            _log.debug("stored %d samples", len(understood.owners))
        for refusal in written.refused:
            self._refuse(refusal)
        faults += _faults_of(written.rejected, understood.owners)
        for index, note in understood.notes.values():
            if self._delivery is not None:
                if note.online is not None:
                    self._delivery.heard(note.host, online=note.online)
                self._delivery.told(note.host, note.sessions)
            try:
                self._writer.note_host(note.host, online=note.online, info=note.info)
            except TooManyDevicesError as refusal:
                self._refuse(refusal)
            except UnstorableError as error:
                faults.append(Fault(index, error))
        return sorted(faults, key=lambda fault: fault.index)

    def _finish(self, batch: Batch, begun: _Begun) -> None:
        """Wait until a batch is stored, and keep what cannot be."""
        faults = self._chosen(self._end(begun))
        if faults:
            unusable = [
                DeadLetter(batch.topics[fault.index], batch.payloads[fault.index], fault.error, fault.row)
                for fault in faults
            ]
            self._dead_letters.keep(unusable)
            self._count([letter for letter in unusable if not isinstance(letter.error, TooManyError)])
            self._report()
        self.received += len(batch.topics)

    def _note_stored(self, envelopes: list[Envelope], rows: int) -> None:
        self.stored_rows += rows
        newest = max(envelope.timestamp for envelope in envelopes[-_NEWEST:])
        self.lag_seconds = max(0.0, self._wall() - newest.timestamp())
        if self._delivery is not None:
            self._delivery.stored(envelopes)

    def idle(self) -> None:
        """Do slices of the store's upkeep, for a short while; what keeps it from that is said once, and tried again."""
        self._crowd.report()
        enough = self._monotonic() + _UPKEEP_SECONDS
        try:
            # More than one: what many hosts bring between two calls has to go between two calls, too.
            while self._writer.maintain(self._wall()).more and self._monotonic() < enough:
                pass
        except StorageError as error:
            if str(error) != self._upkeep_trouble:
                self._upkeep_trouble = str(error)
                _log.warning("upkeep of the history: %s (trying again)", error)
        else:
            self._upkeep_trouble = ""

    def close(self) -> None:
        """Say what was not said yet, because it was not a minute ago that something was."""
        self._crowd.report(at_once=True)
        self._next_report = 0.0
        self._report()

    def _samples(self, batch: Batch, understood: _Understood) -> Iterator[list[Sample]]:
        """Yield the samples of a batch, a piece at a time."""
        for first in range(0, len(batch.topics), _PIECE):
            samples = self._understand(batch, first, understood)
            if not samples:
                continue
            envelopes = [sample.envelope for sample in samples]
            if self._delivery is None:
                understood.envelopes = envelopes
            else:
                understood.envelopes += envelopes
            yield samples

    def _understand(self, batch: Batch, first: int, understood: _Understood) -> list[Sample]:
        """Return the samples of a piece of a batch, and put down what else there is in it."""
        latest = latest_timestamp(datetime.fromtimestamp(self._wall(), UTC))
        readers, known, retained = self._readers, self._hosts.known, batch.retained
        samples: list[Sample] = []
        owners = understood.owners
        piece = slice(first, first + _PIECE)
        for index, name, payload in zip(count(first), batch.topics[piece], batch.payloads[piece]):
            try:
                read = readers[name]
                if read is None:
                    self._understand_other(index, name, payload, understood)
                elif index not in retained:  # a sample that somebody made the broker keep came before
                    sample = read(payload, latest)
                    if sample.envelope.host not in known:
                        self._hosts.admit(sample.envelope.host)
                    samples.append(sample)
                    owners.append(index)
            except MessageError as error:
                understood.faults.append(Fault(index, error))
        return samples

    def _understand_other(self, index: int, name: bytes, payload: bytes, understood: _Understood) -> None:
        """Take what is no sample: a note, or talk that is not for us."""
        topic = self._topics.parse(name.decode())
        note = self._note(topic, payload) if topic.leaf in NOTES else None
        if note is not None:
            if note.host not in self._hosts.known:
                self._hosts.admit(note.host)
            understood.notes[name] = index, note

    def _note(self, topic: HostTopic, payload: bytes) -> _Note | None:
        """Return what a host's status or inventory says; None for a retained message that was cleared.

        Raises:
            MessageError: it cannot be used.
        """
        host = unescape(topic.host)
        if escape(host) != topic.host:  # a broker that lets a machine write below its own name only lets this pass
            raise WrongTopicError(f"the topic spells the host {host!r} in a way of its own: {topic.host!r}")
        if not payload:
            return None
        if topic.leaf == "status":
            if payload not in _STATUSES:
                raise MalformedError(f"status {payload[:40]!r} is neither online nor offline")
            return _Note(host, online=_STATUSES[payload])
        if len(payload) > MAXIMUM_MESSAGE_BYTES:
            raise MessageTooLargeError(f"an inventory of {len(payload)} bytes, one has at most {MAXIMUM_MESSAGE_BYTES}")
        try:
            text = payload.decode()
            inventory = self._inventory.decode(text)
            sessions = _sessions_of(inventory)
        except msgspec.ValidationError as error:
            raise WrongTypeError(f"inventory: {error}") from None
        except (msgspec.DecodeError, UnicodeError, OverflowError) as error:
            raise MalformedError(f"inventory: {error}") from None
        except RecursionError:
            raise MalformedError("inventory: nested too deeply") from None
        if inventory.host != host:
            raise WrongTopicError(f"an inventory of {inventory.host!r} on the topic of {topic.host!r}")
        return _Note(host, info=text, sessions=sessions)

    def _chosen(self, faults: list[Fault]) -> list[Fault]:
        """Return the faults whose messages are to be kept: all, but of what there is too much only a few."""
        crowd = {index: fault.error for index, fault in enumerate(faults) if isinstance(fault.error, TooManyError)}
        if not crowd:
            return faults
        passed_over = set(list(crowd)[self._crowd.pick(crowd.values()) :])
        return [fault for index, fault in enumerate(faults) if index not in passed_over]

    def _refuse(self, refusal: TooManyDevicesError) -> None:
        """Say once for each table that it is full; what it did not take is lost, and would not fit later either."""
        if (refusal.table, refusal.is_of_host) not in self._refused:
            self._refused.add((refusal.table, refusal.is_of_host))
            _log.error("%s", refusal)

    def _count(self, unusable: list[DeadLetter]) -> None:
        if unusable:
            self._unreported += len(unusable)
            self._last = unusable[-1]

    def _report(self) -> None:
        """Say that messages were unusable, at most once a minute."""
        now, last = self._monotonic(), self._last
        if last is None or now < self._next_report:
            return
        _log.warning(
            "%d unusable %s, kept in %s; the last one on %s: %s",
            self._unreported,
            "message" if self._unreported == 1 else "messages",
            self._dead_letters.path,
            ascii(last.topic.decode("utf-8", "replace")[:100]),
            last.error,
        )
        self._unreported, self._last = 0, None
        self._next_report = now + _REPORT_SECONDS


def _sessions_of(inventory: Inventory) -> dict[datetime, Mapping[str, int]]:
    """Return the last sequence of each subsystem by start of a publisher.

    Raises:
        msgspec.ValidationError: a start is no moment.
        OverflowError: one is beyond what a calendar has.
    """
    return {msgspec.convert(start, _Moment).astimezone(UTC): last for start, last in inventory.earlier_sessions.items()}


def _faults_of(rejected: Iterable[RejectedLine], owners: list[int]) -> list[Fault]:
    """Return one fault for each message of which rows were rejected."""
    of_message: defaultdict[int, list[RejectedLine]] = defaultdict(list)
    for one in rejected:
        of_message[owners[one.index]].append(one)
    faults: list[Fault] = []
    for index, (first, *others) in of_message.items():
        more = f" (and {len(others)} more of its rows)" if others else ""
        faults.append(Fault(index, type(first.error)(f"{first.error}{more}"), first.line))
    return faults
