"""The dashboard of one host."""

from typing import Any

from .flux import latest, tag_values
from .panels import Column, Line, Row, Word, bars, dashboard, graph, heat, reading, table, variable

__all__ = ["STATES", "UID", "host"]

UID = "hostpulse-host"
STATES = {
    "ok": Word("green"),
    "nothing": Word("text"),
    "asleep": Word("text"),
    "stalled": Word("orange"),
    "read_only": Word("orange"),
    "failed": Word("red"),
    "lost": Word("red"),
    "unreadable": Word("red"),
    "unsupported": Word("text"),
    "disabled": Word("text"),
    "no_permission": Word("text"),
}
"""Colours of what collectors, file systems, GPUs and drives say about themselves."""

_HEALTHY = {"1": Word("green", "yes"), "0": Word("red", "no")}

_MOUNTS = ("host", "mount")
_DEVICES = ("host", "device")
_INTERFACES = ("host", "interface")


def _now() -> Row:
    return Row(
        "",
        [
            reading("CPU", "cpu", "utilization_percent", limits=(80, 95)),
            reading("Memory", "memory", "used_percent", limits=(85, 95)),
            reading("Swap", "memory", "swap_used_percent", limits=(50, 80)),
            reading("Load, 1 minute", "cpu", "load_average_1m"),
            reading("CPU temperature", "cpu", "temperature_celsius", limits=(80, 95)),
            reading("Battery", "battery", "charge_percent", limits=(30, 15), falling=True),
            reading("Processes", "system", "processes"),
            reading("Up for", "system", "uptime_seconds"),
        ],
    )


def _cpu() -> Row:
    return Row(
        "CPU",
        [
            graph(
                "CPU time",
                Line("cpu", "user_percent", "programs"),
                Line("cpu", "system_percent", "kernel"),
                Line("cpu", "interrupt_percent", "interrupts"),
                Line("cpu", "iowait_percent", "waiting for IO"),
                Line("cpu", "steal_percent", "stolen"),
                stacked=True,
                highest=100,
            ),
            heat("Each CPU", Line("cpu_core", "utilization_percent", "{core}")),
            graph(
                "Load",
                Line("cpu", "load_average_1m", "1 minute"),
                Line("cpu", "load_average_5m", "5 minutes"),
                Line("cpu", "load_average_15m", "15 minutes"),
                size=(6, 7),
            ),
            graph("Clock", Line("cpu", "frequency_hertz", "mean of all CPUs"), size=(6, 7)),
            graph(
                "Throttled", Line("cpu", "throttled_percent", "slowed down", function="max"), highest=100, size=(6, 7)
            ),
            graph(
                "Pressure",
                Line("cpu", "pressure_some_percent", "CPU, some wait"),
                Line("memory", "pressure_some_percent", "memory, some wait"),
                Line("memory", "pressure_full_percent", "memory, all wait"),
                Line("disk", "pressure_some_percent", "IO, some wait"),
                Line("disk", "pressure_full_percent", "IO, all wait"),
                size=(6, 7),
            ),
        ],
    )


def _memory() -> Row:
    return Row(
        "Memory",
        [
            graph(
                "Memory",
                Line("memory", "used_bytes", "used"),
                Line("memory", "cached_bytes", "cache"),
                Line("memory", "buffers_bytes", "buffers"),
                Line("memory", "free_bytes", "free"),
                Line("memory", "total_bytes", "total"),
                size=(8, 8),
            ),
            graph(
                "Swap",
                Line("memory", "swap_used_bytes", "used"),
                Line("memory", "swap_total_bytes", "total"),
                size=(8, 8),
            ),
            graph(
                "Swapping",
                Line("memory", "swap_in_bytes_per_second", "read back"),
                Line("memory", "swap_out_bytes_per_second", "written", down=True),
                size=(8, 8),
            ),
        ],
    )


def _disks() -> Row:
    return Row(
        "Disks and file systems",
        [
            graph(
                "Throughput",
                Line("disk_device", "read_bytes_per_second", "{device} read"),
                Line("disk_device", "write_bytes_per_second", "{device} write", down=True),
                variables=_DEVICES,
                size=(8, 8),
            ),
            graph(
                "Latency",
                Line("disk_device", "read_latency_seconds", "{device} read"),
                Line("disk_device", "write_latency_seconds", "{device} write"),
                variables=_DEVICES,
                size=(8, 8),
            ),
            graph(
                "Busy",
                Line("disk_device", "busy_percent", "{device}"),
                variables=_DEVICES,
                highest=100,
                size=(8, 8),
            ),
            bars(
                "File systems",
                Line("disk_mount", "used_percent", "{mount}"),
                variables=_MOUNTS,
                limits=(85, 95),
                size=(8, 9),
            ),
            graph(
                "Space in use",
                Line("disk_mount", "used_percent", "{mount}"),
                variables=_MOUNTS,
                limits=(85, 95),
                highest=100,
                size=(8, 9),
            ),
            table(
                "What is mounted",
                [
                    Column("mount", "mount"),
                    Column("state", "state", words=STATES, width=90),
                    Column("device", "device"),
                    Column("file_system", "type", width=80),
                    Column("total_bytes", "size", unit="bytes", width=90),
                    Column("available_bytes", "free", unit="bytes", width=90),
                    Column("inodes_used_percent", "files", unit="percent", limits=(85, 95), width=80),
                ],
                latest("disk_mount", "total_bytes", "available_bytes", "inodes_used_percent", variables=_MOUNTS),
                latest("disk_mount", "state", "device", "file_system", variables=_MOUNTS),
                description="Each file system as it was last seen in the range. files: in percent of what it can hold.",
                size=(8, 9),
            ),
        ],
    )


