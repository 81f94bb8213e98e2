"""The numbers that stand for a host and a key in the ids of a table's rows."""

import sqlite3

from hostpulse.bus.fields import MAXIMUM_ENTRIES

from ..limit import EntryLimit
from .schema import DEVICE_MASK, DEVICE_SEEN_STEP, TableInfo

__all__ = ["Devices"]


class Devices:
    """The devices of one table. Those that it learns are in the database with the transaction that asked for them.

    Args:
        connection: of the writer.
        info: the table.
        limit: of the new devices of one host.

    Attributes:
        is_full: whether the last device that was not admitted found the table full; else its host had too many.
    """

    def __init__(self, connection: sqlite3.Connection, info: TableInfo, limit: EntryLimit) -> None:
        self._connection = connection
        self._info = info
        self._limit = limit
        self.is_full = False
        self._known: dict[tuple[str, str], tuple[int, int]] | None = None
        self._free: list[int] = []

    def number(self, host: str, key: str, moment: int) -> int | None:
        """Return the number of a device, which a new one gets now; None if there are too many.

        Args:
            host: name of the machine.
            key: of the device; empty in a subsystem's own table.
            moment: of its sample, milliseconds since the epoch.
        """
        known = self._known if self._known is not None else self._load()
        device = known.get((host, key))
        if device is None:
            return self._add(known, host, key, moment)
        number, seen_until = device
        if moment > seen_until:
            self._connection.execute(
                "UPDATE _device SET last_seen = ? WHERE id = ?", (moment, self._info.first_device | number)
            )
            known[host, key] = number, moment + DEVICE_SEEN_STEP
        return number

    def forget(self) -> None:
        """Drop what was remembered, because the database may say otherwise: a transaction was undone."""
        self._known = None
        self._limit.forget()

    def remove_unseen(self, before: int) -> list[str]:
        """Remove devices that have no rows since a moment, so that new ones find a number; return their hosts.

        To be called when the table has no rows from before that moment.
        """
        gone = self._connection.execute(
            "SELECT id, host FROM _device WHERE id BETWEEN ? AND ? AND last_seen < ?",
            (self._info.first_device, self._info.first_device | DEVICE_MASK, before - DEVICE_SEEN_STEP),
        ).fetchall()
        if gone:
            self._connection.executemany("DELETE FROM _device WHERE id = ?", [(device,) for device, _ in gone])
            self._known = None
        return [host for _, host in gone]

    def _load(self) -> dict[tuple[str, str], tuple[int, int]]:
        rows = self._connection.execute(
            "SELECT host, key, id, last_seen FROM _device WHERE id BETWEEN ? AND ?",
            (self._info.first_device, self._info.first_device | DEVICE_MASK),
        )
        self._known = {(host, key): (device & DEVICE_MASK, seen + DEVICE_SEEN_STEP) for host, key, device, seen in rows}
        taken = {number for number, _ in self._known.values()}
        self._free = [number for number in reversed(range(MAXIMUM_ENTRIES)) if number not in taken]
        return self._known

    def _add(self, known: dict[tuple[str, str], tuple[int, int]], host: str, key: str, moment: int) -> int | None:
        self.is_full = not self._free
        if self.is_full or not self._limit.admits(host):
            return None
        number = self._free.pop()
        self._connection.execute(
            "INSERT INTO _device (id, host, key, last_seen) VALUES (?, ?, ?, ?)",
            (self._info.first_device | number, host, key, moment),
        )
        known[host, key] = number, moment + DEVICE_SEEN_STEP
        return number
