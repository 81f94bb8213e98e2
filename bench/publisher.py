"""The publisher beside psmqtt: the same machine, broker and minute, the same interval.

    python bench/publisher.py [--seconds 60] [--processes 300] [--psmqtt .bench/bin/psmqtt]

Prints CPU time, memory, wake-ups, messages and bytes of both, and how they were measured. psmqtt pins older versions
of libraries that we use, so it lives in an environment of its own, which `make bench` makes: .bench.
"""

import argparse
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion
from processes import Usage, count_processes, running, sleepers

from hostpulse import __version__
from hostpulse.bus.mqtt import MqttOptions
from hostpulse.cli.arguments import publisher_options
from hostpulse.cli.launch import command_of, encode_options
from hostpulse.config.settings import Settings
from hostpulse.stack.broker import EmbeddedBroker, Endpoint, find_nats_server

_INTERVAL_SECONDS = 2.0
_SETTLE_SECONDS = 5.0
_START_LIMIT_SECONDS = 30.0
_HOST = "127.0.0.1"
_ROOT = Path(__file__).resolve().parent.parent

# What psmqtt calls what we publish. `+` puts all values of a task into one message, as one of ours does.
_PSMQTT_TASKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("cpu_percent", ()),
    ("cpu_percent", ("+",)),
    ("virtual_memory", ("+",)),
    ("swap_memory", ("+",)),
    ("getloadavg", ("+", "abs")),
    ("disk_usage", ("+", "/")),
    ("disk_io_counters", ("+",)),
    ("net_io_counters", ("+",)),
)


class Arrival(NamedTuple):
    """A message that came from the broker."""

    seconds: float
    topic: str
    size: int


