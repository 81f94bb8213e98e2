import json
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hostpulse.bus.codec import decode, encode
from hostpulse.bus.topics import HostTopic
from hostpulse.config.settings import Collect
from hostpulse.publisher.clock import Clock
from hostpulse.publisher.collectors.base import Collector, NoDataError
from hostpulse.publisher.collectors.registry import Choice, build
from hostpulse.publisher.inventory import take_inventory
from hostpulse.publisher.machine import FileSystemSize, Machine

from ..drives import Drives, folder_of_drives
from .processes import publish, subscribe

__all__ = ["publish", "subscribe"]  # fixtures for this folder

MACHINES = Path(__file__).parents[1] / "machines"
INTERVAL = 2.0
WIDTH = 160


def default_choice() -> Choice:
    collect = Collect()
    return Choice(
        disable=collect.disable,
        ignore_interfaces=collect.ignore_interfaces,
        ignore_devices=collect.ignore_devices,
        ignore_file_systems=collect.ignore_file_systems,
        ignore_mounts=collect.ignore_mounts,
    )


@dataclass
class Clocks:
    """Clocks that go on when told."""

    wall: float = 1_773_480_413.0
    monotonic: float = 5000.0
    boottime: float = 5000.0

    def advance(self, seconds: float, *, suspended: float = 0.0) -> None:
        self.wall += seconds + suspended
        self.monotonic += seconds
        self.boottime += seconds + suspended

    @property
    def clock(self) -> Clock:
        return Clock(wall=lambda: self.wall, monotonic=lambda: self.monotonic, boottime=lambda: self.boottime)


@dataclass
class Tree:
    """A copy of a machine's tree, with clocks and file systems of its own."""

    name: str
    root: Path
    clocks: Clocks = field(default_factory=Clocks)
    script: Mapping[str, Any] = field(default_factory=dict)
    released: threading.Event = field(default_factory=threading.Event)
    drives: Drives = field(default_factory=Drives)

    @property
    def machine(self) -> Machine:
        return Machine(
            proc=f"{self.root}/proc",
            sys=f"{self.root}/sys",
            filesystem=f"{self.root}/root",
            clock=self.clocks.clock,
            page_bytes=4096,
            file_system_size=self._file_system_size,
            run=self.drives,
            sleep=lambda _seconds: None,
        )

    def _file_system_size(self, path: str) -> FileSystemSize:
        point = path.removeprefix(f"{self.root}/root") or "/"
        if point in self.script.get("stalled", ()):
            self.released.wait()
            raise OSError("the test has ended")
        try:
            size = self.script["statvfs"][point]
        except KeyError:
            raise FileNotFoundError(path) from None
        return FileSystemSize(
            total_bytes=size["f_blocks"] * size["f_frsize"],
            free_bytes=size["f_bfree"] * size["f_frsize"],
            available_bytes=size["f_bavail"] * size["f_frsize"],
            inodes_total=size["f_files"],
            inodes_free=size["f_ffree"],
        )

    def write(self, path: str, text: str | bytes) -> None:
        """Write a file of the tree in place: collectors keep descriptors open."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text if isinstance(text, bytes) else text.encode())

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    def link(self, path: str, target: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).symlink_to(target)

    def advance(self) -> None:
        """Go on to the machine's second reading."""
        second = MACHINES / self.name / "second"
        for source in second.rglob("*"):
            if source.is_file():
                self.write(str(source.relative_to(second)), source.read_bytes())
        self.clocks.advance(self.script["elapsed"])


@dataclass
class Replay:
    """What a machine says in two readings."""

    inventory: dict[str, Any]
    first: list[dict[str, Any]]
    second: list[dict[str, Any]]

    def fields(self, collector: str, reading: str = "second") -> dict[str, Any]:
        """Return what a collector said; empty if it found nothing."""
        (entry,) = [one for one in getattr(self, reading) if one["collector"] == collector]
        message: dict[str, Any] = entry.get("message", {})
        return message


def read_all(collectors: list[Collector], clocks: Clocks, sequences: dict[str, int]) -> list[dict[str, Any]]:
    """Probe and read every collector as the schedule does, and encode what it says."""
    entries: list[dict[str, Any]] = []
    for collector in collectors:
        try:
            fields = collector.read() if collector.probe() else None
            reason = "this machine has none"
        except NoDataError as error:
            fields, reason = None, str(error)
        if fields is None:
            entries.append({"collector": collector.name, "nothing": reason})
            continue
        subsystem = collector.subsystem
        sequences[subsystem] = sequences.get(subsystem, 0) + 1
        payload = encode(
            fields,
            host="golden",
            subsystem=subsystem,
            timestamp=clocks.wall,
            sequence=sequences[subsystem],
            session=1_773_480_000.0,
            interval=collector.period_seconds or INTERVAL,
        )
        decode(HostTopic("golden", subsystem), payload, now=datetime.fromtimestamp(clocks.wall, UTC))
        entries.append({"collector": collector.name, "message": json.loads(payload)})
    return entries


