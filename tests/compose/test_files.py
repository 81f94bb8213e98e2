"""compose.yaml as it stands, without starting anything."""

import json
import subprocess
from typing import Any

import pytest

from hostpulse.config.keys import KEYS

from .support import REPOSITORY

pytestmark = pytest.mark.usefixtures("compose")

VARIABLES = {key.variable for key in KEYS.values()} | {f"{key.variable}_FILE" for key in KEYS.values()}
GPU = ("--file", "compose.yaml", "--file", "compose.gpu.yaml")


def configuration(*arguments: str) -> dict[str, Any]:
    command = ["docker", "compose", *arguments, "config", "--format", "json"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = configuration("--profile", "*")["services"]
    return found


@pytest.mark.parametrize(
    ("arguments", "more"),
    [
        ((), set[str]()),
        (("--profile", "grafana"), {"grafana"}),
        (("--profile", "homeassistant"), {"homeassistant"}),
        (("--profile", "tools"), {"account", "cli", "secret"}),
        (GPU, set[str]()),
    ],
    ids=["plain", "grafana", "homeassistant", "tools", "gpu"],
)
def test_it_is_valid(arguments: tuple[str, ...], more: set[str]) -> None:
    usual = {"secrets", "mosquitto", "influxdb", "influxdb-setup", "publisher", "consumer"}
    assert set(configuration(*arguments)["services"]) == usual | more


def test_every_setting_exists(services: dict[str, dict[str, Any]]) -> None:
    used = {
        name
        for service in services.values()
        for name in service.get("environment", {})
        if name.startswith("HOSTPULSE_")
    }
    assert used
    assert used - VARIABLES == set()


def test_a_gpu_is_reserved_for_the_publisher_alone() -> None:
    found = {name: one for name, one in configuration(*GPU)["services"].items() if "deploy" in one}
    (device,) = found.pop("publisher")["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert found == {}


def test_nothing_of_the_machine_can_be_written(services: dict[str, dict[str, Any]]) -> None:
    binds = [volume for one in services.values() for volume in one.get("volumes", []) if volume["type"] == "bind"]
    assert {volume["source"] for volume in binds} >= {"/", "/proc", "/sys"}
    assert all(volume["read_only"] for volume in binds)


def test_ports_are_open_to_this_machine_alone(services: dict[str, dict[str, Any]]) -> None:
    ports = {name: [port["host_ip"] for port in one.get("ports", [])] for name, one in services.items()}
    assert {name: addresses for name, addresses in ports.items() if addresses} == {
        "mosquitto": ["127.0.0.1"],
        "grafana": ["127.0.0.1"],
        "homeassistant": ["127.0.0.1"],
    }


def test_notifications_have_a_way_out_and_the_store_has_none() -> None:
    found = configuration()
    consumer = found["services"]["consumer"]["networks"]
    assert {name: found["networks"][name].get("internal", False) for name in consumer} == {
        "broker": False,
        "store": True,
    }


def test_every_log_is_bounded_and_what_runs_comes_back(services: dict[str, dict[str, Any]]) -> None:
    once = {"secrets", "influxdb-setup", "account", "cli", "secret"}
    for name, service in services.items():
        assert service["logging"]["options"]["max-size"], name
        assert service.get("restart") == (None if name in once else "unless-stopped"), name
        # The image of hostpulse has a test of its own.
        has_test = "test" in service.get("healthcheck", {}) or name in {"publisher", "consumer"}
        assert has_test == (name not in once), name


def test_the_admin_token_is_seen_by_two_services_and_the_one_that_makes_it(services: dict[str, dict[str, Any]]) -> None:
    seen = {
        name
        for name, one in services.items()
        for volume in one.get("volumes", [])
        if volume["source"] == "influxdb-secrets"
    }
    assert seen == {"secrets", "influxdb", "influxdb-setup"}
