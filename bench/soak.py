"""A day in minutes: everything as real processes, more messages than a house full of machines sends, mild faults.

    python bench/soak.py [--seconds 600] [--rate 1000] [--hosts 20]        SOAK_SECONDS=3600 make soak

What runs: the embedded broker, a publisher of this machine at 0.5 s, a consumer with the embedded store and, where
influxd is on PATH, one with InfluxDB; this process sends for the simulated hosts. Outbox and embedded history keep so
little that the bounds of size and age are at work after the first quarter, which is the warm-up. From then on the
broker is killed now and then, InfluxDB stands still for some seconds, and so do our own processes.

Memory, file handles, threads and files are read every few seconds; what stands at the begin and at the end is the
median of a third of the readings. The exit code is 1 if something grew by more than its bound, or a message is missing.
"""

import argparse
import contextlib
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from paho.mqtt.client import Client, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from processes import Usage
from publisher import free_port

from hostpulse.bus.codec import encode
from hostpulse.bus.messages import Cpu, CpuCore, Memory, Network, NetworkInterface
from hostpulse.bus.mqtt import MqttOptions
from hostpulse.bus.topics import Topics
from hostpulse.consumer.dead_letter import DEAD_LETTER_FILE, DeadLetterFile
from hostpulse.consumer.service import ConsumerOptions
from hostpulse.consumer.storage import RowQuery
from hostpulse.consumer.storage.influxdb import open_reader
from hostpulse.consumer.storage.options import InfluxOptions
from hostpulse.consumer.stores import HISTORY_FILE
from hostpulse.publisher.outbox import OutboxOptions
from hostpulse.publisher.service import PublisherOptions
from hostpulse.stack.broker import EmbeddedBroker, Endpoint

_WINDOW = 2000
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_FREEZE_SECONDS = 5.0
_HOUR = 3600.0
_MIB = 1 << 20
_LEAST_READINGS = 9


@dataclass(frozen=True, slots=True)
class Bound:
    """How much more there may be at the end than at the begin: so much, and a share of what was there."""

    more: float
    share: float = 0.0

    def allows(self, begin: float, end: float) -> bool:
        """Tell whether a growth is within it."""
        return end <= begin * (1 + self.share) + self.more


BOUNDS: dict[str, Bound] = {
    "RSS MiB": Bound(6, 0.1),
    "PSS MiB": Bound(6, 0.1),
    "files": Bound(8),
    "threads": Bound(3),
    "disk MiB": Bound(8, 0.25),
}
# Other people's processes, and what is kept for an hour at least: shown, and not judged.
NOT_JUDGED = frozenset({"influxd", "InfluxDB"})
# nats-server has Go's garbage collector and writes its store in blocks.
BROKER_BOUNDS = {"RSS MiB": Bound(48, 0.3), "PSS MiB": Bound(48, 0.3), "disk MiB": Bound(64)}


