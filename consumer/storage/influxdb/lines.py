"""The lines of a batch, as they are sent."""

from collections.abc import Iterator, Sequence
from itertools import chain

__all__ = ["Lines"]


class Lines:
    """Lines that were made some hundred at a time, and stay together: mostly a server takes all of them.

    Only where it refuses some, they are looked at one by one.

    Args:
        lines: the first, without their newlines.
    """

    def __init__(self, lines: Sequence[bytes] = ()) -> None:
        self._blocks: list[bytes] = []
        self._count = 0
        self._single: list[bytes] = []  # all of them, once one was asked for
        self.add(lines)

    def add(self, lines: Sequence[bytes]) -> None:
        """Append lines; none of them has a newline."""
        if lines:
            self._blocks.append(b"\n".join(lines))
            self._count += len(lines)
            self._single = []

    @property
    def size(self) -> int:
        """How many bytes all of them have, with a newline between two."""
        return sum(map(len, self._blocks)) + max(0, len(self._blocks) - 1)

    def body(self, part: Sequence[int]) -> bytes:
        """Return the lines of some indices, each on a line of its own."""
        if len(part) == self._count:
            return b"\n".join(self._blocks)
        return b"\n".join([self[index] for index in part])

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> bytes:
        if not self._single:
            self._single = list(chain.from_iterable(block.split(b"\n") for block in self._blocks))
        return self._single[index]

    def __iter__(self) -> Iterator[bytes]:
        return (self[index] for index in range(self._count))
