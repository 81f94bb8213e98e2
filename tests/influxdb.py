"""Real InfluxDB servers for tests: one that the environment names, or an `influxd` of our own."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import urllib3
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.rest import ApiException

from hostpulse.consumer.storage.options import InfluxOptions

__all__ = ["InfluxServer", "OwnInfluxServer", "influx_server", "killable_influx_server", "need_influxd"]

START_SECONDS = 60


class InfluxServer:
    """A real InfluxDB: one that is named by the environment, or an `influxd` of our own."""

    def __init__(self, url: str, token: str, org: str) -> None:
        self.url = url
        self.token = token
        self.org = org

    def options(self, bucket: str, token: str | None = None) -> InfluxOptions:
        return InfluxOptions(url=self.url, token=token or self.token, org=self.org, bucket=bucket)

    @contextlib.contextmanager
    def client(self) -> Iterator[InfluxDBClient]:
        with InfluxDBClient(url=self.url, token=self.token, org=self.org, timeout=30_000) as client:
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
    """An `influxd` on a free port of the loopback that keeps its files in a directory, so that it can be killed."""

    def __init__(self, directory: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._address = f"127.0.0.1:{probe.getsockname()[1]}"
        super().__init__(f"http://{self._address}", "token-of-the-tests", "home")
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._set_up = False

    def start(self) -> None:
        directory = self._directory
        directory.mkdir(parents=True, exist_ok=True)
        with (directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    "influxd",
                    "--reporting-disabled",
                    *("--http-bind-address", self._address),
                    *("--bolt-path", directory / "influxd.bolt"),
                    *("--sqlite-path", directory / "influxd.sqlite"),
                    *("--engine-path", directory / "engine"),
                ],
                stdout=log,
                stderr=log,
                env={**os.environ, "INFLUXD_REPORTING_DISABLED": "true"},
            )
        give_up = time.monotonic() + START_SECONDS
        with urllib3.PoolManager(retries=False) as http:
            while not self._is_ready(http):
                assert time.monotonic() < give_up, (directory / "log").read_text()[-2000:]
                assert self._process.poll() is None, (directory / "log").read_text()[-2000:]
                time.sleep(0.1)
            if not self._set_up:
                fields = {"username": "tests", "password": "only for tests", "org": self.org, "bucket": "first"}
                body = msgspec.json.encode({**fields, "token": self.token})
                assert http.request("POST", f"{self.url}/api/v2/setup", body=body).status == 201
                self._set_up = True

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _is_ready(self, http: urllib3.PoolManager) -> bool:
        try:
            return http.request("GET", f"{self.url}/health", timeout=1.0).status == 200
        except (urllib3.exceptions.HTTPError, OSError):
            return False


def need_influxd() -> None:
    if shutil.which("influxd") is None:
        pytest.skip("no InfluxDB: install influxd, or name a server with HOSTPULSE_TEST_INFLUXDB_URL, _TOKEN and _ORG")


@pytest.fixture(scope="session")
def influx_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxServer]:
    url = os.environ.get("HOSTPULSE_TEST_INFLUXDB_URL")
    if url:
        yield InfluxServer(
            url, os.environ["HOSTPULSE_TEST_INFLUXDB_TOKEN"], os.environ.get("HOSTPULSE_TEST_INFLUXDB_ORG", "hostpulse")
        )
        return
    need_influxd()
    server = OwnInfluxServer(tmp_path_factory.mktemp("influxdb"))
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture
def killable_influx_server(tmp_path: Path) -> Iterator[OwnInfluxServer]:
    need_influxd()
    server = OwnInfluxServer(tmp_path / "influxdb")
    try:
        server.start()
        yield server
    finally:
        server.kill()
