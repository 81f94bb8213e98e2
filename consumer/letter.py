"""A message that could not be used: how it stands in the dead-letter file, and how some of them are chosen."""

from datetime import datetime
from typing import NamedTuple

import msgspec
from msgspec import UNSET, Struct, UnsetType

from hostpulse.bus.errors import MessageError
from hostpulse.bus.times import format_timestamp

__all__ = ["DeadLetter", "KeptLetter", "Selection", "decode", "encode", "kept"]

_MAXIMUM_TOPIC = 1024
_MAXIMUM_PAYLOAD = 256 * 1024
_MAXIMUM_REASON = 1024
_MAXIMUM_ROW = 4096


class DeadLetter(NamedTuple):
    """A message that cannot be used, and why.

    Attributes:
        topic: as it came.
        payload: as it came.
        error: says why.
        row: what of it the store refuses; empty where that is all of it.
    """

    topic: bytes
    payload: bytes
    error: MessageError
    row: bytes = b""


class KeptLetter(Struct, frozen=True, kw_only=True):
    """A line of the dead-letter file.

    Attributes:
        time: when the message came; RFC 3339, UTC, milliseconds.
        topic: at most 1024 bytes of it; what is not UTF-8 is replaced.
        kind: of the error.
        reason: the error in words.
        payload: in base64; at most 256 KiB of it.
        size: bytes of the whole payload.
        row: what of it the store refuses, at most 4 KiB; absent where that is all of it.
        retried: when it was given to the store again and failed for the reason that stands here now.
    """

    time: str
    topic: str
    kind: str
    reason: str
    payload: bytes
    size: int = msgspec.field(name="bytes")
    row: str | UnsetType = UNSET
    retried: str | UnsetType = UNSET

    @property
    def moment(self) -> float:
        """When the message came, in seconds since the epoch."""
        return datetime.fromisoformat(self.time).timestamp()

    @property
    def is_whole(self) -> bool:
        """Whether all of the payload is here."""
        return self.size == len(self.payload)

    def failed_again(self, error: MessageError, row: bytes, now: float) -> "KeptLetter":
        """Return the letter with the reason for which it could not be stored at a later time.

        Args:
            error: says why.
            row: what of it the store refuses; empty where that is all of it.
            now: seconds since the epoch.
        """
        return msgspec.structs.replace(
            self,
            kind=error.kind,
            reason=str(error)[:_MAXIMUM_REASON],
            row=_row(row),
            retried=format_timestamp(now),
        )


class Selection(Struct, frozen=True, kw_only=True):
    """Which letters are meant. Everything that is given has to hold; of several of a kind, one.

    Attributes:
        since: seconds since the epoch, included.
        until: seconds since the epoch, not included.
        topics: MQTT filters; `+` stands for one part, `#` at the end for all that follow.
        kinds: of errors.
        reasons: texts that stand somewhere in the reason, in upper or lower case.
    """

    since: float | None = None
    until: float | None = None
    topics: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()

    @property
    def is_everything(self) -> bool:
        """Whether nothing was given, so that also lines are meant that cannot be read."""
        return self == Selection()

    def has(self, letter: KeptLetter) -> bool:
        """Tell whether a letter is meant."""
        if self.since is not None and letter.moment < self.since:
            return False
        if self.until is not None and letter.moment >= self.until:
            return False
        reason = letter.reason.casefold()
        return (
            (not self.kinds or letter.kind in self.kinds)
            and (not self.topics or any(_matches(one, letter.topic) for one in self.topics))
            and (not self.reasons or any(one.casefold() in reason for one in self.reasons))
        )


def kept(letter: DeadLetter, now: float) -> KeptLetter:
    """Return a letter as it is kept.

    Args:
        letter: what could not be used.
        now: seconds since the epoch.
    """
    return KeptLetter(
        time=format_timestamp(now),
        topic=letter.topic[:_MAXIMUM_TOPIC].decode("utf-8", "replace"),
        kind=letter.error.kind,
        reason=str(letter.error)[:_MAXIMUM_REASON],
        payload=letter.payload[:_MAXIMUM_PAYLOAD],
        size=len(letter.payload),
        row=_row(letter.row),
    )


def encode(letter: KeptLetter) -> bytes:
    """Return the line of a letter, without its newline."""
    return msgspec.json.encode(letter)


def decode(line: bytes) -> KeptLetter | None:
    """Return the letter of a line; None if it cannot be read, such as one that a person changed."""
    try:
        letter = _DECODER.decode(line)
        datetime.fromisoformat(letter.time).astimezone()  # so that `moment` cannot fail later
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
        return None
    return letter


_DECODER = msgspec.json.Decoder(KeptLetter)


def _row(row: bytes) -> str | UnsetType:
    return row[:_MAXIMUM_ROW].decode("utf-8", "replace") if row else UNSET


def _matches(pattern: str, topic: str) -> bool:
    """Tell whether an MQTT filter has a topic."""
    wanted, parts = pattern.split("/"), topic.split("/")
    if wanted[-1] == "#":
        wanted.pop()
        parts = parts[: len(wanted)]
    return len(wanted) == len(parts) and all(one in ("+", part) for one, part in zip(wanted, parts, strict=True))
