import pytest
from pydantic import ValidationError

from hostpulse.config.errors import SettingsError
from hostpulse.config.keys import KEYS
from hostpulse.config.settings import Mqtt, Settings
from hostpulse.config.show import MASK, describe
from hostpulse.config.sources import Entry, command_line, environment, secret_variables

from .conftest import Place

SECRET = "hunter2-hunter2"


@pytest.mark.parametrize(
    "toml",
    [
        f'[mqtt]\npassword = "{SECRET}"',  # without a user name
        f'[mqtt]\npassword = ["{SECRET}"]',
        f'[mqtt]\npassword.x = "{SECRET}"',
        f'[mqtt]\nusername = "me"\nport = 0\npassword = "{SECRET}"',
        f'[mqtt]\nusername = "me"\npassword = "{SECRET * 5000}"',
        f'[mqtt]\npasswort = "{SECRET}"',
        f'passwort = "{SECRET}"',
        f'password = "{SECRET}"',
        f'mqtt = "{SECRET}"',
        f'[mqtt]\npassword = "{SECRET}\n',
        f"[mqtt]\npassword = {SECRET}\n",
        f'[mqtt]\nhost = "mqtt://me:{SECRET}@broker"',
        f'[mqtt]\nhost = "me:{SECRET}@broker"',
    ],
)
def test_no_error_of_a_file_shows_a_secret(place: Place, toml: str) -> None:
    with pytest.raises(SettingsError) as caught:
        place.load(toml=toml)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "environ",
    [
        {"HOSTPULSE_MQTT__PASSWORD": SECRET},
        {"HOSTPULSE_MQTT_PASSWORD": SECRET},
        {"HOSTPULSE_PASSWORD": SECRET},
        {"HOSTPULSE_MQTT": f'{{"password": "{SECRET}"}}'},
        {"HOSTPULSE_MQTT__PASSWORD": SECRET * 5000},
        {"HOSTPULSE_MQTT__PASSWORD": SECRET + "\udcff"},
    ],
)
def test_no_error_of_the_environment_shows_a_secret(place: Place, environ: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as caught:
        place.load(environ)
    assert SECRET not in str(caught.value) + repr(caught.value) + repr(vars(caught.value))
    assert caught.value.__context__ is None
    with pytest.raises(SettingsError) as caught:
        place.load(mqtt__password=next(iter(environ.values())), interval="x")
    assert SECRET not in str(caught.value) + repr(caught.value) + repr(vars(caught.value))


TAKES_ANY_TEXT = {"data_dir", "heartbeat_file", "alerts.rules", "roots.proc", "roots.sys", "roots.filesystem"} | {
    name for name in KEYS if name.startswith("collect.ignore_")
}


@pytest.mark.parametrize("name", [name for name in KEYS if name not in TAKES_ANY_TEXT])
def test_what_is_in_a_secret_file_is_never_shown(place: Place, name: str) -> None:
    # Whatever the key: in the wrong file there may be anything.
    place.write(f"secrets/{KEYS[name].variable.lower()}", f"{SECRET}/#\n\n \x01")
    with pytest.raises(SettingsError) as caught:
        place.load()
    assert SECRET not in str(caught.value)
    assert name in str(caught.value)


def test_reprs_do_not_show_a_secret(place: Place) -> None:
    loaded = place.load(mqtt__username="me", mqtt__password=SECRET)
    entry = Entry("mqtt.password", SECRET, "here", is_secret=True)
    for text in (repr(loaded), str(loaded), repr(loaded.settings), loaded.settings.model_dump_json(), repr(entry)):
        assert SECRET not in text
    assert "me" in repr(loaded)


def test_the_model_itself_does_not_show_a_secret() -> None:
    with pytest.raises(ValidationError) as caught:
        Mqtt.model_validate({"password": [SECRET], "port": SECRET})
    assert SECRET not in str(caught.value)
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"mqtt": {"password": [SECRET]}})
    assert SECRET not in str(caught.value)


def test_the_overview_masks_secrets(place: Place) -> None:
    lines = describe(place.load(mqtt__username="me", mqtt__password=SECRET))
    assert ("mqtt.password", MASK, "--set mqtt.password") in lines
    assert MASK == "********"
    assert SECRET not in repr(lines)
    assert ("mqtt.password", "not set", "default") in describe(place.load())


def test_a_password_without_quotes_is_not_shown(place: Place) -> None:
    (line,) = place.problems(toml="[mqtt]\npassword = 12345678")
    assert line == "~~/xdg/hostpulse/config.toml: mqtt.password must be text in quotes"


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("x\udcff", "must be UTF-8 text"),
        ("ü" * 32_768, "must be at most 65535 bytes long"),
    ],
)
def test_passwords_that_mqtt_cannot_carry(place: Place, password: str, words: str) -> None:
    assert place.problems(mqtt__password=password) == [f"--set mqtt.password: mqtt.password {words}"]


def test_an_empty_password(place: Place) -> None:
    assert place.problems(toml='[mqtt]\npassword = ""') == [
        "~~/xdg/hostpulse/config.toml: mqtt.password must not be empty"
    ]


def test_no_hint_is_made_from_a_secret_file(place: Place) -> None:
    place.write("secrets/hostpulse_log_level", "warn")
    (line,) = place.problems()
    assert line.endswith(": log_level must be debug, info, warning or error")


def test_sources_know_what_is_secret(place: Place) -> None:
    named = place.write("named", "x")
    for name in ("mqtt.password", "host"):
        key = KEYS[name]
        (by_option,) = command_line({name: "x"})
        (by_variable,) = environment({key.variable: "x"})
        (by_file,) = secret_variables({f"{key.variable}_FILE": str(named)})
        assert [isinstance(entry, Entry) and entry.is_secret for entry in (by_option, by_variable, by_file)] == [
            key.is_secret,
            key.is_secret,
            True,
        ]


def test_conflicts_do_not_show_what_is_in_a_secret_file(place: Place) -> None:
    place.write("secrets/hostpulse_store__retention", "98y")
    place.write("secrets/hostpulse_store__rollup_retention", "97y")
    with pytest.raises(SettingsError, match=r"retention is longer than store\.rollup_retention$"):
        place.load()
