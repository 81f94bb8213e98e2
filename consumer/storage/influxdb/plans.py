"""How the rows of each table become lines: what can be prepared once, is."""

from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any

from msgspec import UNSET

from hostpulse.bus.fields import Table

from .line_protocol import field_name, tag_value

__all__ = ["Head", "Heads", "TablePlan"]

_REMEMBERED = 65_536  # heads of one table; names come from the bus, and their number has no bound


@dataclass(slots=True)
class Head:
    """What the lines of a device begin with.

    Attributes:
        start: measurement and tags, up to the fields.
        session: of the messages that came last.
        interval: of them.
        context: both as fields.
    """

    start: bytes
    session: datetime | None = None
    interval: float = 0
    context: bytes = b""


class Heads(dict[str | tuple[str, str], Head]):
    """What the lines of each device begin with, made when it is first asked for.

    A device is the host in a subsystem's own table, else host and key.

    Args:
        table: whose lines.
        tags: further tags as they stand in a line, each with a comma before it.

    Raises:
        UnstorableError: when a device is asked for whose names no line can hold.
    """

    def __init__(self, table: Table, tags: bytes = b"") -> None:
        super().__init__()
        self._tags = tags
        self._start = b"%b,host=" % field_name(table.name)
        self._key = b"" if table.key is None else b",%b=" % field_name(table.key)

    def __missing__(self, device: str | tuple[str, str]) -> Head:
        if isinstance(device, str):
            head = b"%b%b%b " % (self._start, tag_value(device), self._tags)
        else:
            host, key = device
            head = b"%b%b%b%b%b " % (self._start, tag_value(host), self._key, tag_value(key), self._tags)
        if len(self) >= _REMEMBERED:
            self.clear()
        self[device] = made = Head(head)
        return made


class TablePlan:
    """How the rows of a table become lines.

    Attributes:
        name: of the table.
        heads: what its lines begin with.
        key: its key column; None in a subsystem's own table.
        has_flags: whether a field is one.
        strip: gets from a struct what is no number, its maps and text; None if it can have none.
        nothing: what `strip` returns of a struct that has none.
        texts: name, bytes of the name, and getter of each field that is text.
        stripped: the names that `strip` gets.

    Args:
        table: the table.
        maps: names of the maps beside its fields.

    Raises:
        UnstorableError: a name cannot stand in a line.
    """

    def __init__(self, table: Table, maps: list[str]) -> None:
        self.name = table.name
        self.key = table.key
        self.heads = Heads(table)
        names = {field.name: field_name(field.name) for field in table.fields}
        self.has_flags = any(field.type is bool for field in table.fields)
        self.texts = [(names[field.name], attrgetter(field.name)) for field in table.fields if field.type is str]
        self.stripped = [*maps, *(field.name for field in table.fields if field.type is str)]
        self.strip = attrgetter(*self.stripped) if self.stripped else None
        # `attrgetter` of one name gives the value itself.
        self.nothing: Any = UNSET if len(self.stripped) == 1 else (UNSET,) * len(self.stripped)
