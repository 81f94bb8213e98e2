"""The real commands on another machine's trees: what `export` prints is what the golden messages say."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from hostpulse.bus.messages import TABLES

from .support import Hostpulse, eventually

MACHINES = Path(__file__).resolve().parents[1] / "machines"

Row = dict[str, Any]


def rows_of(message: Row) -> dict[str, list[Row]]:
    """Return the rows that a message gives, by table, without timestamp and host."""
    found: dict[str, list[Row]] = {}
    for table in TABLES.values():
        if table.subsystem != message["subsystem"]:
            continue
        entries = {None: message} if table.map is None else message.get(table.map, {})
        for key, entry in entries.items():
            values = {field.name: entry[field.name] for field in table.fields if field.name in entry}
            if table.key is not None:
                values[table.key] = key
            if values:
                found.setdefault(table.name, []).append(values)
    return found


# Sizes of file systems are this machine's here: statvfs() cannot be told.
UNTOLD = {field.name for field in TABLES["disk_mount"].fields if field.type is not str} | {"state"}


def golden_messages(machine: str) -> list[Row]:
    """Return the messages of the first reading, but for that of the drives: a program tells of them, not the tree."""
    golden = json.loads((MACHINES / machine / "expected.json").read_text(encoding="utf-8"))
    messages = [entry["message"] for entry in golden["first"] if "message" in entry]
    return [message for message in messages if message["subsystem"] != "smart"]


def told(table: str, row: Row) -> Row:
    """Return what a row says of the tree."""
    return {name: value for name, value in row.items() if not (table == "disk_mount" and name in UNTOLD)}


def exported(hostpulse: Hostpulse, table: str, machine: str) -> list[Row]:
    """Return the rows of a table without timestamp and host."""
    done = hostpulse.run("export", table, "--format", "jsonl", "--since", "10m")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row.pop("host") for row in rows} == {machine}
    assert all(row.pop("timestamp") for row in rows)
    return rows


@pytest.mark.parametrize("machine", ["laptop", "server"])
def test_what_is_stored_of_a_tree(hostpulse: Hostpulse, tmp_path: Path, machine: str) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(MACHINES / machine / "first", tree, symlinks=True)
    roots = (f"roots.proc={tree / 'proc'}", f"roots.sys={tree / 'sys'}", f"roots.filesystem={tree / 'root'}")
    running = hostpulse.start("up", "--name", machine, *(part for root in roots for part in ("--set", root)))
    running.says("publisher  connected to broker")
    messages = golden_messages(machine)

    def arrived() -> bool:
        found = hostpulse.sequences()
        return sum(len(found[key]) for key in found if key[0] != "publisher") >= len(messages)

    eventually(arrived, what=lambda: running.output)
    assert running.end() == 0
    expected: dict[str, list[Row]] = {}
    for message in messages:
        for table, rows in rows_of(message).items():
            expected.setdefault(table, []).extend(told(table, row) for row in rows)
    for table, rows in expected.items():
        found = [told(table, row) for row in exported(hostpulse, table, machine)]
        assert [row for row in rows if row not in found] == [], table
