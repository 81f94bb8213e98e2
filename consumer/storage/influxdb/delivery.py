"""Sending lines: all that are good are stored, those that are not are found.

What a body with a bad line becomes depends on what is bad. One that does not parse makes the server refuse all of the
body (400); one that does not fit (the type of a field, the age of a point) is left out and the rest stored (422).
Writing a line again changes nothing, so both end the same way: the body is halved until the bad line is alone. The
answer often tells which ones they are; those are sent apart, and it is their own answer that condemns them, because the
text of another one's line may say anything. InfluxDB 3 has a better way; see `version3`.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import NamedTuple

from influxdb_client.rest import ApiException

from ..errors import StorageError
from .connection import message_of, one_line
from .lines import Lines

__all__ = ["Refusal", "bodies", "deliver", "halves", "is_too_large"]

_BODY_LINES = 20_000
_BODY_BYTES = 8 << 20
_REASON = 120
_SEARCHED = 16_384

_UNPROCESSABLE = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY})
_OF_THE_DATA = ("partial write", "unable to parse", "parsing for line protocol failed", "line protocol parse failed")
_TOO_LARGE = "max request size"  # what InfluxDB 3 says, with status 500 in its earlier versions
_EMPTY = "write was empty"  # what InfluxDB 3 says of an empty body: it read it
_DROPPED = re.compile(r"dropped=(\d+)(?: for database: \S+ for retention policy: \S+)?$")
_TOO_OLD = re.compile(
    r"Retention Policy Lower Bound at (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\S* dropped=\d+"
    r" for database: \S+ for retention policy: \S+$"
)


class Refusal(NamedTuple):
    """A line that the server refuses on its own.

    Attributes:
        line: its index.
        reason: what the server said.
        is_too_old: whether the bucket no longer keeps what is so old.
    """

    line: int
    reason: str
    is_too_old: bool


def deliver(lines: Lines, post: Callable[[bytes], None]) -> list[Refusal]:
    """Send lines; on return all are stored but those returned.

    Args:
        lines: all of them.
        post: sends a body; raises the client's errors.

    Raises:
        ApiException: the fault is not in the data, or the server refuses even an empty body.
        StorageError: the server refuses whatever it is sent.
    """
    refusals: list[Refusal] = []
    waiting = list(bodies(lines))
    recognised = False
    while waiting:
        part = waiting.pop()
        try:
            post(lines.body(part))
        except ApiException as error:
            reason = message_of(error)
            if not _is_of_the_data(error, reason):
                raise
            if not recognised and not any(words in reason for words in _OF_THE_DATA):
                _try_nothing(post, error, reason)
            recognised = True
            if len(part) == 1 or _dropped(reason) == len(part):
                said = one_line(reason)
                is_too_old = _TOO_OLD.search(reason) is not None
                refusals.extend(Refusal(index, said, is_too_old) for index in part)
            else:
                waiting.extend(_parts(part, lines, reason))
    return sorted(refusals)


def bodies(lines: Lines) -> Iterator[Sequence[int]]:
    """Yield the indices of the lines of each body, bounded by number and by bytes."""
    if len(lines) <= _BODY_LINES and lines.size <= _BODY_BYTES:  # mostly all fit into one
        yield from [range(len(lines))] if lines else []
        return
    first = size = 0
    for index, line in enumerate(lines):
        if size + len(line) >= _BODY_BYTES or index - first == _BODY_LINES:
            yield range(first, index)
            first, size = index, 0
        size += len(line) + 1
    if first < len(lines):
        yield range(first, len(lines))


def halves(part: Sequence[int]) -> list[Sequence[int]]:
    """Return the two halves of a body."""
    middle = len(part) // 2
    return [part[:middle], part[middle:]]


def is_too_large(error: ApiException) -> bool:
    """Return whether the server does not take so much at once."""
    return error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or _TOO_LARGE in message_of(error)


def _is_of_the_data(error: ApiException, reason: str) -> bool:
    return error.status in _UNPROCESSABLE or is_too_large(error) or any(words in reason for words in _OF_THE_DATA)


def _try_nothing(post: Callable[[bytes], None], refused: ApiException, reason: str) -> None:
    """Send an empty body, so that what refuses everything (a proxy, another service) is not blamed on the lines."""
    try:
        post(b"")
    except ApiException as error:
        said = message_of(error)
        if error.status in _UNPROCESSABLE and _EMPTY in said:
            if is_too_large(refused):
                return
            raise refused from error  # what it says of bad lines is known, so this is about something else
        if error.status in _UNPROCESSABLE and not any(words in said for words in _OF_THE_DATA):
            raise StorageError(
                f"what answers at influxdb.url refuses whatever it is sent ({' '.join(reason.split())[:_REASON]}); "
                "set influxdb.url to an InfluxDB"
            ) from error
        raise


def _dropped(reason: str) -> int:
    """Return how many points the server says it left out, at least; 0 if it does not say."""
    found = _DROPPED.search(reason)
    return int(found[1]) if found else 0


def _parts(part: Sequence[int], lines: Lines, reason: str) -> list[Sequence[int]]:
    """Return the suspects and the others, or two halves if nobody is under suspicion."""
    suspects = set(_suspects(part, lines, reason))
    if 0 < len(suspects) < len(part):
        return [[index for index in part if index in suspects], [index for index in part if index not in suspects]]
    return halves(part)


def _suspects(part: Sequence[int], lines: Lines, reason: str) -> Iterator[int]:
    too_old = _TOO_OLD.search(reason)
    if too_old:
        bound = round(datetime.fromisoformat(f"{too_old[1]}+00:00").timestamp() * 1000)
        return (index for index in part if int(lines[index].rpartition(b" ")[2]) < bound)
    if "unable to parse '" in reason and len(reason) <= _SEARCHED:
        told = reason.encode()
        return (index for index in part if b"unable to parse '%b': " % lines[index] in told)
    return iter(())
