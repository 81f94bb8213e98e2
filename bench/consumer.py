"""What the store consumer costs from the broker to the history: queued QoS 1 messages, acknowledged after the write.

    PYTHONPATH=src python bench/consumer.py [messages] [runs]

mosquitto queues cpu messages of 13 values for a session that is away; then the consumer comes back and stores them:
the same receiver, role and writer as `hostpulse consume`. Prints microseconds of CPU of this process for each message
(the least of the runs) and messages in each second, broker and database on the same CPUs. Where `telegraf` is on PATH
it does the same job in the same run, with its defaults and with the largest batches it can acknowledge.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from influxdb import server
from influxdb_client.client.influxdb_client import InfluxDBClient
from processes import Usage, running
from receive import load_broker, paho
from store import payloads

from hostpulse.bus.mqtt import Batch, MqttOptions, Receiver, Taking
from hostpulse.bus.topics import Topics
from hostpulse.consumer.dead_letter import DeadLetterFile
from hostpulse.consumer.storage import Writer
from hostpulse.consumer.storage.embedded import open_writer as open_embedded
from hostpulse.consumer.storage.influxdb import InfluxOptions
from hostpulse.consumer.storage.influxdb import open_writer as open_influxdb
from hostpulse.consumer.store import StoreRole

_WINDOW = 20_000  # of mosquitto; what it has not been told of does not limit anybody
_LINGER_SECONDS = 0.05  # the last batch is smaller, and would wait half a second
_TELEGRAF_BATCHES = (1000, 5000)
_TOPICS = Topics("bench")
_GIVE_UP_SECONDS = 300


class Run(NamedTuple):
    """What storing all messages once took, in seconds; `beside` is the CPU time of broker and database."""

    cpu: float
    wall: float
    beside: float


def leave_subscription(options: MqttOptions, topic: str) -> None:
    client = paho(options, clean=False)
    client.on_connect = lambda *_: client.subscribe(topic, 1)
    client.on_subscribe = lambda *_: client.disconnect()
    client.loop_forever()


def queue(options: MqttOptions, messages: Sequence[tuple[str, bytes]]) -> None:
    """Publish, and return when the broker has acknowledged everything."""
    client, done, left = paho(options, clean=True), threading.Event(), [len(messages)]

    def acknowledged(*_: Any) -> None:
        left[0] -= 1
        if not left[0]:
            done.set()

    client.on_publish = acknowledged
    client.loop_start()
    for number, (topic, payload) in enumerate(messages):
        client.publish(topic, payload, 1)
        while number - (len(messages) - left[0]) > _WINDOW:
            time.sleep(0.001)
    done.wait()
    client.disconnect()
    client.loop_stop()


def consume(options: MqttOptions, writer: Writer, directory: Path, count: int) -> Run:
    role = StoreRole(_TOPICS, writer, DeadLetterFile(directory / "dead-letter.jsonl"))
    taken = 0

    def take(batch: Batch) -> Taking | None:
        nonlocal taken
        taken += len(batch.topics)
        if taken >= count:
            receiver.stop()  # when this batch is stored and acknowledged, too
        return role.take(batch)

    receiver = Receiver(
        options,
        [_TOPICS.all_hosts],
        take,
        batch_messages=writer.batch_messages,
        linger_seconds=_LINGER_SECONDS,
        idle=role.idle,
    )
    beside, cpu, wall = servers_cpu(), time.process_time(), time.perf_counter()
    receiver.run()
    return Run(time.process_time() - cpu, time.perf_counter() - wall, servers_cpu() - beside)


def servers_cpu() -> float:
    """Return the CPU seconds of the broker and the database that run below this process."""
    return sum(
        Usage.of(int(child)).cpu_seconds
        for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        if Path(f"/proc/{child}/comm").read_text().strip() in {"mosquitto", "influxd"}
    )


def telegraf_configuration(options: MqttOptions, influxdb: InfluxOptions, batch: int) -> str:
    return f"""
[agent]
  interval = "1s"
  flush_interval = "1s"
  metric_batch_size = {batch}
  metric_buffer_limit = {10 * batch}
  omit_hostname = true
  quiet = true
[[inputs.mqtt_consumer]]
  servers = ["tcp://{options.host}:{options.port}"]
  topics = ["{_TOPICS.all_hosts}"]
  qos = 1
  client_id = "{options.client_id}"
  persistent_session = true
  max_undelivered_messages = {batch}
  data_format = "json_v2"
  topic_tag = ""
  [[inputs.mqtt_consumer.json_v2]]
    measurement_name = "cpu"
    timestamp_path = "timestamp"
    timestamp_format = "2006-01-02T15:04:05.000Z07:00"
    [[inputs.mqtt_consumer.json_v2.object]]
      path = "@this"
      tags = ["host"]
      excluded_keys = ["v", "subsystem", "timestamp"]
[[outputs.influxdb_v2]]
  urls = ["{influxdb.url}"]
  token = "{influxdb.token}"
  organization = "{influxdb.org}"
  bucket = "{influxdb.bucket}"
