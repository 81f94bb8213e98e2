import os
from pathlib import Path

import pytest

from hostpulse.bus.errors import UsageError
from hostpulse.bus.messages import SUBSYSTEMS
from hostpulse.config.errors import SettingsError

from .conftest import Place

FILE = "~~/xdg/hostpulse/config.toml"


@pytest.mark.parametrize(
    ("toml", "line"),
    [
        ("intervall = 3", "there is no setting intervall; did you mean interval?"),
        ("log-level = 'info'", "there is no setting log-level; did you mean log_level?"),
        ("prefix = 'x'", "there is no setting prefix; did you mean mqtt.prefix?"),
        ("[mqt]\nhost = 'x'", "there is no section mqt; did you mean mqtt?"),
        ("[mqtt]\nhots = 'x'", "there is no setting mqtt.hots; did you mean mqtt.host?"),
        ("[mqtt]\ninterval = 3", "there is no setting mqtt.interval; did you mean interval?"),
        ("[mqtt.tls]\nfile = 3", "mqtt.tls must be true or false, not a table"),
        ("[mqtt.tlss]\nfile = 3", "there is no section mqtt.tlss; did you mean mqtt.tls?"),
        ("zzzz = 3", "there is no setting zzzz"),
        ("mqtt = 3", "mqtt is a section; write [mqtt] and its keys below it"),
        ('"a\\u001bb" = 3', "there is no setting a\\x1bb"),
        ("interval = 0.1", "interval must be at least 0.5, not 0.1"),
        ("interval = 3601", "interval must be at most 3600, not 3601"),
        ("interval = inf", "interval must be a finite number, not inf"),
        ("interval = true", "interval must be a number, not true"),
        ("interval = '2s'", "interval must be a number, not '2s'"),
        ("interval = []", "interval must be a number, not a list"),
        ("interval = 2026-01-01", "interval must be a number, not a date or time"),
        ("host = ''", "host must not be empty"),
        ("host = 5", "host must be text in quotes, not 5"),
        ("host = 0x" + "f" * 5000, "host must be text in quotes, not a huge number"),
        ('host = "a\\nb"', "host must not contain control characters"),
        (f"host = '{'a' * 256}'", "host must be at most 255 characters long"),
        (f"host = '{'ü' * 32}'", "host is too long: escaped for a topic it has 256 characters, at most 255 fit"),
        ("data_dir = ''", "data_dir must not be empty"),
        ('data_dir = "\\u0000"', "data_dir must not contain control characters"),
        ("data_dir = 3", "data_dir must be a path in quotes, not 3"),
        (
            "data_dir = '~nobody-of-that-name/x'",
            "data_dir begins with a home directory that does not exist",
        ),
        ("log_level = 'warn'", "log_level must be debug, info, warning or error, not 'warn'; did you mean warning?"),
        ("[mqtt]\nport = 0", "mqtt.port must be at least 1, not 0"),
        ("[mqtt]\nport = 65536", "mqtt.port must be at most 65535, not 65536"),
        ("[mqtt]\nport = 1.5", "mqtt.port must be a whole number, not 1.5"),
        ("[mqtt]\nport = true", "mqtt.port must be a number, not true"),
        ("[mqtt]\nprotocol = '4'", "mqtt.protocol must be 3.1.1 or 5, not '4'"),
        ("[mqtt]\ntls = 'maybe'", "mqtt.tls must be true or false, not 'maybe'"),
        (
            "[mqtt]\nhost = 'mqtt://me:word@b:1'",
            "mqtt.host must be a name or an address, not a URL; mqtt.port, mqtt.tls and mqtt.username say the rest",
        ),
        ("[mqtt]\nhost = 'b:1883'", "mqtt.host must be a name or an address alone; the port belongs in mqtt.port"),
        ("[mqtt]\nhost = 'a b'", "mqtt.host must be a name or an address, without spaces"),
        ("[mqtt]\nhost = ':1883'", "mqtt.host must be a name or an address alone; the port belongs in mqtt.port"),
        (
            "[mqtt]\nprefix = 'a/#'",
            "mqtt.prefix must be able to begin a topic, not 'a/#': no +, no #, no $ at the start, no empty part",
        ),
        (f"[mqtt]\nusername = '{'ü' * 32768}'", "mqtt.username must be at most 65535 bytes long"),
        ("[store]\nkind = 'influx'", "store.kind must be embedded or influxdb, not 'influx'; did you mean influxdb?"),
        ("[mqtt]\nshare = 'a/b'", "mqtt.share must not contain /, + or #, not 'a/b'"),
        (
            "[mqtt]\nshare = 'store'\nhost = 'h'",
            "mqtt.share needs InfluxDB, the embedded store has one writer; set store.kind to influxdb",
        ),
        (
            "[mqtt]\nshare = 'store'\n[store]\nkind = 'influxdb'\n[influxdb]\ntoken = 't'\norg = 'o'",
            "mqtt.share needs a broker of your own, the embedded one has no shared subscriptions; set mqtt.host",
        ),
        ("[influxdb]\nurl = 'localhost:8086'", "influxdb.url must be an address such as http://127.0.0.1:8086"),
        ("[outbox]\nsize = 256", "outbox.size must be text in quotes, not 256"),
        ("[outbox]\nsize = '256MB'", "outbox.size must be a size such as 64 MiB or 1 GiB, not '256MB'"),
        ("[outbox]\nsize = '1023 KiB'", "outbox.size must be from 1 MiB to 1 TiB, not '1023 KiB'"),
        ("[outbox]\nage = '59m'", "outbox.age must be from 1h to 100y, not '59m'"),
        ("[outbox]\nsync = 'often'", "outbox.sync must be never, always or a duration such as 30s, not 'often'"),
        ("[outbox]\nsync = '0s'", "outbox.sync must be never, always or a duration of at most 1h, not '0s'"),
        ("[outbox]\nsync = '2h'", "outbox.sync must be never, always or a duration of at most 1h, not '2h'"),
        ("[store]\nretention = 30", "store.retention must be text in quotes, not 30"),
        ("[store]\nretention = 'long'", "store.retention must be a duration such as 12h, 30d or 2y, not 'long'"),
        ("[store]\nretention = '59m'", "store.retention must be from 1h to 100y, not '59m'"),
        ("[store]\nrollup_retention = '101y'", "store.rollup_retention must be from 1h to 100y, not '101y'"),
        ("[store]\nretention = '3y'", "store.retention (3y) is longer than store.rollup_retention (2y)"),
        ("[store]\nrollup_retention = '1d'", "store.retention (30d) is longer than store.rollup_retention (1d)"),
        (
            "[collect]\ndisable = ['cpus']",
            "collect.disable names the subsystem 'cpus', which does not exist; did you mean cpu?",
        ),
        ("[collect]\ndisable = 'cpu'", "collect.disable must be a list, not 'cpu'"),
        ("[collect]\nignore_mounts = ['']", "collect.ignore_mounts must not be empty"),
        (f"[collect]\nignore_mounts = {['x'] * 1025}", "collect.ignore_mounts must have at most 1024 entries"),
    ],
)
def test_mistakes_in_a_file(place: Place, toml: str, line: str) -> None:
    assert place.problems(toml=toml) == [f"{FILE}: {line}"]


