"""Store what publishers send.

The broker keeps what comes while this is away, for the session named by the client id.
"""

import argparse

from .arguments import add_setting_options, consumer_options, load_settings, mqtt_options, warn
from .launch import become


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the choice of a role."""
    parser.add_argument("--role", choices=["store"], default="store", help="store: write history")
    add_setting_options(parser, broker=True)


def run(arguments: argparse.Namespace) -> int:
    """Become the consumer."""
    settings = warn(load_settings(arguments))
    return become(consumer_options(settings, mqtt_options(settings, arguments.role)))
