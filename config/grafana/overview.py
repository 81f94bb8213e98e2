"""The dashboard of all hosts."""

from typing import Any

from .flux import field_of, matching, tag_values
from .host import UID as HOST_UID
from .panels import Column, Line, Row, Word, bars, dashboard, graph, table, variable

__all__ = ["TO_HOST", "UID", "overview"]

UID = "hostpulse-overview"

TO_HOST = f"/d/{HOST_UID}?var-host=${{__value.raw:percentencode}}&${{__url_time_range}}"
"""Leads from a column of hosts to the dashboard of one."""

_ONLINE = {"1": Word("green", "online"), "0": Word("red", "offline")}

# Columns of the table of hosts: table and field of the contract. Where a host has several, the highest one counts.
_COLUMNS = {
    "cpu_percent": ("cpu", "utilization_percent"),
    "memory_percent": ("memory", "used_percent"),
    "mount_percent": ("disk_mount", "used_percent"),
    "hottest_celsius": ("sensors_temperature", "temperature_celsius"),
    "load": ("cpu", "load_average_1m"),
    "uptime_seconds": ("system", "uptime_seconds"),
}

# A host may be silent for longer than the range, and the last change of its `status` long ago: both are looked for in
# all that is kept, which is cheap, because the last value of few series is asked for. `since` is a function because
# InfluxDB reads everything of a `from` that several filters share. What consumers say (of a host's alerts, and of
# themselves) is no sign of its publisher.
_HOSTS = """\
since = (start) => from(bucket: v.defaultBucket)
    |> range(start: start, stop: v.timeRangeStop)
column = (tables=<-, name) => tables
    |> group(columns: ["host"])
    |> max()
    |> keep(columns: ["host", "_value"])
    |> set(key: "column", value: name)

union(tables: [
    since(start: 1970-01-01T00:00:00Z)
        |> filter(fn: (r) => r._measurement == "hostpulse_host" and r._field == "online" and {hosts})
        |> last()
        |> column(name: "online"),
    since(start: 1970-01-01T00:00:00Z)
        |> filter(fn: (r) => r._field == "sequence" and {hosts})
        |> filter(fn: (r) => r._measurement != "event" and r._measurement != "consumer")
        |> last()
        |> map(fn: (r) => ({{r with _value: float(v: int(v: r._time)) / 1000000.0}}))
        |> column(name: "last_seen"),
{columns}
])
    |> group()
    |> pivot(rowKey: ["host"], columnKey: ["column"], valueColumn: "_value")
    |> sort(columns: ["host"])
"""

_COLUMN = """\
    since(start: v.timeRangeStart)
        |> filter(fn: (r) => r._measurement == "{table}" and r._field == "{field}" and {hosts})
        |> last()
        |> column(name: "{name}"),"""

SILENT = """\
stop = v.timeRangeStop

from(bucket: v.defaultBucket)
    |> range(start: 1970-01-01T00:00:00Z, stop: stop)
    |> filter(fn: (r) => r._field == "interval" and {hosts})
    |> filter(fn: (r) => r._measurement != "event" and r._measurement != "consumer")
    |> last()
    |> map(fn: (r) => ({{
        host: r.host,
        subsystem: r._measurement,
        interval_seconds: r._value,
        last_seen: r._time,
        silent_seconds: float(v: int(v: stop) - int(v: r._time)) / 1000000000.0,
    }}))
    |> group(columns: ["host"])
    |> sort(columns: ["last_seen"])
    |> last(column: "host")
    |> group()
    |> filter(fn: (r) => r.silent_seconds > 30.0 + 3.0 * r.interval_seconds)
    |> sort(columns: ["silent_seconds"], desc: true)
"""


def hosts_query() -> str:
    """Return the query of the table of hosts."""
    hosts = matching("host")
    columns = [
        _COLUMN.format(name=name, table=table, field=field_of(table, field).name, hosts=hosts)
        for name, (table, field) in _COLUMNS.items()
    ]
    return _HOSTS.format(hosts=hosts, columns="\n".join(columns))


def overview() -> dict[str, Any]:
    """Return the dashboard."""
    return dashboard(
        UID,
        "hostpulse: overview",
        [
            Row(
                "",
                [
                    table(
                        "Hosts",
                        [
                            Column("host", "host", link=TO_HOST),
                            Column("online", "online", words=_ONLINE, width=80),
                            Column("cpu_percent", "CPU", unit="percent", bar=True, limits=(80, 95)),
                            Column("memory_percent", "memory", unit="percent", bar=True, limits=(85, 95)),
                            Column("mount_percent", "fullest file system", unit="percent", bar=True, limits=(85, 95)),
                            Column("hottest_celsius", "hottest sensor", unit="celsius", limits=(80, 95), width=130),
                            Column("load", "load", unit="short", width=80),
                            Column("uptime_seconds", "up for", unit="s", width=110),
                            Column("last_seen", "last seen", unit="dateTimeFromNow", width=150),
                        ],
                        hosts_query(),
                        description="The last values of each host in the range. A host leads to its own dashboard.",
                        size=(24, 9),
                    ),
                    graph("CPU", Line("cpu", "utilization_percent", "{host}"), highest=100),
                    graph("Memory", Line("memory", "used_percent", "{host}"), highest=100),
                    table(
                        "Hosts that went silent",
                        [
                            Column("host", "host", link=TO_HOST),
                            Column("last_seen", "last seen", unit="dateTimeAsLocal", width=170),
                            Column("silent_seconds", "silent for", unit="s", limits=(0, 300), width=110),
                            Column("subsystem", "its last message", width=130),
                        ],
                        SILENT.format(hosts=matching("host")),
                        description=(
                            "Hosts that have history and said nothing for more than three of the intervals that they "
                            "announced, and half a minute."
                        ),
                        size=(8, 9),
                    ),
                    bars(
                        "Fullest file systems",
                        Line("disk_mount", "used_percent", "{host} {mount}"),
                        limits=(85, 95),
                        size=(8, 9),
                        most=10,
                    ),
                    bars(
                        "Hottest sensors",
                        Line("sensors_temperature", "temperature_celsius", "{host} {sensor}"),
                        limits=(80, 95),
                        size=(8, 9),
                        most=10,
                    ),
                    graph(
                        "Network",
                        Line("network", "received_bytes_per_second", "{host} received"),
                        Line("network", "sent_bytes_per_second", "{host} sent", down=True),
                        size=(8, 8),
                    ),
                    graph(
                        "Disks",
                        Line("disk", "read_bytes_per_second", "{host} read"),
                        Line("disk", "write_bytes_per_second", "{host} write", down=True),
                        size=(8, 8),
                    ),
                    graph("Load, 1 minute", Line("cpu", "load_average_1m", "{host}"), size=(8, 8)),
                ],
            )
        ],
        variables=[variable("host", "Host", tag_values("host"))],
        description="All hosts at a glance.",
    )
