import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from influxdb_client.client.flux_csv_parser import FluxQueryException
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.domain.authorization import Authorization
from influxdb_client.domain.permission import Permission
from influxdb_client.domain.permission_resource import PermissionResource

from hostpulse.bus.codec import Sample
from hostpulse.bus.fields import Fields
from hostpulse.bus.messages import Battery, Cpu, Gpu, GpuDevice, Sensors, SensorsTemperature
from hostpulse.consumer.storage.influxdb import InfluxOptions, InfluxWriter
from hostpulse.consumer.storage.influxdb.downsampling import summing_up

from ..attempts import ATTEMPTS
from ..influxdb import InfluxServer
from .grafana import Grafana
from .simulation import TROUBLED, WELL, messages

HOUR = 3600.0
DAY = 24 * HOUR
BATCH = 500


@dataclass(frozen=True)
class History:
    """Some hours of two hosts until now, and two hours that are five days old, of which only the minutes are left.

    Attributes:
        client: with a token that may read both buckets, and nothing else.
        bucket: of samples.
        now: seconds since the epoch.
    """

    client: InfluxDBClient
    bucket: str
    now: float

    def grafana(self, start: float, stop: float = 0.0) -> Grafana:
        """Return a Grafana that shows a range, in seconds before now."""
        return Grafana(self.client, self.bucket, self.now - start, self.now - stop)


def _write(writer: InfluxWriter, samples: Iterator[Sample]) -> None:
    everything = list(samples)
    for first in range(0, len(everything), BATCH):
        assert writer.write(everything[first : first + BATCH]).rejected == ()


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _query_in_time(client: InfluxDBClient, query: str) -> None:
    """Send a query that writes, again where a busy server gave up on points that it could not write in ten seconds."""
    for _ in range(ATTEMPTS - 1):
        try:
            client.query_api().query(query)
        except FluxQueryException as error:
            if error.message != "timeout":
                raise
        else:
            return
    client.query_api().query(query)


def _write_history(server: InfluxServer, options: InfluxOptions, now: float) -> None:
    old = now // HOUR * HOUR - 5 * DAY
    writer = InfluxWriter(options, retention=None, rollup_retention=None, wall=lambda: now - HOUR)
    with writer, server.client() as client:
        for host in (WELL, TROUBLED):
            _write(writer, messages(host, old, old + 2 * HOUR, interval=60))
        ranges = [(_moment(old), _moment(old + 2 * HOUR))]
        _query_in_time(client, summing_up(options.bucket, options.rollup_bucket, ranges))
        client.delete_api().delete(_moment(old - HOUR), _moment(old + 3 * HOUR), "", options.bucket, options.org)
        _write(writer, messages(WELL, now - 4 * HOUR, now, interval=30))
        _write(writer, messages(TROUBLED, now - 4 * HOUR, now - 600, interval=30, troubled=True))
        # A consumer there goes on, which makes nobody believe that its publisher does.
        later = messages(TROUBLED, now - 4 * HOUR, now, interval=30, troubled=True)
        consumer = (sample for sample in later if sample.envelope.subsystem == "consumer")
        _write(writer, (one for one in consumer if one.envelope.timestamp.timestamp() >= now - 600))
        writer.note_host(WELL, online=True)
        writer.note_host(TROUBLED, online=False)


BARE: dict[str, Fields] = {
    "cpu": Cpu(utilization_percent=1.0),
    "gpu": Gpu(device={"0000:00:02.0": GpuDevice(temperature_celsius=95.0)}),
    "sensors": Sensors(temperature={"board": SensorsTemperature(temperature_celsius=95.0)}),
    "battery": Battery(charge_percent=5.0),
}


def _write_bare_history(_server: InfluxServer, options: InfluxOptions, now: float) -> None:
    with InfluxWriter(options, retention=None, rollup_retention=None) as writer:
        samples = messages(WELL, now - HOUR, now, interval=30)
        envelopes = (one.envelope for one in samples if one.envelope.subsystem in BARE)
        _write(writer, (Sample(envelope, BARE[envelope.subsystem]) for envelope in envelopes))


def _reader_token(client: InfluxDBClient, options: InfluxOptions) -> str:
    buckets = [client.buckets_api().find_bucket_by_name(name) for name in (options.bucket, options.rollup_bucket)]
    found = [(bucket.id, bucket.org_id) for bucket in buckets if bucket is not None]
    permissions = [
        Permission(action="read", resource=PermissionResource(type="buckets", id=number, org_id=org))
        for number, org in found
    ]
    made = client.authorizations_api().create_authorization(
        authorization=Authorization(org_id=found[0][1], permissions=permissions)
    )
    return str(made.token)


@contextlib.contextmanager
def _history(
    influx_server: InfluxServer, write: Callable[[InfluxServer, InfluxOptions, float], None]
) -> Iterator[History]:
    options = influx_server.options(f"test-{uuid.uuid4()}")
    now = float(round(time.time()))
    try:
        write(influx_server, options, now)
        with influx_server.client() as client:
            token = _reader_token(client, options)
        with InfluxDBClient(url=influx_server.url, token=token, org=influx_server.org, timeout=90_000) as client:
            yield History(client, options.bucket, now)
    finally:
        influx_server.forget(options)


@pytest.fixture(scope="session")
def history(influx_server: InfluxServer) -> Iterator[History]:
    with _history(influx_server, _write_history) as made:
        yield made


@pytest.fixture(scope="session")
def bare_history(influx_server: InfluxServer) -> Iterator[History]:
    """A host that can tell next to nothing: no memory, no disks, sensors and a GPU without limits of their own."""
    with _history(influx_server, _write_bare_history) as made:
        yield made
