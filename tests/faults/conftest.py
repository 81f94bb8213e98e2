import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from hostpulse.consumer.storage.options import InfluxOptions

from ..brokers import Broker
from ..influxdb import OwnInfluxServer
from .processes import PLAIN, Around, Consumer, Hosts
from .report import Result, keep, line
from .scenario import Scenario

GROUPS = 4  # processes of hosts, which can be killed one by one


@pytest.fixture
def fault_seconds(request: pytest.FixtureRequest) -> float:
    """How long faults are injected where that is a matter of choice."""
    return float(request.config.getoption("fault_seconds"))  # type: ignore[arg-type]


@pytest.fixture
def away_seconds(request: pytest.FixtureRequest) -> float:
    """How long a broker or a database is away."""
    return float(request.config.getoption("fault_away"))  # type: ignore[arg-type]


@pytest.fixture
def make_scenario(
    request: pytest.FixtureRequest, tmp_path: Path, make_broker: Callable[..., Broker]
) -> Iterator[Callable[..., Scenario]]:
    """Return what makes the scenario of a test; its processes end with the test."""
    made: list[Scenario] = []
    count = int(request.config.getoption("fault_hosts"))  # type: ignore[arg-type]
    seed = int(request.config.getoption("fault_seed")) or int(time.time())  # type: ignore[arg-type]

    def report(result: Result) -> None:
        keep(result, request.node)
        plugins = request.config.pluginmanager
        reporter: Any = plugins.get_plugin("terminalreporter")
        if reporter is None:  # this is a worker of pytest-xdist; the table comes at the end
            return
        capture: Any = plugins.get_plugin("capturemanager")
        with capture.global_and_fixture_disabled():
            reporter.write_line("")
            reporter.write_line(line(result))

    def make(
        kind: str,
        *,
        influxdb: InfluxOptions | None = None,
        hosts: Around = PLAIN,
        consumer: Around = PLAIN,
        members: int = 0,
        outboxes: Path = tmp_path / "outboxes",
        history: Path = tmp_path / "history",
        between: Callable[[int, Random], int] = lambda port, _: port,
        **arguments: Any,
    ) -> Scenario:
        """Make one.

        Args:
            kind: of the broker.
            influxdb: None for the embedded store.
            hosts: what the publishers run in.
            consumer: what the consumer runs in.
            members: how many consumers share the storing; 0 for one that does all of it.
            outboxes: the publishers' directory.
            history: the consumer's directory.
            between: is given the broker's port, and returns that of what stands between it and everybody.
            arguments: those of the broker.
        """
        broker = make_broker(kind, **{"persistent": True, **arguments})
        options = broker.options("anybody", port=between(broker.port, Random(seed)))  # noqa: S311  no secret
        groups = [
            Hosts(
                f"group{number}",
                (count + number) // GROUPS,
                options,
                directory=tmp_path,
                data=outboxes,
                around=hosts,
            )
            for number in range(GROUPS)
        ]
        names = [f"consumer{number}" for number in range(members)] or ["consumer"]
        share = "store" if members else None
        takers = [
            Consumer(
                options, directory=tmp_path, data=history, influxdb=influxdb, name=name, share=share, around=consumer
            )
            for name in names
        ]
        name = request.node.name.removeprefix("test_")
        made.append(Scenario(name, seed, broker=broker, hosts=groups, consumers=takers, report=report))
        return made[-1]

    yield make
    for scenario in made:
        for process in scenario.processes:
            process.program.close()


@pytest.fixture
def influxdb(killable_influx_server: OwnInfluxServer) -> InfluxOptions:
    """A bucket of a server that can be killed."""
    return killable_influx_server.options(f"faults-{uuid.uuid4()}")
