"""CPU time of the store's message path: decode and durable write of cpu messages.

    PYTHONPATH=src python bench/store.py [messages] [batch]

Prints microseconds of CPU per message; the payloads are made beforehand.
"""

import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hostpulse.bus.codec import decode, encode
from hostpulse.bus.messages import TABLES, Cpu
from hostpulse.bus.topics import HostTopic
from hostpulse.consumer.delivery.tracker import Tracker
from hostpulse.consumer.storage.embedded import open_writer

_VALUES = 13
_HOSTS = 20
_START = 1_770_000_000.0


def payloads(count: int) -> list[tuple[HostTopic, bytes]]:
    names = [field.name for field in TABLES["cpu"].fields][:_VALUES]
    made = []
    for index in range(count):
        second, host = divmod(index, _HOSTS)
        fields: dict[str, Any] = {
            name: 2_400_000_000 + index if name == "frequency_hertz" else index % 997 / 10 for name in names
        }
        message = encode(
            Cpu(**fields),
            host=f"host-{host}",
            subsystem="cpu",
            timestamp=_START + second,
            sequence=second + 1,
            session=_START,
            interval=1.0,
        )
        made.append((HostTopic(f"host-{host}", "cpu"), message))
    return made


def _each(seconds: float, count: int) -> str:
    return f"{seconds / count * 1e6:.2f}"


def main(count: int, batch: int) -> None:
    messages = payloads(count)
    now = datetime.fromtimestamp(_START + count, UTC)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "history.sqlite"
        with open_writer(path, retention=None, rollup_retention=None) as writer:
            decoding = tracking = 0.0
            tracker = Tracker()
            wall, cpu = time.perf_counter(), time.process_time()
            for first in range(0, count, batch):
                before = time.process_time()
                samples = [decode(topic, payload, now=now) for topic, payload in messages[first : first + batch]]
                decoding += time.process_time() - before
                writer.write(samples)
                before = time.process_time()
                tracker.add(samples)
                tracking += time.process_time() - before
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            before, slices = time.process_time(), 1
            while writer.maintain(_START + count).more:
                slices += 1
            maintaining = time.process_time() - before
        size = path.stat().st_size
    print(f"{count} cpu messages of {_VALUES} values, {_HOSTS} hosts, batches of {batch}, in {directory}")
    print(f"decode, write, keep account: {_each(cpu, count)} us of CPU per message ({_each(wall, count)} us elapsed)")
    writing = cpu - decoding - tracking
    print(f"  decode {_each(decoding, count)}, write {_each(writing, count)}, keep account {_each(tracking, count)}")
    print(f"maintenance: {maintaining / count * 1e6:.2f} us of CPU per message, {slices} slices")
    print(f"file: {size / count:.0f} bytes per message")


if __name__ == "__main__":
    arguments = [int(argument) for argument in sys.argv[1:]]
    main(*arguments, *(100_000, 500)[len(arguments) :])