class Subscriber:
    """Notes every sample of both publishers; what they say of themselves (status, inventory) is none."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._arrivals: list[Arrival] = []
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="bench")
        if endpoint.username:
            self._client.username_pw_set(endpoint.username, endpoint.password)
        self._client.on_message = self._received
        self._client.on_connect = self._connected
        self._client.connect(endpoint.host, endpoint.port)
        self._client.loop_start()

    def _connected(self, client: Client, *_: Any) -> None:
        client.subscribe([("hostpulse/#", 0), ("psmqtt/#", 0)])

    def _received(self, _client: Client, _userdata: Any, message: MQTTMessage) -> None:
        now = time.monotonic()
        if message.topic.rpartition("/")[2] not in ("status", "info", "psmqtt_status"):
            self._arrivals.append(Arrival(now, message.topic, len(message.payload)))

    def await_first(self, prefix: str, process: subprocess.Popen[bytes]) -> float:
        """Return when the first sample below a prefix came from a process."""
        end = time.monotonic() + _START_LIMIT_SECONDS
        while time.monotonic() < end and process.poll() is None:
            if found := self.of(prefix):
                return found[0].seconds
            time.sleep(0.005)
        raise SystemExit(f"{prefix} sent nothing in its first {_START_LIMIT_SECONDS:.0f} s, or ended before")

    def of(self, prefix: str, begin: float = 0.0, end: float = float("inf")) -> list[Arrival]:
        """Return the samples below a prefix that came in a span of time."""
        return [one for one in self._arrivals if one.topic.startswith(f"{prefix}/") and begin <= one.seconds < end]

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()


@dataclass(frozen=True, slots=True)
class Figures:
    """What is printed of one publisher."""

    cpu_per_minute: float
    cpu_per_cycle: float
    cycle_seconds: float
    rss: float
    pss: float
    wakeups: float
    messages: float
    payload: float
    first_message: float
    start_cpu: float


class Contestant:
    """One publisher that runs."""

    def __init__(self, prefix: str, process: subprocess.Popen[bytes], started: float, subscriber: Subscriber) -> None:
        self._prefix = prefix
        self._process = process
        self._subscriber = subscriber
        self._first_message = subscriber.await_first(prefix, process) - started
        self._at_first = Usage.of(process.pid)
        self._begin = self._at_first

    def begin(self) -> None:
        """Begin to count."""
        self._check()
        self._begin = Usage.of(self._process.pid)

    def _check(self) -> None:
        if self._process.poll() is not None:
            raise SystemExit(f"{self._prefix} ended with exit code {self._process.returncode}")

    def end(self) -> Figures:
        """Return what came of it."""
        self._check()
        begin, end = self._begin, Usage.of(self._process.pid)
        seconds = end.seconds - begin.seconds
        arrivals = self._subscriber.of(self._prefix, begin.seconds, end.seconds)
        if not arrivals:
            raise SystemExit(f"{self._prefix} sent nothing in {seconds:.0f} s")
        # The cycle as it was kept: the usual time from one burst of messages to the next.
        times = [-_INTERVAL_SECONDS, *(one.seconds for one in arrivals)]
        bursts = [now for before, now in pairwise(times) if now - before > _INTERVAL_SECONDS / 4]
        cycle = statistics.median(now - before for before, now in pairwise(bursts)) if len(bursts) > 1 else seconds
        cpu = end.cpu_seconds - begin.cpu_seconds
        return Figures(
            cpu_per_minute=cpu / seconds * 60,
            cpu_per_cycle=cpu / seconds * cycle * 1000,
            cycle_seconds=cycle,
            rss=end.rss,
            pss=end.pss,
            wakeups=end.wakeups_since(begin) / seconds * 60,
            messages=len(arrivals) / seconds * cycle,
            payload=sum(one.size for one in arrivals) / seconds * cycle,
            first_message=self._first_message,
            start_cpu=self._at_first.cpu_seconds,
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def broker(directory: Path) -> Iterator[tuple[Endpoint, str]]:
    """Run mosquitto, or nats-server where there is none; give where it listens and its version."""
    port = free_port()
    mosquitto = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if mosquitto is None:
        server = EmbeddedBroker(directory / "data", port)
        endpoint = server.start()
        try:
            yield endpoint, output_of([str(find_nats_server()), "--version"])
        finally:
            server.stop()
        return
    configuration = directory / "mosquitto.conf"
    configuration.write_text(f"listener {port} {_HOST}\nallow_anonymous true\npersistence false\nlog_type error\n")
    with running([mosquitto, "-c", str(configuration)]):
        end = time.monotonic() + _START_LIMIT_SECONDS
        while time.monotonic() < end:
            try:
                socket.create_connection((_HOST, port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.02)
        yield Endpoint(_HOST, port, "", ""), output_of([mosquitto, "-h"])


def output_of(arguments: list[str]) -> str:
    """Return the first line that a program writes."""
    return (subprocess.run(arguments, capture_output=True, text=True, check=False).stdout.splitlines() or ["?"])[0]


def hostpulse_options(endpoint: Endpoint, data_dir: Path) -> tuple[list[str], bytes]:
    """Return command and standard input of our publisher with the defaults of the settings, its outbox on disk."""
    mqtt = MqttOptions(
        host=endpoint.host,
        port=endpoint.port,
        client_id="bench-hostpulse",
        username=endpoint.username or None,
        password=endpoint.password or None,
    )
    settings = Settings(host="bench", interval=_INTERVAL_SECONDS, log_level="warning", data_dir=data_dir)
    options = publisher_options(settings, mqtt)
    return command_of(options), encode_options(options)


def psmqtt_configuration(endpoint: Endpoint) -> str:
    """Return psmqtt's configuration (YAML) with its own defaults, QoS 0 among them."""
    login = [f"    username: {endpoint.username}", f"    password: {endpoint.password}"] if endpoint.username else []
    tasks = []
    for name, parameters in _PSMQTT_TASKS:
        quoted = ", ".join(f'"{parameter}"' for parameter in parameters)
        tasks.append(f"      - task: {name}\n        params: [{quoted}]")
    return "\n".join(
        [
            "mqtt:",
            "  broker:",
            f"    host: {endpoint.host}",
            f"    port: {endpoint.port}",
            *login,
            "  publish_topic_prefix: psmqtt/bench",
            "schedule:",
            f"  - cron: every {_INTERVAL_SECONDS:.0f} seconds",
            "    tasks:",
            *tasks,
            "",
        ]
    )


