"""Publish many synthetic hosts, to find out what a broker, a consumer and a store can take.

Each is a real publisher with a session and an outbox of its own; only its values are made up. The hosts are named
after this one: web-1 simulates web-1-1, web-1-2 and so on. All of them in one process, so its CPU is no measure of a
publisher's.
"""

import argparse

from msgspec.structs import replace

from hostpulse.bus.errors import UsageError
from hostpulse.publisher.collectors import Choice
from hostpulse.publisher.simulation import SIMULATED, SimulationOptions

from .arguments import add_setting_options, load_settings, mqtt_options, publisher_options
from .launch import become

_PUBLISHER = "publisher"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is simulated, and the settings."""
    parser.add_argument("--hosts", type=int, default=100, metavar="COUNT", help="how many hosts (default: 100)")
    parser.add_argument(
        "--subsystems",
        default=",".join((*SIMULATED, _PUBLISHER)),
        metavar="NAME,NAME",
        help="what they say (default: everything)",
    )
    parser.add_argument("--seed", type=int, default=1, help="the same number makes the same values (default: 1)")
    parser.add_argument("--in-memory", action="store_true", help="keep their outboxes in memory, not in data_dir")
    add_setting_options(parser, machine=True, broker=True)


def run(arguments: argparse.Namespace) -> int:
    """Become the simulation."""
    if arguments.hosts < 1:
        raise UsageError(f"--hosts {arguments.hosts}: simulate at least one")
    subsystems = _subsystems(arguments.subsystems)
    settings = load_settings(arguments).settings
    publisher = publisher_options(settings, mqtt_options(settings, "simulate"))
    health = Choice(disable=() if _PUBLISHER in subsystems else (_PUBLISHER,))
    return become(
        SimulationOptions(
            publisher=replace(publisher, choice=health),
            hosts=arguments.hosts,
            subsystems=subsystems,
            seed=arguments.seed,
            in_memory=arguments.in_memory,
        )
    )


def _subsystems(text: str) -> tuple[str, ...]:
    """Return the subsystems of a list with commas between, each once.

    Raises:
        UsageError: one of them cannot be simulated.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in SIMULATED and name != _PUBLISHER:
            raise UsageError(f"--subsystems {name!r}: there are {', '.join((*SIMULATED, _PUBLISHER))}")
    return names
