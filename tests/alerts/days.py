"""Days of five kinds of healthy machines. They are made up: a seeded generator writes them, nobody recorded them.

Each has what makes rules fire by mistake on machines of its kind: a laptop that sleeps and runs down its battery, a
home server whose backup fills its disk and is cleared away, and half of whose drives sleep all day, a GPU box under
load, a small VM short of memory, a Raspberry Pi that loses its wireless network for a while and has file systems that
are meant to be read-only.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any, NamedTuple

from msgspec import UNSET

from hostpulse.bus.codec import Envelope, Sample
from hostpulse.bus.fields import Fields
from hostpulse.bus.messages import (
    SUBSYSTEMS,
    Battery,
    Consumer,
    ConsumerMember,
    Cpu,
    Disk,
    DiskMount,
    Gpu,
    GpuDevice,
    Memory,
    Publisher,
    PublisherCollector,
    Sensors,
    SensorsTemperature,
    Smart,
    SmartDrive,
    System,
)

__all__ = ["KINDS", "Arrival", "day"]

START = datetime(2026, 6, 1, tzinfo=UTC).timestamp()
DAY = 86400
FAST, SLOW, RARE = 10, 60, 1800
GIB = 1 << 30


class Arrival(NamedTuple):
    """A message, when it comes, and None in its place when the Last Will comes."""

    received: float
    sample: Sample | None


@dataclass
class Machine:
    """One machine.

    Attributes:
        name: of its host.
        fast: what it says every 10 s.
        slow: what it says every minute.
        rare: what it says every half hour.
        asleep: from when to when it sleeps, seconds of the day.
        offline: from when to when the network is away.
    """

    name: str
    fast: Callable[[Random, float], list[Fields]]
    slow: Callable[[Random, float], list[Fields]]
    rare: Callable[[Random, float], list[Fields]] = lambda _random, _second: []
    asleep: tuple[tuple[float, float], ...] = ()
    offline: tuple[tuple[float, float], ...] = ()
    sequences: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))


def day(kind: str, seed: int = 1) -> Iterator[Arrival]:
    """Yield a day of a kind of machine in the order in which messages come."""
    machine = KINDS[kind]()
    random = Random(f"{kind} {seed}")  # noqa: S311  it is to be the same each time
    waiting: list[Sample] = []
    for second in range(0, DAY, FAST):
        if within(second, machine.asleep):
            if not within(second - FAST, machine.asleep):
                yield Arrival(START + second, None)
            continue
        samples = list(_samples(machine, random, second))
        if within(second, machine.offline):
            waiting += samples
            continue
        for sample in [*samples, *waiting]:  # what is new first, then what an outage has left
            yield Arrival(START + second + random.uniform(0.005, 0.05), sample)
        waiting.clear()


def _samples(machine: Machine, random: Random, second: float) -> Iterator[Sample]:
    made = [(fields, FAST) for fields in machine.fast(random, second)]
    if second % SLOW == 0:
        made += [(fields, SLOW) for fields in machine.slow(random, second)]
        made += [(fields, SLOW) for fields in (System(uptime_seconds=second + 1000.0), health(random))]
    if second % RARE == 0:
        made += [(fields, RARE) for fields in machine.rare(random, second)]
    for fields, interval in made:
        subsystem = next(name for name, struct in SUBSYSTEMS.items() if type(fields) is struct)
        machine.sequences[subsystem] += 1
        envelope = Envelope(
            v=1,
            host=machine.name,
            subsystem=subsystem,
            timestamp=datetime.fromtimestamp(START + second + machine.sequences[subsystem] % 2 * 0.001, UTC),
            sequence=machine.sequences[subsystem],
            session=datetime.fromtimestamp(START - 1000, UTC),
            interval=interval,
        )
        yield Sample(envelope, fields)


def within(second: float, ranges: tuple[tuple[float, float], ...]) -> bool:
    return any(begin <= second < end for begin, end in ranges)


def hours(number: float) -> float:
    return number * 3600


def wave(second: float, low: float, high: float) -> float:
    """Return what is low at night and high in the afternoon."""
    return low + (high - low) * (1 - math.cos((second / DAY - 0.125) * 2 * math.pi)) / 2


def bursts(second: float, every: float, length: float) -> bool:
    """Return whether one of the bursts of work is going on that come again and again."""
    return second % every < length


def health(random: Random) -> Publisher:
    return Publisher(
        outbox_messages=random.randrange(3),
        dropped_messages=0,
        replay_unavailable_messages=0,
        collector={name: PublisherCollector(state="ok") for name in ("cpu", "memory", "disk_mounts")}
        | {"battery": PublisherCollector(state="nothing")},
    )


def mount(size: float, used_percent: float, inodes_percent: float = 5.0, state: str = "ok") -> DiskMount:
    used = int(size * used_percent / 100)
    return DiskMount(
        total_bytes=int(size),
        used_bytes=used,
        available_bytes=int(size) - used,
        used_percent=round(used_percent, 1),
        inodes_used_percent=inodes_percent,
        state=state,
    )


def memory(random: Random, used: float, **more: Any) -> Memory:
    quiet = {"pressure_some_percent": round(random.uniform(0, 0.5), 1), "pressure_full_percent": 0.0}
    values: dict[str, Any] = quiet | {"major_faults_per_second": round(random.expovariate(1), 1), "oom_kills": 0} | more
    return Memory(used_percent=round(used, 1), available_bytes=int(8 * GIB * (100 - used) / 100), **values)


def hard_disk(device: str, random: Random, second: float, *, asleep: bool) -> SmartDrive:
    """Return a disk that has a few sectors replaced and had trouble with its cable, both long ago."""
    return SmartDrive(
        device=device,
        model="WDC WD80EFAX",
        state="asleep" if asleep else "ok",
        healthy=True,
        temperature_celsius=UNSET if asleep else round(wave(second, 33, 41) + random.gauss(0, 0.5)),
        power_on_seconds=26_000 * 3600 + int(second) // 3600 * 3600,
        media_errors=0,
        reallocated_sectors=16,
        pending_sectors=0,
        uncorrectable_sectors=0,
        crc_errors=211,
    )


def laptop() -> Machine:
    """On its battery from 9 to 18 h, asleep at night and over lunch; builds programs now and then."""
    nights = ((hours(0.5), hours(7.5)), (hours(12.5), hours(13.25)), (hours(23), DAY))

    def fast(random: Random, second: float) -> list[Fields]:
        building = bursts(second, hours(1), 100)
        celsius = random.gauss(90 if building else 52, 2.5)
        cores = {
            f"coretemp/Core {core}": SensorsTemperature(
                temperature_celsius=round(min(celsius + random.gauss(0, 1), 96)),
                high_celsius=100.0,
                critical_celsius=100.0,
            )
            for core in range(4)
        }
        return [
            Cpu(
                utilization_percent=95.0 if building else random.uniform(2, 20),
                temperature_celsius=round(celsius, 1),
                throttled_percent=round(random.uniform(0, 40), 1) if building else 0.0,
            ),
            memory(random, wave(second, 35, 70) + random.gauss(0, 1)),
            Sensors(temperature=cores),
        ]

    def slow(random: Random, second: float) -> list[Fields]:
        on_battery = hours(9) <= second < hours(18)
        awake = second - hours(9) - (hours(0.75) if second > hours(13) else 0)
        charge = 96 - awake / hours(8.25) * 72 if on_battery else min(100, 24 + max(0, second - hours(18)) / 100)
        charge = 100 if second < hours(9) else charge
        return [
            Battery(charge_percent=round(charge), mains=not on_battery),
            Disk(mount={"/": mount(500 * GIB, 71 + random.uniform(0, 0.1)), "/boot/efi": mount(GIB / 4, 12)}),
        ]

    def rare(random: Random, second: float) -> list[Fields]:
        drive = SmartDrive(
            device="nvme0",
            model="SAMSUNG MZVL2512HCJQ",
            state="ok",
            healthy=True,
            critical_warning="temperature" if bursts(second, hours(1), 100) else "none",
            temperature_celsius=round(random.gauss(45, 4)),
            unsafe_shutdowns=121,
            wear_percent=7.0,
            available_spare_percent=100.0,
            available_spare_threshold_percent=10.0,
            media_errors=3,
        )
        return [Smart(drives=1, failing_drives=0, drive={"S64KNX0TEST002": drive})]

    return Machine("laptop", fast, slow, rare, asleep=nights)


def home_server() -> Machine:
    """Backs up from 2 to 3:30 h onto a file system of its own, clears old backups away at 4 h, and runs a consumer."""

    def fast(random: Random, second: float) -> list[Fields]:
        backup = hours(2) <= second < hours(3.5)
        drives = {
            f"drivetemp/sd{drive}": SensorsTemperature(
                temperature_celsius=round(wave(second, 33, 41) + (5 if backup else 0)),
                high_celsius=55.0,
                critical_celsius=60.0,
            )
            for drive in "abcd"
        }
        pressure = {"pressure_some_percent": round(random.uniform(2, 9), 1)} if backup else {}
        return [
            Cpu(
                utilization_percent=60.0 if backup else 8.0,
                temperature_celsius=round(random.gauss(62 if backup else 44, 2), 1),
            ),
            memory(random, 45 + (20 if backup else 0) + random.gauss(0, 1), **pressure),
            Sensors(temperature=drives),
        ]

    def slow(random: Random, second: float) -> list[Fields]:
        copied = min(max(second - hours(2), 0) / hours(1.5), 1) if second < hours(4) else 0.05
        mounts = {
            "/": mount(60 * GIB, 55 + random.uniform(0, 0.2)),
            "/srv": mount(8000 * GIB, 78 + second / DAY * 0.1),
            "/backup": mount(4000 * GIB, 66 + copied * 9),
        }
        # The line to the Internet is away for ten minutes, and with it whoever tells people of alerts.
        failing = int(hours(13) <= second < hours(13) + 600)
        return [Disk(mount=mounts), Consumer(member={"alerts": ConsumerMember(failing_routes=failing)})]

    def rare(random: Random, second: float) -> list[Fields]:
        # The two disks of the backup sleep but at night.
        asleep = not hours(1.5) <= second < hours(5)
        disks = {
            f"VAHTEST{device}": hard_disk(f"sd{device}", random, second, asleep=asleep and device in "cd")
            for device in "abcd"
        }
        return [Smart(drives=4, failing_drives=0, drive=disks)]

    return Machine("server", fast, slow, rare)


def gpu_box() -> Machine:
    """Trains all day; writes a checkpoint every half hour and keeps the last few."""

    def fast(random: Random, second: float) -> list[Fields]:
        gpus = {
            f"GPU-{number}": GpuDevice(
                temperature_celsius=round(random.gauss(76 + number, 1.5)),
                throttled_percent=round(random.uniform(0, 60), 1)
                if bursts(second + number * 700, hours(2), 20)
                else 0.0,
                utilization_percent=round(random.uniform(90, 100)),
                **({"slowdown_celsius": 93.0, "throttle_reasons": ""} if second % SLOW == 0 else {}),
            )
            for number in range(4)
        }
        return [
            Cpu(utilization_percent=70.0, temperature_celsius=round(random.gauss(81, 2.5), 1)),
            memory(random, 78 + random.gauss(0, 2), major_faults_per_second=round(random.expovariate(0.02), 1)),
            Gpu(device=gpus),
        ]

    def slow(random: Random, second: float) -> list[Fields]:
        checkpoints = second // hours(0.5) % 8
        mounts = {
            "/": mount(400 * GIB, 48 + random.uniform(0, 0.3)),
            "/data": mount(7000 * GIB, 72 + checkpoints * 1.5),
        }
        return [Disk(mount=mounts)]

    return Machine("gpu-box", fast, slow)


def small_vm() -> Machine:
    """Has half a GiB of memory, of which little is ever left; a nightly job makes it swap for half a minute."""

    def fast(random: Random, second: float) -> list[Fields]:
        squeeze = bursts(second - hours(3), hours(6), 30)
        peak = bursts(second - hours(3), hours(3), 180)
        used = (93 if peak else 81) + random.gauss(0, 1.5)
        more = {
            "pressure_some_percent": round(random.uniform(15, 35), 1),
            "pressure_full_percent": round(random.uniform(8, 25), 1),
            "major_faults_per_second": round(random.uniform(300, 1500), 1),
        }
        return [
            Cpu(utilization_percent=12.0, load_average_1m=0.4),
            memory(random, min(used, 97), **(more if squeeze else {})),
        ]

    def slow(random: Random, second: float) -> list[Fields]:
        logs = second % hours(12) / hours(12) * 2
        return [Disk(mount={"/": mount(20 * GIB, 77 + logs + random.uniform(0, 0.05), 31.0)})]

    return Machine("vm", fast, slow)


def raspberry_pi() -> Machine:
    """Warm in the afternoon; its wireless network is away for forty seconds, and what it kept follows late."""

    def fast(random: Random, second: float) -> list[Fields]:
        return [
            Cpu(
                utilization_percent=20.0,
                temperature_celsius=round(wave(second, 51, 74) + random.gauss(0, 1.2), 1),
                throttled_percent=0.0,
                throttle_reasons="none",
                under_voltage=False,
            ),
            memory(random, 62 + random.gauss(0, 1)),
        ]

    def slow(random: Random, second: float) -> list[Fields]:
        mounts = {
            "/": mount(29 * GIB, 46 + second / DAY * 0.3 + random.uniform(0, 0.02), 9.0),
            "/boot/firmware": mount(GIB / 2, 15, state="read_only"),
        }
        return [Disk(mount=mounts)]

    return Machine("pi", fast, slow, offline=((hours(15.2), hours(15.2) + 40),))


KINDS: dict[str, Callable[[], Machine]] = {
    "laptop": laptop,
    "home server": home_server,
    "GPU box": gpu_box,
    "small VM": small_vm,
    "Raspberry Pi": raspberry_pi,
}
"""Each kind of machine."""
