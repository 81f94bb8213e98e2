"""The dashboard of what rules told, and of what is beyond a sensible limit."""

from collections.abc import Sequence
from typing import Any

from .flux import condition_of, field_of, latest, matching, samples, tag_values
from .overview import SILENT, TO_HOST
from .panels import Column, Panel, Row, Word, dashboard, steps, table, variable

__all__ = ["UID", "alerts"]

UID = "hostpulse-alerts"

_HOSTS = matching("host")
_HOST = Column("host", "host", link=TO_HOST)

_MISSING = """\
import "date"

stop = v.timeRangeStop

from(bucket: v.defaultBucket)
    |> range(start: date.sub(d: 1h, from: stop), stop: stop)
    |> filter(fn: (r) => (r._field == "sequence" or r._field == "session") and {hosts})
    |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
    |> group(columns: ["host", "_measurement", "session"])
    |> reduce(
        identity: {{count: 0.0, first: 9007199254740992.0, last: 0.0}},
        fn: (r, accumulator) => ({{
            count: accumulator.count + 1.0,
            first: if r.sequence < accumulator.first then r.sequence else accumulator.first,
            last: if r.sequence > accumulator.last then r.sequence else accumulator.last,
        }}),
    )
    |> map(fn: (r) => ({{
        host: r.host,
        subsystem: r._measurement,
        messages: r.count,
        missing: r.last - r.first + 1.0 - r.count,
    }}))
    |> group()
    |> filter(fn: (r) => r.missing > 0.0)
    |> sort(columns: ["missing"], desc: true)
"""

_GROWN = """\
    |> aggregateWindow(every: 1m, fn: max, createEmpty: false)
    |> increase()
    |> last()
    |> filter(fn: (r) => r._value > 0.0)
    |> keep(columns: ["host", "_time", "_value"])
    |> rename(columns: {_value: "grown", _time: "last_seen"})
    |> group()
    |> sort(columns: ["grown"], desc: true)
"""


# An alert that goes on is told again every few hours, so its last transition is not long ago.
_FIRING = """\
import "date"

stop = v.timeRangeStop

from(bucket: v.defaultBucket)
    |> range(start: date.sub(d: 30d, from: stop), stop: stop)
    |> filter(fn: (r) => {condition})
    |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
    |> group(columns: ["host", "rule", "labels"])
    |> sort(columns: ["_time"])
    |> last(column: "level")
    |> group()
    |> filter(fn: (r) => r.level != "ok")
    |> sort(columns: ["_time"], desc: true)
    |> limit(n: 200)
    |> rename(columns: {{_time: "time"}})
"""

_TOLD = """\
    |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
    |> filter(fn: (r) => not exists r.why)
    |> group()
    |> sort(columns: ["_time"], desc: true)
    |> limit(n: 200)
    |> rename(columns: {_time: "time"})
"""

# What fired before the range counts as well. There is a point where the range begins and where it ends.
_COUNT = """\
import "date"

start = v.timeRangeStart
stop = v.timeRangeStop
firing = () => from(bucket: v.defaultBucket)
    |> range(start: date.sub(d: 30d, from: start), stop: stop)
    |> filter(fn: (r) => {condition})
    |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
    |> filter(fn: (r) => exists r.before and exists r.level)
    |> map(fn: (r) => ({{
        _time: r._time,
        host: r.host,
        _value: (if r.level == "ok" then 0 else 1) - (if r.before == "ok" then 0 else 1),
    }}))
    |> group(columns: ["host"])
    |> sort(columns: ["_time"])
    |> cumulativeSum()

union(tables: [
    firing() |> filter(fn: (r) => r._time < start) |> last() |> map(fn: (r) => ({{r with _time: start}})),
    firing() |> filter(fn: (r) => r._time >= start),
    firing() |> last() |> map(fn: (r) => ({{r with _time: date.sub(d: 1ms, from: stop)}})),
])
    |> group(columns: ["host"])
    |> sort(columns: ["_time"])
    |> range(start: start, stop: stop)
    |> aggregateWindow(every: v.windowPeriod, fn: last, createEmpty: false)
    |> keep(columns: ["_time", "_value", "host"])
"""


