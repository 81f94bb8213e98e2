from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from hostpulse.bus.messages import SUBSYSTEMS
from hostpulse.config.errors import SettingsError
from hostpulse.config.keys import KEYS, SECTIONS
from hostpulse.config.load import load
from hostpulse.config.text import nearest, to_toml

ANY_TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
PRINTABLE = ANY_TEXT.filter(str.isprintable)
PORTS = st.integers(1, 65_535)
PATHS = ANY_TEXT.filter(lambda text: "\0" not in text).map(lambda text: f"/{text}")
PATTERNS = st.lists(ANY_TEXT, max_size=4)
MQTT_PREFIXES = st.from_regex(r"[A-Za-z0-9 ü]{1,8}(/[A-Za-z0-9_-]{1,8}){0,2}", fullmatch=True)

VALUES: dict[str, st.SearchStrategy[object]] = {
    "host": st.text(st.characters(codec="utf-8"), min_size=1, max_size=15).filter(str.isprintable),
    "interval": st.floats(0.5, 3600) | st.integers(1, 3600),
    "data_dir": PATHS,
    "heartbeat_file": PATHS,
    "log_level": st.sampled_from(["debug", "info", "warning", "error"]),
    "mqtt.host": st.from_regex(r"[a-z0-9.-]{1,40}", fullmatch=True),
    "mqtt.port": PORTS,
    "mqtt.username": PRINTABLE,
    "mqtt.client_id": st.from_regex(r"[a-z0-9.-]{1,40}", fullmatch=True),
    "mqtt.tls": st.booleans(),
    "mqtt.protocol": st.sampled_from(["3.1.1", "5"]),
    "mqtt.prefix": MQTT_PREFIXES,
    "broker.port": PORTS,
    "outbox.size": st.integers(1, 1000).map(lambda size: f"{size} MiB"),
    "outbox.age": st.integers(1, 700).map(lambda days: f"{days}d"),
    "outbox.sync": st.sampled_from(["never", "always", "30s"]),
    "store.kind": st.just("embedded"),
    "influxdb.url": st.from_regex(r"https?://[a-z0-9]{1,20}(:[1-9][0-9]{0,3})?", fullmatch=True),
    "influxdb.org": PRINTABLE,
    "influxdb.bucket": PRINTABLE,
    "store.retention": st.integers(1, 700).map(lambda days: f"{days}d"),
    "store.maximum_hosts": st.integers(1, 1_000_000),
    "store.maximum_entries": st.integers(1, 1_000_000),
    "store.rollup_retention": st.integers(2, 99).map(lambda years: f"{years}y"),
    "alerts.rules": PATHS,
    "roots.proc": PATHS,
    "roots.sys": PATHS,
    "roots.filesystem": PATHS,
    "collect.disable": st.lists(st.sampled_from(list(SUBSYSTEMS)), max_size=3),
    "collect.ignore_interfaces": PATTERNS,
    "collect.ignore_devices": PATTERNS,
    "collect.ignore_file_systems": PATTERNS,
    "collect.ignore_mounts": PATTERNS,
}
# These need a partner or a file; their tests are in test_mistakes and test_precedence.
APART = {"influxdb.token", "mqtt.password", "mqtt.share", "mqtt.ca_file", "mqtt.cert_file", "mqtt.key_file"}


def toml_of(values: dict[str, object]) -> str:
    lines = [f"{name} = {to_toml(value)}" for name, value in values.items() if "." not in name]
    for section in SECTIONS:
        lines.append(f"[{section}]")
        lines += [
            f"{name.partition('.')[2]} = {to_toml(value)}"
            for name, value in values.items()
            if name.startswith(f"{section}.")
        ]
    return "\n".join(lines)


def plain(value: object) -> object:
    match value:
        case tuple():
            return list(value)
        case Path():
            return str(value)
        case _:
            return value


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("settings")


def test_no_key_is_forgotten_here() -> None:
    assert VALUES.keys() | APART == set(KEYS)


@settings(deadline=None, max_examples=60)
@given(values=st.fixed_dictionaries({}, optional=VALUES))
def test_valid_settings_survive_toml(directory: Path, values: dict[str, object]) -> None:
    file = directory / "config.toml"
    file.write_bytes(toml_of(values).encode())
    loaded = load(overrides={}, config_file=file, environ={}, secrets_dir=directory, system_file=directory / "none")
    for name, key in KEYS.items():
        if name in values:
            expected = values[name]
            if VALUES[name] is PATHS:
                expected = str(Path(str(expected)))
            assert plain(key.value(loaded.settings)) == expected
        assert loaded.origins[name] == (str(file) if name in values else "default")


@st.composite
def misspelt(draw: st.DrawFn) -> tuple[str, str]:
    """Draw a right name and the same with one letter of its last part dropped, doubled or swapped with the next."""
    right = draw(st.sampled_from(list(KEYS)))
    section, dot, leaf = right.rpartition(".")
    place = draw(st.integers(0, len(leaf) - 1))
    before, letter, after = leaf[:place], leaf[place], leaf[place + 1 :]
    wrong = draw(
        st.sampled_from([before + after, before + letter * 2 + after, before + after[:1] + letter + after[1:]])
    )
    name = f"{section}{dot}{wrong}"
    assume(wrong and name not in KEYS)
    return right, name


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(names=misspelt())
def test_a_misspelt_key_is_named_with_the_right_one(directory: Path, names: tuple[str, str]) -> None:
    right, wrong = names
    section, _, leaf = wrong.rpartition(".")
    file = directory / "wrong.toml"
    file.write_text((f"[{section}]\n" if section else "") + f"{leaf} = 1")
    variable = "HOSTPULSE_" + wrong.upper().replace(".", "__")
    with pytest.raises(SettingsError) as caught:
        load(
            overrides={wrong: "1"},
            config_file=file,
            environ={variable: "1"},
            secrets_dir=directory,
            system_file=directory / "none",
        )
    assert caught.value.problems == (
        f"--set {wrong}: there is no setting {wrong}; did you mean {right}?",
        f"{variable}: no setting has this name; did you mean {KEYS[right].variable}?",
        f"{file}: there is no setting {wrong}; did you mean {right}?",
    )


@settings(deadline=None)
@given(name=ANY_TEXT)
def test_any_unknown_key_gives_one_line_that_names_it(directory: Path, name: str) -> None:
    assume(name not in KEYS and name not in SECTIONS)
    file = directory / "unknown.toml"
    file.write_bytes(f"{to_toml(name)} = 1".encode())
    with pytest.raises(SettingsError) as caught:
        load(overrides={}, config_file=file, environ={}, secrets_dir=directory, system_file=directory / "none")
    (line,) = caught.value.problems
    assert line.isprintable()
    if name.isprintable():
        assert line.startswith(f"{file}: there is no setting {name}")


def test_nothing_is_near_to_nonsense() -> None:
    assert nearest("qqqqq", KEYS) is None
