"""Becoming one of the services.

Reading the settings takes pydantic, which needs more memory than all of the publisher. So the command reads them,
hands the result over on standard input, and its process becomes the service.
"""

import os
import subprocess
import sys
import tempfile
from typing import BinaryIO

import msgspec

from hostpulse.consumer.alerting.service import AlertOptions
from hostpulse.consumer.roles import RolesOptions
from hostpulse.consumer.service import ConsumerOptions
from hostpulse.publisher.service import PublisherOptions
from hostpulse.publisher.simulation import SimulationOptions
from hostpulse.stack.environment import service_environment

__all__ = ["become", "command_of", "encode_options"]

_STANDARD_INPUT = 0

ServiceOptions = PublisherOptions | ConsumerOptions | AlertOptions | RolesOptions | SimulationOptions

_MODULES: dict[type[ServiceOptions], str] = {
    PublisherOptions: "hostpulse.publisher",
    ConsumerOptions: "hostpulse.consumer",
    AlertOptions: "hostpulse.consumer.alerting",
    RolesOptions: "hostpulse.consumer.roles",
    SimulationOptions: "hostpulse.publisher.simulation",
}


def command_of(options: ServiceOptions) -> list[str]:
    """Return the command line of a service; its options go to its standard input."""
    # -P: modules are never looked for in the directory that somebody happens to stand in.
    return [sys.executable, "-P", "-m", _MODULES[type(options)]]


def encode_options(options: ServiceOptions) -> bytes:
    """Return what goes to the standard input of a service."""
    return msgspec.json.encode(options)


def become(options: ServiceOptions) -> int:
    """Turn this process into the service; where a system cannot do that, run it and return its exit code."""
    command, data = command_of(options), encode_options(options)
    if sys.platform != "win32":
        with _nameless_file() as file:
            file.write(data)
            file.flush()
            file.seek(0)
            os.dup2(file.fileno(), _STANDARD_INPUT)
            os.set_inheritable(_STANDARD_INPUT, True)  # which dup2 leaves out where the two are one
            os.execve(command[0], command, service_environment(os.environ))  # noqa: S606  there is no shell to start it with
    return subprocess.run(command, input=data, env=service_environment(os.environ), check=False).returncode


def _nameless_file() -> BinaryIO:
    """Return a file that nobody else can open: in memory where there is such a thing, for it holds passwords."""
    if sys.platform == "linux":
        return os.fdopen(os.memfd_create("hostpulse"), "w+b")
    return tempfile.TemporaryFile()
