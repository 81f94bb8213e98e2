"""What befalls InfluxDB while a real consumer writes to it: each trouble is one line, and no message is lost."""

import base64
import itertools
import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.domain.authorization import Authorization
from influxdb_client.domain.authorization_update_request import AuthorizationUpdateRequest
from influxdb_client.domain.permission import Permission
from influxdb_client.domain.permission_resource import PermissionResource
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from hostpulse.bus.codec import encode
from hostpulse.bus.messages import SUBSYSTEMS
from hostpulse.consumer.storage.options import InfluxOptions

from ..brokers import Broker
from ..influxdb import InfluxServer, OwnInfluxServer
from .support import Hostpulse, Running, eventually

MESSAGES_PER_SECOND = 100
MOST_REASONS = 3  # it breaks off, then refuses, then is not ready yet: each is told once
QUIET_SECONDS = 3.0  # in which a trouble that is told twice would be told again
SESSION = int(time.time())


def message(sequence: int, **fields: Any) -> bytes:
    """Return a message whose load is its sequence number."""
    values = {"load_average_1m": float(sequence), **fields}
    return encode(
        SUBSYSTEMS["cpu"](**values),
        host="web-1",
        subsystem="cpu",
        timestamp=SESSION + (sequence + 0.25) / 1000,  # a millisecond of its own, however it is rounded
        sequence=sequence,
        session=SESSION,
        interval=2,
    )


