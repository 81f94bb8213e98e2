"""Writing to a server that is not InfluxDB's makers': what comes back is what was written."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hostpulse.bus.codec import Sample
from hostpulse.bus.messages import CpuCore, DiskDevice, NetworkInterface
from hostpulse.consumer.storage import Maintenance, StorageError
from hostpulse.consumer.storage.influxdb import InfluxReader, InfluxWriter

from ...brokers import Broker
from ...cli.support import Hostpulse, eventually
from ...servers import free_port
from .conftest import Series, VictoriaMetrics

START = 1_770_000_000_000
SESSION = 1_767_225_600_000.0
Make = Callable[..., Sample]


@pytest.fixture
def writer(victoria_metrics: VictoriaMetrics) -> Iterator[InfluxWriter]:
    with InfluxWriter(victoria_metrics.options(), retention=None, rollup_retention=None) as opened:
        yield opened


def test_it_says_nothing_of_itself_and_nothing_is_made_ready(writer: InfluxWriter) -> None:
    assert (writer.server.build, writer.server.version, writer.server.has_flux, writer.prepared) == (
        None,
        None,
        False,
        None,
    )
    assert writer.maintain(0) == Maintenance(0, 0, more=False)


def test_values_come_back_as_they_were_written(
    writer: InfluxWriter, victoria_metrics: VictoriaMetrics, sample: Make
) -> None:
    generator = random.Random(7)  # noqa: S311 - not for secrets
    host = "values"
    labels = frozenset({("host", host)})
    expected: Series = {}

    def expect(name: str, moment: int, value: float, **more: str) -> float:
        expected.setdefault((name, frozenset({*labels, *more.items()})), []).append((moment, value))
        return value

    samples = []
    for number in range(500):
        moment = START + number * 2000 + generator.randrange(1000)
        for name, value in (("session", SESSION), ("interval", 2.0), ("sequence", number + 1.0)):
            expect(f"cpu_{name}", moment, value)
        samples.append(
            sample(
                "cpu",
                moment,
                host,
                number + 1,
                utilization_percent=expect("cpu_utilization_percent", moment, round(generator.uniform(0, 100), 9)),
                frequency_hertz=int(expect("cpu_frequency_hertz", moment, generator.randrange(10**9, 4 * 10**9))),
                core={
                    core: CpuCore(
                        utilization_percent=expect(
                            "cpu_core_utilization_percent", moment, round(generator.uniform(0, 100), 2), core=core
                        )
                    )
                    for core in ("0", "1")
                },
            )
        )
    written = writer.write(samples)
    assert (written.rows, written.rejected) == (1500, ())
    assert victoria_metrics.series(host) == expected


@pytest.mark.parametrize("name", ["/var/my lib", "a,b=c d", "☃ 日本", "a\\b", "it's"])
def test_names_of_devices_come_back(
    writer: InfluxWriter, victoria_metrics: VictoriaMetrics, sample: Make, name: str
) -> None:
    device = {name: DiskDevice(busy_percent=12.5)}
    assert writer.write([sample("disk", START, "names", device=device)]).rejected == ()
    labels = frozenset({("host", "names"), ("device", name)})
    assert victoria_metrics.series("names")["disk_device_busy_percent", labels] == [(START, 12.5)]


def test_the_same_samples_again_change_nothing(
    writer: InfluxWriter, victoria_metrics: VictoriaMetrics, sample: Make
) -> None:
    """A batch that was not acknowledged is written again, whatever became of it."""
    samples = [sample("memory", START + number * 2000, "again", number + 1, used_percent=number) for number in range(9)]
    for _ in range(2):
        assert writer.write(samples).rows == 9
    points = victoria_metrics.series("again")["memory_used_percent", frozenset({("host", "again")})]
    assert sorted(set(points)) == [(START + number * 2000, number) for number in range(9)]


def test_it_keeps_no_text(writer: InfluxWriter, victoria_metrics: VictoriaMetrics, sample: Make) -> None:
    """The page about InfluxDB says so; a version that does keep it would be worth a line there."""
    interface = {"eth0": NetworkInterface(link="up", received_bytes=7)}
    assert writer.write([sample("network", START, "text", interface=interface)]).rejected == ()
    writer.note_host("text", online=True, info='{"cores": 4}')
    found = {name: points for (name, _), points in victoria_metrics.series("text").items()}
    assert found["network_interface_link"] == [(START, 0)]
    assert found["network_interface_received_bytes"] == [(START, 7)]
    assert [value for _, value in found["hostpulse_host_online"]] == [1]


def test_it_is_write_only(victoria_metrics: VictoriaMetrics) -> None:
    with pytest.raises(
        StorageError, match=r"no InfluxDB 2 or 3 .it does not say what it is., so it is write only"
    ) as caught:
        InfluxReader(victoria_metrics.options()).open()
    assert "\n" not in str(caught.value)


@pytest.fixture
def hostpulse(victoria_metrics: VictoriaMetrics, tmp_path: Path) -> Iterator[Hostpulse]:
    """The command with VictoriaMetrics as its store."""
    made = Hostpulse(tmp_path, free_port())
    made.environment |= {
        "HOSTPULSE_STORE__KIND": "influxdb",
        "HOSTPULSE_INFLUXDB__URL": victoria_metrics.url,
        "HOSTPULSE_INFLUXDB__TOKEN": "any",
        "HOSTPULSE_INFLUXDB__ORG": "any",
        "HOSTPULSE_HOST": "commands",
    }
    yield made
    made.close()


def test_the_commands_store_there(
    hostpulse: Hostpulse, make_broker: Callable[..., Broker], victoria_metrics: VictoriaMetrics
) -> None:
    broker = make_broker("mosquitto")
    at = ("--broker", "127.0.0.1", "--set", f"mqtt.port={broker.port}")
    consumer = hostpulse.start("consume", *at)
    consumer.says("connected to broker")
    publisher = hostpulse.start("publish", "--interval", "0.5", *at)
    sequence = ("cpu_sequence", frozenset({("host", "commands")}))

    def stored() -> list[Any]:
        return [number for _, number in victoria_metrics.series("commands").get(sequence, [])]

    eventually(lambda: len(stored()) >= 5, what=lambda: publisher.output + consumer.output)
    assert publisher.end() == 0
    assert consumer.end() == 0
    assert stored() == list(range(1, len(stored()) + 1))


@pytest.mark.parametrize("command", [("export", "cpu"), ("history", "cpu.load_average_1m")])
def test_the_commands_say_that_it_is_write_only(hostpulse: Hostpulse, command: tuple[str, ...]) -> None:
    done = hostpulse.run(*command)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "so it is write only: hostpulse stores there and cannot read from there" in line


def test_check_says_so_too(hostpulse: Hostpulse) -> None:
    done = hostpulse.run("check")
    (line,) = [line for line in done.stdout.splitlines() if "write only" in line]
    assert line.startswith("FAIL history ")
