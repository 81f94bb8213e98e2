"""Asking the consumer that runs to try dead letters again.

The embedded store has one writer: while a consumer runs, nobody else can store anything. So a command leaves a request
in a file of the data directory, the consumer does between two batches what the command would have done, and puts its
answer in the place of the request.
"""

import logging
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from hostpulse.bus.errors import HostpulseError
from hostpulse.bus.lock import FileLock

from .dead_letter import DeadLetterFile
from .files import give_to_owner, replace_file
from .letter import Selection
from .retry import Retried, retry
from .storage import StorageError, StorageUnavailableError, Writer
from .store import StoreRole

__all__ = ["Handover", "retry_or_hand_over"]

_log = logging.getLogger(__name__)

_FILE = "dead-letter-retry.json"
_LOOK_SECONDS = 0.2


class _Request(Struct, frozen=True, tag="request"):
    """What a command wants."""

    id: str
    selection: Selection


class _Answer(Struct, frozen=True, tag="answer"):
    """What became of a request: what was done, or why it was not."""

    id: str
    retried: Retried | None = None
    trouble: str = ""


class Handover:
    """The file by which a command and a consumer talk.

    Args:
        directory: the data directory.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / _FILE
        self._decoder: msgspec.json.Decoder[_Request | _Answer] = msgspec.json.Decoder(_Request | _Answer)
        self._trouble = ""

    def ask(self, selection: Selection) -> str:
        """Leave a request; return its id. For one command at a time."""
        request = _Request(uuid.uuid4().hex, selection)
        replace_file(self.path, msgspec.json.encode(request))
        return request.id

    def answer(self, asked: str) -> Retried | None:
        """Return the answer to a request; None while there is none.

        Raises:
            StorageError: the consumer could not do it.
        """
        found = self._read()
        if not isinstance(found, _Answer) or found.id != asked:
            return None
        if found.retried is None:
            raise StorageError(f"the consumer that runs could not do it: {found.trouble}")
        return found.retried

    def withdraw(self) -> None:
        """Leave neither a request nor an answer."""
        self.path.unlink(missing_ok=True)

    def serve(self, do: Callable[[Selection], Retried]) -> None:
        """Do what is asked for, if anything is; for the consumer.

        Args:
            do: tries the letters of a selection again.

        Raises:
            OSError: the answer cannot be written. The request is still there.
        """
        request = self._read()
        if not isinstance(request, _Request):
            return
        try:
            answer = _Answer(request.id, do(request.selection))
        except (HostpulseError, OSError) as error:
            answer = _Answer(request.id, trouble=str(error))
        replace_file(self.path, msgspec.json.encode(answer))

    def _read(self) -> _Request | _Answer | None:
        try:
            found = self._decoder.decode(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            if str(error) != self._trouble:  # once, not at each look
                self._trouble = str(error)
                _log.warning("%s cannot be read (%s); remove it", self.path, error)
            return None
        self._trouble = ""
        return found


def retry_or_hand_over(
    letters: DeadLetterFile,
    role: StoreRole,
    writer: Writer,
    selection: Selection,
    *,
    may_hand_over: bool,
    patience: float = 60.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Retried:
    """Try letters again: here if the store lets us write, else by the consumer that writes it.

    Args:
        letters: the file.
        role: stores through the writer.
        writer: of the store, not open; it is closed at the end.
        selection: which letters.
        may_hand_over: whether a store that cannot be written now may be one that a consumer has to itself.
        patience: seconds that the store may stay taken without an answer from a consumer.
        clock: monotonic seconds.
        sleep: waits for seconds.

    Raises:
        StorageError: the store cannot be used, or nobody answered.
        OSError: a file cannot be read or written.
    """
    handover = Handover(letters.path.parent)
    alone = FileLock(handover.path.with_suffix(".lock"))
    asked = ""
    try:
        if not alone.acquire():
            raise StorageError(f"another `hostpulse deadletter retry` runs (process {alone.holder() or 'unknown'})")
        give_to_owner(alone.path, like=alone.path.parent)
        give_up = clock() + patience
        while True:
            try:
                writer.open()
            except StorageUnavailableError as error:
                if not may_hand_over:
                    raise
                # The consumer may also end meanwhile; then the store is free.
                asked = asked or handover.ask(selection)
                if (done := handover.answer(asked)) is not None:
                    return done
                if clock() >= give_up:
                    raise StorageError(f"{error} (it was asked to try the dead letters, and did not answer)") from None
                sleep(_LOOK_SECONDS)
                continue
            return retry(letters, role, selection)
    finally:
        if asked:
            handover.withdraw()
        writer.close()
        alone.release()
