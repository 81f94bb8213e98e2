"""What the fixtures do where servers are missing or named by the environment, seen from outside."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .attempts import ATTEMPTS, some_attempts
from .influxdb import OwnInfluxServer
from .servers import free_port
from .workers import TOGETHER

ROOT = Path(__file__).resolve().parents[1]
WRITER = "tests/storage/influxdb/test_writer.py"
STORAGE = (
    f"{WRITER}::test_hosts_are_remembered",
    f"{WRITER}::test_a_server_that_is_killed_keeps_what_it_acknowledged",
)


@pytest.fixture
def bare() -> dict[str, str]:
    """Variables of a machine that has neither servers nor Docker."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HOSTPULSE_", "PYTEST_"))}
    python = str(Path(sys.executable).parent)
    if shutil.which("influxd", path=python) is not None:
        pytest.skip("influxd lies beside Python, so that it cannot be left out")
    return kept | {"PATH": python, "DOCKER_HOST": "unix:///nowhere"}


def last_lines(environment: dict[str, str], *arguments: str) -> list[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout.splitlines()[-4:]


@pytest.mark.parametrize("processes", [0, 2])
def test_what_did_not_run_is_counted_with_its_reason(bare: dict[str, str], processes: int) -> None:
    mosquitto, *influxdb, last = last_lines(bare, *STORAGE, "tests/bus/test_container.py", "-n", str(processes))
    assert mosquitto == "12 tests did not run: no container of eclipse-mosquitto:2: Docker does not run here"
    for line in influxdb:
        assert line.startswith("1 test did not run: no InfluxDB: influxd is not on PATH, ")
    assert sum("HOSTPULSE_TEST_INFLUXDB_URL, _TOKEN and _ORG name no server" in line for line in influxdb) == 1
    assert last.startswith("14 skipped")


def test_a_server_that_the_environment_names_is_used(
    bare: dict[str, str], killable_influx_server: OwnInfluxServer
) -> None:
    server = killable_influx_server
    named = {"URL": server.url, "TOKEN": server.token, "ORG": server.org}
    environment = bare | {f"HOSTPULSE_TEST_INFLUXDB_{name}": value for name, value in named.items()}
    *_, reason, last = last_lines(environment, *STORAGE)
    assert reason.startswith("1 test did not run: no InfluxDB: influxd is not on PATH, and no container")
    assert last.startswith("1 passed, 1 skipped")
    with server.client() as client:
        assert {bucket.name for bucket in client.buckets_api().find_buckets().buckets} == {
            *("first", "_monitoring", "_tasks")
        }


def test_workers_have_ports_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    for number in range(3):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", f"gw{number}")
        monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "3")
        given.append({free_port() for _ in range(200)})
    assert [len(ports) for ports in given] == [200] * 3  # none twice
    assert max(given[0]) < min(given[1])
    assert max(given[1]) < min(given[2])


@pytest.mark.parametrize("path", TOGETHER)
def test_what_stays_together_is_there(path: str) -> None:
    assert (ROOT / path).exists()


def test_attempts_end() -> None:
    outcomes = iter([False] * (ATTEMPTS - 1) + [True])

    @some_attempts
    def test() -> None:
        assert next(outcomes)

    test()
    outcomes = iter([False] * ATTEMPTS + [True])
    with pytest.raises(AssertionError):
        test()
