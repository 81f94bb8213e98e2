"""What the tests of the outbox share: messages by number, a connection, and an outbox that is driven by hand."""

from pathlib import Path
from typing import Any

from hostpulse.bus.mqtt import Publication
from hostpulse.publisher.outbox import Message, Outbox, OutboxOptions
from hostpulse.publisher.outbox.log import Log

SESSION = 1_773_480_000_000
SMALL = OutboxOptions(size_bytes=2**20)  # files of 64 KiB


def message(sequence: int, *, session: int = SESSION, subsystem: str = "cpu", size: int = 0) -> Message:
    """Return a message whose payload says which it is."""
    payload = f'{{"session":{session},"subsystem":"{subsystem}","sequence":{sequence}}}'.encode().ljust(size)
    return Message(
        f"hostpulse/h/{subsystem}", payload, session=session, sequence=sequence, timestamp=session + sequence
    )


def messages(count: int, *, first: int = 1, **arguments: Any) -> list[Message]:
    return [message(sequence, **arguments) for sequence in range(first, first + count)]


def files_of(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.log"))


def stored(log: Log) -> dict[int, Message]:
    """Return every message that can be read, by number; no number may be there twice."""
    found: dict[int, Message] = {}
    for segment in log.segments:
        for piece in segment.pieces():
            for record in piece.records:
                if not record.is_state:
                    assert record.number not in found
                    found[record.number] = record.message
    return found


class Connection:
    """Takes messages while there is room, and acknowledges them when it is told to."""

    def __init__(self, outbox: Outbox, *, window: int = 40) -> None:
        self.outbox = outbox
        self.window = window
        self.up = True
        self.sent: list[bytes] = []
        self.unacknowledged: list[int] = []
        self._number = 0

    def room(self) -> int:
        return self.window - len(self.unacknowledged) if self.up else 0

    def publish(self, publication: Publication) -> int:
        if not self.up:
            raise RuntimeError("publish() without a connection")
        assert not publication.retain
        self._number += 1
        self.sent.append(publication.payload)
        self.unacknowledged.append(self._number)
        return self._number

    def send(self) -> None:
        self.outbox.send(self.room, self.publish)

    def acknowledge(self, count: int | None = None) -> None:
        """Acknowledge so many, the oldest first; all where no number is given."""
        count = len(self.unacknowledged) if count is None else count
        for number in self.unacknowledged[:count]:
            self.outbox.acknowledge(number)
        del self.unacknowledged[:count]

    def drain(self) -> None:
        """Send and acknowledge until nothing is left to be sent."""
        while True:
            before = len(self.sent)
            self.send()
            self.acknowledge()
            if len(self.sent) == before:
                return


def cycle(outbox: Outbox, *added: Message) -> None:
    """Do what the publisher does when it has sampled."""
    for one in added:
        outbox.add(one)
    outbox.store()


def kill(outbox: Outbox) -> None:
    """Leave it as kill -9 does: nothing more is written, the kernel closes its files."""
    log = outbox._log
    assert log is not None
    log._appender.close()
    log._lock.release()
    outbox._log = outbox._backlog = None


def payloads(sent: list[Message]) -> list[bytes]:
    return [one.payload for one in sent]
