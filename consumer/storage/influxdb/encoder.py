"""From samples to lines. This is the message path.

Text and maps are taken out of the structs, what is left is printed; see `printing`.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from datetime import UTC, datetime
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
from ..limit import EntryLimit
from .line_protocol import text_value
from .lines import Lines
from .plans import Head, TablePlan
from .printing import Encoded, Rows, print_rows
from .printing import rejected as rejected_row

__all__ = ["Encoded", "Encoder"]

_encode_json = msgspec.json.Encoder().encode
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = 86_400_000  # milliseconds

_cached_text = lru_cache(maxsize=4096)(text_value)


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
        maximum_entries: new entries of one host in one map in a day; None for any number.

    Raises:
        UnstorableError: a table or a field has a name that cannot stand in a line.
    """

    def __init__(self, tables: Mapping[str, Table] = TABLES, *, maximum_entries: int | None = None) -> None:
        maps: dict[str, list[Table]] = {}
        for table in tables.values():
            maps.setdefault(table.subsystem, [])
            if table.map is not None:
                maps[table.subsystem].append(table)
        self._plans = {
            subsystem: (
                TablePlan(tables[subsystem], [str(part.map) for part in parts]),
                [(attrgetter(str(part.map)), TablePlan(part, [], EntryLimit(maximum_entries))) for part in parts],
            )
            for subsystem, parts in maps.items()
        }

    def encode(self, pieces: Iterable[Sequence[Sample]]) -> Encoded:
        """Return the lines of samples, and what cannot be one.

        Args:
            pieces: of the samples; each is done with before the next is asked for.
        """
        encoded = Encoded(Lines(), [], [])
        first = 0
        for samples in pieces:
            self._encode(samples, first, encoded)
            first += len(samples)
        return encoded

    def _encode(self, samples: Sequence[Sample], first: int, encoded: Encoded) -> None:
        groups: defaultdict[str, list[int]] = defaultdict(list)
        for index, sample in enumerate(samples):
            groups[sample.envelope.subsystem].append(index)
        for subsystem, indices in groups.items():
            plan, parts = self._plans[subsystem]
            group = [samples[index] for index in indices]
            owners = [first + index for index in indices] if first else indices
            spans = [sample.envelope.timestamp - _EPOCH for sample in group]
            # A quarter faster than to divide them by a millisecond.
            moments = [span.days * _DAY + span.seconds * 1000 + span.microseconds // 1000 for span in spans]
            rows = _own_rows(plan, group, owners, moments, encoded.rejected)
            print_rows(plan.name, rows, encoded, has_flags=plan.flags.in_any(rows.structs))
            if rows.bare:
                continue
            for entries_of, part in parts:
                maps = [
                    _Entries(owner, moment, sample.envelope.host, entries)
                    for owner, moment, sample in zip(owners, moments, group, strict=True)
                    if (entries := entries_of(sample.fields)) is not UNSET
                ]
                if maps:
                    rows = _map_rows(part, maps, encoded.rejected)
                    print_rows(part.name, rows, encoded, has_flags=part.flags.in_any(rows.structs))


def _own_rows(
    plan: TablePlan, group: Sequence[Sample], owners: list[int], moments: list[int], rejected: list[RejectedLine]
) -> Rows:
    """Return the rows of a subsystem's own table."""
    envelopes = [sample.envelope for sample in group]
    try:
        heads = [plan.heads[envelope.host] for envelope in envelopes]
        whole = [sample.fields for sample in group]
        structs, words = _split(plan, whole)
    except UnstorableError as error:
        if len(group) == 1:
            rejected.append(rejected_row(owners[0], plan.name, (envelopes[0].host,), error))
            return Rows()
        rows = zip(group, owners, moments, strict=True)
        return _joined(_own_rows(plan, [sample], [owner], [moment], rejected) for sample, owner, moment in rows)
    numbered = [
        head.numbered
        if envelope.session == head.session and envelope.interval == head.interval
        else _number(head, envelope)
        for head, envelope in zip(heads, envelopes, strict=True)
    ]
    if words:
        numbered = [
            b"%b%b,%b" % (head.start, word, begin.removeprefix(head.start)) if word else begin
            for head, word, begin in zip(heads, words, numbered, strict=True)
        ]
    sequences = [envelope.sequence for envelope in envelopes]
    bare = structs is whole
    texts = [sample.text for sample in group]
    return Rows(owners, moments, structs, texts if bare and all(texts) else [], numbered, sequences, bare=bare)


def _map_rows(plan: TablePlan, maps: Sequence[_Entries], rejected: list[RejectedLine]) -> Rows:
    """Return the rows of the table of a map."""
    rows = Rows()
    try:
        for owner, moment, host, entries in maps:
            rows.heads += [plan.heads[host, key].start for key in entries]
            rows.structs += entries.values()
            rows.owners += [owner] * len(entries)
            rows.moments += [moment] * len(entries)
        rows.structs, rows.ready = _split(plan, rows.structs)
    except UnstorableError as error:
        if len(maps) > 1:
            return _joined(_map_rows(plan, one, rejected) for one in ([item] for item in maps))
        [(owner, moment, host, entries)] = maps
        if len(entries) > 1:
            singles = [_Entries(owner, moment, host, {key: entry}) for key, entry in entries.items()]
            return _map_rows(plan, singles, rejected)
        rejected.append(rejected_row(owner, plan.name, (host, *entries), error))
        return Rows()
    return rows


def _joined(parts: Iterable[Rows]) -> Rows:
    whole = Rows()
    for part in parts:
        if not part.sequences:
            part.ready = part.ready or [b""] * len(part.structs)
        whole.owners += part.owners
        whole.moments += part.moments
        whole.structs += part.structs
        whole.heads += part.heads
        whole.sequences += part.sequences
        whole.ready += part.ready
    return whole


def _split(plan: TablePlan, structs: list[Fields]) -> tuple[list[Fields], list[bytes]]:
    """Return the structs without maps and text, and their text as it stands in a line; no texts if there are none."""
    if not plan.others.in_any(structs):
        return structs, []
    numbers, texts = [], []
    for struct in structs:
        texts.append(
            b",".join(
                [b"%b=%b" % (name, _cached_text(text)) for name, of in plan.texts if (text := of(struct)) is not UNSET]
            )
        )
        stripped = copy(struct)
        for name in plan.others.names:
            setattr(stripped, name, UNSET)
        numbers.append(stripped)
    return numbers, texts if plan.texts else []


def _number(head: Head, envelope: Envelope) -> bytes:
    """Return the begin of lines with what is the same in all messages of a session, and remember it."""
    session = to_milliseconds(envelope.session)
    head.session, head.interval = envelope.session, envelope.interval
    head.numbered = b"%bsession=%d,interval=%b,sequence=" % (head.start, session, _encode_json(envelope.interval))
    return head.numbered
