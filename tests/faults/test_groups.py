"""Consumers that share the storing, over a database that all of them see."""

from collections.abc import Callable

import pytest

from hostpulse.consumer.storage.options import InfluxOptions

from ..cli.support import eventually
from .scenario import Scenario

pytestmark = pytest.mark.timeout(400)

MakeScenario = Callable[..., Scenario]

MEMBERS = 3


def test_a_member_that_is_killed(influxdb: InfluxOptions, make_scenario: MakeScenario) -> None:
    """What the broker had for it comes to another one, which leaves its own session for that."""
    scenario = make_scenario("mosquitto", influxdb=influxdb, members=MEMBERS)
    scenario.start()
    eventually(lambda: all(member.taken for member in scenario.consumers), what="a member has no share")
    _, killed, *_ = scenario.consumers
    living = [member for member in scenario.consumers if member is not killed]
    scenario.fault(killed.program.kill)
    eventually(lambda: any("is gone; taking over" in member.output for member in living), what=living[0].output)
    scenario.finish()


@pytest.mark.faults
def test_a_broker_that_forgets_what_it_had_for_a_group(influxdb: InfluxOptions, make_scenario: MakeScenario) -> None:
    """Nobody of them can see from its share what is missing, so one of them looks for it in the database."""
    scenario = make_scenario("mosquitto", influxdb=influxdb, members=MEMBERS)
    scenario.start()
    for member in scenario.consumers:
        member.program.kill()
    # The broker has something to lose: what it sends to one that only stands still lies in that one's socket.
    scenario.run_for(5)
    scenario.fault(scenario.broker.kill, scenario.broker.forget, scenario.broker.start)
    for member in scenario.consumers:
        member.program.start()
    assert scenario.finish().asked


@pytest.mark.faults
def test_kills_in_a_group(influxdb: InfluxOptions, make_scenario: MakeScenario, fault_seconds: float) -> None:
    """Hosts, members and a broker that keeps nothing."""
    scenario = make_scenario("mosquitto", influxdb=influxdb, members=MEMBERS, persistent=False)
    scenario.start()
    scenario.kill_at_random(fault_seconds)
    scenario.finish()
