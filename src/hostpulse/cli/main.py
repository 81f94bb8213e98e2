"""Entry point: finds the command, runs it, and turns what went wrong into one line and an exit code."""

import argparse
import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from keyword import iskeyword
from types import ModuleType
from typing import NoReturn

from hostpulse import __version__
from hostpulse.bus.errors import HostpulseError, UsageError

from .terminal import clean

__all__ = ["main"]

DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130

_COMMANDS = (
    *("up", "publish", "consume", "history", "export", "import", "alerts", "rules", "deadletter", "check"),
    *("config", "influxdb", "stack", "simulate", "schema", "version"),
)
_STANDARD_OUTPUT = 1
_COMMAND_INDENT = 4


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and takes options by their whole names only."""

    def error(self, message: str) -> NoReturn:
        """End with a line that names the mistake and where to look."""
        self.exit(WRONG_USE, f"hostpulse: {clean(message)}; see {self.prog} --help\n")


class _CommandsFormatter(argparse.HelpFormatter):
    """Has room for the names of the commands; Python forgets that they are indented."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog)
        self._action_max_length = _COMMAND_INDENT + max(map(len, _COMMANDS))


def _module(command: str) -> ModuleType:
    name = f"{command}_" if iskeyword(command) else command
    return importlib.import_module(f".{name}", __package__)


def build_parser(commands: Sequence[str] = _COMMANDS) -> argparse.ArgumentParser:
    """Return the parser of the command line.

    Args:
        commands: those that it is to know; each costs the import of its module.
    """
    parser = _Parser(
        prog="hostpulse",
        description="A machine's vital signs over MQTT, with their history.",
        epilog="Exit codes: 0 done, 1 failed, 2 wrong use, 130 interrupted.",
        formatter_class=_CommandsFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"hostpulse {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in commands:
        module = _module(name)
        command = subparsers.add_parser(
            name,
            help=(module.__doc__ or "").partition("\n")[0],
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.add_arguments(command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: arguments without the program's name; None for those of the process.

    Returns:
        0 done, 1 failed, 2 wrong use, 130 interrupted.
    """
    # What costs time is imported in here, so that Ctrl+C ends it without a traceback.
    try:
        code = _run(sys.argv[1:] if argv is None else argv)
        if sys.stdout is not None:
            sys.stdout.flush()
    except UsageError as error:
        return _complain(str(error), WRONG_USE)
    except HostpulseError as error:
        return _complain(str(error), FAILED)
    except KeyboardInterrupt:
        _discard_output()
        return INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return _end_as_others_do()
    except OSError as error:
        _discard_output()
        name = "standard output" if error.filename is None else error.filename
        return _complain(f"{name}: {error.strerror or error}", FAILED)
    return code


def _run(argv: Sequence[str]) -> int:
    first = argv[0] if argv else ""
    if first and not first.startswith("-") and first not in _COMMANDS:
        nearest = get_close_matches(first, _COMMANDS, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(_COMMANDS)}"
        raise UsageError(f"there is no command {first!r}; {hint}")
    needed = [first] if first in _COMMANDS else [] if first == "--version" else _COMMANDS
    arguments, unknown = build_parser(needed).parse_known_args(argv)
    if unknown:
        raise UsageError(f"there is no option {unknown[0]!r}; see hostpulse {arguments.command} --help")
    code: int = _module(arguments.command).run(arguments)
    return code


def _complain(text: str, code: int) -> int:
    for line in text.splitlines():
        with contextlib.suppress(OSError):  # nobody listens
            print(f"hostpulse: {clean(line)}", file=sys.stderr)
    return code


def _discard_output() -> None:
    """Have what is still buffered go nowhere: the interpreter would try to write it once more at its end."""
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, _STANDARD_OUTPUT)
        os.close(nowhere)


def _end_as_others_do() -> int:
    """End as other programs do when the reader of their output has ended: `hostpulse export … | head`."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGPIPE)
    return FAILED
