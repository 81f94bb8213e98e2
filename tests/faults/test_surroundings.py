"""Networks, clocks and disks that fail a real process."""

import time
from collections.abc import Callable
from random import Random

import pytest

from ..brokers import BROKERS
from .clock import WallClock, wall_clock
from .disk import SmallDisk, make_disk
from .network import Network, network
from .processes import PLAIN, Around
from .relay import Link, Relay, make_relay
from .scenario import Scenario

__all__ = ["make_disk", "make_relay", "network", "wall_clock"]  # fixtures for this file

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

MakeScenario = Callable[..., Scenario]

NOTICE_SECONDS = 15.0
AWAY = "(trying again)"
BACK = "connected to broker"
MEBIBYTE = 1 << 20


def inside(network: Network, make_scenario: MakeScenario, kind: str) -> Scenario:
    """Return a scenario whose processes are in a network of their own, and the broker outside of it."""
    around = Around(network.command)
    return make_scenario(kind, address=network.address, hosts=around, consumer=around)


@pytest.mark.parametrize("kind", BROKERS)
def test_a_link_that_is_half_open(kind: str, network: Network, make_scenario: MakeScenario) -> None:
    scenario = inside(network, make_scenario, kind)
    scenario.start()
    scenario.fault(network.drop)
    begin = time.monotonic()
    for process in scenario.processes:
        scenario.says(process, AWAY, seconds=NOTICE_SECONDS - (time.monotonic() - begin))
    network.let_pass()
    scenario.finish()


@pytest.mark.parametrize("kind", BROKERS)
def test_a_network_that_is_cut_and_mended(kind: str, network: Network, make_scenario: MakeScenario) -> None:
    """For moments, which TCP makes up for, and for longer."""
    scenario = inside(network, make_scenario, kind)
    scenario.start()
    for seconds in (0.5, 3.0, 16.0):
        scenario.fault(network.cut)
        scenario.run_for(seconds)
        network.mend()
        scenario.run_for(1)
    scenario.finish()


def test_a_network_that_is_slow_and_loses_packets(
    network: Network, make_scenario: MakeScenario, fault_seconds: float
) -> None:
    network.impair("delay", "300ms", "200ms", "loss", "5%")
    scenario = inside(network, make_scenario, "mosquitto")
    scenario.start()
    scenario.fault()
    scenario.run_for(fault_seconds)
    scenario.finish()


@pytest.mark.parametrize("kind", BROKERS)
def test_a_slow_network_that_breaks(
    kind: str,
    make_relay: Callable[[int, Link, Random], Relay],
    make_scenario: MakeScenario,
    fault_seconds: float,
) -> None:
    """Half a second each way and little room; connections break, stand still for moments, and once for long."""
    relays: list[Relay] = []

    def between(port: int, random: Random) -> int:
        relays.append(make_relay(port, Link(shortest=0.3, longest=0.8, rate=256 * 1024), random))
        return relays[0].port

    scenario = make_scenario(kind, between=between, patience=10)  # docs/brokers.md: longer than a round of the network
    (relay,) = relays

    def stand_still() -> None:
        relay.hold()
        scenario.run_for(1)
        relay.let_pass()

    scenario.start()
    scenario.at_random(fault_seconds, relay.cut, relay.cut, stand_still)
    heard = {process: process.output.count(AWAY) for process in scenario.processes}
    scenario.fault(relay.hold)
    begin = time.monotonic()
    for process, times in heard.items():
        left = NOTICE_SECONDS - (time.monotonic() - begin)
        scenario.says(process, AWAY, times=times + 1, seconds=left)
    relay.let_pass()
    scenario.finish()


@pytest.mark.parametrize("whose", ["publishers", "consumer"])
def test_a_clock_that_is_set(whose: str, wall_clock: WallClock, make_scenario: MakeScenario) -> None:
    """An hour ahead, back, back by a little so that times come twice, an hour behind, and right again."""
    around = Around(environment=wall_clock.environment)
    ours = whose == "publishers"
    scenario = make_scenario("mosquitto", hosts=around if ours else PLAIN, consumer=PLAIN if ours else around)
    scenario.start()
    for seconds in (3600, 0, -3, -3600, 0):
        scenario.fault(lambda seconds=seconds: wall_clock.set(seconds))
        scenario.run_for(3)
    scenario.broker.kill()  # what is in the outboxes now has such times, too
    scenario.fault(lambda: wall_clock.set(-1))
    scenario.run_for(2)
    scenario.broker.start()
    scenario.finish()


@pytest.mark.parametrize("kind", BROKERS)
def test_disks_that_are_full(
    kind: str,
    make_disk: Callable[[str, int], SmallDisk],
    make_scenario: MakeScenario,
) -> None:
    """The publishers' first, then the consumer's."""
    outboxes, history = make_disk("small", 64 * MEBIBYTE), make_disk("smaller", 64 * MEBIBYTE)
    scenario = make_scenario(kind, outboxes=outboxes.path, history=history.path)
    scenario.start()
    scenario.fault(outboxes.fill)
    for group in scenario.hosts:
        scenario.says(group, "messages are kept in memory until it can be used")
    scenario.fault(scenario.broker.kill)  # so that they have to
    scenario.run_for(3)
    scenario.broker.start()
    outboxes.empty()
    for group in scenario.hosts:
        scenario.says(group, "can be used again; messages are kept there")
    scenario.fault(history.fill)
    scenario.says(scenario.consumer, "what has come cannot be stored")
    scenario.run_for(3)
    history.empty()
    scenario.says(scenario.consumer, "what has come is stored again")
    scenario.finish()
