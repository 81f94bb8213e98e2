import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import urllib3
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.rest import ApiException

from hostpulse.bus.codec import Envelope, Sample
from hostpulse.bus.messages import SUBSYSTEMS
from hostpulse.consumer.storage.embedded import EmbeddedReader, EmbeddedWriter
from hostpulse.consumer.storage.influxdb import InfluxOptions, InfluxReader, InfluxWriter

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "history.sqlite"


@pytest.fixture
def writer(path: Path) -> Iterator[EmbeddedWriter]:
    with EmbeddedWriter(path, retention=None, rollup_retention=None) as opened:
        yield opened


@pytest.fixture
def reader(writer: EmbeddedWriter, path: Path) -> Iterator[EmbeddedReader]:  # noqa: ARG001 - it makes the database
    with EmbeddedReader(path) as opened:
        yield opened


def make_sample(subsystem: str, milliseconds: int, host: str = "alpha", sequence: int = 1, **fields: Any) -> Sample:
    envelope = Envelope(
        v=1,
        host=host,
        subsystem=subsystem,
        timestamp=datetime.fromtimestamp(milliseconds // 1000, UTC).replace(microsecond=milliseconds % 1000 * 1000),
        sequence=sequence,
        session=datetime(2026, 1, 1, tzinfo=UTC),
        interval=2.0,
    )
    return Sample(envelope, SUBSYSTEMS[subsystem](**fields))


@pytest.fixture(scope="session")
def sample() -> Callable[..., Sample]:
    return make_sample


@pytest.fixture(scope="session")
def start_python() -> Callable[..., subprocess.Popen[str]]:
    """Start a program of Python text with arguments."""

    def start(program: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    return start


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that other users can enter; pytest's own is closed to them."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory
        directory.chmod(0o755)


DROP_RIGHTS = f"""
import os
if os.geteuid() == 0:
    os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
"""


@pytest.fixture
def run_unprivileged(start_python: Callable[..., subprocess.Popen[str]]) -> Callable[..., str]:
    """Run statements after the imports, as a user who is not root; return what they print."""
    imports = """
import sys, sqlite3
from pathlib import Path
from hostpulse.consumer.storage import *
from hostpulse.consumer.storage.embedded import open_reader, open_writer
"""

    def run(statements: str, *arguments: object) -> str:
        child = start_python(imports + DROP_RIGHTS + statements, *arguments, cwd="/")
        output, errors = child.communicate(timeout=60)
        assert child.returncode == 0, errors
        return output

    return run


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


@pytest.fixture
def influx_options(influx_server: InfluxServer) -> Iterator[InfluxOptions]:
    options = influx_server.options(f"test-{uuid.uuid4()}")
    yield options
    influx_server.forget(options)


@pytest.fixture
def influx_writer(influx_options: InfluxOptions) -> Iterator[InfluxWriter]:
    with InfluxWriter(influx_options, retention=None, rollup_retention=None) as opened:
        yield opened


@pytest.fixture
def influx_reader(influx_writer: InfluxWriter, influx_options: InfluxOptions) -> Iterator[InfluxReader]:
    assert influx_writer.prepared is not None
    with InfluxReader(influx_options) as opened:
        yield opened