def test_ipv6_addresses_are_addresses(place: Place) -> None:
    for address in ("::1", "fe80::1%eth0", "2001:db8::1883"):
        assert place.load(mqtt__host=address).settings.mqtt.host == address


def test_an_unknown_subsystem_like_no_other_gets_the_list(place: Place) -> None:
    (line,) = place.problems({"HOSTPULSE_COLLECT__DISABLE": "zzz"})
    assert line.startswith(
        "HOSTPULSE_COLLECT__DISABLE: collect.disable names the subsystem 'zzz', which does not exist; there are cpu, "
    )


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("HOSTPULSE_MQTT_HOST", "HOSTPULSE_MQTT__HOST"),
        ("HOSTPULSE_MQTT_CA_FILE", "HOSTPULSE_MQTT__CA_FILE"),
        ("HOSTPULSE_MQTT_PASSWORD_FILE", "HOSTPULSE_MQTT__PASSWORD_FILE"),
        ("HOSTPULSE_MQTT__PASWORD", "HOSTPULSE_MQTT__PASSWORD"),
        ("HOSTPULSE_LOG__LEVEL", "HOSTPULSE_LOG_LEVEL"),
        ("HOSTPULSE_LOGLEVEL", "HOSTPULSE_LOG_LEVEL"),
        ("HOSTPULSE__INTERVAL", "HOSTPULSE_INTERVAL"),
        ("HOSTPULSE_MQTT__INTERVAL", "HOSTPULSE_INTERVAL"),
        ("HOSTPULSE_CONFIGS", "HOSTPULSE_CONFIG"),
        ("HOSTPULSE_PREFIX", "HOSTPULSE_MQTT__PREFIX"),
        ("hostpulse_interval", "HOSTPULSE_INTERVAL"),
        ("Hostpulse_Mqtt__Host", "HOSTPULSE_MQTT__HOST"),
    ],
)
def test_mistyped_variables(place: Place, variable: str, meant: str) -> None:
    assert place.problems({variable: "7"}) == [f"{variable}: no setting has this name; did you mean {meant}?"]


