"""What becomes of a message from its making to the broker's acknowledgement."""

import logging
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from hostpulse.bus.mqtt import Publication

from ..clock import Clock
from .backlog import Backlog
from .log import Log, LogUnavailableError
from .message import Message
from .options import OutboxOptions
from .replay import Replay

__all__ = ["Outbox"]

_logger = logging.getLogger(__name__)

# What is sent from memory where it is on disk as well: what comes while a connection is slow or breaks for moments.
_RECENT_MESSAGES = 64
_RECENT_BYTES = 256 * 1024
# What is kept in memory while there is no disk.
_MEMORY_MESSAGES = 50_000
_MEMORY_BYTES = 16 * 1024 * 1024
_RETRY_SECONDS = 10.0
_BATCH = 256
_MOST_SESSIONS = 16  # that are told of


class _Waiting:
    """A message in memory; its number once it is on disk."""

    __slots__ = ("message", "number")

    def __init__(self, message: Message, number: int | None = None) -> None:
        self.message = message
        self.number = number


class Outbox:
    """Keeps messages until the broker has acknowledged them: on disk, and in memory while there is no disk.

    What is new is sent first, then what an outage has left on disk, oldest first, then what consumers ask for again.

    Args:
        directory: of the files; None keeps everything in memory.
        options: bounds of the files.
        clock: the clocks.
        memory_messages: bound of what is kept in memory without a disk.
        memory_bytes: the same for the sum of payloads.

    Attributes:
        replay: what consumers ask for again.
        sent_messages: acknowledged by the broker.
        sent_bytes: their payloads.
    """

    def __init__(
        self,
        directory: Path | None,
        options: OutboxOptions,
        clock: Clock,
        *,
        memory_messages: int = _MEMORY_MESSAGES,
        memory_bytes: int = _MEMORY_BYTES,
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._memory_messages = memory_messages
        self._memory_bytes = memory_bytes
        self._log = None if directory is None else Log(directory, options, clock)
        self._backlog: Backlog | None = None  # made when the log is open
        self._writable = False
        self._trouble: str | None = None
        self._next_try = 0.0
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._in_flight: dict[int, _Waiting] = {}
        self._numbers: set[int] = set()  # in the log, and here waiting or in flight
        self._given_up = 0
        self.replay = Replay(clock.monotonic)
        self.sent_messages = 0
        self.sent_bytes = 0

    # What is in it

    def __len__(self) -> int:
        """Return how many messages are not acknowledged."""
        return self._on_disk + len(self._waiting) + len(self._in_flight)

    @property
    def _on_disk(self) -> int:
        """How many are nowhere else."""
        return 0 if self._backlog is None or self._log is None else self._log.unfinished - len(self._numbers)

    @property
    def waiting(self) -> int:
        """How many have not been handed to the connection."""
        return self._on_disk + len(self._waiting)

    @property
    def bytes(self) -> int:
        """About how large the unacknowledged messages are."""
        logged = 0 if self._backlog is None or self._log is None else self._log.unfinished_bytes
        return logged + sum(len(one.message.payload) for one in self._in_memory() if one.number is None)

    @property
    def age_seconds(self) -> float:
        """Age of the oldest message that is not acknowledged; 0 where there is none."""
        oldest = min((one.message.timestamp for one in self._in_memory()), default=None)
        record = self._backlog.peek(self._numbers) if self._backlog is not None and self._on_disk else None
        if record is not None:
            stored = record.message.timestamp
            oldest = stored if oldest is None else min(oldest, stored)
        return 0.0 if oldest is None else max(0.0, self._clock.wall() - oldest / 1000)

    @property
    def dropped_messages(self) -> int:
        """How many were given up before they were sent: no room, too old, or not to be read any more."""
        return self._given_up + (0 if self._backlog is None else self._backlog.lost)

    def sessions(self) -> Mapping[int, Mapping[str, int]]:
        """Return which starts of a publisher it has messages of, as far as that is known without reading more.

        Returns:
            By start, in milliseconds since the epoch, the highest sequence of each subsystem.
        """
        found: defaultdict[int, dict[str, int]] = defaultdict(dict)
        for segment in () if self._backlog is None or self._log is None else self._log.segments:
            for (session, subsystem), highest in segment.highest.items():
                known = found[session]
                known[subsystem] = max(highest, known.get(subsystem, 0))
        return {session: found[session] for session in sorted(found)[-_MOST_SESSIONS:]}

    def _in_memory(self) -> Iterator[_Waiting]:
        yield from self._in_flight.values()
        yield from self._waiting

    # In

    def open(self) -> None:
        """Begin to use the disk; where that cannot be, say so, and go on trying."""
        self._try_disk()
        if self._on_disk:
            _logger.info("outbox %s: %d messages of before are to be sent", self._directory, self._on_disk)

    def add(self, message: Message) -> None:
        """Take a message; it is kept from the next `store` on."""
        self._waiting.append(_Waiting(message))
        self._waiting_bytes += len(message.payload)

    def store(self) -> None:
        """Write what was added to the disk, in one go; make room in memory and on disk."""
        if self._log is not None and not self._writable and self._clock.monotonic() >= self._next_try:
            self._try_disk()
        if self._log is not None and self._writable:
            self._write(self._log)
        self._bound_memory()

    def _try_disk(self) -> None:
        log = self._log
        if log is None:
            return
        try:
            if self._backlog is None:
                log.open()
                self._backlog = Backlog(log)
            self._append(log)
        except LogUnavailableError as error:
            self._lose_disk(str(error))
            return
        self._writable = True
        if self._trouble is not None:
            self._trouble = None
            _logger.info("outbox %s can be used again; messages are kept there", self._directory)

    def _lose_disk(self, reason: str) -> None:
        self._writable = False
        self._next_try = self._clock.monotonic() + _RETRY_SECONDS
        if self._trouble != reason:
            self._trouble = reason
            _logger.warning(
                "outbox %s: %s; messages are kept in memory until it can be used (at most %d)",
                self._directory,
                reason,
                self._memory_messages,
            )

    def _write(self, log: Log) -> None:
        try:
            self._append(log)
            log.keep_up()
            for first, end in log.make_room():
                self._give_up(log, first, end)
        except LogUnavailableError as error:
            self._lose_disk(str(error))

    def _append(self, log: Log) -> None:
        """Append what is only in memory, and note its numbers."""
        unwritten = self._unwritten()
        for begin in range(0, len(unwritten), _BATCH):  # more than one only after a time without a disk
            batch = unwritten[begin : begin + _BATCH]
            first = log.append([one.message for one in batch])
            for number, one in enumerate(batch, first):
                one.number = number
                self._numbers.add(number)

    def _unwritten(self) -> list[_Waiting]:
        if self._trouble is not None:  # then also what is in flight
            return [one for one in self._in_memory() if one.number is None]
        found: list[_Waiting] = []
        for one in reversed(self._waiting):
            if one.number is not None:
                break
            found.append(one)
        return found[::-1]

    def _give_up(self, log: Log, first: int, end: int) -> None:
        """Forget the messages of a file that was deleted; what is in flight may still arrive."""
        while self._waiting and (number := self._waiting[0].number) is not None and number < end:
            self._numbers.discard(number)
            self._pop()
        for one in self._in_flight.values():
            if one.number is not None and one.number < end:
                self._numbers.discard(one.number)
                log.finish(one.number)
                one.number = None
        before = log.done.total
        log.done.add(first, end)
        self._given_up += log.done.total - before

    def _bound_memory(self) -> None:
        while len(self._waiting) > _RECENT_MESSAGES or self._waiting_bytes > _RECENT_BYTES:
            number = self._waiting[0].number
            if number is None:
                break
            self._numbers.discard(number)  # from now on it is read from the disk
            self._pop()
        while len(self._waiting) > self._memory_messages or self._waiting_bytes > self._memory_bytes:
            if len(self._waiting) <= 1:
                break
            self._pop()
            self._given_up += 1

    def _pop(self) -> _Waiting:
        one = self._waiting.popleft()
        self._waiting_bytes -= len(one.message.payload)
        return one

    # Out

    def send(self, room: Callable[[], int], publish: Callable[[Publication], int]) -> None:
        """Hand messages to a connection while it has room, and remember their numbers.

        The room is asked for each time: a connection may break while a message is handed to it.
        """
        while self._waiting and room() > 0:
            self._publish(self._pop(), publish)
        while self._on_disk and room() > 0 and (one := self._take_from_disk()) is not None:
            self._publish(one, publish)
        while not self.waiting and self.replay.busy and room() > 0:
            message = self.replay.next(self._log if self._backlog is not None else None)
            if message is None:
                break
            publish(Publication(message.topic, message.payload))

    def _take_from_disk(self) -> _Waiting | None:
        record = None if self._backlog is None else self._backlog.take(self._numbers)
        if record is None:
            return None
        self._numbers.add(record.number)
        return _Waiting(record.message, record.number)

    def _publish(self, one: _Waiting, publish: Callable[[Publication], int]) -> None:
        self._in_flight[publish(Publication(one.message.topic, one.message.payload))] = one

    def acknowledge(self, number: int) -> None:
        """Note that the broker has the message that was published under a number."""
        one = self._in_flight.pop(number, None)
        if one is None:
            return
        self.sent_messages += 1
        self.sent_bytes += len(one.message.payload)
        if one.number is not None and self._log is not None:
            self._numbers.discard(one.number)
            self._log.finish(one.number)

    def close(self, trouble: str) -> None:
        """Note on disk what the broker has, let go of it, and say what was not sent.

        Args:
            trouble: why something may not have been sent.
        """
        in_memory = sum(1 for one in self._in_memory() if one.number is None)
        on_disk = len(self) - in_memory
        if self._log is not None and self._backlog is not None:
            self._log.close()
        if on_disk:
            _logger.info("%d messages wait in %s for the next start: %s", on_disk, self._directory, trouble)
        if in_memory:
            _logger.warning("%d messages were not sent: %s", in_memory, trouble)
