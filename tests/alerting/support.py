"""Messages, batches and rules for the tests of the role."""

from collections.abc import Iterable
from typing import Any

from hostpulse.bus.codec import encode
from hostpulse.bus.messages import SUBSYSTEMS
from hostpulse.bus.mqtt import Batch
from hostpulse.bus.topics import Topics
from hostpulse.consumer.alerting.service import RuleText

from .conftest import NOW

RULES = RuleText(
    "test.toml",
    """
[rule.busy]
metric = "cpu.load_average_1m"
for = "10s"
recover = "10s"
warning = { above = 4, clear = 3 }
critical = { above = 8, clear = 6 }
summary = "{host} has a load of {value}"

[rule.disk_full]
metric = "disk_mount.used_percent"
recover = "0s"
warning = { above = 90, clear = 85 }

[rule.host_silent]
metric = "host.heartbeat"
absent = "1m"
only_if = { field = "has_battery", equals = false }
recover = "0s"
summary = "{host} has said nothing for {value}"
""",
)

TOPICS = Topics()


def message(
    subsystem: str,
    second: float,
    *,
    host: str = "web-1",
    sequence: int | None = None,
    interval: float = 5.0,
    start: float = NOW,
    **fields: Any,
) -> tuple[str, bytes]:
    """Return topic and payload of what is sampled some seconds after the start; its number follows from that."""
    payload = encode(
        SUBSYSTEMS[subsystem](**fields),
        host=host,
        subsystem=subsystem,
        timestamp=start + second,
        sequence=round(second * 10) + 1 if sequence is None else sequence,
        session=start,
        interval=interval,
    )
    return TOPICS.sample(host, subsystem), payload


def load(second: float, value: float, **changes: Any) -> tuple[str, bytes]:
    """Return a message about the load."""
    return message("cpu", second, load_average_1m=value, **changes)


def batch(messages: Iterable[tuple[str, bytes]], retained: Iterable[int] = ()) -> Batch:
    pairs = list(messages)
    return Batch([topic.encode() for topic, _ in pairs], [payload for _, payload in pairs], set(retained))
