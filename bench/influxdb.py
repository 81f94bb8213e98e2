"""What the InfluxDB store costs: encoding and writing cpu messages, and exporting them.

    PYTHONPATH=src python bench/influxdb.py [messages] [rows]

Starts an `influxd` of its own, or takes the one that HOSTPULSE_TEST_INFLUXDB_URL, _TOKEN and _ORG name. Prints
microseconds of CPU of this process per message of 13 values, and CPU and peak memory of an export, which runs in a
process of its own.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from store import payloads

from hostpulse.bus.codec import Sample, decode
from hostpulse.consumer.export import export_csv
from hostpulse.consumer.storage import RowQuery
from hostpulse.consumer.storage.influxdb import InfluxOptions, open_reader, open_writer
from hostpulse.consumer.storage.influxdb.encoder import Encoder

_BATCHES = (500, 1000, 2000, 5000)
_CHUNK = 50_000
_START_SECONDS = 60


@contextlib.contextmanager
def server() -> Iterator[tuple[str, str, str]]:
    """Give address, token and organisation of an InfluxDB."""
    url = os.environ.get("HOSTPULSE_TEST_INFLUXDB_URL")
    if url:
        yield url, os.environ["HOSTPULSE_TEST_INFLUXDB_TOKEN"], os.environ["HOSTPULSE_TEST_INFLUXDB_ORG"]
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        files = [f"--{kind}-path={directory / kind}" for kind in ("bolt", "sqlite", "engine")]
        command = ["influxd", "--reporting-disabled", f"--http-bind-address={address}", "--log-level=error", *files]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            set_up(f"http://{address}")
            yield f"http://{address}", "token-of-the-bench", "bench"
        finally:
            process.terminate()
            process.wait()


def set_up(url: str) -> None:
    fields = {"username": "bench", "password": "only for the bench", "org": "bench", "bucket": "first"}
    body = json.dumps({**fields, "token": "token-of-the-bench"}).encode()
    give_up = time.monotonic() + _START_SECONDS
    while True:
        try:
            urllib.request.urlopen(urllib.request.Request(f"{url}/api/v2/setup", data=body)).close()  # noqa: S310
        except (urllib.error.URLError, OSError):
            if time.monotonic() > give_up:
                raise
            time.sleep(0.2)
        else:
            return


def batches(samples: list[Sample], size: int) -> Iterator[list[Sample]]:
    return (samples[first : first + size] for first in range(0, len(samples), size))


def bench_writing(options: InfluxOptions, count: int) -> None:
    now = datetime.fromtimestamp(1_770_000_000 + count, UTC)
    samples = [decode(topic, payload, now=now) for topic, payload in payloads(count)]
    print(f"{count} cpu messages of 13 values, CPU µs of this process per message")
    for size in _BATCHES:
        encoder = Encoder()
        before = time.process_time()
        for batch in batches(samples, size):
            encoder.encode((batch,))
        encoding = time.process_time() - before
        with open_writer(options, retention=None, rollup_retention=None) as writer:
            wall, before = time.perf_counter(), time.process_time()
            stored = sum(writer.write(batch).rows for batch in batches(samples, size))
            cpu, wall = time.process_time() - before, time.perf_counter() - wall
        print(
            f"  batches of {size:5}: encode {encoding / count * 1e6:.2f}, whole write {cpu / count * 1e6:.2f}; "
            f"{stored / wall:,.0f} messages/s with the server on the same CPUs"
        )


def fill(options: InfluxOptions, count: int) -> None:
    now = datetime.fromtimestamp(1_770_000_000 + count, UTC)
    with open_writer(options, retention=None, rollup_retention=None) as writer:
        for batch in batches([decode(topic, payload, now=now) for topic, payload in payloads(count)], _CHUNK):
            writer.write(batch)


def export(options: InfluxOptions) -> None:
    """Export everything to nowhere and print what it cost; the process of `--export`."""
    query = RowQuery(table="cpu", start=0, end=10**10)
    rows = 0

    def advance(number: int) -> None:
        nonlocal rows
        rows += number

    with open_reader(options) as reader, Path(os.devnull).open("w", encoding="utf-8") as sink:
        idle = peak_memory()
        wall, before = time.perf_counter(), time.process_time()
        export_csv(reader, query, sink, advance)
        cpu, wall = time.process_time() - before, time.perf_counter() - wall
        peak = peak_memory()
        reading = time.process_time()
        read = sum(len(batch) for batch in reader.rows(query))
        reading = time.process_time() - reading
    print(f"export of {rows:,} rows to CSV: {cpu:.1f} s of CPU, of which reading {reading:.1f} ({read:,} rows)")
    print(f"  {wall:.1f} s with the server on the same CPUs; peak memory {peak:.0f} MB, {idle:.0f} MB before it")


def peak_memory() -> float:
    """Return MB. `getrusage` would say that of the parent, too."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main(count: int, rows: int) -> None:
    with server() as (url, token, org):
        bench_writing(InfluxOptions(url=url, token=token, org=org, bucket="bench"), count)
        name = "bench-export"
        options = InfluxOptions(url=url, token=token, org=org, bucket=name)
        # In a process of its own, too, so that memory for a million samples is not what is measured.
        for step in ("--fill", "--export"):
            subprocess.run(
                [sys.executable, __file__, step, str(rows)],
                check=True,
                input=json.dumps({"url": options.url, "token": token, "org": org, "bucket": name}),
                text=True,
            )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--fill", rows]:
            fill(InfluxOptions(**json.load(sys.stdin)), int(rows))
        case ["--export", _]:
            export(InfluxOptions(**json.load(sys.stdin)))
        case [*numbers]:
            main(*(int(number) for number in numbers), *(100_000, 1_000_000)[len(numbers) :])
