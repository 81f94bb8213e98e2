"""How the rows of each table become lines: what can be prepared once, is."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter

from msgspec import UNSET

from hostpulse.bus.fields import Fields, Table

from ..errors import TooManyEntriesError
from ..limit import EntryLimit
from .line_protocol import field_name, tag_value

__all__ = ["Head", "Heads", "Known", "TablePlan"]

_REMEMBERED = 65_536  # heads of one table; beyond that they are made anew
_REMEMBERED_BYTES = 8 << 20  # in all of them: a stranger's names are long
_COUNTED = 262_144  # entries of one table in a day: 1000 machines of 256 CPUs, 20 MB of hashes


@dataclass(slots=True)
class Head:
    """What the lines of a device begin with.

    Attributes:
        start: measurement and tags, up to the fields.
        session: of the messages that came last.
        interval: of them.
        numbered: the start with both as fields, up to the number of the message.
    """

    start: bytes
    session: datetime | None = None
    interval: float = 0
    numbered: bytes = b""


class Heads(dict[str | tuple[str, str], Head]):
    """What the lines of each device begin with, made when it is first asked for.

    A device is the host in a subsystem's own table, else host and key.

    Args:
        table: whose lines.
        tags: further tags as they stand in a line, each with a comma before it.
        limit: of the new entries of one host; None for any number of them.

    Raises:
        UnstorableError: when a device is asked for whose names no line can hold.
        TooManyEntriesError: when one is asked for that its host has brought beyond the limit.
    """

    def __init__(self, table: Table, tags: bytes = b"", limit: EntryLimit | None = None) -> None:
        super().__init__()
        self._tags = tags
        self._limit = limit
        self._counted: set[int] = set()  # hashes of the entries of this day
        self._bytes = 0
        self._start = b"%b,host=" % field_name(table.name)
        self._key = b"" if table.key is None else b",%b=" % field_name(table.key)

    def __missing__(self, device: str | tuple[str, str]) -> Head:
        if isinstance(device, str):
            head = b"%b%b%b " % (self._start, tag_value(device), self._tags)
        else:
            host, key = device
            head = b"%b%b%b%b%b " % (self._start, tag_value(host), self._key, tag_value(key), self._tags)
            self._count(host, key)
        if len(self) >= _REMEMBERED or self._bytes >= _REMEMBERED_BYTES:
            self.clear()
            self._bytes = 0
        self._bytes += len(head)
        self[device] = made = Head(head)
        return made

    def _count(self, host: str, key: str) -> None:
        """Count an entry that is not remembered.

        Raises:
            TooManyEntriesError: it is new, and one too many.
        """
        if self._limit is None:
            return
        if self._limit.is_new_day():
            self.clear()
            self._bytes = 0
            self._counted.clear()
        entry = hash((host, key))
        if entry in self._counted:
            return
        if len(self._counted) >= _COUNTED:
            raise TooManyEntriesError(f"{_COUNTED} entries came within a day already, and {key[:100]!a} is not of them")
        if not self._limit.admits(host):
            raise TooManyEntriesError(
                f"{host[:100]!a} brought {self._limit.maximum} entries within a day already, and {key[:100]!a} is not "
                f"of them; see {TooManyEntriesError.setting}"
            )
        self._counted.add(entry)


class Known:
    """Tells of some attributes whether any of them is known.

    Args:
        names: of the attributes.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self._getters = [attrgetter(name) for name in names]

    def in_any(self, structs: Sequence[Fields]) -> bool:
        """Return whether one of the structs has one of them."""
        return any(list(map(get, structs)).count(UNSET) < len(structs) for get in self._getters)


class TablePlan:
    """How the rows of a table become lines.

    Attributes:
        name: of the table.
        heads: what its lines begin with.
        key: its key column; None in a subsystem's own table.
        flags: the fields that are flags.
        others: those that are no numbers: maps and text.
        texts: bytes of the name, and getter of each field that is text.

    Args:
        table: the table.
        maps: names of the maps beside its fields.
        limit: of the new entries of one host; None for any number of them.

    Raises:
        UnstorableError: a name cannot stand in a line.
    """

    def __init__(self, table: Table, maps: list[str], limit: EntryLimit | None = None) -> None:
        self.name = table.name
        self.key = table.key
        self.heads = Heads(table, limit=limit)
        names = {field.name: field_name(field.name) for field in table.fields}
        self.flags = Known([field.name for field in table.fields if issubclass(field.type, bool)])
        self.texts = [(names[field.name], attrgetter(field.name)) for field in table.fields if field.type is str]
        self.others = Known([*maps, *(field.name for field in table.fields if field.type is str)])