def _above(field: str, limit: float) -> str:
    return f'    |> filter(fn: (r) => r.{field} > {limit})\n    |> sort(columns: ["{field}"], desc: true)\n'


def _grown(name: str, field: str) -> str:
    found = field_of(name, field)
    return samples(f'r._measurement == "{name}" and r._field == "{found.name}" and {_HOSTS}') + _GROWN


def _list(title: str, description: str, columns: Sequence[Column], *queries: str, width: int = 8) -> Panel:
    return table(title, [_HOST, *columns], *queries, description=description, size=(width, 7))


_LEVELS = {"ok": Word("green"), "warning": Word("orange"), "critical": Word("red")}
_ALERT = [
    Column("time", "time", unit="dateTimeAsLocal", width=170),
    Column("level", "level", words=_LEVELS, width=90),
    Column("kind", "what", width=100),
    Column("rule", "rule"),
    Column("labels", "of several"),
    Column("summary", "summary"),
]


def _rules() -> list[Panel]:
    said = ["kind", "labels", "level", "rule", "summary"]
    return [
        _list(
            "Alerts that fire",
            "Alerts of the rules that are not ok at the end of the range, with what happened to them last.",
            _ALERT,
            _FIRING.format(condition=condition_of("event", said)),
            width=24,
        ),
        _list(
            "What was told",
            "What people were notified of in the range, the newest first. `hostpulse alerts history --all` shows the "
            "rest.",
            _ALERT,
            samples(condition_of("event", [*said, "why"])) + _TOLD,
            width=16,
        ),
        steps(
            "Number of alerts that fire",
            _COUNT.format(condition=condition_of("event", ["before", "level"])),
            legend="{host}",
            description="How many alerts of each host are not ok, told or not; counted from what happened to them "
            "within 30 days before the range, and in it.",
            size=(8, 7),
        ),
    ]


def _silence() -> list[Panel]:
    return [
        _list(
            "Silent hosts",
            "Nothing for more than three of the intervals that the host announced, and half a minute.",
            [
                Column("last_seen", "last seen", unit="dateTimeAsLocal", width=170),
                Column("silent_seconds", "silent for", unit="s", limits=(0, 300), width=110),
            ],
            SILENT.format(hosts=_HOSTS),
        ),
        _list(
            "Messages that are missing",
            "Numbers that were left out in the last hour of the range: what the broker or the outbox has lost.",
            [
                Column("subsystem", "subsystem"),
                Column("messages", "stored", unit="short", width=90),
                Column("missing", "missing", unit="short", limits=(1, 10), width=90),
            ],
            _MISSING.format(hosts=_HOSTS),
        ),
        _list(
            "Collectors that do not work",
            "stalled: does not answer; failed: cannot be read.",
            [
                Column("collector", "collector"),
                Column("state", "state", words={"stalled": Word("orange"), "failed": Word("red")}),
            ],
            latest(
                "publisher_collector",
                "state",
                then='    |> filter(fn: (r) => r.state != "ok" and r.state != "nothing")\n',
            ),
        ),
    ]


def _space() -> list[Panel]:
    return [
        _list(
            "Full file systems",
            "More than 85 % of the space in use.",
            [
                Column("mount", "mount"),
                Column("used_percent", "space", unit="percent", limits=(85, 95), width=90),
            ],
            latest("disk_mount", "used_percent", then=_above("used_percent", 85.0)),
        ),
        _list(
            "File systems out of files",
            "More than 85 % of the files that they can hold.",
            [
                Column("mount", "mount"),
                Column("inodes_used_percent", "files", unit="percent", limits=(85, 95), width=90),
            ],
            latest("disk_mount", "inodes_used_percent", then=_above("inodes_used_percent", 85.0)),
        ),
        _list(
            "File systems in trouble",
            "read_only, or stalled: the file system does not answer.",
            [
                Column("mount", "mount"),
                Column("state", "state", words={"read_only": Word("orange"), "stalled": Word("red")}),
            ],
            latest("disk_mount", "state", then='    |> filter(fn: (r) => r.state != "ok")\n'),
        ),
        _list(
            "Hosts short of memory",
            "More than 90 % of the memory in use.",
            [Column("used_percent", "memory", unit="percent", limits=(90, 95), width=90)],
            latest("memory", "used_percent", then=_above("used_percent", 90.0)),
        ),
        _list(
            "Processes killed for want of memory",
            "How many in the range.",
            [
                Column("grown", "killed", unit="short", limits=(1, 5), width=90),
            ],
            _grown("memory", "oom_kills"),
        ),
        _list(
            "Messages that publishers gave up",
            "How many were dropped in the range because the outbox was full.",
            [
                Column("grown", "dropped", unit="short", limits=(1, 100), width=90),
            ],
            _grown("publisher", "dropped_messages"),
        ),
    ]


