"""Show the effective settings, each with where it came from; secrets are masked."""

import argparse

from hostpulse.config.show import describe

from .arguments import add_setting_options, load_settings, warn


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what there is to do."""
    parser.add_argument("action", choices=["show"], help="show the effective settings")
    add_setting_options(parser, machine=True, broker=True)


def run(arguments: argparse.Namespace) -> int:
    """Print one line for each setting: key, value, origin."""
    loaded = load_settings(arguments)
    warn(loaded)
    lines = describe(loaded)
    key_width = max(len(line.key) for line in lines)
    for line in lines:
        print(f"{line.key:{key_width}} = {line.value}  # {line.origin}")
    return 0
