from itertools import combinations
from pathlib import Path

import pytest

from hostpulse.config.keys import KEYS
from hostpulse.config.load import load

from .conftest import Place


def test_without_any_source_everything_is_default(place: Place) -> None:
    loaded = place.load()
    assert set(loaded.origins.values()) == {"default"}
    assert set(loaded.origins) == set(KEYS)
    assert loaded.settings.mqtt.host is None
    assert loaded.settings.interval == 2
    assert loaded.settings.store.retention_seconds == 30 * 86_400
    assert loaded.settings.store.rollup_retention_seconds == 2 * 365 * 86_400
    assert loaded.settings.data_dir.name == "hostpulse"


# From the strongest to the weakest: how a source sets mqtt.prefix, and the origin it gives.
SOURCES = {
    "override": "--set mqtt.prefix",
    "variable": "HOSTPULSE_MQTT__PREFIX",
    "variable_file": "HOSTPULSE_MQTT__PREFIX_FILE",
    "secret": "~~/secrets/hostpulse_mqtt__prefix",
    "user_file": "~~/xdg/hostpulse/config.toml",
    "system_file": "~~/etc/config.toml",
    "default": "default",
}


# A variable together with its file is a mistake.
PAIRS = [pair for pair in combinations(SOURCES, 2) if pair != ("variable", "variable_file")]


@pytest.mark.parametrize(("strong", "weak"), PAIRS)
def test_each_source_yields_to_every_one_before(place: Place, strong: str, weak: str) -> None:
    environ: dict[str, str] = {}
    overrides: dict[str, str] = {}
    for source in (strong, weak):
        match source:
            case "override":
                overrides["mqtt.prefix"] = source
            case "variable":
                environ["HOSTPULSE_MQTT__PREFIX"] = source
            case "variable_file":
                environ["HOSTPULSE_MQTT__PREFIX_FILE"] = str(place.write("named", source + "\n"))
            case "secret":
                place.write("secrets/hostpulse_mqtt__prefix", source + "\n")
            case "user_file":
                place.write("xdg/hostpulse/config.toml", f'[mqtt]\nprefix = "{source}"')
            case "system_file":
                place.write("etc/config.toml", f'[mqtt]\nprefix = "{source}"')
            case "default":
                pass
    loaded = place.load(environ, overrides=overrides)
    assert loaded.settings.mqtt.prefix == strong
    assert loaded.origins["mqtt.prefix"] == SOURCES[strong].replace("~~", str(place.root))


def test_a_variable_wins_over_a_secret_of_the_directory(place: Place) -> None:
    place.write("secrets/hostpulse_host", "from-secret")
    assert place.load({"HOSTPULSE_HOST": "from-variable"}).settings.host == "from-variable"


def test_every_leaf_keeps_its_own_origin(place: Place) -> None:
    place.write("etc/config.toml", 'interval = 7\n[mqtt]\nport = 1\nusername = "system"\n')
    place.write("secrets/HOSTPULSE_MQTT__PASSWORD", "word\r\n")
    toml = '[mqtt]\nport = 2\nclient_id = "user"\n[collect]\ndisable = ["battery"]'
    loaded = place.load({"HOSTPULSE_MQTT__TLS": "yes"}, toml=toml, store__retention="1d")
    mqtt = loaded.settings.mqtt
    assert (mqtt.port, mqtt.username, mqtt.client_id, mqtt.tls) == (2, "system", "user", True)
    assert mqtt.password is not None
    assert mqtt.password.get_secret_value() == "word"
    assert loaded.settings.collect.disable == ("battery",)
    assert {name: origin for name, origin in loaded.origins.items() if origin != "default"} == {
        "interval": str(place.system_file),
        "mqtt.username": str(place.system_file),
        "mqtt.port": str(place.user_file),
        "mqtt.client_id": str(place.user_file),
        "collect.disable": str(place.user_file),
        "mqtt.password": str(place.secrets / "HOSTPULSE_MQTT__PASSWORD"),
        "mqtt.tls": "HOSTPULSE_MQTT__TLS",
        "store.retention": "--set store.retention",
    }


def test_a_secret_loses_only_its_line_end(place: Place) -> None:
    path = place.write("word", " two words \r\n")
    loaded = place.load({"HOSTPULSE_MQTT__PASSWORD_FILE": str(path)}, mqtt__username="me")
    assert loaded.settings.mqtt.password is not None
    assert loaded.settings.mqtt.password.get_secret_value() == " two words "


@pytest.mark.parametrize(("full", "short"), [("web-1.example.org", "web-1"), ("web-1", "web-1"), ("", "localhost")])
def test_the_default_host_has_no_domain(place: Place, monkeypatch: pytest.MonkeyPatch, full: str, short: str) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: full)
    assert place.load().settings.host == short


