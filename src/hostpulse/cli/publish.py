"""Publish this machine: sample it and send one message per subsystem to the broker."""

import argparse

from .arguments import add_setting_options, load_settings, mqtt_options, publisher_options, warn
from .launch import become


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the settings; this command has no arguments of its own."""
    add_setting_options(parser, machine=True, broker=True)


def run(arguments: argparse.Namespace) -> int:
    """Become the publisher."""
    settings = warn(load_settings(arguments))
    return become(publisher_options(settings, mqtt_options(settings, "publisher")))