def test_a_variable_like_no_other(place: Place) -> None:
    assert place.problems({"HOSTPULSE_ZZZZZZ": "7"}) == ["HOSTPULSE_ZZZZZZ: no setting has this name"]


def test_a_section_has_no_value(place: Place) -> None:
    assert place.problems({"HOSTPULSE_MQTT": "{}"}, broker="1") == [
        "--set broker: broker is a section; set one of its keys, such as broker.port",
        "HOSTPULSE_MQTT: mqtt is a section; set one of its keys, such as HOSTPULSE_MQTT__HOST",
    ]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("intervall", "interval"),
        ("mqtt.hots", "mqtt.host"),
        ("MQTT.HOTS", "mqtt.host"),
        ("mqtt_host", "mqtt.host"),
        ("HOST", "host"),
        ("kind", "store.kind"),
    ],
)
def test_mistyped_options(place: Place, name: str, meant: str) -> None:
    assert place.problems(overrides={name: "1"}) == [f"--set {name}: there is no setting {name}; did you mean {meant}?"]


def test_values_as_text(place: Place) -> None:
    assert place.problems({"HOSTPULSE_MQTT__PORT": "abc", "HOSTPULSE_HOST": ""}, interval="fast", mqtt__tls="") == [
        "HOSTPULSE_HOST: host must not be empty",
        "--set interval: interval must be a number, not 'fast'",
        "HOSTPULSE_MQTT__PORT: mqtt.port must be a whole number, not 'abc'",
        "--set mqtt.tls: mqtt.tls must be true or false, not ''",
    ]


@pytest.mark.parametrize("text", ['["a"', '["a", 1', "[a, b]", "[" * 100_000 + "]"])
def test_a_list_that_is_no_json(place: Place, text: str) -> None:
    assert place.problems(collect__disable=text) == [
        '--set collect.disable: collect.disable must be a list: a,b or ["a", "b"]'
    ]


def test_a_long_value_is_cut(place: Place) -> None:
    assert place.problems(interval="9" * 50 + "x" * 50) == [
        f"--set interval: interval must be a number, not '{'9' * 50}{'x' * 10}…'"
    ]


def test_both_a_variable_and_its_file(place: Place) -> None:
    path = place.write("word", "hunter2")
    assert place.problems({"HOSTPULSE_HOST": "", "HOSTPULSE_HOST_FILE": str(path)}) == [
        "HOSTPULSE_HOST_FILE: HOSTPULSE_HOST is set as well; set only one of the two",
        "HOSTPULSE_HOST: host must not be empty",
    ]