def test_a_named_file_replaces_the_usual_ones(place: Place) -> None:
    place.write("etc/config.toml", "interval = 3")
    by_option, by_variable = place.write("a.toml", 'host = "a"'), place.write("b.toml", 'host = "b"')
    environ = {"HOSTPULSE_CONFIG": str(by_variable)}
    loaded = place.load(environ, config_file=by_option)
    assert (loaded.settings.host, loaded.settings.interval) == ("a", 2)
    loaded = place.load(environ)
    assert (loaded.settings.host, loaded.settings.interval) == ("b", 2)
    loaded = place.load({"HOSTPULSE_CONFIG": ""})
    assert loaded.settings.interval == 3


@pytest.mark.parametrize("variable", ["HOME", "USERPROFILE"])
@pytest.mark.parametrize("xdg", [None, "", "relative"])
def test_without_xdg_config_home_the_file_is_below_home(place: Place, variable: str, xdg: str | None) -> None:
    place.write("home/.config/hostpulse/config.toml", "interval = 9")
    environ = {variable: str(place.root / "home")} | ({} if xdg is None else {"XDG_CONFIG_HOME": xdg})
    loaded = load(
        overrides={}, config_file=None, environ=environ, secrets_dir=place.secrets, system_file=place.system_file
    )
    assert loaded.settings.interval == 9


def test_the_environment_of_the_process_does_not_count(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTPULSE_INTERVAL", "99")
    monkeypatch.setenv("interval", "98")
    assert place.load().settings.interval == 2


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("lo,veth*", ("lo", "veth*")),
        (" lo , , veth* ", ("lo", "veth*")),
        ('["lo", "a,b"]', ("lo", "a,b")),
        ("[ab]*", ("[ab]*",)),
        ("[]", ()),
        ("", ()),
    ],
)
def test_lists_as_text(place: Place, text: str, entries: tuple[str, ...]) -> None:
    loaded = place.load({"HOSTPULSE_COLLECT__IGNORE_MOUNTS": text}, collect__ignore_interfaces=text)
    assert loaded.settings.collect.ignore_mounts == entries
    assert loaded.settings.collect.ignore_interfaces == entries


def test_empty_text_takes_an_optional_value_away(place: Place) -> None:
    loaded = place.load({"HOSTPULSE_MQTT__PORT": ""}, toml='[mqtt]\nhost = "broker"\nport = 5', mqtt__host="")
    assert (loaded.settings.mqtt.host, loaded.settings.mqtt.port) == (None, None)
    assert loaded.origins["mqtt.host"] == "--set mqtt.host"


def test_an_empty_file_variable_is_not_set(place: Place) -> None:
    environ = {"HOSTPULSE_MQTT__USERNAME": "me", "HOSTPULSE_MQTT__USERNAME_FILE": ""}
    assert place.load(environ).settings.mqtt.username == "me"


def test_variables_of_container_links_are_not_ours(place: Place) -> None:
    loaded = place.load(
        {
            "HOSTPULSE_PORT": "tcp://10.0.0.1:1883",
            "HOSTPULSE_SERVICE_HOST": "10.0.0.1",
            "HOSTPULSE_SERVICE_PORT": "1883",
            "HOSTPULSE_WEB_SERVICE_PORT_HTTP": "80",
            "HOSTPULSE_PORT_1883_TCP": "tcp://10.0.0.1:1883",
            "HOSTPULSE_PORT_1883_TCP_ADDR": "10.0.0.1",
            "OTHER": "x",
        }
    )
    assert set(loaded.origins.values()) == {"default"}


def test_a_byte_order_mark_is_no_mistake(place: Place) -> None:
    assert place.load(toml="\ufeffinterval = 4").settings.interval == 4


def test_home_is_expanded(place: Place) -> None:
    assert place.load(toml='data_dir = "~/pulse"').settings.data_dir == Path.home() / "pulse"


@pytest.mark.parametrize(
    ("toml", "port"), [("", 1883), ("tls = true", 8883), ("port = 7", 7), ("tls = true\nport = 7", 7)]
)
def test_effective_port(place: Place, toml: str, port: int) -> None:
    assert place.load(toml=f"[mqtt]\n{toml}").settings.mqtt.effective_port == port


@pytest.mark.parametrize("version", ['"5"', "5"])
def test_version_5_may_be_a_number(place: Place, version: str) -> None:
    assert place.load(toml=f"[mqtt]\nprotocol = {version}").settings.mqtt.protocol == "5"


def test_log_level_in_capitals(place: Place) -> None:
    assert place.load({"HOSTPULSE_LOG_LEVEL": "DEBUG"}).settings.log_level == "debug"
