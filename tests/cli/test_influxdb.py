"""The real commands with a real InfluxDB as the store."""

import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostpulse.consumer.storage.options import InfluxOptions

from ..influxdb import InfluxServer
from .support import Hostpulse, eventually
from .test_deadletter import keep, letter, message


@pytest.fixture
def bucket(influx_server: InfluxServer) -> Iterator[InfluxOptions]:
    options = influx_server.options(f"commands-{uuid.uuid4()}")
    yield options
    influx_server.forget(options)


@pytest.fixture
def hostpulse_on(hostpulse: Hostpulse, bucket: InfluxOptions) -> Hostpulse:
    hostpulse.environment |= {
        "HOSTPULSE_STORE__KIND": "influxdb",
        "HOSTPULSE_INFLUXDB__URL": bucket.url,
        "HOSTPULSE_INFLUXDB__TOKEN": bucket.token,
        "HOSTPULSE_INFLUXDB__ORG": bucket.org,
        "HOSTPULSE_INFLUXDB__BUCKET": bucket.bucket,
    }
    return hostpulse


def rows(hostpulse: Hostpulse, table: str) -> list[dict[str, object]]:
    done = hostpulse.run("export", table, "--format", "jsonl", "--since", "10m")
    return [json.loads(line) for line in done.stdout.splitlines()] if done.returncode == 0 else []


def test_up_stores_in_influxdb_and_the_commands_read_it(hostpulse_on: Hostpulse, bucket: InfluxOptions) -> None:
    running = hostpulse_on.start("up", "--interval", "0.5")
    running.says(f"consumer   writes InfluxDB {bucket.url}, bucket {bucket.bucket}")
    eventually(lambda: len(rows(hostpulse_on, "cpu")) >= 5, what=lambda: running.output)
    check = hostpulse_on.run("check")
    assert f"InfluxDB {bucket.url}, bucket {bucket.bucket}, 1 host" in check.stdout
    assert running.end() == 0
    assert not hostpulse_on.history.exists()
    found = rows(hostpulse_on, "cpu")
    assert {row["host"] for row in found} == {"web-1"}
    assert any("utilization_percent" in row for row in found)
    history = hostpulse_on.run("history", "cpu.load_average_1m", "--since", "10m", "--format", "csv")
    assert (history.returncode, history.stderr) == (0, "")
    assert len(history.stdout.splitlines()) >= 2


def test_a_wrong_token_is_one_line(hostpulse_on: Hostpulse) -> None:
    hostpulse_on.environment["HOSTPULSE_INFLUXDB__TOKEN"] = "not-the-token"
    done = hostpulse_on.run("export", "cpu")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "influxdb.token" in line
    assert "not-the-token" not in done.stderr


def test_dead_letters_are_tried_again(hostpulse_on: Hostpulse) -> None:
    keep(hostpulse_on, letter(message(1)), letter(b"{"))
    done = hostpulse_on.run("deadletter", "retry")
    assert (done.returncode, done.stderr) == (1, "hostpulse: 1 stored, 1 still unusable\n")
    assert [row["load_average_1m"] for row in rows(hostpulse_on, "cpu")] == [1]
    assert not hostpulse_on.history.exists()


def test_influxdb_without_a_token_is_wrong_use(hostpulse_on: Hostpulse) -> None:
    del hostpulse_on.environment["HOSTPULSE_INFLUXDB__TOKEN"]
    done = hostpulse_on.run("export", "cpu")
    assert (done.returncode, done.stdout) == (2, "")
    assert "influxdb.token is not set, and store.kind is influxdb; set it" in done.stderr


def setup(hostpulse: Hostpulse, directory: Path, *more: str) -> subprocess.CompletedProcess[str]:
    files = ("--writer-token", str(directory / "writer"), "--reader-token", str(directory / "reader"))
    return hostpulse.run("influxdb", "setup", *files, *more)


def test_setup_makes_tokens_that_do_what_they_must(hostpulse_on: Hostpulse, tmp_path: Path) -> None:
    first = setup(hostpulse_on, tmp_path)
    assert (first.returncode, first.stderr) == (0, "")
    tokens = {name: (tmp_path / name).read_text() for name in ("writer", "reader")}
    again = setup(hostpulse_on, tmp_path)
    assert {line.rpartition(": ")[2] for line in again.stdout.splitlines()} == {"ready"}
    assert {name: (tmp_path / name).read_text() for name in tokens} == tokens

    hostpulse_on.environment["HOSTPULSE_INFLUXDB__TOKEN"] = tokens["writer"]
    running = hostpulse_on.start("up", "--interval", "0.5")
    running.says("the token writes it; buckets and task are not looked after")
    hostpulse_on.environment["HOSTPULSE_INFLUXDB__TOKEN"] = tokens["reader"]
    eventually(lambda: len(rows(hostpulse_on, "cpu")) >= 3, what=lambda: running.output)
    assert running.end() == 0


def test_a_token_that_does_no_longer_is_made_again(hostpulse_on: Hostpulse, tmp_path: Path) -> None:
    (tmp_path / "writer").write_text("of-a-server-that-is-gone")
    done = setup(hostpulse_on, tmp_path)
    assert f"token of a writer: created in {tmp_path / 'writer'}" in done.stdout
    writer = (tmp_path / "writer").read_text()
    (tmp_path / "writer").unlink()
    assert setup(hostpulse_on, tmp_path).returncode == 0
    hostpulse_on.environment["HOSTPULSE_INFLUXDB__TOKEN"] = writer
    refused = hostpulse_on.run("influxdb", "setup")
    assert refused.returncode == 1
    assert "does not know the token (401)" in refused.stderr


def test_setup_without_a_server_says_so_in_time(hostpulse_on: Hostpulse, tmp_path: Path) -> None:
    hostpulse_on.environment["HOSTPULSE_INFLUXDB__URL"] = "http://127.0.0.1:9"
    done = setup(hostpulse_on, tmp_path, "--wait", "1s")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "http://127.0.0.1:9 cannot be reached" in line
    assert list(tmp_path.glob("writer")) == []


def test_setup_of_the_embedded_store_is_wrong_use(hostpulse: Hostpulse) -> None:
    done = hostpulse.run("influxdb", "setup")
    assert (done.returncode, done.stderr) == (
        2,
        "hostpulse: the history is not in InfluxDB; set store.kind to influxdb\n",
    )
