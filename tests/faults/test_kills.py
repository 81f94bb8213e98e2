"""kill -9 of everything at random moments; brokers that forget what they had."""

from collections.abc import Callable

import pytest

from hostpulse.consumer.storage.options import InfluxOptions

from ..brokers import BROKERS
from ..influxdb import OwnInfluxServer
from .scenario import Scenario

pytestmark = pytest.mark.timeout(400)

MakeScenario = Callable[..., Scenario]


@pytest.mark.faults
@pytest.mark.parametrize("kind", BROKERS)
def test_kills(kind: str, make_scenario: MakeScenario, fault_seconds: float) -> None:
    scenario = make_scenario(kind)
    scenario.start()
    scenario.kill_at_random(fault_seconds)
    scenario.finish()


def test_kills_with_a_broker_that_keeps_nothing(make_scenario: MakeScenario, fault_seconds: float) -> None:
    """What it had acknowledged and not delivered comes through replay."""
    scenario = make_scenario("mosquitto", persistent=False)
    scenario.start()
    scenario.kill_at_random(fault_seconds)
    scenario.finish()


@pytest.mark.faults
@pytest.mark.parametrize("kind", BROKERS)
def test_kills_of_the_database_too(
    kind: str,
    killable_influx_server: OwnInfluxServer,
    influxdb: InfluxOptions,
    make_scenario: MakeScenario,
    fault_seconds: float,
) -> None:
    scenario = make_scenario(kind, influxdb=influxdb)
    scenario.start()
    scenario.kill_at_random(fault_seconds, database=killable_influx_server)
    scenario.finish()


@pytest.mark.faults
def test_publishers_that_ran_for_a_moment_while_nobody_listened(make_scenario: MakeScenario) -> None:
    """The broker has acknowledged all that they said, and forgets it before a consumer hears of that start."""
    scenario = make_scenario("mosquitto", persistent=False)
    scenario.start()
    scenario.consumer.program.kill()
    for group in scenario.hosts:
        for _ in range(2):
            scenario.fault(group.program.kill, group.program.start)
            scenario.run_for(1.5)
    scenario.fault(scenario.broker.kill, scenario.broker.start)
    scenario.consumer.program.start()
    scenario.finish()


@pytest.mark.faults
@pytest.mark.parametrize("kind", BROKERS)
def test_a_broker_whose_store_is_wiped(kind: str, make_scenario: MakeScenario) -> None:
    """While the consumer is away, so that the broker has something to lose."""
    scenario = make_scenario(kind)
    scenario.start()
    scenario.consumer.program.kill()
    scenario.run_for(5)
    scenario.fault(scenario.broker.kill, scenario.broker.forget, scenario.broker.start)
    scenario.consumer.program.start()
    scenario.finish()
