"""Rules, samples and engines for the tests."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hostpulse.bus.codec import Envelope, Sample
from hostpulse.bus.messages import SUBSYSTEMS
from hostpulse.config.rules import DEFAULT_RULES_FILE
from hostpulse.consumer.alerts import Rule, Source, load_rules, parse_source
from hostpulse.consumer.alerts.cases import CaseFile, load_cases

FOLDER = Path(__file__).parent
START = 1_780_000_000.0
CASE_FILES = sorted(FOLDER.glob("*.toml"))


def defaults() -> Source:
    return parse_source("config/alerts.toml", DEFAULT_RULES_FILE.read_text(encoding="utf-8"))


def rules(text: str) -> tuple[Rule, ...]:
    """Return the rules in a text, without the default ones."""
    return load_rules([parse_source("test.toml", text)])


def case_file(path: Path) -> tuple[CaseFile, tuple[Rule, ...]]:
    """Return the tests in a file, and the rules that they are about."""
    file = load_cases(path.name, path.read_text(encoding="utf-8"))
    return file, load_rules([*([defaults()] if file.defaults else []), file.own])


def sample(
    subsystem: str,
    seconds: float,
    *,
    host: str = "h1",
    sequence: int | None = None,
    session: float = 0.0,
    interval: float = 10.0,
    **fields: Any,
) -> Sample:
    """Return a sample of some seconds after the start; its number follows from that unless it is given."""
    envelope = Envelope(
        v=1,
        host=host,
        subsystem=subsystem,
        timestamp=datetime.fromtimestamp(START + seconds, UTC),
        sequence=round(seconds * 10) + 1 if sequence is None else sequence,
        session=datetime.fromtimestamp(START + session, UTC),
        interval=interval,
    )
    return Sample(envelope, SUBSYSTEMS[subsystem](**fields))


EVERY_KIND = rules(
    """
    [rule.silent]
    metric = "host.heartbeat"
    absent = "1m"
    recover = "0s"
    [rule.hot]
    metric = "cpu.temperature_celsius"
    warning = { above = 80, clear = 70, for = "20s" }
    critical = { above = 90, clear = 85 }
    recover = "20s"
    repeat = "2m"
    inhibited_by = ["silent"]
    [rule.hot_on_average]
    metric = "cpu.temperature_celsius"
    reduce = "mean"
    window = "1m"
    warning = { above = 75 }
    recover = "10s"
    no_data = "ok"
    inhibited_by = ["hot"]
    [rule.full]
    metric = "disk_mount.used_percent"
    warning = { above = 80 }
    critical = { above = { field = "inodes_used_percent", add = 30, else = 95 } }
    recover = "0s"
    [rule.read_only]
    metric = "disk_mount.state"
    critical = { equals = "read_only", changed_from = "ok" }
    no_data = "critical"
    [rule.full_soon]
    metric = "disk_mount.available_bytes"
    reduce = "eta"
    window = "2m"
    warning = { below = 300 }
    [rule.drops]
    metric = "publisher.dropped_messages"
    reduce = "increase"
    window = "1m"
    warning = { above = 3 }
    """
)
"""Rules that use everything that a rule can."""
