"""Entry point: finds the command, runs it, and turns what went wrong into one line and an exit code."""

import argparse
import signal
import sys
from collections.abc import Sequence
from types import ModuleType

from hostpulse import __version__
from hostpulse.bus.errors import HostpulseError, UsageError

from . import check, config, consume, export, history, publish, schema, up, version
from .arguments import add_common_options

__all__ = ["main"]

DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130

_COMMANDS: dict[str, ModuleType] = {
    "up": up,
    "publish": publish,
    "consume": consume,
    "history": history,
    "export": export,
    "check": check,
    "config": config,
    "schema": schema,
    "version": version,
}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="hostpulse",
        description="A machine's vital signs over MQTT, with their history.",
        epilog="Exit codes: 0 done, 1 failed, 2 wrong use, 130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"hostpulse {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in _COMMANDS.items():
        summary = (module.__doc__ or "").partition("\n")[0]
        command = commands.add_parser(name, help=summary, description=module.__doc__, formatter_class=_Formatter)
        module.add_arguments(command)
        add_common_options(command)
    return parser


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the paragraphs of a command's description."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: arguments without the program's name; None for those of the process.

    Returns:
        0 done, 1 failed, 2 wrong use, 130 interrupted.
    """
    arguments = build_parser().parse_args(argv)
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `hostpulse export … | head` ends as other programs do
    try:
        code: int = _COMMANDS[arguments.command].run(arguments)
    except UsageError as error:
        return _complain(error, WRONG_USE)
    except HostpulseError as error:
        return _complain(error, FAILED)
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def _complain(error: HostpulseError, code: int) -> int:
    for line in str(error).splitlines():
        print(f"hostpulse: {line}", file=sys.stderr)
    return code
