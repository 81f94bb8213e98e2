"""Real InfluxDB servers for tests.

`influx_server` is the first of these that is there: a server that the environment names (HOSTPULSE_TEST_INFLUXDB_URL,
_TOKEN and _ORG), an `influxd` on PATH, a container. `influx_container` is always a container.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import urllib3
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.rest import ApiException

from hostpulse.consumer.storage.options import InfluxOptions

from .servers import HOST, Container, Program, Server, free_port, need_image

__all__ = ["InfluxServer", "OwnInfluxServer", "influx_container", "influx_server", "killable_influx_server"]

IMAGE = "influxdb:2.7"
START_SECONDS = 120
_VARIABLE = "HOSTPULSE_TEST_INFLUXDB_"


class InfluxServer:
    """A real InfluxDB."""

    def __init__(self, url: str, token: str, org: str) -> None:
        self.url = url
        self.token = token
        self.org = org

    def options(self, bucket: str, token: str | None = None) -> InfluxOptions:
        return InfluxOptions(url=self.url, token=token or self.token, org=self.org, bucket=bucket)

    @contextlib.contextmanager
    def client(self) -> Iterator[InfluxDBClient]:
        with InfluxDBClient(url=self.url, token=self.token, org=self.org, timeout=90_000) as client:
            yield client

    def forget(self, options: InfluxOptions) -> None:
        """Delete what a test has made."""
        with self.client() as client:
            for name in (options.bucket, options.rollup_bucket):
                with contextlib.suppress(ApiException):  # not there
                    for bucket in client.buckets_api().find_buckets(name=name, org=self.org).buckets:
                        client.buckets_api().delete_bucket(bucket)
            for task in client.tasks_api().find_tasks(name=f"hostpulse: minutes of {options.bucket}"):
                client.tasks_api().delete_task(task.id)


class OwnInfluxServer(InfluxServer):
    """An InfluxDB on a free port of the loopback that can be killed and started again.

    Args:
        server: runs it.
        port: where it then answers.
    """

    def __init__(self, server: Server, port: int) -> None:
        super().__init__(f"http://{HOST}:{port}", "token-of-the-tests", "home")
        self._server = server

    def start(self) -> None:
        """Start it, and return when it takes tokens."""
        self._server.start()
        give_up = time.monotonic() + START_SECONDS
        with urllib3.PoolManager(retries=False) as http:
            while not self._is_ready(http):
                assert time.monotonic() < give_up, self._server.log
                assert self._server.is_running, self._server.log
                time.sleep(0.1)
            if msgspec.json.decode(http.request("GET", f"{self.url}/api/v2/setup").data)["allowed"]:
                fields = {"username": "tests", "password": "only for tests", "org": self.org, "bucket": "first"}
                body = msgspec.json.encode({**fields, "token": self.token})
                assert http.request("POST", f"{self.url}/api/v2/setup", body=body).status == 201

    def kill(self) -> None:
        """End it without a chance to save anything."""
        self._server.kill()

    def freeze(self) -> None:
        """Keep it from answering; its connections stay."""
        self._server.freeze()

    def thaw(self) -> None:
        """Undo `freeze`."""
        self._server.thaw()

    def close(self) -> None:
        """End it for good."""
        self._server.close()

    def _is_ready(self, http: urllib3.PoolManager) -> bool:
        try:
            return http.request("GET", f"{self.url}/health", timeout=1.0).status == 200
        except (urllib3.exceptions.HTTPError, OSError):
            return False


def _program(directory: Path) -> OwnInfluxServer:
    """Return an `influxd` that keeps its files in a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = (
        "influxd",
        "--reporting-disabled",
        *("--http-bind-address", f"{HOST}:{port}"),
        *("--bolt-path", directory / "influxd.bolt"),
        *("--sqlite-path", directory / "influxd.sqlite"),
        *("--engine-path", directory / "engine"),
    )
    environment = {"INFLUXD_REPORTING_DISABLED": "true"}
    return OwnInfluxServer(Program(command, directory / "log", environment=environment), port)


def _container() -> OwnInfluxServer:
    port = free_port()
    environment = {"INFLUXD_REPORTING_DISABLED": "true"}
    return OwnInfluxServer(Container(IMAGE, inside=8086, outside=port, environment=environment), port)


def _program_or_container(directory: Path, *, otherwise: str = "") -> OwnInfluxServer:
    """Return an InfluxDB of the test's own, or skip the test.

    Args:
        directory: for its files.
        otherwise: what else would do.
    """
    if shutil.which("influxd") is not None:
        return _program(directory)
    try:
        need_image(IMAGE)
    except pytest.skip.Exception as skipped:
        pytest.skip(f"no InfluxDB: influxd is not on PATH{otherwise}, and {skipped.msg}")
    return _container()


@contextlib.contextmanager
def _running(server: OwnInfluxServer) -> Iterator[OwnInfluxServer]:
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def influx_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxServer]:
    url = os.environ.get(f"{_VARIABLE}URL")
    if url:
        yield InfluxServer(url, os.environ[f"{_VARIABLE}TOKEN"], os.environ.get(f"{_VARIABLE}ORG", "hostpulse"))
        return
    otherwise = f", {_VARIABLE}URL, _TOKEN and _ORG name no server"
    with _running(_program_or_container(tmp_path_factory.mktemp("influxdb"), otherwise=otherwise)) as server:
        yield server


@pytest.fixture(scope="session")
def influx_container() -> Iterator[OwnInfluxServer]:
    """The public image, whatever else is there."""
    need_image(IMAGE)
    with _running(_container()) as server:
        yield server


@pytest.fixture
def killable_influx_server(tmp_path: Path) -> Iterator[OwnInfluxServer]:
    """One of the test's own; never that of the environment, which belongs to somebody."""
    with _running(_program_or_container(tmp_path / "influxdb")) as server:
        yield server
