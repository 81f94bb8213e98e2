"""Print the version."""

import argparse

from hostpulse import __version__


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This command has no arguments of its own."""
    del parser


def run(_arguments: argparse.Namespace) -> int:
    """Print the version."""
    print(f"hostpulse {__version__}")
    return 0