# A sensor without limits of its own is hot from 90 degrees on.
_HOT = """\
    |> map(fn: (r) => ({
        host: r.host,
        sensor: r.sensor,
        temperature_celsius: r.temperature_celsius,
        limit_celsius:
            if exists r.high_celsius then
                r.high_celsius
            else if exists r.critical_celsius then
                r.critical_celsius - 10.0
            else
                90.0,
    }))
    |> map(fn: (r) => ({r with above_celsius: r.temperature_celsius - r.limit_celsius}))
    |> filter(fn: (r) => r.above_celsius >= 0.0)
    |> sort(columns: ["above_celsius"], desc: true)
"""

_HOT_GPU = """\
    |> map(fn: (r) => ({
        host: r.host,
        gpu: r.gpu,
        temperature_celsius: r.temperature_celsius,
        limit_celsius: if exists r.slowdown_celsius then r.slowdown_celsius - 5.0 else 90.0,
    }))
    |> filter(fn: (r) => r.temperature_celsius >= r.limit_celsius)
    |> sort(columns: ["temperature_celsius"], desc: true)
"""


def _heat() -> list[Panel]:
    return [
        _list(
            "Hot sensors",
            "At or above what the sensor itself calls too warm, or within 10 °C of what it calls dangerous; "
            "90 °C where it says neither.",
            [
                Column("sensor", "sensor"),
                Column("temperature_celsius", "temperature", unit="celsius", width=110),
                Column("limit_celsius", "limit", unit="celsius", width=80),
                Column("above_celsius", "above it", unit="celsius", limits=(0, 5), width=90),
            ],
            latest("sensors_temperature", "temperature_celsius", "high_celsius", "critical_celsius", then=_HOT),
        ),
        _list(
            "Hot GPUs",
            "Within 5 °C of where the GPU slows itself down; 90 °C where it does not say.",
            [
                Column("gpu", "GPU"),
                Column("temperature_celsius", "temperature", unit="celsius", width=110),
                Column("limit_celsius", "limit", unit="celsius", width=80),
            ],
            latest("gpu_device", "temperature_celsius", "slowdown_celsius", then=_HOT_GPU),
        ),
        _list(
            "Throttled GPUs",
            "Slowed down by heat or want of power.",
            [
                Column("gpu", "GPU"),
                Column("throttled_percent", "throttled", unit="percent", limits=(1, 20), width=90),
            ],
            latest("gpu_device", "throttled_percent", then=_above("throttled_percent", 0.0)),
        ),
        _list(
            "Lost GPUs",
            "They do not answer any more.",
            [Column("gpu", "GPU"), Column("state", "state", words={"lost": Word("red")}, width=90)],
            latest("gpu_device", "state", then='    |> filter(fn: (r) => r.state == "lost")\n'),
        ),
        _list(
            "Batteries that run out",
            "Less than 20 % while the machine does not run from the mains.",
            [Column("charge_percent", "charge", unit="percent", width=90)],
            latest(
                "battery",
                "charge_percent",
                "mains",
                then="    |> filter(fn: (r) => exists r.mains and r.mains == 0.0 and r.charge_percent < 20.0)\n",
            ),
        ),
    ]


def alerts() -> dict[str, Any]:
    """Return the dashboard."""
    return dashboard(
        UID,
        "hostpulse: alerts",
        [
            Row("Alerts of the rules", _rules()),
            Row("Silence", _silence()),
            Row("Space and memory", _space()),
            Row("Heat and power", _heat()),
        ],
        variables=[variable("host", "Host", tag_values("host"))],
        description="What rules told, and what is beyond a sensible limit at the end of the range. An empty panel is "
        "good news.",
        range_start="now-6h",
    )
