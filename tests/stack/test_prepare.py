"""The secrets of the compose stack, and mosquitto's password file with a real mosquitto."""

import os
import shutil
import stat
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from hostpulse.stack import prepare as module
from hostpulse.stack.passwords import PasswordFile
from hostpulse.stack.prepare import ACCOUNTS, prepare

from ..brokers import Broker

ACL = Path(__file__).resolve().parents[2] / "config" / "mosquitto" / "acl"
SECRETS = {
    "mosquitto": {"acl", "passwords", ".passwords.lock"},
    "influxdb": {"admin-password", "admin-token"},
    "publisher": {"host", "mqtt-username", "mqtt-password"},
    "consumer": {"mqtt-password"},
    "reader": set[str](),
    "grafana": {"admin-password"},
}


@pytest.fixture(autouse=True)
def as_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give everything to whoever runs the tests, where that is not root."""
    if os.geteuid():
        monkeypatch.setattr(module, "ACCOUNTS", dict.fromkeys(ACCOUNTS, os.geteuid()))


def contents(directory: Path) -> dict[str, str]:
    return {str(path.relative_to(directory)): path.read_text() for path in directory.rglob("*") if path.is_file()}


def test_each_service_gets_its_own_and_a_second_time_changes_nothing(tmp_path: Path) -> None:
    secrets, data = tmp_path / "secrets", tmp_path / "data"
    (data / "influxdb").mkdir(parents=True)
    prepare(secrets, data, ACL, "web 1")
    before = contents(secrets)
    assert {name: {path.name for path in (secrets / name).iterdir()} for name in ACCOUNTS} == SECRETS
    assert before["publisher/host"] == "web 1"
    assert before["publisher/mqtt-username"] == "web_x201"
    passwords = PasswordFile(secrets / "mosquitto" / "passwords")
    assert passwords.knows("web_x201", before["publisher/mqtt-password"])
    assert passwords.knows("consumer", before["consumer/mqtt-password"])
    made = [text for name, text in before.items() if name.endswith(("password", "token"))]
    assert len(set(made)) == 5
    assert all(len(text) >= 43 for text in made)
    prepare(secrets, data, ACL, "web 1")
    assert contents(secrets) == before
    for service, account in module.ACCOUNTS.items():
        for path in (secrets / service, *(secrets / service).iterdir()):
            if path.suffix != ".lock":
                mode = 0o700 if path.is_dir() else 0o400
                assert (path.stat().st_uid, stat.S_IMODE(path.stat().st_mode)) == (account, mode), path
    assert (data / "influxdb").stat().st_uid == module.ACCOUNTS["influxdb"]
    assert not (data / "grafana").exists()


def test_what_is_missing_is_made_again_and_a_new_name_gets_an_account(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    prepare(secrets, tmp_path, ACL, "web-1")
    (secrets / "mosquitto" / "passwords").unlink()
    prepare(secrets, tmp_path, ACL, "web-2")
    now = contents(secrets)
    passwords = PasswordFile(secrets / "mosquitto" / "passwords")
    assert now["publisher/mqtt-username"] == "web-2"
    assert passwords.knows("web-2", now["publisher/mqtt-password"])
    assert passwords.knows("consumer", now["consumer/mqtt-password"])
    assert not passwords.knows("web-1", now["publisher/mqtt-password"])


def connects(port: int, username: str, password: str) -> bool:
    answer = threading.Event()
    accepted: list[bool] = []

    def connected(_client: Client, _data: object, _flags: object, reason: object, _properties: object) -> None:
        accepted.append(not reason.is_failure)  # type: ignore[attr-defined]
        answer.set()

    client = Client(CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
    client.username_pw_set(username, password)
    client.on_connect = connected
    client.connect("127.0.0.1", port)
    client.loop_start()
    assert answer.wait(90)
    client.disconnect()
    client.loop_stop()
    return accepted[0]


def test_mosquitto_takes_our_passwords(tmp_path: Path, make_broker: Callable[..., Broker]) -> None:
    path = tmp_path / "passwords"
    passwords = PasswordFile(path)
    passwords.set("web-1", "first")
    passwords.set("web-2", "pässword with: $7$ signs")
    passwords.set("web-1", "second")
    broker = make_broker("mosquitto", settings=f"password_file {path}")
    assert connects(broker.port, "web-1", "second")
    assert connects(broker.port, "web-2", "pässword with: $7$ signs")
    assert not connects(broker.port, "web-1", "first")
    assert not connects(broker.port, "web-3", "second")


def test_accounts_that_mosquitto_passwd_has_made_stay(tmp_path: Path) -> None:
    if shutil.which("mosquitto_passwd") is None:
        pytest.skip("mosquitto_passwd is not installed")
    path = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", path, "theirs", "secret"], check=True)
    passwords = PasswordFile(path)
    passwords.set("ours", "other")
    assert passwords.knows("theirs", "secret")
    assert not passwords.knows("theirs", "other")
    assert not passwords.knows("nobody", "secret")