def test_secret_files_that_cannot_be_used(place: Place) -> None:
    place.write("secrets/hostpulse_mqtt_password", "x")
    place.write("secrets/hostpulse_zzzzzzz", "x")
    place.write("secrets/other", "x")
    place.write("secrets/hostpulse_host", "\n")
    place.write("large", "x" * 65_537)
    (place.root / "latin").write_bytes(b"\xff")
    assert place.problems(
        {
            "HOSTPULSE_MQTT__USERNAME_FILE": str(place.root / "missing"),
            "HOSTPULSE_MQTT__PREFIX_FILE": str(place.root / "latin"),
            "HOSTPULSE_MQTT__HOST_FILE": str(place.root / "large"),
            "HOSTPULSE_MQTT__PORT_FILE": str(place.root),
            "HOSTPULSE_DATA_DIR_FILE": "a\0b",
        }
    ) == [
        "HOSTPULSE_DATA_DIR_FILE: a\\x00b cannot be read: not a path",
        "HOSTPULSE_MQTT__HOST_FILE: ~~/large is too large: at most 65536 bytes",
        "HOSTPULSE_MQTT__PORT_FILE: ~~ cannot be read: Is a directory",
        "HOSTPULSE_MQTT__PREFIX_FILE: ~~/latin is not UTF-8 text",
        "HOSTPULSE_MQTT__USERNAME_FILE: ~~/missing cannot be read: No such file or directory",
        "~~/secrets/hostpulse_host: is empty",
        "~~/secrets/hostpulse_mqtt_password: no setting has this name; did you mean hostpulse_mqtt__password?",
        "~~/secrets/hostpulse_zzzzzzz: no setting has this name",
    ]


def test_a_named_file_that_is_missing(place: Place) -> None:
    missing = place.root / "missing.toml"
    assert place.problems(config_file=missing) == [
        "--config: ~~/missing.toml cannot be read: No such file or directory"
    ]
    assert place.problems({"HOSTPULSE_CONFIG": str(missing)}) == [
        "HOSTPULSE_CONFIG: ~~/missing.toml cannot be read: No such file or directory"
    ]
    assert place.problems({"HOSTPULSE_CONFIG": "a\0b"}) == ["HOSTPULSE_CONFIG: a\\x00b cannot be read: not a path"]


def test_a_usual_file_that_is_a_directory(place: Place) -> None:
    place.user_file.mkdir(parents=True)
    assert place.problems() == [f"{FILE}: cannot be read: Is a directory"]


def test_a_usual_place_below_a_file(place: Place) -> None:
    place.write("xdg/hostpulse", "")
    assert set(place.load().origins.values()) == {"default"}


def test_a_usual_file_that_cannot_be_opened(place: Place) -> None:
    place.user_file.parent.mkdir(parents=True)
    place.user_file.symlink_to(place.user_file)
    assert place.problems() == [f"{FILE}: cannot be read: Too many levels of symbolic links"]


@pytest.mark.parametrize(
    ("toml", "line"),
    [
        ("interval = 3\nhost = \n", ", line 2: not valid TOML: invalid value"),
        ("host = 'a", ', line 1: not valid TOML: expected "\'"'),
        ("host = 'a'\n\n[mqtt", ", line 3: not valid TOML: expected ']' at the end of a table declaration"),
        ("host = 'a'\nhost = 'b'", ", line 2: not valid TOML: cannot overwrite a value"),
        (f"host = {'9' * 5000}", ": not valid TOML: a number is too long, or lists are nested too deeply"),
        (f"host = {'[' * 5000}", ": not valid TOML: a number is too long, or lists are nested too deeply"),
    ],
)
def test_toml_syntax(place: Place, toml: str, line: str) -> None:
    assert place.problems(toml=toml) == [FILE + line]


def test_a_file_that_is_not_text(place: Place) -> None:
    place.write("x.toml", "")
    (place.root / "x.toml").write_bytes(b"interval = 2\nhost = '\xff'")
    assert place.problems(config_file=place.root / "x.toml") == ["~~/x.toml, line 2: not UTF-8 text"]


def test_password_without_user(place: Place) -> None:
    place.write("secrets/hostpulse_mqtt__password", "hunter2")
    assert place.problems() == [
        "~~/secrets/hostpulse_mqtt__password: mqtt.password is set without mqtt.username; set both"
    ]


