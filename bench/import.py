"""What `hostpulse import` costs: moving an embedded store of cpu messages into InfluxDB.

    PYTHONPATH=src python bench/import.py [messages]

Starts an `influxd` of its own, or takes the one that HOSTPULSE_TEST_INFLUXDB_URL, _TOKEN and _ORG name. Prints rows per
second with the server on the same CPUs, microseconds of CPU of the command per row of 13 values, and its peak memory.
"""

import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from influxdb import batches, server
from store import payloads

from hostpulse.bus.codec import decode
from hostpulse.consumer.storage.embedded import open_writer

_CHUNK = 50_000


def fill(path: Path, count: int) -> None:
    now = datetime.fromtimestamp(1_770_000_000 + count, UTC)
    with open_writer(path, retention=None, rollup_retention=None) as writer:
        for batch in batches([decode(topic, payload, now=now) for topic, payload in payloads(count)], _CHUNK):
            writer.write(batch)
        while writer.maintain(1_770_000_000 + 10 * count).more:
            pass


class Cost(NamedTuple):
    """What a run of the command took: seconds, seconds of CPU, MB at most."""

    wall: float
    cpu: float
    peak: float


def measured(directory: Path, environment: dict[str, str]) -> Cost:
    command = [sys.executable, "-m", "hostpulse.cli", "import", "--data-dir", str(directory)]
    before = time.perf_counter()
    process = subprocess.Popen(command, env={**os.environ, **environment})
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(process.returncode)
    return Cost(time.perf_counter() - before, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def main(count: int) -> None:
    with server() as (url, token, org), tempfile.TemporaryDirectory() as name:
        environment = {
            "HOSTPULSE_INFLUXDB__URL": url,
            "HOSTPULSE_INFLUXDB__TOKEN": token,
            "HOSTPULSE_INFLUXDB__ORG": org,
            "HOSTPULSE_STORE__RETENTION": "50y",  # the messages are of a fixed day
            "HOSTPULSE_STORE__ROLLUP_RETENTION": "50y",
        }
        costs = []
        for rows in (1, count):
            directory = Path(name) / str(rows)
            # In a process of its own, so that memory for a million samples is not what is measured.
            subprocess.run([sys.executable, __file__, "--fill", str(directory / "history.db"), str(rows)], check=True)
            bucket = {"HOSTPULSE_INFLUXDB__BUCKET": f"bench-import-{rows}"}
            costs.append(measured(directory, environment | bucket))
    idle, cost = costs
    print(f"{count:,} rows: {count / (cost.wall - idle.wall):,.0f} rows/s with the server on the same CPUs")
    print(f"  {(cost.cpu - idle.cpu) / count * 1e6:.2f} µs of CPU of the command per row, {idle.cpu:.2f} s to start")
    print(f"  peak memory {cost.peak:.0f} MB, of one row {idle.peak:.0f} MB")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--fill", path, rows]:
            fill(Path(path), int(rows))
        case [*numbers]:
            main(*(int(number) for number in numbers), *(300_000,)[len(numbers) :])
