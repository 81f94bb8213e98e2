import re

import msgspec
import pytest

from hostpulse.bus.fields import Field, Kind, Unit, tables_of, unit_of
from hostpulse.bus.messages import EVENT, SUBSYSTEMS, TABLES

ALL = [(table, field) for table in TABLES.values() for field in table.fields]


def names(value):
    return f"{value.name}"


@pytest.mark.parametrize("table", TABLES.values(), ids=names)
def test_a_table_is_complete(table):
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", table.name)
    assert table.meaning.endswith(".")
    assert table.subsystem in SUBSYSTEMS
    assert table.name == table.subsystem if table.map is None else table.name == f"{table.subsystem}_{table.map}"
    assert (table.key is None) == (table.map is None)
    assert table.fields or table.name == "sensors", "an empty table"


@pytest.mark.parametrize("table", TABLES.values(), ids=names)
def test_no_column_stands_twice(table):
    columns = [column.lower() for column in table.columns]
    assert len(set(columns)) == len(columns)
    assert columns[:2] == ["timestamp", "host"]
    assert table.key is None or table.field(table.key) is None


@pytest.mark.parametrize(("table", "field"), ALL, ids=names)
def test_a_field_says_what_it_is(table, field):
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", field.name)
    assert field.meaning.endswith(".")
    assert isinstance(field.kind, Kind)
    assert isinstance(field.unit, Unit)
    assert field.type in {int, float, bool, str}
    assert table.field(field.name) is field
    # Words and switches are states, and have no unit; everything else can be drawn as a line, unless it was said once.
    assert (field.kind is Kind.EVENT) == (table.subsystem == EVENT)
    if field.kind is not Kind.EVENT:
        assert (field.type in {str, bool}) == (field.kind is Kind.STATE)
    if field.type in {str, bool}:
        assert field.unit is Unit.NONE


@pytest.mark.parametrize(("table", "field"), ALL, ids=names)
def test_a_name_ends_in_its_unit(table, field):
    words = {"percent", "bytes", "celsius", "hertz", "watts", "joules", "volts", "seconds", "second", "rpm"}
    if field.name.rsplit("_", 1)[-1] in words:
        assert field.unit is not Unit.NONE, f"{table.name}.{field.name}"
    short = r"(^|_)(pct|ratio|mhz|ghz|hz|kb|mb|gb|bps|sec|secs|ms|temp|deg|v|w)($|_)"
    assert not re.search(short, field.name), "units are spelled out"


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("read_bytes_per_second", Unit.BYTES_PER_SECOND),
        ("speed_bits_per_second", Unit.BITS_PER_SECOND),
        ("reads_per_second", Unit.PER_SECOND),
        ("uptime_seconds", Unit.SECONDS),
        ("used_percent", Unit.PERCENT),
        ("total_bytes", Unit.BYTES),
        ("processes", Unit.NONE),
        ("bytes", Unit.NONE),
    ],
)
def test_units(name, unit):
    assert unit_of(name) is unit


def test_every_field_of_every_struct_is_in_a_table():
    for subsystem, struct in SUBSYSTEMS.items():
        tables = {table.map: table for table in tables_of(subsystem, struct)}
        own = {field.name for field in tables.pop(None).fields}
        assert own | set(tables) == set(struct.__struct_fields__)
        assert (struct.__doc__ or "").endswith(".")


def test_a_table_of_its_own_name_does_not_stand_twice():
    count = sum(len(tables_of(subsystem, struct)) for subsystem, struct in SUBSYSTEMS.items())
    assert len(TABLES) == count


def test_field_of_a_name_that_is_not_there():
    assert TABLES["cpu"].field("no_such_field") is None
    assert TABLES["cpu"].field("utilization_percent") == Field(
        "utilization_percent", float, Unit.PERCENT, Kind.RATE, "Share of CPU time neither idle nor waiting for IO."
    )


def test_nothing_is_an_empty_message():
    for struct in SUBSYSTEMS.values():
        assert msgspec.json.encode(struct()) == b"{}"
