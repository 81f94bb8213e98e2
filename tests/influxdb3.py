"""Real InfluxDB 3 Core servers for tests.

`influx3_server` is a server that the environment names (HOSTPULSE_TEST_INFLUXDB3_URL and _TOKEN), or an `influxdb3` on
PATH. There is no container: its image is not one that machines without a network bring.
"""

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import urllib3

from hostpulse.consumer.storage.options import InfluxOptions

from .servers import HOST, Program, free_port

__all__ = ["Influx3Server", "OwnInflux3Server", "influx3_server", "make_influx3_server"]

START_SECONDS = 60
QUICKLY = "20ms"
_VARIABLE = "HOSTPULSE_TEST_INFLUXDB3_"
_STACK_BYTES = str(16 << 20)  # a build without optimisation needs more than the usual for a query


class Influx3Server:
    """A real InfluxDB 3 Core."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.token = token

    def options(self, database: str, token: str | None = None) -> InfluxOptions:
        return InfluxOptions(url=self.url, token=token or self.token, org="any", bucket=database)

    @contextlib.contextmanager
    def database(self) -> Iterator[InfluxOptions]:
        """Give options of a database of their own, which the server does not know yet."""
        options = self.options(f"test-{uuid.uuid4()}")
        try:
            yield options
        finally:
            self.forget(options)

    def forget(self, options: InfluxOptions) -> None:
        """Delete what a test has made: there may be five databases."""
        for name in (options.bucket, options.rollup_bucket):
            fields = {"db": name, "hard_delete_at": "now"}
            assert self._request("DELETE", "/api/v3/configure/database", fields=fields).status in {200, 404}

    def databases(self) -> set[str]:
        """Return the names of all databases."""
        answer = self._request("GET", "/api/v3/configure/database", fields={"format": "json"})
        return {row["iox::database"] for row in msgspec.json.decode(answer.data)}

    def rows(self, database: str, query: str) -> list[dict[str, Any]]:
        """Return what SQL finds; nothing where there is no such table or column yet."""
        fields = {"db": database, "q": query, "format": "jsonl"}
        answer = self._request("GET", "/api/v3/query_sql", fields=fields)
        if answer.status != 200 and (b"not found" in answer.data or b"No field named" in answer.data):
            return []
        assert answer.status == 200, answer.data
        return [msgspec.json.decode(line) for line in answer.data.splitlines()]

    def write(self, database: str, *lines: str) -> None:
        """Write lines as another program does."""
        path = f"/api/v3/write_lp?db={database}&precision=millisecond"
        assert self._request("POST", path, body="\n".join(lines).encode()).status == 204

    def _request(self, method: str, path: str, **more: Any) -> urllib3.BaseHTTPResponse:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        with urllib3.PoolManager(retries=False) as http:
            return http.request(method, f"{self.url}{path}", headers=headers, timeout=90.0, **more)


class OwnInflux3Server(Influx3Server):
    """An InfluxDB 3 Core on a free port of the loopback that can be killed and started again.

    Args:
        directory: for its files.
        options: of `influxdb3 serve`.

    Attributes:
        log_of_writes: directory that gets what is written before it is acknowledged.
    """

    def __init__(self, directory: Path, *options: str) -> None:
        directory.mkdir(parents=True)
        port = free_port()
        super().__init__(f"http://{HOST}:{port}", "")
        self.log_of_writes = directory / "data" / "tests" / "wal"
        command = (
            *("influxdb3", "serve", "--node-id", "tests", "--object-store", "file"),
            *("--data-dir", directory / "data", "--http-bind", f"{HOST}:{port}", "--disable-telemetry-upload"),
            *options,
        )
        self._program = Program(command, directory / "log", environment={"RUST_MIN_STACK": _STACK_BYTES})

    def start(self) -> None:
        """Start it, and return when it takes its token, which it makes once."""
        self._program.start()
        give_up = time.monotonic() + START_SECONDS
        while not self._is_ready():
            assert time.monotonic() < give_up, self._program.log
            assert self._program.is_running, self._program.log
            time.sleep(0.05)
        if not self.token:
            made = self._request("POST", "/api/v3/configure/token/admin")
            self.token = msgspec.json.decode(made.data)["token"]

    def kill(self) -> None:
        """End it without a chance to save anything."""
        self._program.kill()

    def stop(self) -> None:
        """End it as its system would."""
        self._program.stop()

    def close(self) -> None:
        """End it for good."""
        self._program.close()

    def _is_ready(self) -> bool:
        try:
            return self._request("GET", "/ping").status in {200, 401}
        except (urllib3.exceptions.HTTPError, OSError):
            return False


@pytest.fixture(scope="session")
def influx3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influx3Server]:
    url = os.environ.get(f"{_VARIABLE}URL")
    if url:
        yield Influx3Server(url, os.environ[f"{_VARIABLE}TOKEN"])
        return
    _need_program(f", and {_VARIABLE}URL and _TOKEN name no server")
    server = OwnInflux3Server(tmp_path_factory.mktemp("influxdb3") / "server", "--wal-flush-interval", QUICKLY)
    with contextlib.closing(server):
        server.start()
        yield server


@pytest.fixture
def make_influx3_server(tmp_path: Path) -> Iterator[Callable[..., OwnInflux3Server]]:
    """Start one of the test's own, with options of `influxdb3 serve`; never that of the environment."""
    _need_program()
    with contextlib.ExitStack() as ends:

        def make(*options: str) -> OwnInflux3Server:
            server = ends.enter_context(contextlib.closing(OwnInflux3Server(tmp_path / uuid.uuid4().hex, *options)))
            server.start()
            return server

        yield make


def _need_program(otherwise: str = "") -> None:
    if shutil.which("influxdb3") is None:
        pytest.skip(f"no InfluxDB 3: influxdb3 is not on PATH{otherwise}")
