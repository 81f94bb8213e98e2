"""From rows as another store holds them to lines."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from msgspec import defstruct

from ..errors import UnstorableError
from ..stored import StoredRow, StoredRows
from .line_protocol import field_name, text_value
from .lines import Lines
from .plans import Heads
from .printing import PRESENT_FIELD, Encoded, Rows, print_rows, rejected
from .schema import AGGREGATE_TAG, ENVELOPE

__all__ = ["RowEncoder"]

_cached_text = lru_cache(maxsize=4096)(text_value)


class RowEncoder:
    """Makes lines of rows. What it prepares for the columns of a table, it keeps."""

    def __init__(self) -> None:
        self._plans: dict[Any, _Plan] = {}

    def encode(self, block: StoredRows) -> Encoded:
        """Return the lines of rows, and what cannot be one."""
        shape = (block.table.name, block.numbers, block.texts, block.aggregate)
        plan = self._plans.get(shape)
        if plan is None:
            plan = self._plans[shape] = _Plan(block)
        encoded = Encoded(Lines(), [], [])
        rows = plan.prepare(block.rows, encoded)
        print_rows(block.table.name, rows, encoded, has_flags=False)  # they are 0 and 1 already
        return encoded


class _Plan:
    """How rows with certain columns become lines.

    Args:
        block: some of them.
    """

    def __init__(self, block: StoredRows) -> None:
        self._table = block.table.name
        tag = "" if block.aggregate is None else f",{AGGREGATE_TAG}={block.aggregate}"
        self._heads = Heads(block.table, tag.encode())
        self._count = len(block.numbers)
        names = [(name, float | None, None) for name in block.numbers]
        self._numbers: Any = defstruct("Numbers", names, omit_defaults=True, gc=False)
        self._texts = [field_name(name) for name in block.texts]
        # A row of a subsystem's own table is looked for by the number of its message; see the reader.
        has_number = block.table.map is not None or block.aggregate is not None or ENVELOPE[1] in block.numbers
        self._marks = [] if has_number else [PRESENT_FIELD]

    def prepare(self, stored: Sequence[StoredRow], encoded: Encoded) -> Rows:
        """Return rows ready to be printed; what cannot be, is put with what is rejected."""
        try:
            return self._prepare(range(len(stored)), stored)
        except UnstorableError:
            whole = Rows()
        for owner, row in enumerate(stored):
            try:
                one = self._prepare((owner,), (row,))
            except UnstorableError as error:
                device = row[1] if isinstance(row[1], tuple) else (row[1],)
                encoded.rejected.append(rejected(owner, self._table, device, error))
            else:
                whole.owners += one.owners
                whole.moments += one.moments
                whole.structs += one.structs
                whole.heads += one.heads
                whole.ready += one.ready
        return whole

    def _prepare(self, owners: Sequence[int], stored: Sequence[StoredRow]) -> Rows:
        """Return rows ready to be printed.

        Raises:
            UnstorableError: one of them cannot be a line.
        """
        numbers, count, heads = self._numbers, self._count, self._heads
        rows = Rows(
            owners=list(owners),
            moments=[moment for moment, _, _ in stored],
            heads=[heads[device].start for _, device, _ in stored],
        )
        if not self._texts:
            rows.structs = [numbers(*values) for _, _, values in stored]
            rows.ready = self._marks * len(stored)
            return rows
        rows.structs = [numbers(*values[:count]) for _, _, values in stored]
        rows.ready = [
            b",".join(
                [
                    *(
                        b"%b=%b" % (name, _cached_text(str(text)))
                        for name, text in zip(self._texts, values[count:], strict=True)
                        if text is not None
                    ),
                    *self._marks,
                ]
            )
            for _, _, values in stored
        ]
        return rows
