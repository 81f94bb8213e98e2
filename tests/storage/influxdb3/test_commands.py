"""The real commands with a real InfluxDB 3 Core as the store."""

import base64
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from hostpulse.consumer.storage.options import InfluxOptions

from ...brokers import Broker
from ...cli.support import Hostpulse, Running, eventually, sample
from ...cli.test_outages import MESSAGES_PER_SECOND, MOST_REASONS, Feed, letters, message, only_trouble, troubles
from ...influxdb3 import Influx3Server, OwnInflux3Server
from ...servers import free_port

AWAY_SECONDS = 3.0


class Store(NamedTuple):
    """A database, and the server that it is in."""

    server: Influx3Server
    options: InfluxOptions

    @property
    def settings(self) -> dict[str, str]:
        """The variables of a command that uses it."""
        return {
            "HOSTPULSE_STORE__KIND": "influxdb",
            "HOSTPULSE_INFLUXDB__URL": self.options.url,
            "HOSTPULSE_INFLUXDB__TOKEN": self.options.token,
            "HOSTPULSE_INFLUXDB__ORG": self.options.org,
            "HOSTPULSE_INFLUXDB__BUCKET": self.options.bucket,
        }

    def sequences(self) -> list[int]:
        """Return the sequence numbers of the rows that it has with the load of their message, in order."""
        rows = self.server.rows(
            self.options.bucket, "SELECT sequence FROM cpu WHERE host = 'web-1' AND sequence = load_average_1m"
        )
        return sorted(int(row["sequence"]) for row in rows)

    def has(self, count: int) -> bool:
        """Return whether it has the first messages, every one of them, and no others."""
        return self.sequences() == list(range(1, count + 1))


@pytest.fixture
def store(influx3_server: Influx3Server) -> Iterator[Store]:
    with influx3_server.database() as options:
        yield Store(influx3_server, options)


@pytest.fixture
def hostpulse(tmp_path: Path) -> Iterator[Hostpulse]:
    made = Hostpulse(tmp_path / "home", free_port())
    made.home.mkdir()
    yield made
    made.close()


@pytest.fixture
def broker(make_broker: Callable[..., Broker]) -> Broker:
    return make_broker("mosquitto")


@pytest.fixture
def feed(broker: Broker) -> Iterator[Feed]:
    made = Feed(broker)
    yield made
    made.close()


@pytest.fixture
def consume(hostpulse: Hostpulse, broker: Broker) -> Callable[[dict[str, str]], Running]:
    """Start a consumer that writes where variables say."""

    def start(settings: dict[str, str]) -> Running:
        at = ("--broker", "127.0.0.1", "--set", f"mqtt.port={broker.port}")
        return hostpulse.start("consume", *at, environment=settings)

    return start


def test_a_server_that_is_killed_under_load_loses_no_point(
    make_influx3_server: Callable[..., OwnInflux3Server], feed: Feed, consume: Callable[..., Running]
) -> None:
    """With the pace of its log as it comes: each answer takes a second."""
    server = make_influx3_server()
    store = Store(server, server.options("outage"))
    consumer = consume(store.settings)
    consumer.says("connected to broker")
    feed.start()
    eventually(lambda: len(store.sequences()) >= 3 * MESSAGES_PER_SECOND, what=lambda: consumer.output)
    before = feed.sent
    server.kill()
    time.sleep(AWAY_SECONDS)
    assert consumer.process.poll() is None, consumer.output
    server.start()
    feed.close()
    assert feed.sent > before + MESSAGES_PER_SECOND
    eventually(lambda: store.has(feed.sent), what=lambda: (feed.sent, len(store.sequences()), consumer.output))
    assert consumer.end() == 0
    told = troubles(consumer)
    assert len(told) == len(set(told)) <= MOST_REASONS, consumer.output
    assert f"InfluxDB at {server.url} cannot be reached" in consumer.output
    assert "what has come is stored again" in consumer.output


def test_what_it_refuses_is_kept_with_the_reason_and_costs_itself(
    store: Store, feed: Feed, hostpulse: Hostpulse, consume: Callable[..., Running]
) -> None:
    consumer = consume(store.settings)
    consumer.says("connected to broker")
    store.server.write(store.options.bucket, 'cpu,host=somebody limit_cores="many"')
    feed.send(10)
    feed.send(1, limit_cores=2.0)
    feed.send_raw(b"{")
    feed.send_raw(message(1).replace(b'"web-1"', b'"web\\\\"'), "hostpulse/web_x5C/cpu")
    feed.send(10)
    expected = [number for number in range(1, 22) if number != 11]
    eventually(lambda: store.sequences() == expected, what=lambda: (store.sequences(), consumer.output))
    eventually(lambda: len(letters(hostpulse)) == 3, what=lambda: consumer.output)
    assert "kept in" in only_trouble(consumer)
    kept = letters(hostpulse)
    assert Counter(letter["kind"] for letter in kept) == {"malformed": 1, "unstorable": 2}
    [conflict] = [letter for letter in kept if "limit_cores" in letter.get("row", "")]
    assert "invalid column type for column 'limit_cores'" in conflict["reason"]
    assert b'"limit_cores":2.0' in base64.b64decode(conflict["payload"])
    assert consumer.end() == 0