def inventory_of(machine: Machine, collectors: list[Collector], choice: Choice) -> dict[str, Any]:
    """Return the inventory, without what the machine under the test would tell of itself."""
    inventory = take_inventory(
        machine,
        host="golden",
        session=1_773_480_000.0,
        intervals={one.name: one.period_seconds or INTERVAL for one in collectors},
        ignore_interfaces=choice.ignore_interfaces,
        ignore_devices=choice.ignore_devices,
    )
    assert inventory.versions.keys() == {"hostpulse", "python"}
    assert inventory.processor.architecture
    found: dict[str, Any] = json.loads(msgspec.json.encode(inventory))
    del found["versions"], found["processor"]["architecture"]
    return found


def replay_tree(tree: Tree) -> Replay:
    choice = default_choice()
    machine = tree.machine
    collectors = build(machine, choice)
    sequences: dict[str, int] = {}
    inventory = inventory_of(machine, collectors, choice)
    first = read_all(collectors, tree.clocks, sequences)
    tree.advance()
    return Replay(inventory, first, read_all(collectors, tree.clocks, sequences))


def dump(value: Any, indent: str = "") -> str:
    """Return JSON in which everything that fits a line has one."""
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, (dict, list)) or len(indent) + len(line) <= WIDTH:
        return line
    inner = indent + " "
    if isinstance(value, dict):
        parts = [f"{json.dumps(key, ensure_ascii=False)}: {dump(one, inner)}" for key, one in value.items()]
    else:
        parts = [dump(one, inner) for one in value]
    begin, end = "{}" if isinstance(value, dict) else "[]"
    return f"{begin}\n{inner}" + f",\n{inner}".join(parts) + f"\n{indent}{end}"


@pytest.fixture(scope="session")
def open_tree() -> Iterator[Callable[[str, Path], Tree]]:
    """Copy a machine's first tree; file systems that hang do so until the tests end."""
    trees: list[Tree] = []

    def open_copy(name: str, to: Path) -> Tree:
        script = json.loads((MACHINES / name / "machine.json").read_text())
        shutil.copytree(MACHINES / name / "first", to, symlinks=True, dirs_exist_ok=True)
        wall = datetime.fromisoformat(script["wall"]).timestamp()
        clocks = Clocks(wall, script["monotonic"], script["boottime"])
        drives = folder_of_drives(MACHINES / name / "smartctl")
        trees.append(Tree(name, to, clocks, script, drives=drives))
        return trees[-1]

    yield open_copy
    for tree in trees:
        tree.released.set()


@pytest.fixture
def tree_of(open_tree: Callable[[str, Path], Tree], tmp_path: Path) -> Callable[[str], Tree]:
    """Return a machine's tree to be changed by the test."""
    return lambda name: open_tree(name, tmp_path / name)


@pytest.fixture
def bare(tmp_path: Path) -> Tree:
    """A machine without a single file."""
    return Tree("bare", tmp_path)


@pytest.fixture(scope="session")
def replay_of(
    open_tree: Callable[[str, Path], Tree], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Replay]:
    """Return what a machine says, unchanged; each is replayed once."""
    known: dict[str, Replay] = {}

    def replay(name: str) -> Replay:
        if name not in known:
            known[name] = replay_tree(open_tree(name, tmp_path_factory.mktemp(name)))
        return known[name]

    return replay


@pytest.fixture
def read_message() -> Callable[..., dict[str, Any]]:
    """Read one collector once and return its fields as they would be published."""

    def read(collector: Collector) -> dict[str, Any]:
        (entry,) = read_all([collector], Clocks(), {})
        if "nothing" in entry:
            raise NoDataError(entry["nothing"])
        message: dict[str, Any] = entry["message"]
        for key in ("v", "host", "subsystem", "timestamp", "sequence", "session", "interval"):
            del message[key]
        return message

    return read


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, Replay], None]:
    """Compare with the expected file of a machine, or rewrite it."""

    def compare(name: str, found: Replay) -> None:
        path = MACHINES / name / "expected.json"
        text = dump({"inventory": found.inventory, "first": found.first, "second": found.second}) + "\n"
        if request.config.getoption("--update-golden"):
            path.write_text(text, encoding="utf-8")
            return
        assert text.splitlines() == path.read_text(encoding="utf-8").splitlines()

    return compare


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()
