"""Publish this machine: sample it and send one message per subsystem to the broker."""

import argparse

from .arguments import load_settings, mqtt_options, publisher_options
from .launch import become


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This command has no arguments of its own."""
    del parser


def run(arguments: argparse.Namespace) -> int:
    """Become the publisher."""
    settings = load_settings(arguments).settings
    return become(publisher_options(settings, mqtt_options(settings, "publisher")))
