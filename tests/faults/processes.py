"""The processes that faults befall: groups of simulated hosts, and a consumer. Both are what the commands become."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from hostpulse.bus.mqtt import MqttOptions
from hostpulse.cli.launch import command_of, encode_options
from hostpulse.consumer.service import ConsumerOptions
from hostpulse.consumer.storage import NoHistoryError, Reader
from hostpulse.consumer.storage.embedded import EmbeddedReader
from hostpulse.consumer.storage.influxdb import InfluxReader
from hostpulse.consumer.storage.options import InfluxOptions
from hostpulse.consumer.stores import HISTORY_FILE
from hostpulse.publisher.collectors import Choice
from hostpulse.publisher.outbox.ranges import Ranges
from hostpulse.publisher.outbox.segment import Segment
from hostpulse.publisher.service import PublisherOptions
from hostpulse.publisher.simulation import SimulationOptions

from ..cli.support import ROOT
from ..servers import Program

__all__ = ["PLAIN", "SUBSYSTEMS", "Around", "Consumer", "Hosts", "Key", "Ledger"]

SUBSYSTEMS = ("cpu", "memory", "network")
INTERVAL = 0.5
_DAY = 86_400.0


class Key(NamedTuple):
    """What names a message."""

    host: str
    subsystem: str
    session: int
    sequence: int


class Ledger(NamedTuple):
    """What publishers have made, by what is in their outboxes: nothing goes out that is not in there.

    Attributes:
        made: all messages.
        waiting: those that no broker has acknowledged.
    """

    made: set[Key]
    waiting: set[Key]


class Around(NamedTuple):
    """What a process runs in.

    Attributes:
        command: what goes before its command line.
        environment: variables.
    """

    command: Sequence[str] = ()
    environment: Mapping[str, str] = {}


PLAIN = Around()


def _program(
    options: SimulationOptions | ConsumerOptions, directory: Path, around: Around, *, name: str
) -> tuple[Program, Path]:
    (directory / f"{name}.json").write_bytes(encode_options(options))
    log = directory / f"{name}.log"
    log.touch()
    program = Program(
        (*around.command, *command_of(options)),
        log,
        environment={"PYTHONPATH": str(ROOT / "src"), "PYTHONWARNINGS": "error", **around.environment},
        standard_input=directory / f"{name}.json",
    )
    return program, log


class Hosts:
    """Some simulated hosts in one process.

    Args:
        name: of the group.
        count: how many hosts.
        mqtt: the broker.
        directory: for logs.
        data: for outboxes.
        around: what the process runs in.
    """

    def __init__(
        self,
        name: str,
        count: int,
        mqtt: MqttOptions,
        *,
        directory: Path,
        data: Path,
        around: Around = PLAIN,
    ) -> None:
        self.name = name
        self._data = data
        options = SimulationOptions(
            publisher=PublisherOptions(
                host=name,
                interval=INTERVAL,
                mqtt=replace(mqtt, client_id=name),
                data_dir=str(data),
                choice=Choice(disable=("publisher",)),
            ),
            hosts=count,
            subsystems=SUBSYSTEMS,
        )
        self.names = {f"{name}-{number}" for number in range(1, count + 1)}
        self.program, self._log = _program(options, directory, around, name=name)

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def ledger(self) -> Ledger:
        """Read all outboxes, also while they are written to."""
        made: set[Key] = set()
        waiting: set[Key] = set()
        for host in self.names:
            outbox = self._data / "simulated" / host / "outbox"
            if not outbox.exists():
                continue
            records, done = _read(host, outbox)
            made.update(key for _, key in records)
            waiting.update(key for number, key in records if number not in done)
        return Ledger(made, waiting)


def _read(host: str, outbox: Path) -> tuple[list[tuple[int, Key]], Ranges]:
    records: list[tuple[int, Key]] = []
    done = Ranges()
    for segment in Segment.find(outbox):
        for piece in segment.pieces():
            for record in piece.records:
                if record.is_state:
                    for first, end in record.done():
                        done.add(first, end)
                else:
                    message = record.message
                    key = Key(host, message.subsystem, message.session, message.sequence)
                    records.append((record.number, key))
    return records, done


class Consumer:
    """A consumer, and what it has stored.

    Args:
        mqtt: the broker.
        directory: for logs.
        data: for history and account.
        influxdb: None for the embedded store.
        name: of the process.
        share: name of the group whose member it is; None for one that stores everything.
        around: what it runs in.
    """

    def __init__(
        self,
        mqtt: MqttOptions,
        *,
        directory: Path,
        data: Path,
        influxdb: InfluxOptions | None = None,
        name: str = "consumer",
        share: str | None = None,
        around: Around = PLAIN,
    ) -> None:
        self.name = name
        self._history = data / HISTORY_FILE
        self._influxdb = influxdb
        options = ConsumerOptions(
            host=name,
            mqtt=replace(mqtt, client_id="store"),
            data_dir=str(data),
            influxdb=influxdb,
            retention_seconds=7 * _DAY,
            rollup_retention_seconds=365 * _DAY,
            share=share,
            log_level="debug",
        )
        self.program, self._log = _program(options, directory, around, name=name)

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def taken(self) -> int:
        """How many samples it has stored, each as often as it came."""
        return sum(int(count) for count in re.findall(r"^DEBUG stored (\d+) samples", self.output, re.MULTILINE))

    @property
    def asked(self) -> int:
        """How many messages it has asked for."""
        said = re.findall(r"^DEBUG asked for (\d+) messages", self.output, re.MULTILINE)
        return sum(int(count) for count in said)

    def stored(self, now: float) -> set[Key]:
        """Return which messages are stored."""
        reader: Reader
        try:
            reader = EmbeddedReader(self._history) if self._influxdb is None else InfluxReader(self._influxdb)
            with reader.open():
                return {
                    Key(one.host, subsystem, one.session, one.sequence)
                    for subsystem in SUBSYSTEMS
                    for batch in reader.numbers(subsystem, now - _DAY, now + _DAY)
                    for one in batch
                }
        except NoHistoryError:
            return set()