class Feed:
    """Plain paho, which publishes and counts what the broker acknowledged."""

    def __init__(self, broker: Broker) -> None:
        self.sent = 0
        self._acknowledged = 0
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="feed")
        self._client.on_publish = self._count
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()
        self._numbers = itertools.count(1)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def send(self, count: int, **fields: Any) -> None:
        """Publish good messages, and return when the broker has them."""
        for _ in range(count):
            self.send_raw(message(next(self._numbers), **fields))
        self.settle()

    def send_raw(self, payload: bytes, topic: str = "hostpulse/web-1/cpu") -> None:
        self.sent += 1
        self._client.publish(topic, payload, qos=1)

    def settle(self) -> None:
        eventually(lambda: self._acknowledged == self.sent)

    def start(self) -> None:
        """Publish at a steady pace until `close`."""
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        self.settle()
        self._client.disconnect()
        self._client.loop_stop()

    def _run(self) -> None:
        while not self._over.wait(0.1):
            for _ in range(MESSAGES_PER_SECOND // 10):
                self.send_raw(message(next(self._numbers)))

    def _count(self, *_: object) -> None:
        self._acknowledged += 1


class Token(NamedTuple):
    """What InfluxDB knows somebody by."""

    id: str
    text: str


class Store(NamedTuple):
    """A bucket, and the server that it is in."""

    server: InfluxServer
    options: InfluxOptions

    def settings(self, token: str | None = None) -> dict[str, str]:
        """Return the variables of a consumer that writes there."""
        return {
            "HOSTPULSE_STORE__KIND": "influxdb",
            "HOSTPULSE_INFLUXDB__URL": self.options.url,
            "HOSTPULSE_INFLUXDB__TOKEN": token or self.options.token,
            "HOSTPULSE_INFLUXDB__ORG": self.options.org,
            "HOSTPULSE_INFLUXDB__BUCKET": self.options.bucket,
        }

    def sequences(self) -> list[int]:
        """Return the sequence numbers of the rows that it has whole, in order: with the load of their message."""
        text = f"""
            from(bucket: "{self.options.bucket}") |> range(start: 0, stop: 2200-01-01T00:00:00Z)
                |> filter(fn: (r) => r._measurement == "cpu" and r.host == "web-1")
                |> filter(fn: (r) => r._field == "sequence" or r._field == "load_average_1m")
                |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")"""
        with self.server.client() as client:
            rows: list[dict[str, Any]] = [record.values for record in client.query_api().query_stream(text)]
        # While a row is being written, a query may find some of its fields only.
        return sorted(int(row["sequence"]) for row in rows if row.get("sequence") == row.get("load_average_1m"))

    def has(self, count: int) -> bool:
        """Return whether it has the first messages, every one of them, and no others."""
        return self.sequences() == list(range(1, count + 1))

    def bucket(self, name: str | None = None) -> Any:
        with self.server.client() as client:
            return client.buckets_api().find_bucket_by_name(name or self.options.bucket)

    def rename(self, old: str, new: str) -> None:
        bucket = self.bucket(old)
        bucket.name = new
        with self.server.client() as client:
            client.buckets_api().update_bucket(bucket)

    def make_token(self) -> Token:
        """Return one that may read and write this bucket, and nothing else."""
        bucket = self.bucket()
        resource = PermissionResource(type="buckets", id=bucket.id, org_id=bucket.org_id)
        rights = [Permission(action, resource) for action in ("read", "write")]
        with self.server.client() as client:
            made = client.authorizations_api().create_authorization(
                authorization=Authorization(org_id=bucket.org_id, permissions=rights)
            )
        return Token(str(made.id), str(made.token))

    def set_token(self, token: Token, status: str) -> None:
        with self.server.client() as client:
            client.authorizations_api()._authorizations_service.patch_authorizations_id(
                token.id, AuthorizationUpdateRequest(status=status)
            )


@pytest.fixture
def store(influx_server: InfluxServer) -> Iterator[Store]:
    options = influx_server.options(f"outages-{uuid.uuid4()}")
    yield Store(influx_server, options)
    influx_server.forget(options)


@pytest.fixture
def broker(make_broker: Callable[..., Broker]) -> Broker:
    return make_broker("mosquitto")  # in memory: with a queue on disk, mosquitto writes all of it at each change


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


def troubles(running: Running) -> list[str]:
    """Return what it has complained of."""
    assert "Traceback" not in running.output
    return [line for line in running.output.splitlines() if line.startswith(("ERROR", "WARNING"))]


def only_trouble(running: Running) -> str:
    """Return the one complaint, after waiting for another one."""
    eventually(lambda: troubles(running), what=lambda: running.output)
    time.sleep(QUIET_SECONDS)
    told = troubles(running)
    assert len(told) == 1, running.output
    return told[0]


@pytest.mark.timeout(3600)  # as long as the option says
@pytest.mark.parametrize("trouble", ["frozen", "killed"])
def test_a_database_that_is_away_under_load_loses_no_point(
    killable_influx_server: OwnInfluxServer,
    feed: Feed,
    consume: Callable[..., Running],
    pytestconfig: pytest.Config,
    trouble: str,
) -> None:
    server = killable_influx_server
    store = Store(server, server.options("outage"))
    consumer = consume(store.settings())
    consumer.says("connected to broker")
    feed.start()
    eventually(lambda: len(store.sequences()) >= MESSAGES_PER_SECOND, what=lambda: consumer.output)
    before = feed.sent
    server.freeze() if trouble == "frozen" else server.kill()
    time.sleep(pytestconfig.option.outage_seconds)
    assert consumer.process.poll() is None, consumer.output
    server.thaw() if trouble == "frozen" else server.start()
    feed.close()
    assert feed.sent > before + MESSAGES_PER_SECOND
    eventually(lambda: store.has(feed.sent), what=lambda: (feed.sent, len(store.sequences()), consumer.output))
    assert consumer.end() == 0
    told = troubles(consumer)
    assert len(told) == len(set(told)) <= MOST_REASONS, consumer.output
    if trouble == "killed":
        assert f"InfluxDB at {server.url} cannot be reached" in consumer.output
        assert "what has come is stored again" in consumer.output


def test_a_token_that_is_withdrawn_and_given_back(store: Store, feed: Feed, consume: Callable[..., Running]) -> None:
    first = consume(store.settings())
    first.says("connected to broker")
    assert first.end() == 0
    token = store.make_token()
    consumer = consume(store.settings(token.text))
    consumer.says("connected to broker")
    feed.send(20)
    eventually(lambda: store.has(20), what=lambda: consumer.output)
    store.set_token(token, "inactive")
    feed.send(20)
    line = only_trouble(consumer)
    assert "set influxdb.token to one" in line
    assert token.text not in consumer.output
    assert store.has(20)
    store.set_token(token, "active")
    eventually(lambda: store.has(40), what=lambda: consumer.output)
    assert len(troubles(consumer)) == 1
    assert consumer.end() == 0


def test_a_wrong_token_from_the_start_leaves_everything_with_the_broker(
    store: Store, feed: Feed, consume: Callable[..., Running]
) -> None:
    first = consume(store.settings())
    first.says("connected to broker")
    assert first.end() == 0
    feed.send(20)
    wrong = consume(store.settings("not-the-token"))
    assert "does not know the token (401): set influxdb.token" in only_trouble(wrong)
    assert "not-the-token" not in wrong.output
    wrong.end()
    assert store.sequences() == []
    consumer = consume(store.settings())
    eventually(lambda: store.has(20), what=lambda: consumer.output)
    assert consumer.end() == 0


def test_a_bucket_that_goes_and_comes_back(store: Store, feed: Feed, consume: Callable[..., Running]) -> None:
    """With a token that may not create one; it has the right to this one bucket, so this one has to come back."""
    first = consume(store.settings())
    first.says("connected to broker")
    assert first.end() == 0
    consumer = consume(store.settings(store.make_token().text))
    consumer.says("connected to broker")
    elsewhere = f"{store.options.bucket}-elsewhere"
    store.rename(store.options.bucket, elsewhere)
    feed.send(20)
    line = only_trouble(consumer)
    assert f"has no bucket '{store.options.bucket}'" in line
    assert "create it" in line
    store.rename(elsewhere, store.options.bucket)
    eventually(lambda: store.has(20), what=lambda: consumer.output)
    assert len(troubles(consumer)) == 1
    assert consumer.end() == 0


def test_a_bucket_that_is_deleted_is_made_anew(store: Store, feed: Feed, consume: Callable[..., Running]) -> None:
    consumer = consume(store.settings())
    consumer.says("connected to broker")
    store.server.forget(store.options)
    feed.send(20)
    eventually(lambda: store.bucket() is not None and store.has(20), what=lambda: consumer.output)
    time.sleep(QUIET_SECONDS)
    told = troubles(consumer)
    assert len(told) == 1, consumer.output
    assert store.options.bucket in told[0]
    assert consumer.end() == 0


def test_a_consumer_that_starts_before_its_database(
    killable_influx_server: OwnInfluxServer, feed: Feed, consume: Callable[..., Running]
) -> None:
    server = killable_influx_server
    store = Store(server, server.options("early"))
    server.kill()
    consumer = consume(store.settings())
    away = f"InfluxDB at {server.url} cannot be reached"
    assert away in only_trouble(consumer)
    consumer.says("connected to broker")  # which keeps from now on what comes
    feed.send(20)
    time.sleep(QUIET_SECONDS)
    at_start, *at_first_message = troubles(consumer)
    assert away in at_start
    assert all(away in line for line in at_first_message)
    assert len(at_first_message) <= 1
    server.start()
    eventually(lambda: store.bucket() is not None and store.has(20), what=lambda: consumer.output)
    assert consumer.end() == 0


def test_a_field_of_another_type_costs_its_own_rows(
    store: Store, feed: Feed, hostpulse: Hostpulse, consume: Callable[..., Running]
) -> None:
    consumer = consume(store.settings())
    consumer.says("connected to broker")
    with store.server.client() as client, client.write_api(write_options=SYNCHRONOUS) as api:
        api.write(store.options.bucket, record='cpu,host=somebody limit_cores="many"')
    feed.send(10)
    feed.send(1, limit_cores=2.0)
    feed.send(10)
    expected = [number for number in range(1, 22) if number != 11]
    eventually(lambda: store.sequences() == expected, what=lambda: (store.sequences(), consumer.output))
    line = only_trouble(consumer)
    assert "1 unusable message, kept in" in line
    assert "field type conflict" in line
    (letter,) = letters(hostpulse)
    assert (letter["topic"], letter["kind"]) == ("hostpulse/web-1/cpu", "unstorable")
    assert b'"limit_cores":2.0' in base64.b64decode(letter["payload"])
    assert "limit_cores=2" in letter["row"]
    assert consumer.end() == 0


def test_poisoned_messages_cost_themselves(
    store: Store, feed: Feed, hostpulse: Hostpulse, consume: Callable[..., Running]
) -> None:
    consumer = consume(store.settings())
    consumer.says("connected to broker")
    feed.send(10)
    feed.send_raw(b"{")
    feed.send_raw(b"\xff" * 1000)
    backslash = message(1).replace(b'"web-1"', b'"web\\\\"')
    feed.send_raw(backslash, "hostpulse/web_x5C/cpu")
    feed.send(10)
    eventually(lambda: store.has(20), what=lambda: (store.sequences(), consumer.output))
    eventually(lambda: len(letters(hostpulse)) == 3, what=lambda: consumer.output)
    assert Counter(letter["kind"] for letter in letters(hostpulse)) == {"malformed": 2, "unstorable": 1}
    assert "kept in" in only_trouble(consumer)
    assert consumer.end() == 0


def letters(hostpulse: Hostpulse) -> list[dict[str, Any]]:
    path = hostpulse.data / "dead-letter.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