def table(ours: Figures, theirs: Figures) -> str:
    rows = [
        ("CPU seconds per minute", "cpu_per_minute", ".4f"),
        ("CPU milliseconds per cycle", "cpu_per_cycle", ".2f"),
        ("seconds per cycle, as kept", "cycle_seconds", ".2f"),
        ("RSS, MiB", "rss", ".1f"),
        ("PSS, MiB", "pss", ".1f"),
        ("wake-ups per minute", "wakeups", ".0f"),
        ("messages per cycle", "messages", ".1f"),
        ("payload bytes per cycle", "payload", ".0f"),
        ("first message after start, s", "first_message", ".2f"),
        ("CPU seconds until then", "start_cpu", ".2f"),
    ]
    lines = [f"{'':30}{'hostpulse':>11}{'psmqtt':>11}{'ratio':>8}"]
    for label, name, places in rows:
        one, other = getattr(ours, name), getattr(theirs, name)
        lines.append(f"{label:30}{one:11{places}}{other:11{places}}{one / other if other else float('nan'):8.2f}")
    return "\n".join(lines)


def measure(seconds: float, processes: int, psmqtt: Path) -> None:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        endpoint, broker_version = stack.enter_context(broker(directory))
        stack.enter_context(sleepers(processes, seconds + 4 * _START_LIMIT_SECONDS))
        subscriber = Subscriber(endpoint)
        stack.callback(subscriber.close)
        # One after the other, so that neither start slows the other one down.
        command, options = hostpulse_options(endpoint, directory / "hostpulse")
        started = time.monotonic()
        ours = Contestant("hostpulse", stack.enter_context(running(command, send=options)), started, subscriber)
        configuration = directory / "psmqtt.yaml"
        configuration.write_text(psmqtt_configuration(endpoint))
        started = time.monotonic()
        process = running([str(psmqtt)], environment={"PSMQTTCONFIG": str(configuration)}, quiet=True)
        theirs = Contestant("psmqtt", stack.enter_context(process), started, subscriber)
        time.sleep(_SETTLE_SECONDS)
        ours.begin()
        theirs.begin()
        time.sleep(seconds)
        one, other = ours.end(), theirs.end()
        present = count_processes()
    print(table(one, other))
    print()
    versions = output_of([str(psmqtt), "--version"]).removeprefix("Version: ")
    print(f"hostpulse {__version__} (paho-mqtt {metadata.version('paho-mqtt')}, QoS 1), psmqtt {versions} (QoS 0),")
    print(f"{broker_version}, Python {platform.python_version()}, {platform.system()} {platform.release()},")
    print(f"{os.cpu_count()} cores, {present} processes, both at once every {_INTERVAL_SECONDS:g} s for {seconds:g} s,")
    print(f"from {_SETTLE_SECONDS:g} s after the start; CPU time is user and system, children included")
    print(f"{datetime.now(UTC):%Y-%m-%d}: python bench/publisher.py --seconds {seconds:g} --processes {processes}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the publisher beside psmqtt.")
    parser.add_argument("--seconds", type=float, default=60, help="length of the window (default: 60)")
    parser.add_argument("--processes", type=int, default=300, help="sleeping processes to start (default: 300)")
    parser.add_argument("--psmqtt", type=Path, default=_ROOT / ".bench" / "bin" / "psmqtt", help="the other program")
    arguments = parser.parse_args()
    if sys.platform != "linux":
        raise SystemExit("this reads /proc, which only Linux has")
    if not arguments.psmqtt.exists():
        raise SystemExit(f"{arguments.psmqtt} is missing: `make bench` installs it, or name one with --psmqtt")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started ends with us
    measure(arguments.seconds, arguments.processes, arguments.psmqtt)


if __name__ == "__main__":
    main()
