"""Secrets that everybody on the machine can read are worth a line each."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostpulse.config.load import load

from .conftest import Place

pytestmark = pytest.mark.skipif(os.name != "posix", reason="rights of files are those of POSIX")

VARIABLE = "HOSTPULSE_MQTT__PASSWORD_FILE"
ME = {"HOSTPULSE_MQTT__USERNAME": "me"}


@pytest.fixture
def open_place() -> Iterator[Place]:
    """A place that other users can enter; pytest's own is closed to them."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Place(Path(name).resolve())


@pytest.mark.parametrize(("mode", "warned"), [(0o644, True), (0o604, True), (0o640, False), (0o600, False)])
def test_a_secret_file(open_place: Place, mode: int, warned: bool) -> None:  # noqa: FBT001  a parameter of the test
    file = open_place.write("password", "geheim\n")
    file.chmod(mode)
    loaded = open_place.load(ME | {VARIABLE: str(file)})
    line = f"{file}: everybody on this machine can read mqtt.password; chmod o-r {file}"
    assert loaded.warnings == ((line,) if warned else ())


def test_a_file_in_the_directory_of_secrets(open_place: Place) -> None:
    file = open_place.write("secrets/hostpulse_mqtt__password", "geheim")
    file.chmod(0o644)
    assert [line.partition(":")[0] for line in open_place.load(ME).warnings] == [str(file)]
    file.parent.chmod(0o700)
    assert open_place.load(ME).warnings == ()


def test_a_secret_in_the_settings_file_and_the_key(open_place: Place) -> None:
    for name in ("client.pem", "client.key"):
        open_place.write(name, "x").chmod(0o644)
    key = open_place.root / "client.key"
    files = f'cert_file = "{open_place.root}/client.pem"\nkey_file = "{key}"\n'
    loaded = open_place.load(toml=f'[mqtt]\ntls = true\nusername = "me"\npassword = "geheim"\n{files}')
    assert loaded.warnings == (
        f"{open_place.user_file}: everybody on this machine can read mqtt.password; chmod o-r {open_place.user_file}",
        f"{key}: everybody on this machine can read mqtt.key_file; chmod o-r {key}",
    )
    key.chmod(0o600)
    open_place.user_file.chmod(0o600)
    assert open_place.load().warnings == ()


def test_a_secret_that_something_else_overrides_is_nobodys_loss(open_place: Place) -> None:
    open_place.write("xdg/hostpulse/config.toml", '[mqtt]\nusername = "me"\npassword = "old"\n').chmod(0o644)
    assert open_place.load({"HOSTPULSE_MQTT__PASSWORD": "new"}).warnings == ()


def test_a_secret_on_the_command_line(place: Place) -> None:
    assert place.load(mqtt__username="me", mqtt__password="geheim").warnings == (
        f"--set mqtt.password: the list of processes shows it to everybody; put it in a file, see {VARIABLE}",
    )


def test_the_directory_of_a_systemd_service(place: Place, tmp_path: Path) -> None:
    file = place.write("credentials/hostpulse_mqtt__password", "geheim\r\n")
    loaded = load(
        overrides={},
        config_file=None,
        environ={"CREDENTIALS_DIRECTORY": str(file.parent), "XDG_CONFIG_HOME": str(tmp_path)} | ME,
        system_file=tmp_path / "none",
    )
    assert loaded.settings.mqtt.password is not None
    assert loaded.settings.mqtt.password.get_secret_value() == "geheim"
    assert loaded.origins["mqtt.password"] == str(file)