@dataclass(slots=True)
class Series:
    """Readings of one number: seconds and values."""

    seconds: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, now: float, value: float) -> None:
        """Take a reading."""
        self.seconds.append(now)
        self.values.append(value)

    @property
    def ends(self) -> tuple[float, float]:
        """Medians of the first and of the last third."""
        third = max(1, len(self.values) // 3)
        return statistics.median(self.values[:third]), statistics.median(self.values[-third:])

    @property
    def per_hour(self) -> float:
        """Growth in an hour, by the straight line nearest to the readings."""
        if len(self.values) < 2 or self.seconds[0] == self.seconds[-1]:  # noqa: PLR2004  a line has two points
            return 0.0
        return statistics.linear_regression(self.seconds, self.values).slope * _HOUR


class Service:
    """A process of ours.

    Args:
        name: for the table.
        module: what `python -m` runs.
        options: go to its standard input.
        log: what it says.
    """

    def __init__(self, name: str, module: str, options: PublisherOptions | ConsumerOptions, log: Path) -> None:
        self.name = name
        self.log = log
        self._command = [sys.executable, "-P", "-m", module]
        self._options = msgspec.json.encode(options)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id; ends the soak if it is gone."""
        if self._process is None or self._process.poll() is not None:
            raise SystemExit(f"{self.name} has ended:\n{self.log.read_text()[-2000:]}")
        return self._process.pid

    def start(self) -> None:
        """Start it, and return when it has a connection."""
        said = self._connections()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=log, stderr=log)
        if self._process.stdin is not None:
            self._process.stdin.write(self._options)
            self._process.stdin.close()
        wait_for(lambda: self.pid and self._connections() > said, f"{self.name} does not connect")

    def stop(self) -> None:
        """End it as a person would."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise SystemExit(f"{self.name} did not end") from None

    def _connections(self) -> int:
        return self.log.read_text().count("connected to broker") if self.log.exists() else 0


class Influx:
    """An influxd of our own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        url = f"http://127.0.0.1:{free_port()}"
        self.options = InfluxOptions(url=url, token="token-of-the-soak", org="soak", bucket="soak")  # noqa: S106
        self._process = subprocess.Popen(
            [
                *("influxd", "--reporting-disabled", "--log-level", "error"),
                *("--http-bind-address", url.removeprefix("http://"), "--bolt-path", directory / "bolt"),
                *("--sqlite-path", directory / "sqlite", "--engine-path", directory / "engine"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        fields = {"username": "soak", "password": "only for the soak", "org": "soak", "bucket": "first"}
        body = msgspec.json.encode({**fields, "token": self.options.token})
        wait_for(lambda: self._post(body), "influxd does not answer")

    def _post(self, body: bytes) -> bool:
        try:
            urllib.request.urlopen(urllib.request.Request(f"{self.options.url}/api/v2/setup", data=body)).close()  # noqa: S310
        except OSError:
            return False
        return True

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def freeze(self) -> None:
        """Have it stand still for some seconds."""
        self._process.send_signal(signal.SIGSTOP)
        time.sleep(_FREEZE_SECONDS)
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        self._process.wait()

    def count(self, hosts: tuple[str, ...]) -> int:
        """Return how many cpu messages of these hosts are stored."""
        with open_reader(self.options) as reader:
            return reader.count(RowQuery(table="cpu", start=0, end=time.time() + _HOUR, hosts=hosts))


class Simulation:
    """Sends what machines would: cpu with eight cores, memory, network with two interfaces, in turn.

    Args:
        endpoint: the broker.
        hosts: names.
        rate: messages a second of all together.
    """

    def __init__(self, endpoint: Endpoint, hosts: tuple[str, ...], rate: float) -> None:
        self.sent = 0
        self.cpu_messages = 0
        self._hosts = hosts
        self._rate = rate
        self._topics = Topics()
        self._session = time.time()
        self._moment = 0.0
        self._acknowledged = 0
        self._client = Client(CallbackAPIVersion.VERSION2, "soak", clean_session=False, protocol=MQTTv311)
        self._client.username_pw_set(endpoint.username, endpoint.password)
        self._client.max_inflight_messages = 200
        self._client.reconnect_delay_set(1, 2)
        self._client.on_publish = self._published
        self._client.connect(endpoint.host, endpoint.port)
        self._client.loop_start()
        self._next = time.monotonic()

    def _published(self, *_: Any) -> None:
        self._acknowledged += 1

    def run(self, seconds: float) -> None:
        """Send for a while. What could not be sent in time, because the broker was away, is not made up for."""
        end = time.monotonic() + seconds
        self._next = max(self._next, time.monotonic() - 1)
        while time.monotonic() < end:
            while self._next <= time.monotonic() and self.sent - self._acknowledged < _WINDOW:
                self._send()
                self._next += 1 / self._rate
            if self.sent - self._acknowledged >= _WINDOW:
                self._next = time.monotonic()
            time.sleep(0.01)

    def drain(self) -> None:
        """Return when the broker has everything."""
        wait_for(lambda: self._acknowledged >= self.sent, "the broker does not acknowledge")

    def close(self) -> None:
        """Leave the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    def _send(self) -> None:
        turn, index = divmod(self.sent, len(self._hosts))
        sequence, kind = divmod(turn, 3)
        if not index:  # the store knows a message by its millisecond, and what was held up comes fast
            self._moment = max(time.time(), self._moment + 0.001)
        value = self.sent % 1000 / 10
        subsystem, fields = (
            (
                "cpu",
                Cpu(load_average_1m=value, core={str(one): CpuCore(utilization_percent=value) for one in range(8)}),
            ),
            ("memory", Memory(used_percent=value)),
            ("network", Network(interface={name: NetworkInterface(link="up") for name in ("eth0", "wlan0")})),
        )[kind]
        host = self._hosts[index]
        payload = encode(
            fields,
            host=host,
            subsystem=subsystem,
            timestamp=self._moment,
            sequence=sequence + 1,
            session=self._session,
            interval=2,
        )
        self._client.publish(self._topics.sample(host, subsystem), payload, 1)
        self.sent += 1
        self.cpu_messages += subsystem == "cpu"


class Soak:
    """All of it.

    Args:
        directory: for everything that is kept.
        seconds: how long it runs.
        rate: messages a second of the simulated hosts.
        hosts: how many of those.
    """

    def __init__(self, directory: Path, *, seconds: float, rate: float, hosts: int) -> None:
        self._directory = directory
        self._seconds = seconds
        self._rate = rate
        self._hosts = tuple(f"host-{number}" for number in range(hosts))
        self._series: dict[tuple[str, str], Series] = {}
        self._faults: list[str] = []

    def run(self) -> bool:
        """Run it; return whether all is well."""
        with contextlib.ExitStack() as stack:
            return self._run(stack)

    def _run(self, stack: contextlib.ExitStack) -> bool:
        data = self._directory / "data"
        broker = EmbeddedBroker(data, free_port())
        endpoint = broker.start()
        stack.callback(broker.stop)
        influx = None
        if shutil.which("influxd"):
            influx = Influx(self._directory / "influxdb")
            stack.callback(influx.close)
        services = self._services(endpoint, data, influx)
        for service in services:
            service.start()
            stack.callback(service.stop)
        simulation = Simulation(endpoint, self._hosts, self._rate)
        stack.callback(simulation.close)

        places = {"outbox": data / "outbox", "history": data, "broker store": data / "broker"}
        if influx is not None:
            places["InfluxDB"] = influx.directory
        every = max(1.0, self._seconds / 120)
        begin = time.monotonic()
        warm = begin + self._seconds / 4
        faults = self._fault_plan(broker, services, influx)
        next_fault = warm
        while (now := time.monotonic()) < begin + self._seconds:
            simulation.run(every)
            if now >= warm:
                self._read(now - begin, {service.name: service.pid for service in services}, broker, influx, places)
            if now >= next_fault and now < begin + self._seconds * 0.9:  # the last tenth is for coming to rest
                next(faults)()
                next_fault = now + max(10.0, self._seconds / 12)
        simulation.drain()
        complete = influx is None or self._is_complete(influx, simulation)
        letters = sum(1 for each in data.parent.glob(f"*/{DEAD_LETTER_FILE}") for _ in DeadLetterFile(each).entries())
        self._print_head(simulation, letters)
        return self._print_table() and complete and not letters

    def _services(self, endpoint: Endpoint, data: Path, influx: Influx | None) -> list[Service]:
        short = self._seconds / 10  # within the warm-up, so that what is kept is as much at its begin as at its end

        def mqtt(name: str) -> MqttOptions:
            return MqttOptions(
                host=endpoint.host,
                port=endpoint.port,
                username=endpoint.username,
                password=endpoint.password,
                client_id=name,
            )

        services = [
            Service(
                "consumer, embedded",
                "hostpulse.consumer",
                ConsumerOptions(
                    host="this",
                    mqtt=mqtt("store"),
                    data_dir=str(data),
                    retention_seconds=short,
                    rollup_retention_seconds=2 * short,
                ),
                self._directory / "consumer.log",
            ),
            Service(
                "publisher",
                "hostpulse.publisher",
                PublisherOptions(
                    host="this",
                    interval=0.5,
                    mqtt=mqtt("publisher"),
                    data_dir=str(data),
                    outbox=OutboxOptions(size_bytes=_MIB, age_seconds=short),
                ),
                self._directory / "publisher.log",
            ),
        ]
        if influx is not None:
            services.append(
                Service(
                    "consumer, InfluxDB",
                    "hostpulse.consumer",
                    ConsumerOptions(
                        host="other",
                        mqtt=mqtt("store-influxdb"),
                        data_dir=str(self._directory / "data-influxdb"),
                        influxdb=influx.options,
                        retention_seconds=_HOUR,
                        rollup_retention_seconds=2 * _HOUR,
                    ),
                    self._directory / "consumer-influxdb.log",
                )
            )
        return services

    def _fault_plan(
        self, broker: EmbeddedBroker, services: list[Service], influx: Influx | None
    ) -> Iterator[Callable[[], None]]:
        def kill_broker() -> None:
            self._faults.append("broker killed")
            if broker.pid is not None:
                os.kill(broker.pid, signal.SIGKILL)

        def freeze_influx() -> None:
            if influx is not None:
                self._faults.append("InfluxDB frozen")
                influx.freeze()

        def freeze_services() -> None:
            self._faults.append("our processes frozen")
            for service in services:
                os.kill(service.pid, signal.SIGSTOP)
            time.sleep(1)
            for service in services:
                os.kill(service.pid, signal.SIGCONT)

        while True:
            yield kill_broker
            yield freeze_influx
            yield freeze_services

    def _read(
        self, now: float, pids: dict[str, int], broker: EmbeddedBroker, influx: Influx | None, places: dict[str, Path]
    ) -> None:
        pids = dict(pids)
        if broker.pid is not None:
            pids["broker"] = broker.pid
        if influx is not None:
            pids["influxd"] = influx.pid
        for name, pid in pids.items():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the broker is just being started again
                usage = Usage.of(pid)
                self._add(now, name, "RSS MiB", usage.rss)
                self._add(now, name, "PSS MiB", usage.pss)
                self._add(now, name, "files", len(list(Path(f"/proc/{pid}/fd").iterdir())))
                self._add(now, name, "threads", len(usage.wakeups))
        for name, place in places.items():
            pattern = f"{HISTORY_FILE}*" if name == "history" else "**/*"
            self._add(now, name, "disk MiB", size_of(place, pattern) / _MIB)

    def _add(self, now: float, name: str, what: str, value: float) -> None:
        self._series.setdefault((name, what), Series()).add(now, value)

    def _is_complete(self, influx: Influx, simulation: Simulation) -> bool:
        stored = 0

        def all_there() -> bool:
            nonlocal stored
            stored = influx.count(self._hosts)
            return stored >= simulation.cpu_messages

        with contextlib.suppress(SystemExit):
            wait_for(all_there, "")
        print(f"cpu messages of the simulated hosts in InfluxDB: {stored:,} of {simulation.cpu_messages:,}")
        return stored == simulation.cpu_messages

    def _print_head(self, simulation: Simulation, letters: int) -> None:
        day = 20 * 86_400 / 2 * 8  # of twenty hosts, eight messages every two seconds
        said = ", ".join(f"{self._faults.count(fault)} × {fault}" for fault in dict.fromkeys(self._faults))  # noqa: RUF001
        print(
            f"{self._seconds:.0f} s, {simulation.sent:,} messages of {len(self._hosts)} simulated hosts (a day of "
            f"twenty has {day:,.0f}) beside a publisher at 0.5 s; {said}; {letters} dead letters"
        )
        print("begin and end are medians of the first and the last third of the readings after the warm-up")

    def _print_table(self) -> bool:
        print(f"\n{'':20} {'':9} {'begin':>9} {'end':>9} {'per hour':>10}")
        flat = True
        for (name, what), series in self._series.items():
            begin, end = series.ends
            bound = BROKER_BOUNDS.get(what, BOUNDS[what]) if name.startswith("broker") else BOUNDS[what]
            judged = name not in NOT_JUDGED and len(series.values) >= _LEAST_READINGS
            well = bound.allows(begin, end)
            flat = flat and (well or not judged)
            verdict = "" if not judged else "" if well else "  GROWS"
            print(f"{name:20} {what:9} {begin:9.1f} {end:9.1f} {series.per_hour:+10.1f}{verdict}")
        print("\neverything judged is flat" if flat else "\nsomething grows")
        return flat


def size_of(place: Path, pattern: str) -> int:
    """Return the bytes of files that may go while they are counted."""
    total = 0
    for path in place.glob(pattern):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Wait until something is true."""
    give_up = time.monotonic() + _START_SECONDS
    while not condition():
        if time.monotonic() > give_up:
            raise SystemExit(what)
        time.sleep(0.1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("SOAK_SECONDS", "600")))
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--hosts", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        soak = Soak(Path(directory), seconds=arguments.seconds, rate=arguments.rate, hosts=arguments.hosts)
        return 0 if soak.run() else 1


if __name__ == "__main__":
    sys.exit(main())
