"""The stack, brought up for real where Docker and its images are there."""

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from .support import Stack

IMAGES = ("python:3.13-slim", "eclipse-mosquitto:2", "influxdb:2.7")


def need(*command: str, why: str) -> None:
    if shutil.which(command[0]) is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip(why)


@pytest.fixture(scope="session")
def compose() -> None:
    need("docker", "compose", "version", why="Docker Compose is not installed")


@pytest.fixture(scope="session")
def stack(compose: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:  # noqa: ARG001  skips
    """Return the whole stack, up and running."""
    need("docker", "version", why="no Docker engine answers")
    for image in IMAGES:
        need("docker", "image", "inspect", image, why=f"the image {image} is not here; docker pull {image}")
    made = Stack(tmp_path_factory.mktemp("stack"))
    try:
        made.create()
        yield made
    finally:
        made.down()
