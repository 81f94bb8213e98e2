"""The dashboard of GPUs."""

from typing import Any

from .flux import latest, tag_values
from .host import STATES
from .panels import Column, Line, Row, bars, dashboard, graph, table, variable

__all__ = ["UID", "gpus"]

UID = "hostpulse-gpus"

_GPUS = ("host", "gpu")
_LEGEND = "{host} {gpu}"


def _now() -> Row:
    return Row(
        "",
        [
            table(
                "GPUs",
                [
                    Column("host", "host", width=140),
                    Column("gpu", "GPU"),
                    Column("name", "model"),
                    Column("vendor", "vendor", width=80),
                    Column("state", "state", words=STATES, width=80),
                    Column("utilization_percent", "busy", unit="percent", bar=True, width=130),
                    Column("memory_used_percent", "memory", unit="percent", bar=True, width=130),
                    Column("temperature_celsius", "temperature", unit="celsius", limits=(80, 90), width=110),
                    Column("power_watts", "power", unit="watt", width=90),
                    Column("power_limit_watts", "of at most", unit="watt", width=90),
                    Column("throttled_percent", "throttled", unit="percent", limits=(1, 20), width=90),
                    Column("throttle_reasons", "because of"),
                ],
                latest(
                    "gpu_device",
                    "utilization_percent",
                    "memory_used_percent",
                    "temperature_celsius",
                    "power_watts",
                    "power_limit_watts",
                    "throttled_percent",
                    variables=_GPUS,
                ),
                latest("gpu_device", "name", "vendor", "state", "throttle_reasons", variables=_GPUS),
                description="Each GPU as it was last seen in the range.",
                size=(24, 6),
            )
        ],
    )


def _load() -> Row:
    return Row(
        "Load",
        [
            graph(
                "Utilization",
                Line("gpu_device", "utilization_percent", _LEGEND),
                variables=_GPUS,
                highest=100,
            ),
            bars(
                "Memory in use",
                Line("gpu_device", "memory_used_percent", _LEGEND),
                variables=_GPUS,
                limits=(90, 98),
                size=(4, 8),
            ),
            graph(
                "Memory",
                Line("gpu_device", "memory_used_bytes", _LEGEND),
                variables=_GPUS,
                size=(8, 8),
            ),
            graph(
                "Video",
                Line("gpu_device", "encoder_percent", f"{_LEGEND} encoder"),
                Line("gpu_device", "decoder_percent", f"{_LEGEND} decoder"),
                variables=_GPUS,
                highest=100,
                size=(8, 8),
            ),
            graph(
                "Memory traffic",
                Line("gpu_device", "memory_utilization_percent", _LEGEND),
                variables=_GPUS,
                highest=100,
                size=(8, 8),
            ),
            graph(
                "PCIe",
                Line("gpu_device", "pcie_received_bytes_per_second", f"{_LEGEND} received"),
                Line("gpu_device", "pcie_sent_bytes_per_second", f"{_LEGEND} sent", down=True),
                variables=_GPUS,
                size=(8, 8),
            ),
        ],
    )


def _heat() -> Row:
    return Row(
        "Heat and power",
        [
            graph(
                "Temperature",
                Line("gpu_device", "temperature_celsius", _LEGEND, function="max"),
                Line("gpu_device", "memory_temperature_celsius", f"{_LEGEND} memory", function="max"),
                Line("gpu_device", "slowdown_celsius", f"{_LEGEND} slows down", function="min"),
                variables=_GPUS,
            ),
            graph(
                "Power",
                Line("gpu_device", "power_watts", _LEGEND),
                Line("gpu_device", "power_limit_watts", f"{_LEGEND} limit"),
                variables=_GPUS,
            ),
            graph(
                "Throttled",
                Line("gpu_device", "throttled_percent", _LEGEND),
                variables=_GPUS,
                highest=100,
                size=(8, 8),
            ),
            graph(
                "Clocks",
                Line("gpu_device", "frequency_hertz", _LEGEND),
                Line("gpu_device", "memory_frequency_hertz", f"{_LEGEND} memory"),
                variables=_GPUS,
                size=(8, 8),
            ),
            graph(
                "Fans, as told",
                Line("gpu_device", "fan_percent", _LEGEND),
                variables=_GPUS,
                highest=100,
                size=(4, 8),
            ),
            graph(
                "Fans",
                Line("gpu_device", "fan_speed_rpm", _LEGEND),
                variables=_GPUS,
                size=(4, 8),
            ),
            graph("Power of all GPUs of a host", Line("gpu", "power_watts", "{host}"), size=(12, 7)),
        ],
    )


def gpus() -> dict[str, Any]:
    """Return the dashboard."""
    return dashboard(
        UID,
        "hostpulse: GPUs",
        [_now(), _load(), _heat()],
        variables=[
            variable("host", "Host", tag_values("host", "gpu_device")),
            variable("gpu", "GPU", tag_values("gpu", "gpu_device", variables=("host",))),
        ],
        description="Load, memory, heat and power of every GPU.",
    )
