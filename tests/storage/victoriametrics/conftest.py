"""A real VictoriaMetrics: a server of somebody else's that takes what InfluxDB 2 takes at `/api/v2/write`."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from hostpulse.consumer.storage.influxdb import InfluxOptions

from ...servers import HOST, Program, free_port

PROGRAMS = ("victoria-metrics", "victoria-metrics-prod")  # of Debian's package, of its makers' archive
START_SECONDS = 90

Series = dict[tuple[str, frozenset[tuple[str, str]]], list[tuple[int, float]]]


class VictoriaMetrics:
    """One on a free port of the loopback."""

    def __init__(self, program: str, directory: Path) -> None:
        port = free_port()
        self.url = f"http://{HOST}:{port}"
        command = (
            program,
            *("-storageDataPath", directory / "data"),
            *("-httpListenAddr", f"{HOST}:{port}"),
            *("-retentionPeriod", "100y"),
        )
        self._program = Program(command, directory / "log")

    def options(self) -> InfluxOptions:
        """Return options of which only the address means something to it."""
        return InfluxOptions(url=self.url, token="any", org="any", bucket="any")

    def start(self) -> None:
        self._program.start()
        give_up = time.monotonic() + START_SECONDS
        while not self._is_ready():
            assert self._program.is_running, self._program.log
            assert time.monotonic() < give_up, self._program.log
            time.sleep(0.05)

    def close(self) -> None:
        self._program.close()

    def series(self, host: str) -> Series:
        """Return all that it has of a host: pairs of milliseconds and value, by name and labels."""
        self._get("/internal/force_flush")  # what was written can be read from now on
        answer = self._get("/api/v1/export", {"match[]": f'{{host="{host}"}}', "start": "0", "end": "4000000000"})
        found: Series = {}
        for line in answer.splitlines():
            one: dict[str, Any] = json.loads(line)
            name = one["metric"].pop("__name__")
            points = zip(one["timestamps"], one["values"], strict=True)
            found[name, frozenset(one["metric"].items())] = sorted(points)
        return found

    def _get(self, path: str, fields: dict[str, str] | None = None) -> bytes:
        with urllib3.PoolManager(retries=False) as http:
            answer = http.request("GET", f"{self.url}{path}", fields=fields, timeout=10)
        assert answer.status == 200, answer.data
        return answer.data

    def _is_ready(self) -> bool:
        try:
            return self._get("/health") == b"OK"
        except (urllib3.exceptions.HTTPError, OSError):
            return False


@pytest.fixture(scope="session")
def victoria_metrics(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VictoriaMetrics]:
    program = next((found for found in map(shutil.which, PROGRAMS) if found), None)
    if program is None:
        pytest.skip("no VictoriaMetrics: victoria-metrics is not on PATH (Debian has it as a package)")
    server = VictoriaMetrics(program, tmp_path_factory.mktemp("victoria-metrics"))
    try:
        server.start()
        yield server
    finally:
        server.close()
