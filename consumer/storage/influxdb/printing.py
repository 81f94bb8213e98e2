"""Printing the rows of a table as lines, whatever they were before.

msgspec prints all numbers of a table at once, as the JSON of a list of structs: it leaves out what is not known and
has the shortest digits of a float. Without its quotes, and with `=` for `:`, an object of numbers is the fields of a
line; with a newline for its closing brace, a list of them falls apart at single characters, which is what costs least.

Where a message says nothing but numbers, its own text does as well, which costs a third of printing them again: their
digits go into the lines as the publisher wrote them.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from ..errors import UnstorableError
from ..interface import RejectedLine
from .lines import Lines
from .schema import PRESENT

__all__ = ["PRESENT_FIELD", "Encoded", "Rows", "print_rows", "rejected"]

PRESENT_FIELD = b"%b=1" % PRESENT.encode()
"""What a row says that says nothing else, because a point needs a field."""

_encode_json = msgspec.json.Encoder().encode
_AS_FIELDS = bytes.maketrans(b":}[", b"=\n,")
_NOT_IN_FIELDS = b'"{]'
_NO_FIELDS = b","
_NEVER_PRINTED = (b" ", b"\t", b"\n", b"\r", b"\\", b"+", b"E")
"""What JSON has and msgspec does not print where there are only numbers: space, escapes, other forms of an exponent."""
_NOT_FINITE = b":null"  # how JSON says it; what is not known is left out
_PRINTED_AT_ONCE = 400


class Encoded(NamedTuple):
    """Lines of a batch.

    Attributes:
        lines: all of them.
        owners: index of the sample or row of each.
        rejected: what cannot be a line.
    """

    lines: Lines
    owners: list[int]
    rejected: list[RejectedLine]


@dataclass(slots=True)
class Rows:
    """Rows of one table that wait to be printed, column by column.

    Attributes:
        owners: index of the sample or row of each.
        moments: milliseconds since the epoch.
        structs: its fields that are numbers.
        texts: these as the messages say them, a JSON object for each; empty if that is not known of every row.
        heads: what stands before them.
        sequences: numbers that end the heads; empty if they end without one.
        ready: fields that are lines already, to stand before the others; empty if no row has any, or with `sequences`.
        bare: whether it is known that no struct had maps or text.
    """

    owners: list[int] = field(default_factory=list)
    moments: list[int] = field(default_factory=list)
    structs: list[Any] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)
    sequences: list[int] = field(default_factory=list)
    ready: list[bytes] = field(default_factory=list)
    bare: bool = False


def print_rows(table: str, rows: Rows, encoded: Encoded, *, has_flags: bool) -> None:
    """Add the lines of rows, some hundred at a time: larger pieces of memory come from the kernel, a page at a time.

    Args:
        table: its name, for what has to be said of rows.
        rows: to be printed.
        encoded: where the lines go, and what cannot be one.
        has_flags: whether a value may be true or false.
    """
    for first in range(0, len(rows.structs), _PRINTED_AT_ONCE):
        part = slice(first, first + _PRINTED_AT_ONCE)
        some = Rows(
            rows.owners[part],
            rows.moments[part],
            rows.structs[part],
            rows.texts[part],
            rows.heads[part],
            rows.sequences[part],
            rows.ready[part],
        )
        _print_some(table, some, encoded, has_flags=has_flags)


def _print_some(table: str, rows: Rows, encoded: Encoded, *, has_flags: bool) -> None:
    said = _as_printed(rows.texts)
    printed = said or _encode_json(rows.structs)
    if has_flags:  # a colon is never in a name, so these are values
        printed = printed.replace(b":true", b":1").replace(b":false", b":0")
    # Each piece is `,first=1,second=2`; only the comma where there is nothing.
    *pieces, _ = printed.translate(_AS_FIELDS, _NOT_IN_FIELDS).split(b"\n")
    # What messages say are some numbers, and finite ones.
    if not said and (_NOT_FINITE in printed or _NO_FIELDS in pieces or not all(rows.ready)):
        _print_one_by_one(table, rows, pieces, encoded)
        return
    encoded.owners.extend(rows.owners)
    if rows.sequences:
        numbered = zip(rows.heads, rows.sequences, pieces, rows.moments, strict=True)
        encoded.lines.add([b"%b%d%b %d" % row for row in numbered])
    elif rows.ready:
        whole = zip(rows.heads, rows.ready, pieces, rows.moments, strict=True)
        encoded.lines.add([b"%b%b%b %d" % row for row in whole])
    else:
        parts = zip(rows.heads, pieces, rows.moments, strict=True)
        encoded.lines.add([b"%b%b %d" % (head, piece[1:], moment) for head, piece, moment in parts])


def _as_printed(texts: list[bytes]) -> bytes:
    """Return objects of numbers as msgspec would print a list of them; empty if there is one that it would not."""
    printed = b",".join((b"", *texts))
    return b"" if any(character in printed for character in _NEVER_PRINTED) else printed


def _print_one_by_one(table: str, rows: Rows, pieces: list[bytes], encoded: Encoded) -> None:
    """Add the lines of rows of which some say nothing, or what no line can."""
    lines: list[bytes] = []
    ready = [b"%d" % number for number in rows.sequences] or rows.ready or [b""] * len(pieces)
    for owner, head, first, piece, moment in zip(rows.owners, rows.heads, ready, pieces, rows.moments, strict=True):
        line = b"%b%b %d" % (head, b",".join(filter(None, (first, piece[1:]))) or PRESENT_FIELD, moment)
        if _NOT_FINITE.replace(b":", b"=") in piece:
            error = UnstorableError(f"{table}: a number is infinite or none")
            encoded.rejected.append(RejectedLine(owner, line, error))
        else:
            lines.append(line)
            encoded.owners.append(owner)
    encoded.lines.add(lines)


def rejected(index: int, table: str, device: tuple[str, ...], error: UnstorableError) -> RejectedLine:
    """Return what says that a row of a device cannot be a line."""
    names = ",".join((table, *device))
    return RejectedLine(index, names.encode("utf-8", "backslashreplace"), type(error)(f"{table}: {error}"))
