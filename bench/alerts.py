"""CPU time of the alert engine: messages of many hosts through the default rules.

    PYTHONPATH=src python bench/alerts.py [hosts] [rounds]

A sample is one value that one rule judges. Prints microseconds of CPU for each, for each message and for each tick;
the budget is 10 microseconds a sample with 10,000 devices under rules. Messages are made beforehand.
"""

import sys
import time
from datetime import UTC, datetime
from typing import Any

from hostpulse.bus.codec import Envelope, Sample
from hostpulse.bus.messages import Cpu, Disk, DiskMount, Gpu, GpuDevice, Memory, Sensors, SensorsTemperature
from hostpulse.config.rules import DEFAULT_RULES_FILE
from hostpulse.consumer.alerts import Engine, load_rules, parse_source

_START = 1_770_000_000.0
_INTERVAL = 2.0
_MOUNTS = ("/", "/home", "/var", "/srv")
_BUDGET = 10.0


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


def main(hosts: int, rounds: int) -> None:
    """Print the figures."""
    engine = Engine(load_rules([parse_source("defaults", DEFAULT_RULES_FILE.read_text(encoding="utf-8"))]))
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
    before = time.process_time()
    state = engine.dump()
    dumping = time.process_time() - before
    each = taking / samples * 1e6
    print(f"{hosts} hosts, {engine.instances} devices under rules, {messages} messages, {samples} samples")
    print(f"take: {each:.2f} us of CPU per sample (budget {_BUDGET:g}), {1e6 / each:,.0f} samples per second")
    print(f"      {taking / messages * 1e6:.2f} us per message")
    print(f"tick: {ticking / rounds * 1e3:.1f} ms; dump: {dumping * 1e3:.0f} ms, {len(state) / 1e6:.1f} MB")


if __name__ == "__main__":
    arguments = [int(argument) for argument in sys.argv[1:]]
    main(*arguments, *(270, 40)[len(arguments) :])