@pytest.mark.parametrize(("one", "other"), [("cert_file", "key_file"), ("key_file", "cert_file")])
def test_certificate_and_key_belong_together(place: Place, one: str, other: str) -> None:
    path = place.write("x.pem", "")
    assert place.problems({f"HOSTPULSE_MQTT__{one.upper()}": str(path)}, mqtt__tls="true") == [
        f"HOSTPULSE_MQTT__{one.upper()}: mqtt.{one} is set without mqtt.{other}; set both"
    ]


def test_certificates_need_tls(place: Place) -> None:
    path = str(place.write("x.pem", ""))
    assert place.problems(mqtt__ca_file=path, mqtt__cert_file=path, mqtt__key_file=path) == [
        f"--set mqtt.{name}: mqtt.{name} has no effect without TLS; set mqtt.tls to true"
        for name in ("ca_file", "cert_file", "key_file")
    ]
    loaded = place.load(mqtt__ca_file=path, mqtt__cert_file=path, mqtt__key_file=path, mqtt__tls="on")
    assert loaded.settings.mqtt.key_file == Path(path)


def test_certificate_files_must_be_there(place: Place) -> None:
    os.mkfifo(place.root / "pipe")
    environ = {"HOSTPULSE_MQTT__CERT_FILE": str(place.root / "no.pem"), "HOSTPULSE_MQTT__CA_FILE": str(place.root)}
    assert place.problems(environ, mqtt__tls="true", mqtt__key_file=str(place.root / "pipe")) == [
        "HOSTPULSE_MQTT__CA_FILE: mqtt.ca_file (~~) cannot be read: Not a file",
        "HOSTPULSE_MQTT__CERT_FILE: mqtt.cert_file (~~/no.pem) cannot be read: No such file or directory",
        "--set mqtt.key_file: mqtt.key_file (~~/pipe) cannot be read: Not a file",
    ]


def test_everything_at_once(place: Place) -> None:
    toml = 'intervall = 3\n[mqtt]\nport = 0\n[store]\nretention = "3y"\n[collect]\ndisable = ["x1", "cpus"]'
    assert place.problems({"HOSTPULSE_HOSTS": "x", "HOSTPULSE_MQTT__PASSWORD": "x"}, toml=toml, broker__port="x") == [
        "HOSTPULSE_HOSTS: no setting has this name; did you mean HOSTPULSE_HOST?",
        f"{FILE}: there is no setting intervall; did you mean interval?",
        f"{FILE}: mqtt.port must be at least 1, not 0",
        "--set broker.port: broker.port must be a whole number, not 'x'",
        f"{FILE}: collect.disable names the subsystem 'x1', which does not exist; there are {', '.join(SUBSYSTEMS)}",
        f"{FILE}: collect.disable names the subsystem 'cpus', which does not exist; did you mean cpu?",
        "HOSTPULSE_MQTT__PASSWORD: mqtt.password is set without mqtt.username; set both",
        f"{FILE}: store.retention (3y) is longer than store.rollup_retention (2y)",
    ]


def test_what_follows_from_a_mistake_is_not_reported(place: Place) -> None:
    environ = {"HOSTPULSE_MQTT_USERNAME": "me", "HOSTPULSE_MQTT__PASSWORD": "x"}
    assert place.problems(environ) == [
        "HOSTPULSE_MQTT_USERNAME: no setting has this name; did you mean HOSTPULSE_MQTT__USERNAME?"
    ]
    assert place.problems({"HOSTPULSE_MQTT__PASSWORD": "x"}, toml="[mqt]\nusername = 'me'") == [
        f"{FILE}: there is no section mqt; did you mean mqtt?"
    ]
    assert place.problems(toml="", store__retention="3y", store__rollup_retention="x") == [
        "--set store.rollup_retention: store.rollup_retention must be a duration such as 12h, 30d or 2y, not 'x'"
    ]


def test_the_same_mistake_twice_is_one_line(place: Place) -> None:
    assert place.problems(collect__disable="cpus,cpus") == [
        "--set collect.disable: collect.disable names the subsystem 'cpus', which does not exist; did you mean cpu?"
    ]


def test_a_settings_error_is_wrong_use() -> None:
    error = SettingsError("a: b", "c: d")
    assert isinstance(error, UsageError)
    assert error.problems == ("a: b", "c: d")
    assert str(error) == "a: b\nc: d"
