"""What `hostpulse rules replay` says of a history is what the role said when it was live."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from hostpulse.bus.codec import Sample, decode
from hostpulse.bus.messages import DiskMount, PublisherCollector
from hostpulse.config.rules import DEFAULT_RULES_FILE
from hostpulse.consumer.alerting.journal import JOURNAL_FILE, Journal
from hostpulse.consumer.alerting.publication import Publication
from hostpulse.consumer.alerting.role import AlertRole
from hostpulse.consumer.alerts import Transition, load_rules, parse_source
from hostpulse.consumer.alerts.history import replay
from hostpulse.consumer.storage import RowQuery
from hostpulse.consumer.storage.embedded import EmbeddedReader, open_writer
from hostpulse.consumer.stores import HISTORY_FILE

from .conftest import NOW
from .support import TOPICS, batch, message

STEP = 5
END = 3 * 3600
TICK_SECONDS = 10  # of `replay`: what only the clock sees it sees that much later

RULES = load_rules(
    [
        parse_source("config/alerts.toml", DEFAULT_RULES_FILE.read_text(encoding="utf-8")),
        parse_source(
            "mine.toml",
            """
            [rule.disk_full]
            repeat = "1h"

            [rule.read_faults]
            metric = "memory.major_faults_per_second"
            reduce = "max"
            window = "2m"
            no_data = "ok"
            warning = { above = 1000 }
            """,
        ),
    ]
)

Message = tuple[str, bytes]


def messages(second: int) -> Iterator[Message]:
    """Yield what is sampled at a moment of three hours in which much goes wrong."""
    is_silent = 7000 <= second < 7600
    for host, shift in (("web-1", 0), ("büro 2", 300)):
        if is_silent and host == "web-1":
            continue
        moment = second - shift
        hot = 60.0 if not 1000 <= moment < 2400 else 98.0 if moment < 1500 else 104.0 if moment < 1900 else 95.0
        yield message("cpu", second, host=host, temperature_celsius=hot, load_average_1m=1.0)
        faults = 5000.0 if 3000 <= moment < 3200 else 2.0
        if not 3100 <= moment < 3500:
            yield message("memory", second, host=host, major_faults_per_second=faults, oom_kills=int(moment > 4000))
        if second % 30 == 0:
            yield from slowly(host, second, moment)


def slowly(host: str, second: int, moment: int) -> Iterator[Message]:
    mounts = {
        "/": DiskMount(used_percent=92.0 if 600 <= moment < 5000 else 70.0, available_bytes=1 << 30, state="ok"),
        "/srv": DiskMount(
            used_percent=98.5 if 5000 <= moment < 9000 else 20.0,
            available_bytes=1 << 40,
            state="read_only" if 2000 <= moment < 3000 else "ok",
        ),
    }
    yield message("disk", second, host=host, interval=30, mount=mounts)
    collector = {"gpu": PublisherCollector(state="stalled" if 8000 <= moment < 9000 else "ok")}
    yield message(
        "publisher", second, host=host, interval=30, collector=collector, dropped_messages=int(moment >= 6000)
    )


class Live:
    """A consumer whose clock is ours: the role, what it publishes, and the store that takes all of it.

    Args:
        directory: of the store and of the journal.
    """

    def __init__(self, directory: Path) -> None:
        self.now = NOW
        self._writer = open_writer(directory / HISTORY_FILE, retention=None, rollup_retention=None)
        journal = Journal(directory / JOURNAL_FILE)
        self._role = AlertRole(TOPICS, RULES, journal, wall=lambda: self.now, monotonic=lambda: self.now)
        self._publication = Publication(
            TOPICS, journal, alerts=self._role, publish=self._publish, unacknowledged=lambda: 0, wall=lambda: self.now
        )

    def run(self) -> None:
        """Let everything happen."""
        self._role.open()
        for second in range(END):
            self.now = NOW + second
            found = list(messages(second)) if second % STEP == 0 else []
            if found:
                self._writer.write([self._decode(*one) for one in found])
                self._role.take(batch(found))
            self._role.tick(listening=True)
            self._publication.advance()
        while self._publication.waiting:
            self._publication.advance()
        self._role.close()
        self._writer.close()

    def _publish(self, topic: str, payload: bytes, retain: bool) -> bool:  # noqa: FBT001  as the receiver is called
        if not retain:
            self._writer.write([self._decode(topic, payload)])
        return True

    def _decode(self, topic: str, payload: bytes) -> Sample:
        return decode(TOPICS.parse(topic), payload, now=datetime.fromtimestamp(self.now, UTC))


Said = tuple[str, str, str, str, str, bool, str, str]


def said(transition: Transition) -> Said:
    labels = ", ".join(f"{name}={key}" for name, key in transition.labels.items())
    return (
        transition.host,
        transition.rule,
        labels,
        transition.kind,
        transition.level,
        transition.told,
        transition.why,
        # How long a host has been silent is known to the second by the one, and to ten by the other.
        "" if transition.rule == "host_silent" else transition.summary,
    )


def stored(reader: EmbeddedReader) -> list[tuple[float, Said]]:
    """Return what the store has of events: the moment of which each tells, and what it says."""
    fields = ("rule", "labels", "kind", "level", "told", "why", "summary", "delay_seconds")
    query = RowQuery(table="event", start=NOW, end=NOW + END + 60, fields=fields)
    found: list[tuple[float, Said]] = []
    for rows in reader.rows(query):
        for timestamp, host, rule, labels, kind, level, told, why, summary, delay in rows:
            texts = ["" if one is None else str(one) for one in (host, rule, labels, kind, level, why, summary)]
            moment = float(timestamp or 0) / 1000 - float(delay or 0)
            sentence = "" if rule == "host_silent" else texts[6]
            found.append((moment, (*texts[:5], bool(told), texts[5], sentence)))  # type: ignore[arg-type]
    return sorted(found, key=lambda one: (one[1], one[0]))


def test_a_replay_says_what_was_said_live(tmp_path: Path) -> None:
    Live(tmp_path).run()
    with EmbeddedReader(tmp_path / HISTORY_FILE) as reader:
        live = stored(reader)
        replayed = sorted(
            ((one.moment, said(one)) for one in replay(RULES, reader, start=NOW, end=NOW + END)),
            key=lambda one: (one[1], one[0]),
        )
    assert [what for _, what in replayed] == [what for _, what in live]
    assert all(abs(one[0] - other[0]) <= TICK_SECONDS + 0.001 for one, other in zip(replayed, live, strict=True))
    rules = {what[1] for _, what in live}
    assert rules == {
        "collector_stalled",
        "cpu_hot",
        "disk_full",
        "file_system_read_only",
        "host_silent",
        "oom_kill",
        "outbox_dropping",
        "read_faults",
    }
    assert {what[3] for _, what in live} >= {"fired", "escalated", "eased", "resolved", "repeated", "no_data"}
