"""A day of a healthy machine with GPUs. It is made up message by message: the publisher has no collector for GPUs yet.

The days in tests/days are recorded by the publisher.
"""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from random import Random
from typing import Any, NamedTuple

from hostpulse.bus.codec import Envelope, Sample
from hostpulse.bus.messages import Cpu, Disk, DiskMount, Gpu, GpuDevice, Memory, System

__all__ = ["Arrival", "gpu_day"]

START = datetime(2026, 6, 1, tzinfo=UTC).timestamp()
DAY = 86400
FAST, SLOW = 10, 60
GIB = 1 << 30


class Arrival(NamedTuple):
    """A message, and when it comes."""

    received: float
    sample: Sample


def gpu_day() -> Iterator[Arrival]:
    """Yield a day of a machine that trains all the time and writes a checkpoint every half hour."""
    random = Random("GPU box 1")  # noqa: S311  it is to be the same each time
    numbers = itertools.count(1)
    for second in range(0, DAY, FAST):
        made: list[tuple[str, Any, int]] = [
            ("cpu", Cpu(utilization_percent=70.0, temperature_celsius=round(random.gauss(81, 2.5), 1)), FAST),
            ("memory", memory(random), FAST),
            ("gpu", Gpu(device={f"GPU-{number}": gpu(random, second, number) for number in range(4)}), FAST),
        ]
        if second % SLOW == 0:
            made += [("disk", disks(random, second), SLOW), ("system", System(uptime_seconds=second + 1000.0), SLOW)]
        for subsystem, fields, interval in made:
            envelope = Envelope(
                v=1,
                host="gpu-box",
                subsystem=subsystem,
                timestamp=datetime.fromtimestamp(START + second, UTC),
                sequence=next(numbers),
                session=datetime.fromtimestamp(START - 1000, UTC),
                interval=interval,
            )
            yield Arrival(START + second + random.uniform(0.005, 0.05), Sample(envelope, fields))


def memory(random: Random) -> Memory:
    used = 78 + random.gauss(0, 2)
    return Memory(
        used_percent=round(used, 1),
        available_bytes=int(8 * GIB * (100 - used) / 100),
        pressure_some_percent=round(random.uniform(0, 0.5), 1),
        pressure_full_percent=0.0,
        major_faults_per_second=round(random.expovariate(0.02), 1),
        oom_kills=0,
    )


def gpu(random: Random, second: float, number: int) -> GpuDevice:
    """Return one that is slowed down for twenty seconds every other hour."""
    device = GpuDevice(
        temperature_celsius=round(random.gauss(76 + number, 1.5)),
        throttled_percent=round(random.uniform(0, 60), 1) if (second + number * 700) % 7200 < 20 else 0.0,
        utilization_percent=round(random.uniform(90, 100)),
    )
    if second % SLOW == 0:
        device.slowdown_celsius, device.throttle_reasons = 93.0, ""
    return device


def disks(random: Random, second: float) -> Disk:
    """Return a system that hardly moves, and a disk on which the last few checkpoints are kept."""
    checkpoints = second // 1800 % 8
    shares = {"/": (400 * GIB, 48 + random.uniform(0, 0.3)), "/data": (7000 * GIB, 72 + checkpoints * 1.5)}
    return Disk(
        mount={
            point: DiskMount(
                total_bytes=size,
                used_bytes=int(size * used / 100),
                available_bytes=int(size * (100 - used) / 100),
                used_percent=round(used, 1),
                inodes_used_percent=5.0,
                state="ok",
            )
            for point, (size, used) in shares.items()
        }
    )
