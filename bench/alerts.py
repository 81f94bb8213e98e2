"""CPU time of the alert engine, and of the role around it: messages of many hosts through the default rules.

    PYTHONPATH=src python bench/alerts.py [hosts] [rounds] [hosts of the role]

A sample is one value that one rule judges. Prints microseconds of CPU for each, for each message and for each tick;
the budget is 10 microseconds a sample with 10,000 devices under rules. The role is given the same as payloads in
batches, as the broker does, with a journal on a real disk; then the state of the engine above is saved some times,
which is what each transition costs, and what every 5 to 60 s costs without one. Messages are made beforehand.
"""

import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hostpulse.bus.codec import Envelope, Sample, encode
from hostpulse.bus.messages import Cpu, Disk, DiskMount, Gpu, GpuDevice, Memory, Sensors, SensorsTemperature
from hostpulse.bus.mqtt import Batch
from hostpulse.bus.topics import Topics
from hostpulse.config.rules import DEFAULT_RULES_FILE
from hostpulse.consumer.alerting.journal import JOURNAL_FILE, Journal
from hostpulse.consumer.alerting.role import AlertRole
from hostpulse.consumer.alerts import Engine, Rule, load_rules, parse_source

_START = 1_770_000_000.0
_INTERVAL = 2.0
_MOUNTS = ("/", "/home", "/var", "/srv")
_BUDGET = 10.0
_BATCH_MESSAGES = 500
_COMMITS = 20


def fields(subsystem: str, second: int) -> Any:
    """Return what a machine says that is well; the values move all the time."""
    move = second % 97 / 10
    made: dict[str, Any] = {
        "cpu": lambda: Cpu(utilization_percent=move, temperature_celsius=60 + move),
        "memory": lambda: Memory(
            used_percent=50 + move,
            available_bytes=4_000_000_000,
            pressure_full_percent=0.0,
            pressure_some_percent=0.1,
            major_faults_per_second=move,
            oom_kills=0,
        ),
        "disk": lambda: Disk(
            mount={
                mount: DiskMount(
                    used_percent=70 + move, available_bytes=10**12 - second, inodes_used_percent=move, state="ok"
                )
                for mount in _MOUNTS
            }
        ),
        "gpu": lambda: Gpu(
            device={"GPU-0": GpuDevice(temperature_celsius=60 + move, slowdown_celsius=93.0, throttled_percent=0.0)}
        ),
        "sensors": lambda: Sensors(
            temperature={
                f"core{core}": SensorsTemperature(
                    temperature_celsius=50 + move, high_celsius=90.0, critical_celsius=100.0
                )
                for core in range(8)
            }
        ),
    }
    return made[subsystem]()


_JUDGED = {"cpu": 1, "memory": 4, "disk": 5 * len(_MOUNTS), "gpu": 2, "sensors": 8}
"""Values of each message that a rule judges; what every message says of its host comes on top."""


def rules() -> tuple[Rule, ...]:
    """Return the default rules."""
    return load_rules([parse_source("defaults", DEFAULT_RULES_FILE.read_text(encoding="utf-8"))])


def measure_engine(hosts: int, rounds: int) -> Engine:
    """Print what the engine costs, and return it as it is then."""
    engine = Engine(rules())
    session = datetime.fromtimestamp(_START, UTC)
    taking = ticking = 0.0
    messages = samples = 0
    for number in range(rounds):
        moment = _START + number * _INTERVAL
        made = [
            Sample(
                Envelope(
                    v=1, host=f"host-{host}", subsystem=name, timestamp=datetime.fromtimestamp(moment, UTC),
                    sequence=number + 1, session=session, interval=_INTERVAL,
                ),
                fields(name, number),
            )
            for host in range(hosts)
            for name in _JUDGED
        ]  # fmt: skip
        before = time.process_time()
        told = [transition for sample in made for transition in engine.take(sample, moment + 0.01)]
        taking += time.process_time() - before
        before = time.process_time()
        told += engine.tick(moment + 0.01)
        ticking += time.process_time() - before
        if told:
            raise SystemExit(f"machines that are well gave {told[0]}")
        messages += len(made)
        samples += hosts * (sum(_JUDGED.values()) + 2)
    each = taking / samples * 1e6
    print(f"{hosts} hosts, {engine.instances} devices under rules, {messages} messages, {samples} samples")
    print(f"take: {each:.2f} us of CPU per sample (budget {_BUDGET:g}), {1e6 / each:,.0f} samples per second")
    print(f"      {taking / messages * 1e6:.2f} us per message")
    print(f"tick: {ticking / rounds * 1e3:.1f} ms")
    return engine


def measure_commit(engine: Engine, directory: Path) -> None:
    """Print what it costs to keep the state of an engine."""
    with Journal(directory / "commits.db").create(_START) as journal:
        dumping = 0.0
        state = b""
        before, began = time.process_time(), time.monotonic()
        for _ in range(_COMMITS):
            then = time.process_time()
            state = engine.dump()
            dumping += time.process_time() - then
            journal.commit(state, [], engine.alerts(), _START)
        cpu, seconds = time.process_time() - before, time.monotonic() - began
    print(
        f"save: {cpu / _COMMITS * 1e3:.0f} ms of CPU, of which the dump {dumping / _COMMITS * 1e3:.0f}; "
        f"{seconds / _COMMITS * 1e3:.0f} ms until it is on the disk; {len(state) / 1e6:.1f} MB "
        f"for {engine.instances} devices"
    )


def measure_role(hosts: int, rounds: int, directory: Path) -> None:
    """Print what the role costs with its journal."""
    topics = Topics()
    now = _START
    role = AlertRole(topics, rules(), Journal(directory / JOURNAL_FILE), wall=lambda: now)
    role.open()
    taking = 0.0
    for number in range(rounds):
        now = _START + number * _INTERVAL + 0.01
        made = [
            (
                topics.sample(f"host-{host}", name).encode(),
                encode(
                    fields(name, number), host=f"host-{host}", subsystem=name, timestamp=now - 0.01,
                    sequence=number + 1, session=_START, interval=_INTERVAL,
                ),
            )
            for host in range(hosts)
            for name in _JUDGED
        ]  # fmt: skip
        parts = [made[begin : begin + _BATCH_MESSAGES] for begin in range(0, len(made), _BATCH_MESSAGES)]
        batches = [Batch([topic for topic, _ in part], [payload for _, payload in part], set()) for part in parts]
        before = time.process_time()
        happened = [role.take(batch) for batch in batches]
        role.tick(listening=True)
        taking += time.process_time() - before
        if any(happened):
            raise SystemExit("machines that are well gave alerts")
    role.close()
    each = taking / role.received * 1e6
    print(
        f"role: {each:.0f} us of CPU per message with decoding, tick and journal; "
        f"{hosts} hosts, {role.received} messages"
    )


def main(hosts: int, rounds: int, hosts_of_role: int) -> None:
    """Print the figures."""
    engine = measure_engine(hosts, rounds)
    with tempfile.TemporaryDirectory(prefix="hostpulse-", dir=".") as name:  # not /tmp, which may be in memory
        measure_commit(engine, Path(name))
        measure_role(hosts_of_role, rounds, Path(name))


if __name__ == "__main__":
    arguments = [int(argument) for argument in sys.argv[1:]]
    main(*arguments, *(270, 40, 100)[len(arguments) :])
