"""Print the JSON Schema of the messages, or the AsyncAPI document of all topics."""

import argparse

from hostpulse.bus.messages import SUBSYSTEMS
from hostpulse.bus.schema import asyncapi_document, message_schema, to_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what to print."""
    parser.add_argument("subsystem", nargs="?", choices=list(SUBSYSTEMS), help="only the messages of this subsystem")
    parser.add_argument("--asyncapi", action="store_true", help="print the AsyncAPI document instead")


def run(arguments: argparse.Namespace) -> int:
    """Print the document as JSON."""
    document = asyncapi_document() if arguments.asyncapi else message_schema(arguments.subsystem)
    print(to_text(document), end="")
    return 0
