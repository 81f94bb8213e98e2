"""What is away for a while, late, mute, or not alone."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hostpulse.consumer.storage.options import InfluxOptions

from ..brokers import BROKERS
from ..cli.support import eventually
from ..influxdb import OwnInfluxServer
from ..servers import HOST
from .processes import Consumer
from .scenario import Scenario

pytestmark = pytest.mark.timeout(900)

MakeScenario = Callable[..., Scenario]

RETURN_SECONDS = 2.0
"""Within which everybody is back when a broker is."""
AWAY = "(trying again)"
BACK = "connected to broker"


class Mute:
    """Accepts connections on a port, and never says a word."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server((HOST, port))
        self._accepted: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                self._accepted.append(self._listener.accept()[0])
            except OSError:
                return

    def close(self) -> None:
        """End it; may be called twice."""
        with contextlib.suppress(OSError):  # closed before
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for one in self._accepted:
            one.close()


@pytest.fixture
def be_mute() -> Iterator[Callable[[int], Mute]]:
    made: list[Mute] = []

    def make(port: int) -> Mute:
        made.append(Mute(port))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("kind", ["mosquitto", pytest.param("nats-server", marks=pytest.mark.faults)])
def test_a_broker_that_is_away(kind: str, make_scenario: MakeScenario, away_seconds: float) -> None:
    scenario = make_scenario(kind)
    broker = scenario.broker
    scenario.start()
    scenario.run_for(5)  # of a connection that ended at once nobody says that it is back
    scenario.fault(broker.kill)
    for process in scenario.processes:
        scenario.says(process, AWAY)
    scenario.run_for(away_seconds)
    broker.start()
    for process in scenario.processes:
        # It is asked when the broker has answered somebody; before that it was there for a moment already.
        assert scenario.says(process, BACK, times=2) <= RETURN_SECONDS
    scenario.finish()


@pytest.mark.faults
def test_a_broker_that_accepts_and_never_answers(be_mute: Callable[[int], Mute], make_scenario: MakeScenario) -> None:
    scenario = make_scenario("mosquitto")
    scenario.start()
    mutes: list[Mute] = []
    scenario.fault(scenario.broker.kill, lambda: mutes.append(be_mute(scenario.broker.port)))
    scenario.run_for(14)
    mutes[0].close()
    scenario.broker.start()
    scenario.finish()


@pytest.mark.faults
def test_a_broker_that_stands_still(make_scenario: MakeScenario) -> None:
    scenario = make_scenario("nats-server")
    scenario.start()
    scenario.fault(scenario.broker.freeze)
    scenario.run_for(14)
    scenario.broker.thaw()
    scenario.finish()


@pytest.mark.faults
@pytest.mark.parametrize("how", ["kill", "freeze"])
def test_a_database_that_is_away(
    how: str,
    killable_influx_server: OwnInfluxServer,
    influxdb: InfluxOptions,
    make_scenario: MakeScenario,
    away_seconds: float,
) -> None:
    server = killable_influx_server
    scenario = make_scenario("mosquitto", influxdb=influxdb)
    scenario.start()
    scenario.fault(getattr(server, how))
    scenario.run_for(2 * away_seconds)
    if how == "kill":
        server.start()
    else:
        server.thaw()
    scenario.finish()


@pytest.mark.faults
@pytest.mark.parametrize("kind", BROKERS)
def test_both_sides_before_the_broker(kind: str, make_scenario: MakeScenario) -> None:
    scenario = make_scenario(kind)
    broker = scenario.broker
    scenario.consumer.program.start()
    scenario.says(scenario.consumer, BACK)  # the broker has its subscription
    scenario.consumer.program.stop()
    broker.stop()
    for process in scenario.processes:
        process.program.start()
        scenario.says(process, AWAY)
    scenario.fault()
    scenario.run_for(3)
    broker.start()
    scenario.warm()
    scenario.finish()


@pytest.mark.faults
def test_the_consumer_before_its_database(
    killable_influx_server: OwnInfluxServer,
    influxdb: InfluxOptions,
    make_scenario: MakeScenario,
) -> None:
    scenario = make_scenario("mosquitto", influxdb=influxdb)
    scenario.fault(killable_influx_server.kill)
    scenario.consumer.program.start()
    scenario.says(scenario.consumer, BACK)
    for group in scenario.hosts:
        group.program.start()
        scenario.says(group, BACK)
    scenario.run_for(3)
    killable_influx_server.start()
    scenario.says(scenario.consumer, "DEBUG stored")  # before that there is no bucket to look into
    scenario.warm()
    scenario.finish()


@pytest.mark.faults
@pytest.mark.parametrize("kind", BROKERS)
def test_two_consumers_with_one_client_id(kind: str, tmp_path: Path, make_scenario: MakeScenario) -> None:
    """Each throws the other out and gets messages that the other does not have."""
    scenario = make_scenario(kind)
    scenario.start()
    rival = Consumer(scenario.broker.options("anybody"), directory=tmp_path, data=tmp_path / "rival", name="rival")
    scenario.fault(rival.program.start)
    try:
        scenario.says(scenario.consumer, "does another client use the same mqtt.client_id?")
        eventually(lambda: rival.stored(time.time()) - scenario.stored(), what="the rival has nothing of its own")
    finally:
        rival.program.stop()
    scenario.finish()
