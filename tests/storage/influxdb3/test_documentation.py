"""The queries in the page about InfluxDB."""

import re
import time
from collections.abc import Callable
from pathlib import Path

from hostpulse.bus.codec import Sample
from hostpulse.bus.messages import CpuCore, DiskMount
from hostpulse.consumer.storage.influxdb import InfluxOptions, InfluxWriter

from ...influxdb3 import Influx3Server

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "influxdb.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)


def test_every_query_in_sql_runs_and_finds_what_it_says(
    influx3_server: Influx3Server,
    influx3_options: InfluxOptions,
    influx3_writer: InfluxWriter,
    sample: Callable[..., Sample],
) -> None:
    now = round(time.time()) * 1000
    samples = []
    for number, age in enumerate(range(1800, 0, -10)):
        cores = {"0": CpuCore(utilization_percent=10.0), "1": CpuCore(utilization_percent=90.0)}
        mounts = {"/": DiskMount(used_percent=40.0), "/var": DiskMount(used_percent=70.0 - age / 100)}
        samples += [
            sample("cpu", now - age * 1000, sequence=number + 1, utilization_percent=50.0, core=cores),
            sample("disk", now - age * 1000, sequence=number + 1, mount=mounts),
        ]
    happened = [("fired", "disk_full"), ("repeated", "disk_full"), ("fired", "cpu_hot"), ("fired", "disk_full")]
    for number, (kind, rule) in enumerate(happened):
        samples.append(sample("event", now - 72_000_000 + number, sequence=number + 1, kind=kind, rule=rule))
    assert influx3_writer.write(samples).rejected == ()
    minutes, cores_found, mounts_found, rules = (influx3_server.rows(influx3_options.bucket, text) for text in QUERIES)
    assert 30 <= len(minutes) <= 31
    assert {(row["host"], row["percent"]) for row in minutes} == {("alpha", 50.0)}
    assert [(row["core"], row["percent"]) for row in cores_found] == [("1", 90.0), ("0", 10.0)]
    assert [(row["mount"], row["percent"]) for row in mounts_found] == [("/var", 69.9), ("/", 40.0)]
    assert rules == [{"rule": "cpu_hot", "fired": 1}, {"rule": "disk_full", "fired": 2}]
