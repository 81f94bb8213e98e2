"""From samples to lines. This is the message path.

msgspec prints all numbers of a table at once, as the JSON of a list of structs: it leaves out what is UNSET and knows
the shortest digits of a float. Without its quotes, and with `=` for `:`, an object of numbers is the fields of a line.
Text and maps are taken out of the structs before.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import attrgetter
from typing import NamedTuple

import msgspec
from msgspec import UNSET

from hostpulse.bus.codec import Envelope, Sample
from hostpulse.bus.fields import Fields, Table
from hostpulse.bus.messages import TABLES
from hostpulse.bus.times import to_milliseconds

from ..errors import UnstorableError
from ..interface import RejectedLine
from .line_protocol import text_value
from .plans import Head, TablePlan
from .schema import PRESENT

__all__ = ["Encoded", "Encoder"]

_encode_json = msgspec.json.Encoder().encode
_AS_FIELDS = bytes.maketrans(b":", b"=")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_NOT_FINITE = b":null"  # how JSON says it; what is not known is left out
_PRESENT = b"%b=1" % PRESENT.encode()

_PRINTED_AT_ONCE = 400

_cached_text = lru_cache(maxsize=4096)(text_value)


class Encoded(NamedTuple):
    """Lines of a batch.

    Attributes:
        lines: without their newlines, those of a table together.
        owners: index of the sample of each.
        rejected: what cannot be a line.
    """

    lines: list[bytes]
    owners: list[int]
    rejected: list[RejectedLine]


@dataclass(slots=True)
class _Rows:
    """Rows of one table that wait to be printed, column by column.

    Attributes:
        owners: index of the sample of each.
        moments: milliseconds since the epoch.
        structs: its fields that are numbers.
        heads: what stands before them.
        tails: fields that are ready, to stand behind them; empty if no row has any.
        bare: whether it is known that no struct had maps or text.
    """

    owners: list[int] = field(default_factory=list)
    moments: list[int] = field(default_factory=list)
    structs: list[Fields] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)
    tails: list[bytes] = field(default_factory=list)
    bare: bool = False


class _Entries(NamedTuple):
    """The entries of a map in one sample."""

    owner: int
    moment: int
    host: str
    entries: Mapping[str, Fields]


class Encoder:
    """Makes lines of samples.

    Args:
        tables: every table by name.

    Raises:
        UnstorableError: a table or a field has a name that cannot stand in a line.
    """

    def __init__(self, tables: Mapping[str, Table] = TABLES) -> None:
        maps: dict[str, list[Table]] = {}
        for table in tables.values():
            maps.setdefault(table.subsystem, [])
            if table.map is not None:
                maps[table.subsystem].append(table)
        self._plans = {
            subsystem: (
                TablePlan(tables[subsystem], [str(part.map) for part in parts]),
                [(attrgetter(str(part.map)), TablePlan(part, [])) for part in parts],
            )
            for subsystem, parts in maps.items()
        }

    def encode(self, samples: Sequence[Sample]) -> Encoded:
        """Return the lines of samples, and what cannot be one."""
        encoded = Encoded([], [], [])
        groups: defaultdict[str, list[int]] = defaultdict(list)
        for index, sample in enumerate(samples):
            groups[sample.envelope.subsystem].append(index)
        for subsystem, owners in groups.items():
            plan, parts = self._plans[subsystem]
            group = [samples[owner] for owner in owners]
            moments = [(sample.envelope.timestamp - _EPOCH) // _MILLISECOND for sample in group]
            rows = _own_rows(plan, group, owners, moments, encoded.rejected)
            _print(plan, rows, encoded)
            if rows.bare:
                continue
            for entries_of, part in parts:
                maps = [
                    _Entries(owner, moment, sample.envelope.host, entries)
                    for owner, moment, sample in zip(owners, moments, group, strict=True)
                    if (entries := entries_of(sample.fields)) is not UNSET
                ]
                if maps:
                    _print(part, _map_rows(part, maps, encoded.rejected), encoded)
        return encoded


def _own_rows(
    plan: TablePlan, group: Sequence[Sample], owners: list[int], moments: list[int], rejected: list[RejectedLine]
) -> _Rows:
    """Return the rows of a subsystem's own table."""
    envelopes = [sample.envelope for sample in group]
    try:
        heads = [plan.heads[envelope.host] for envelope in envelopes]
        whole = [sample.fields for sample in group]
        structs, texts = _split(plan, whole)
    except UnstorableError as error:
        if len(group) == 1:
            rejected.append(_rejected(owners[0], plan.name, (envelopes[0].host,), error))
            return _Rows()
        rows = zip(group, owners, moments, strict=True)
        return _joined(_own_rows(plan, [sample], [owner], [moment], rejected) for sample, owner, moment in rows)
    tails = [
        b"%b%d" % (_context(head, envelope), envelope.sequence)
        if envelope.session != head.session or envelope.interval != head.interval
        else b"%b%d" % (head.context, envelope.sequence)
        for head, envelope in zip(heads, envelopes, strict=True)
    ]
    if texts:
        tails = [b"%b,%b" % both if both[0] else both[1] for both in zip(texts, tails, strict=True)]
    return _Rows(owners, moments, structs, [head.start for head in heads], tails, bare=structs is whole)


