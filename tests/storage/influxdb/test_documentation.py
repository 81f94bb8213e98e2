import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from influxdb_client.client.write_api import SYNCHRONOUS

from hostpulse.bus.codec import Sample
from hostpulse.bus.messages import TABLES, CpuCore, DiskMount, NetworkInterface, SensorsTemperature
from hostpulse.consumer.storage.influxdb import InfluxOptions, InfluxWriter

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "influxdb.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"^\d+\. ([^\n]*)\n\n```flux\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)
HOUR = 3600


def measurements() -> str:
    """Return the table of measurements as it has to stand in the page."""
    lines = ["| measurement | tags | fields |", "|---|---|---|"]
    for table in TABLES.values():
        tags = "`host`" if table.key is None else f"`host`, `{table.key}`"
        fields = ", ".join(f"`{field.name}`" + (" (text)" if field.type is str else "") for field in table.fields)
        lines.append(f"| `{table.name}` | {tags} | {fields or 'none'} |")
    return "\n".join(lines)


def test_the_page_has_every_measurement() -> None:
    assert f"<!-- measurements -->\n{measurements()}\n<!-- /measurements -->" in PAGE


@pytest.fixture
def options(influx_server: Any, influx_options: InfluxOptions, sample: Callable[..., Sample]) -> InfluxOptions:
    now = round(time.time()) * 1000
    samples = []
    for number, age in enumerate(range(1800, 0, -10)):
        moment = now - age * 1000
        interface = NetworkInterface(received_bytes_per_second=125_000, received_bytes=number % 100 * 1000)
        samples += [
            sample(
                "cpu",
                moment,
                sequence=number + 1 + (number > 90),
                utilization_percent=50.0,
                temperature_celsius=60.0,
                core={"0": CpuCore(utilization_percent=10.0), "1": CpuCore(utilization_percent=90.0)},
            ),
            sample("memory", moment, used_percent=95.0),
            sample("disk", moment, mount={"/": DiskMount(used_percent=40.0), "/var": DiskMount(used_percent=70.0)}),
            sample("network", moment, interface={"eth0": interface}),
            sample("sensors", moment, temperature={"cpu": SensorsTemperature(temperature_celsius=float(number))}),
        ]
    happened = [("fired", "disk_full"), ("repeated", "disk_full"), ("fired", "cpu_hot"), ("fired", "disk_full")]
    for number, (kind, rule) in enumerate(happened):
        for host in ("alpha", "beta"):
            moment = now - 20 * HOUR * 1000 + number
            samples.append(sample("event", moment, host, number + 1, kind=kind, rule=rule, value=1.0, told=True))
    with InfluxWriter(influx_options, retention=None, rollup_retention=None) as writer:
        assert writer.write(samples).rejected == ()
    minutes = b"cpu,host=alpha,aggregate=mean utilization_percent=50 %d" % (now - HOUR * 1000)
    with influx_server.client() as client, client.write_api(write_options=SYNCHRONOUS) as api:
        api.write(influx_options.rollup_bucket, record=minutes, write_precision="ms")
    return influx_options


def test_every_query_runs_and_finds_what_it_says(options: InfluxOptions, influx_server: Any) -> None:
    assert len(QUERIES) == 11
    found: list[list[dict[str, Any]]] = []
    with influx_server.client() as client:
        for _, text in QUERIES:
            query = text.replace('"hostpulse"', f'"{options.bucket}"')
            query = query.replace('"hostpulse_minutes"', f'"{options.rollup_bucket}"')
            tables = client.query_api().query(query)
            found.append([record.values for table in tables for record in table.records])
    values = [[row.get("_value") for row in rows] for rows in found]
    assert len(values[0]) >= 30
    assert set(values[0]) == {50.0}
    assert [(row["core"], row["_value"]) for row in found[1]] == [("1", 90.0)]
    assert values[2] == [95.0]
    assert [(row["mount"], row["_value"]) for row in found[3]] == [("/var", 70.0), ("/", 40.0)]
    assert set(values[4]) == {1.0}
    assert values[5] == [99_000.0 + 79_000.0]
    assert [(row["sensor"], row["_value"]) for row in found[6]] == [("cpu", 179.0)]
    assert len(found[7]) == 180
    assert (found[7][0]["utilization_percent"], found[7][0]["temperature_celsius"]) == (50.0, 60.0)
    assert values[8] == [2.0]
    assert values[9] == [50.0]
    assert sorted((row["rule"], row["fired"]) for row in found[10]) == [("cpu_hot", 2), ("disk_full", 4)]
