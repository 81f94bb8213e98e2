"""`simulate`: many publishers that are like any other."""

from collections import defaultdict
from collections.abc import Callable

import pytest

from ..brokers import Broker
from ..publisher.processes import Subscriber, subscribe
from .support import Hostpulse

__all__ = ["subscribe"]  # fixture for this file


def test_the_command(hostpulse: Hostpulse, broker: Broker, subscribe: Callable[[], Subscriber]) -> None:
    listener = subscribe()
    at = ("--broker", "127.0.0.1", "--set", f"mqtt.port={broker.port}", "--name", "sim", "--interval", "0.5")
    running = hostpulse.start("simulate", "--hosts", 5, "--subsystems", "cpu,publisher", *at)
    seen: defaultdict[tuple[str, str], list[int]] = defaultdict(list)

    def heard() -> bool:
        seen.clear()
        for sample in listener.samples():
            seen[sample.envelope.host, sample.envelope.subsystem].append(sample.envelope.sequence)
        hosts = [seen[f"sim-{number}", "cpu"] for number in range(1, 6)]
        return all(len(numbers) >= 3 for numbers in hosts) and len({host for host, _ in seen}) == 5

    listener.wait_for(heard)
    assert {subsystem for _, subsystem in seen} == {"cpu", "publisher"}
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in seen.values())
    assert running.end() == 0
    assert running.output.count("connected to broker") == 1  # of five
    for number in range(1, 6):
        topic = f"hostpulse/sim-{number}/status"
        listener.wait_for(lambda topic=topic: listener.last(topic) == b"offline")  # type: ignore[misc]
        assert list((hostpulse.data / "simulated" / f"sim-{number}" / "outbox").glob("*.log"))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--hosts", "0"), "hostpulse: --hosts 0: simulate at least one"),
        (("--subsystems", "cpu,teapot"), "hostpulse: --subsystems 'teapot': there are cpu, memory, "),
        ((), "hostpulse: no broker: set mqtt.host"),
    ],
)
def test_mistakes_of_its_user(hostpulse: Hostpulse, arguments: tuple[str, ...], line: str) -> None:
    done = hostpulse.run("simulate", *arguments)
    assert done.returncode in {1, 2}
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1
