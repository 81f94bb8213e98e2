"""What an import has moved, in words."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Report"]


@dataclass(slots=True)
class Report:
    """What became of a source.

    Attributes:
        rows: how many were stored, by table.
        minutes: how many minutes that were summed up were stored, by table.
        refused: how many InfluxDB has no way to hold.
        too_old: how many are older than what the bucket keeps.
        unmoved: why something is not moved, a line for each reason.
    """

    rows: Counter[str] = field(default_factory=Counter)
    minutes: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    too_old: int = 0
    unmoved: list[str] = field(default_factory=list)

    def add(self, other: "Report") -> None:
        """Add what became of another source."""
        self.rows += other.rows
        self.minutes += other.minutes
        self.refused += other.refused
        self.too_old += other.too_old
        self.unmoved += [line for line in other.unmoved if line not in self.unmoved]

    def summary(self, target: str, dead_letters: Path) -> str:
        """Return what was moved as one line.

        Args:
            target: where to, in words.
            dead_letters: file of what was refused.
        """
        tables = ", ".join(f"{name} {count:,}" for name, count in self.rows.items() if count)
        parts = [f"moved {self.rows.total():,} rows to {target}{tables and f': {tables}'}"]
        if self.minutes.total():
            parts.append(f"{self.minutes.total():,} minutes")
        if self.too_old:
            parts.append(f"{self.too_old:,} left out, older than what the bucket keeps")
        if self.refused:
            parts.append(f"{self.refused:,} refused, kept in {dead_letters}")
        return "; ".join(parts)
