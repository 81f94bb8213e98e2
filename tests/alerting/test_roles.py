"""All roles in one process: the trouble of the alerts is not that of the store."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from hostpulse.bus.messages import DiskMount
from hostpulse.consumer.alerting.journal import JOURNAL_FILE
from hostpulse.consumer.alerting.service import AlertOptions
from hostpulse.consumer.roles import RolesOptions
from hostpulse.consumer.service import ConsumerOptions
from hostpulse.consumer.storage import NoHistoryError, RowQuery
from hostpulse.consumer.storage.embedded import EmbeddedReader
from hostpulse.consumer.stores import HISTORY_FILE

from ..brokers import Broker
from ..bus.clients import Feeder, eventually
from .support import RULES, message


class Consumer:
    """A consumer with every role, in a process of its own."""

    def __init__(self, broker: Broker, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        options = RolesOptions(
            store=ConsumerOptions(
                host="home",
                mqtt=broker.options("store"),
                data_dir=str(directory),
                heartbeat_file=str(directory / "heartbeat"),
                retention_seconds=86400,
                rollup_retention_seconds=86400,
            ),
            alerts=AlertOptions(host="home", mqtt=broker.options("alerts"), data_dir=str(directory), rules=(RULES,)),
        )
        self.directory = directory
        self.log = directory / "log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "hostpulse.consumer.roles"], stdin=subprocess.PIPE, stderr=log
            )
        assert self.process.stdin
        self.process.stdin.write(msgspec.json.encode(options))
        self.process.stdin.close()

    @property
    def output(self) -> str:
        return self.log.read_text()

    def events(self) -> list[object]:
        """Return the kinds of the events in the history."""
        query = RowQuery(table="event", start=0, end=10**10, fields=("kind",))
        try:
            with EmbeddedReader(self.directory / HISTORY_FILE) as reader:
                return [row[-1] for rows in reader.rows(query) for row in rows]
        except NoHistoryError:
            return []

    def end(self) -> None:
        self.process.terminate()
        assert self.process.wait(90) == 0
        assert "Traceback" not in self.output


class Host:
    """Says how full its disk is until the consumer has seen it: it may not have subscribed yet."""

    def __init__(self, feeder: Feeder, consumer: Consumer) -> None:
        self._feeder = feeder
        self._consumer = consumer
        self._start = round(time.time(), 3)
        self._sequence = 0

    def says(self, percent: float) -> None:
        self._sequence += 1
        topic, payload = message(
            "disk",
            time.time() - self._start,
            start=self._start,
            sequence=self._sequence,
            mount={"/": DiskMount(used_percent=percent)},
        )
        self._feeder.send([payload], topic=topic)

    def says_until_heard(self, percent: float, expected: list[object]) -> None:
        def heard() -> bool:
            self.says(percent)
            time.sleep(0.2)
            return self._consumer.events() == expected

        eventually(heard, seconds=60)


def test_what_happens_comes_back_into_the_history(broker: Broker, tmp_path: Path) -> None:
    consumer = Consumer(broker, tmp_path / "data")
    try:
        with Feeder(broker.options("web-1")) as feeder:
            host = Host(feeder, consumer)
            host.says_until_heard(95, ["fired"])
            host.says_until_heard(40, ["fired", "resolved"])
            host.says_until_heard(97, ["fired", "resolved", "fired"])
        eventually((tmp_path / "data" / "heartbeat").exists)
        assert consumer.output.count("connected to broker") == 1
    finally:
        consumer.end()


def test_a_journal_that_cannot_be_used_stops_no_storing(make_broker: Callable[..., Broker], tmp_path: Path) -> None:
    broker = make_broker("mosquitto")
    data = tmp_path / "data"
    data.mkdir()
    (data / JOURNAL_FILE).write_bytes(b"this is no database" * 1000)
    consumer = Consumer(broker, data)
    try:
        eventually(lambda: "ERROR alerts: " in consumer.output)
        with Feeder(broker.options("web-1")) as feeder, EmbeddedReader(data / HISTORY_FILE) as reader:
            host = Host(feeder, consumer)
            host.says(95)
            eventually(lambda: list(reader.rows(RowQuery(table="disk_mount", start=0, end=10**10))))
            assert "alerts.db cannot be used (file is not a database); it is damaged: move it away" in consumer.output
            (data / JOURNAL_FILE).unlink()
            host.says_until_heard(95, ["fired"])
    finally:
        consumer.end()


def test_a_store_that_cannot_be_opened_ends_all(make_broker: Callable[..., Broker], tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / HISTORY_FILE).write_bytes(b"this is no database" * 1000)
    consumer = Consumer(make_broker("mosquitto"), data)
    assert consumer.process.wait(90) == 1
    (line,) = consumer.output.splitlines()
    assert "history.db" in line