"""


def stored(influxdb: InfluxOptions) -> int:
    """Return how many messages the bucket holds."""
    query = (
        f'from(bucket: "{influxdb.bucket}") |> range(start: 0) '
        '|> filter(fn: (r) => r._measurement == "cpu" and r._field == "sequence") |> group() |> count()'
    )
    with InfluxDBClient(url=influxdb.url, token=influxdb.token, org=influxdb.org) as client:
        tables = client.query_api().query(query)
    return int(tables[0].records[0].get_value()) if tables else 0


def run_telegraf(options: MqttOptions, influxdb: InfluxOptions, directory: Path, batch: int, count: int) -> Run:
    """Run it until it has been idle for a while; that while is not counted."""
    path = directory / f"{influxdb.bucket}.conf"
    path.write_text(telegraf_configuration(options, influxdb, batch), encoding="utf-8")
    with running(["telegraf", "--config", str(path)], quiet=True) as process:
        beside = servers_cpu()
        first = last = Usage.of(process.pid)
        seen = first
        give_up = time.monotonic() + _GIVE_UP_SECONDS
        while seen.seconds - last.seconds < 3 and time.monotonic() < give_up:  # noqa: PLR2004  seconds of idleness
            time.sleep(0.1)
            seen = Usage.of(process.pid)
            if seen.cpu_seconds - last.cpu_seconds > 0.02 * (seen.seconds - last.seconds):
                last = seen
    beside = servers_cpu() - beside
    if (there := stored(influxdb)) != count:
        raise RuntimeError(f"telegraf stored {there} of {count}")
    return Run(last.cpu_seconds - first.cpu_seconds, last.seconds - first.seconds, beside)


def make_bucket(influxdb: InfluxOptions) -> InfluxOptions:
    with open_influxdb(influxdb, retention=None, rollup_retention=None):
        return influxdb


def main(count: int, runs: int) -> None:
    messages = [(_TOPICS.sample(topic.host, topic.leaf), payload) for topic, payload in payloads(count)]
    broker_class = load_broker()
    load = os.getloadavg()[0]
    best: dict[str, Run] = {}
    with tempfile.TemporaryDirectory() as name, server() as (url, token, org):
        directory = Path(name)

        def to_embedded(options: MqttOptions, mark: str) -> Run:
            with open_embedded(directory / f"{mark}.db", retention=None, rollup_retention=None) as writer:
                return consume(options, writer, directory, count)

        def to_influxdb(options: MqttOptions, mark: str) -> Run:
            target = InfluxOptions(url=url, token=token, org=org, bucket=mark)
            with open_influxdb(target, retention=None, rollup_retention=None) as writer:
                return consume(options, writer, directory, count)

        def with_telegraf(batch: int) -> Callable[[MqttOptions, str], Run]:
            def job(options: MqttOptions, mark: str) -> Run:
                target = make_bucket(InfluxOptions(url=url, token=token, org=org, bucket=mark))
                return run_telegraf(options, target, directory, batch, count)

            return job

        jobs: dict[str, Callable[[MqttOptions, str], Run]] = {"embedded": to_embedded, "influxdb": to_influxdb}
        if shutil.which("telegraf"):
            jobs |= {f"telegraf {batch}": with_telegraf(batch) for batch in _TELEGRAF_BATCHES}
        broker = broker_class("mosquitto", directory / "broker", window=_WINDOW)
        broker.start()
        try:
            for run in range(runs):
                for job, do in jobs.items():
                    mark = f"{job.replace(' ', '-')}-{run}"
                    options = broker.options(mark)
                    leave_subscription(options, _TOPICS.all_hosts)
                    queue(broker.options("feeder"), messages)
                    best[job] = min(best.get(job, Run(float("inf"), 0, 0)), do(options, mark))
                    drop_session(options)
        finally:
            broker.kill()
    print(f"{count} queued cpu messages of 13 values, QoS 1, MQTT 3.1.1, mosquitto, the best of {runs} runs")
    print(f"Python {' '.join(sys.version.split())}, {os.cpu_count()} CPUs, load before {load:.1f}")
    for job, result in best.items():
        rate = count / result.wall
        print(
            f"{job:14} {result.cpu / count * 1e6:6.2f} us of CPU a message, {rate:8,.0f} messages/s; "
            f"broker and database {result.beside / count * 1e6:5.1f} us"
        )
    if not shutil.which("telegraf"):
        print("telegraf is not on PATH and was left out")


def drop_session(options: MqttOptions) -> None:
    """Have the broker forget the session, so that it does not queue the messages of the next job for it."""
    client = paho(options, clean=True)
    client.on_connect = lambda *_: client.disconnect()
    client.loop_forever()


if __name__ == "__main__":
    if shutil.which("influxd") is None:
        sys.exit("bench/consumer.py needs influxd on PATH")
    subprocess.run(["influxd", "version"], check=True)
    given = [int(argument) for argument in sys.argv[1:]]
    main(*given, *(200_000, 3)[len(given) :])
