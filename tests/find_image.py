"""Looks whether containers of an image can be started here, and pulls it where it is missing. Says why not.

A program of its own: a pull that gets no answer waits for ever, and Docker's client leaves sockets open when it fails.
"""

import sys
from typing import NoReturn

from docker.errors import DockerException, ImageNotFound
from requests.exceptions import RequestException
from testcontainers.core.docker_client import DockerClient

_LOOPBACK = ("localhost", "127.0.0.1")
_SHOWN = 160


def find(image: str) -> None:
    try:
        docker = DockerClient()
    except (DockerException, RequestException, OSError):
        give_up("Docker does not run here")
    if docker.host() not in _LOOPBACK:
        give_up(f"the ports of Docker's containers are at {docker.host()}, not here")
    try:
        docker.client.images.get(image)
    except ImageNotFound:
        try:
            docker.client.images.pull(image)
        except (DockerException, RequestException) as error:
            give_up(f"it cannot be pulled ({' '.join(str(error).split())[:_SHOWN]})")


def give_up(reason: str) -> NoReturn:
    sys.exit(reason)


if __name__ == "__main__":
    find(sys.argv[1])
