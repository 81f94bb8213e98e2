"""Becoming one of the services.

Reading the settings takes pydantic, which needs more memory than all of the publisher. So the command reads them,
hands the result over on standard input, and its process becomes the service.
"""

import os
import subprocess
import sys
import tempfile

import msgspec

from hostpulse.consumer.service import ConsumerOptions
from hostpulse.publisher.service import PublisherOptions

__all__ = ["become", "command_of", "encode_options"]


def command_of(options: PublisherOptions | ConsumerOptions) -> list[str]:
    """Return the command line of a service; its options go to its standard input."""
    module = "hostpulse.publisher" if isinstance(options, PublisherOptions) else "hostpulse.consumer"
    # -P: modules are never looked for in the directory that somebody happens to stand in.
    return [sys.executable, "-P", "-m", module]


def encode_options(options: PublisherOptions | ConsumerOptions) -> bytes:
    """Return what goes to the standard input of a service."""
    return msgspec.json.encode(options)


def become(options: PublisherOptions | ConsumerOptions) -> int:
    """Turn this process into the service; where a system cannot do that, run it and return its exit code."""
    command, data = command_of(options), encode_options(options)
    if sys.platform != "win32":
        with tempfile.TemporaryFile() as file:  # no name, so nobody else can open it
            file.write(data)
            file.flush()
            file.seek(0)
            os.dup2(file.fileno(), sys.stdin.fileno())
        os.execv(command[0], command)  # noqa: S606  there is no shell to start it with
    return subprocess.run(command, input=data, check=False).returncode