def _drives() -> Row:
    return Row(
        "Health of drives",
        [
            reading("Failing drives", "smart", "failing_drives", limits=(1, 1), size=(3, 9)),
            table(
                "Drives",
                [
                    Column("drive", "serial number", width=170),
                    Column("model", "model"),
                    Column("device", "device", width=80),
                    Column("state", "state", words=STATES, width=100),
                    Column("healthy", "well", words=_HEALTHY, width=60),
                    Column("temperature_celsius", "heat", unit="celsius", width=80),
                    Column("wear_percent", "worn", unit="percent", limits=(80, 100), width=80),
                    Column("available_spare_percent", "spare", unit="percent", width=80),
                    Column("media_errors", "errors", limits=(1, None), width=80),
                    Column("pending_sectors", "unreadable", limits=(1, None), width=90),
                    Column("reallocated_sectors", "replaced", width=80),
                    Column("power_on_seconds", "in use", unit="s", width=100),
                ],
                latest(
                    "smart_drive",
                    "healthy",
                    "temperature_celsius",
                    "wear_percent",
                    "available_spare_percent",
                    "media_errors",
                    "pending_sectors",
                    "reallocated_sectors",
                    "power_on_seconds",
                ),
                latest("smart_drive", "state", "model", "device"),
                description="Each drive as it was last asked in the range, which is done every half hour.",
                size=(15, 9),
            ),
            graph(
                "Temperatures of drives",
                Line("smart_drive", "temperature_celsius", "{drive}", function="max"),
                size=(6, 9),
            ),
        ],
    )


def _network() -> Row:
    return Row(
        "Network",
        [
            graph(
                "Traffic",
                Line("network_interface", "received_bytes_per_second", "{interface} received"),
                Line("network_interface", "sent_bytes_per_second", "{interface} sent", down=True),
                variables=_INTERFACES,
            ),
            graph(
                "Errors and drops",
                Line("network_interface", "received_errors_per_second", "{interface} errors received"),
                Line("network_interface", "received_drops_per_second", "{interface} drops received"),
                Line("network_interface", "sent_errors_per_second", "{interface} errors sent", down=True),
                Line("network_interface", "sent_drops_per_second", "{interface} drops sent", down=True),
                variables=_INTERFACES,
                size=(6, 8),
            ),
            graph(
                "Sockets",
                Line("network", "tcp_connections", "TCP"),
                Line("network", "tcp_time_wait", "TCP, closed"),
                Line("network", "udp_sockets", "UDP"),
                size=(6, 8),
            ),
        ],
    )


def _sensors() -> Row:
    return Row(
        "Sensors and power",
        [
            graph(
                "Temperatures",
                Line("sensors_temperature", "temperature_celsius", "{sensor}", function="max"),
                size=(9, 8),
            ),
            graph("Fans", Line("sensors_fan", "speed_rpm", "{fan}"), size=(5, 8)),
            graph("Batteries", Line("battery_pack", "charge_percent", "{pack}"), highest=100, size=(5, 8)),
            graph("Power of batteries", Line("battery_pack", "power_watts", "{pack}"), size=(5, 8)),
        ],
    )


def _publisher() -> Row:
    return Row(
        "hostpulse on this host",
        [
            graph(
                "Messages that wait for the broker",
                Line("publisher", "outbox_messages", "waiting", function="max"),
                size=(6, 8),
            ),
            graph(
                "Age of the oldest of them",
                Line("publisher", "outbox_age_seconds", "age", function="max"),
                limits=(60, 600),
                size=(6, 8),
            ),
            graph("Its CPU time", Line("publisher", "cpu_percent", "publisher"), size=(6, 8)),
            table(
                "Collectors",
                [
                    Column("collector", "collector"),
                    Column("state", "state", words=STATES, width=90),
                    Column("duration_seconds", "took", unit="s", limits=(1, 5), width=90),
                ],
                latest("publisher_collector", "duration_seconds"),
                latest("publisher_collector", "state"),
                description="Each collector: how its last reading went and how long it took.",
                size=(6, 8),
            ),
        ],
    )


def _consumer() -> Row:
    return Row(
        "Consumers on this host",
        [
            graph(
                "Messages that are missing",
                Line("consumer", "missing_messages", "missing", function="max"),
                Line("consumer", "lost_messages", "given up", function="max"),
                size=(8, 8),
            ),
            graph(
                "How far behind storing is",
                Line("consumer_member", "lag_seconds", "{member}", function="max"),
                limits=(60, 600),
                size=(8, 8),
            ),
            graph("CPU time of consumers", Line("consumer_member", "cpu_percent", "{member}"), size=(8, 8)),
        ],
    )


def host() -> dict[str, Any]:
    """Return the dashboard."""
    return dashboard(
        UID,
        "hostpulse: one host",
        [_now(), _cpu(), _memory(), _disks(), _drives(), _network(), _sensors(), _publisher(), _consumer()],
        variables=[
            variable("host", "Host", tag_values("host"), several=False),
            variable("mount", "File system", tag_values("mount", "disk_mount", variables=("host",))),
            variable("device", "Disk", tag_values("device", "disk_device", variables=("host",))),
            variable("interface", "Interface", tag_values("interface", "network_interface", variables=("host",))),
        ],
        description="Everything that one machine says about itself.",
    )