def _map_rows(plan: TablePlan, maps: Sequence[_Entries], rejected: list[RejectedLine]) -> _Rows:
    """Return the rows of the table of a map."""
    rows = _Rows()
    try:
        for owner, moment, host, entries in maps:
            rows.heads += [plan.heads[host, key].start for key in entries]
            rows.structs += entries.values()
            rows.owners += [owner] * len(entries)
            rows.moments += [moment] * len(entries)
        rows.structs, rows.tails = _split(plan, rows.structs)
    except UnstorableError as error:
        if len(maps) > 1:
            return _joined(_map_rows(plan, one, rejected) for one in ([item] for item in maps))
        [(owner, moment, host, entries)] = maps
        if len(entries) > 1:
            singles = [_Entries(owner, moment, host, {key: entry}) for key, entry in entries.items()]
            return _map_rows(plan, singles, rejected)
        rejected.append(_rejected(owner, plan.name, (host, *entries), error))
        return _Rows()
    return rows


def _joined(parts: Iterable[_Rows]) -> _Rows:
    whole = _Rows()
    for part in parts:
        part.tails = part.tails or [b""] * len(part.structs)
        whole.owners += part.owners
        whole.moments += part.moments
        whole.structs += part.structs
        whole.heads += part.heads
        whole.tails += part.tails
    return whole


def _split(plan: TablePlan, structs: list[Fields]) -> tuple[list[Fields], list[bytes]]:
    """Return the structs without maps and text, and their text as it stands in a line; no texts if there are none."""
    strip = plan.strip
    if strip is None or [strip(struct) for struct in structs].count(plan.nothing) == len(structs):
        return structs, []
    numbers, texts = [], []
    for struct in structs:
        texts.append(
            b",".join(
                [b"%b=%b" % (name, _cached_text(text)) for name, of in plan.texts if (text := of(struct)) is not UNSET]
            )
        )
        stripped = copy(struct)
        for name in plan.stripped:
            setattr(stripped, name, UNSET)
        numbers.append(stripped)
    return numbers, texts if plan.texts else []


def _context(head: Head, envelope: Envelope) -> bytes:
    """Return the fields that are the same in all messages of a session, and remember them."""
    session = to_milliseconds(envelope.session)
    head.session, head.interval = envelope.session, envelope.interval
    head.context = b"session=%d,interval=%b,sequence=" % (session, _encode_json(envelope.interval))
    return head.context


def _print(plan: TablePlan, rows: _Rows, encoded: Encoded) -> None:
    """Add the lines of rows, some hundred at a time: larger pieces of memory come from the kernel, a page at a time."""
    for first in range(0, len(rows.structs), _PRINTED_AT_ONCE):
        part = slice(first, first + _PRINTED_AT_ONCE)
        _print_some(
            plan,
            _Rows(rows.owners[part], rows.moments[part], rows.structs[part], rows.heads[part], rows.tails[part]),
            encoded,
        )


def _print_some(plan: TablePlan, rows: _Rows, encoded: Encoded) -> None:
    printed = _encode_json(rows.structs)
    if plan.has_flags:  # a colon is never in a name, so these are values
        printed = printed.replace(b":true", b":1").replace(b":false", b":0")
    pieces = printed.translate(_AS_FIELDS, b'"')[2:-2].split(b"},{")
    if _NOT_FINITE in printed or not all(pieces) or not all(rows.tails):
        _print_one_by_one(plan, rows, pieces, encoded)
        return
    encoded.owners.extend(rows.owners)
    if rows.tails:
        columns = zip(rows.heads, pieces, rows.tails, rows.moments, strict=True)
        encoded.lines.extend([b"%b%b,%b %d" % row for row in columns])
    else:
        encoded.lines.extend([b"%b%b %d" % row for row in zip(rows.heads, pieces, rows.moments, strict=True)])


def _print_one_by_one(plan: TablePlan, rows: _Rows, pieces: list[bytes], encoded: Encoded) -> None:
    """Add the lines of rows of which some say nothing, or what no line can."""
    tails = rows.tails or [b""] * len(pieces)
    for owner, head, piece, tail, moment in zip(rows.owners, rows.heads, pieces, tails, rows.moments, strict=True):
        line = b"%b%b %d" % (head, b",".join(filter(None, (piece, tail))) or _PRESENT, moment)
        if _NOT_FINITE.replace(b":", b"=") in piece:
            error = UnstorableError(f"{plan.name}: a number is infinite or none")
            encoded.rejected.append(RejectedLine(owner, line, error))
        else:
            encoded.lines.append(line)
            encoded.owners.append(owner)


def _rejected(index: int, table: str, device: tuple[str, ...], error: UnstorableError) -> RejectedLine:
    names = ",".join((table, *device))
    return RejectedLine(index, names.encode("utf-8", "backslashreplace"), UnstorableError(f"{table}: {error}"))
