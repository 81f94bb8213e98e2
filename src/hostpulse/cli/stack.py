"""What the compose stack runs: make its secrets, and accounts of the broker for further machines and programs."""

import argparse
import os
import signal
import sys
from pathlib import Path

from hostpulse.bus.errors import UsageError
from hostpulse.bus.topics import escape
from hostpulse.stack.passwords import PasswordFile
from hostpulse.stack.prepare import CONSUMER, prepare
from hostpulse.stack.secret_files import new_secret

from .arguments import add_setting_options, load_settings

_SECRETS = Path("/run/hostpulse")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what there is to do."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    prepared = actions.add_parser("prepare", help="make the secrets that are missing", allow_abbrev=False)
    prepared.add_argument("--secrets", type=Path, default=_SECRETS, metavar="DIR", help="of the services' directories")
    prepared.add_argument("--data", type=Path, default=Path("/data"), metavar="DIR", help="of the services' data")
    prepared.add_argument("--acl", type=Path, required=True, metavar="FILE", help="mosquitto's list of rights")
    add_setting_options(prepared, machine=True)
    account = actions.add_parser(
        "account", help="make an account of the broker and print its password", allow_abbrev=False
    )
    account.add_argument("name", help="a machine's name, or homeassistant; one that exists gets another password")
    account.add_argument("--passwords", type=Path, default=_SECRETS / "mosquitto" / "passwords", metavar="FILE")
    account.add_argument("--reload", type=int, metavar="PID", help="the broker, which is told to read the file again")


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    if arguments.action == "prepare":
        settings = load_settings(arguments).settings
        prepare(arguments.secrets, arguments.data, arguments.acl, settings.host)
        return 0
    name = escape(arguments.name)
    if name == CONSUMER:
        raise UsageError(f"the account {CONSUMER} is the stack's own")
    password = new_secret()
    PasswordFile(arguments.passwords).set(name, password)
    if arguments.reload is not None:
        os.kill(arguments.reload, signal.SIGHUP)
    print(f"user      {name}")
    print(f"password  {password}")
    print("It is kept nowhere else; to get another one, run this again.", file=sys.stderr)
    return 0