def test_a_wrong_token_leaves_everything_with_the_broker(
    store: Store, feed: Feed, consume: Callable[..., Running]
) -> None:
    first = consume(store.settings)
    first.says("connected to broker")
    assert first.end() == 0
    feed.send(20)
    wrong = consume(store.settings | {"HOSTPULSE_INFLUXDB__TOKEN": "not-the-token"})
    assert "does not know the token (401): set influxdb.token" in only_trouble(wrong)
    assert "not-the-token" not in wrong.output
    assert wrong.end() == 1
    consumer = consume(store.settings)
    eventually(lambda: store.has(20), what=lambda: consumer.output)
    assert consumer.end() == 0


def test_up_stores_there_and_the_commands_read_it(store: Store, hostpulse: Hostpulse) -> None:
    hostpulse.environment |= store.settings
    running = hostpulse.start("up", "--interval", "0.5")
    running.says(f"consumer   writes InfluxDB {store.options.url}, bucket {store.options.bucket}")
    eventually(lambda: len(rows_of(hostpulse, "cpu")) >= 5, what=lambda: running.output)
    check = hostpulse.run("check")
    assert f"InfluxDB {store.options.url}, bucket {store.options.bucket}, 1 host" in check.stdout
    assert running.end() == 0
    assert troubles(running) == []
    assert not hostpulse.history.exists()
    found = rows_of(hostpulse, "cpu")
    assert {row["host"] for row in found} == {"web-1"}
    assert any("utilization_percent" in row for row in found)
    history = hostpulse.run("history", "cpu.load_average_1m", "--since", "10m", "--format", "csv")
    assert (history.returncode, history.stderr) == (0, "")
    assert len(history.stdout.splitlines()) >= 2


@pytest.mark.parametrize(
    ("command", "change", "said"),
    [
        (("export", "cpu"), {"TOKEN": "wrong"}, "does not know the token (401): set influxdb.token"),
        (("history", "cpu.load_average_1m"), {"TOKEN": "wrong"}, "does not know the token (401): set influxdb.token"),
        (("export", "cpu"), {"BUCKET": "nowhere"}, "has no bucket 'nowhere'"),
        (("history", "cpu.load_average_1m"), {"BUCKET": "my bucket"}, "has no bucket 'my bucket'"),
        (("import", "cpu.csv"), {"BUCKET": "my bucket"}, "does not take 'my bucket' as a database"),
        (("influxdb", "setup"), {}, "is no InfluxDB 2, which this is for"),
    ],
)
def test_what_a_person_has_to_mend_is_one_line(
    store: Store, hostpulse: Hostpulse, command: tuple[str, ...], change: dict[str, str], said: str
) -> None:
    (hostpulse.home / "cpu.csv").write_text("timestamp,host,user_percent\n")
    changed = {f"HOSTPULSE_INFLUXDB__{name}": value for name, value in change.items()}
    done = hostpulse.run(*command, environment=store.settings | changed, cwd=hostpulse.home)
    assert done.returncode in {1, 2}
    (line,) = done.stderr.splitlines()
    assert said in line


def rows_of(hostpulse: Hostpulse, table: str) -> list[dict[str, object]]:
    done = hostpulse.run("export", table, "--format", "jsonl", "--since", "10m")
    return [json.loads(line) for line in done.stdout.splitlines()] if done.returncode == 0 else []


def test_a_history_moves_there(store: Store, hostpulse: Hostpulse) -> None:
    now = round(time.time() * 1000)
    hostpulse.write([sample("cpu", now - number * 1000, sequence=number + 1, user_percent=1.0) for number in range(50)])
    there = hostpulse.output("export", "cpu", "--since", "10m")
    for _ in range(2):
        done = hostpulse.run("import", environment=store.settings)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert hostpulse.output("export", "cpu", "--since", "10m", environment=store.settings) == there


def test_exported_rows_move_there(store: Store, hostpulse: Hostpulse) -> None:
    now = round(time.time() * 1000)
    hostpulse.write([sample("cpu", now - number * 1000, sequence=number + 1, user_percent=1.0) for number in range(50)])
    there = hostpulse.output("export", "cpu", "--since", "10m")
    (hostpulse.home / "cpu.csv").write_bytes(there)
    done = hostpulse.run("import", hostpulse.home / "cpu.csv", environment=store.settings)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert hostpulse.output("export", "cpu", "--since", "10m", environment=store.settings) == there
