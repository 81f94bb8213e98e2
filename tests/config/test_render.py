import tomllib
from pathlib import Path

import pytest

from hostpulse.bus.messages import SUBSYSTEMS
from hostpulse.config.keys import KEYS, SECTIONS, TABLES
from hostpulse.config.render import GENERATED, example_file, settings_page, write_generated
from hostpulse.config.settings import Settings
from hostpulse.config.show import describe

from .conftest import Place

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", GENERATED)
def test_generated_files_are_current(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == GENERATED[name](), "run python -m hostpulse.config.render"


def test_generated_files_are_written(tmp_path: Path) -> None:
    for name in GENERATED:
        (tmp_path / name).parent.mkdir()
    write_generated(tmp_path)
    assert (tmp_path / "docs/settings.md").read_text(encoding="utf-8") == settings_page()
    assert (tmp_path / "config/default.toml").read_text(encoding="utf-8") == example_file()


def test_the_page_has_every_key_with_its_variable_and_meaning() -> None:
    page = settings_page()
    for key in KEYS.values():
        assert key.field.description
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{key.name}` |")]
        assert f"| `{key.variable}` | {key.field.description} |" in row
    assert "| `interval` | number, 0.5 to 3600 | `2` | `HOSTPULSE_INTERVAL` |" in page
    assert "| `mqtt.password` | text, secret | none |" in page
    assert "| `alerts.notify.NAME.apprise` | text or list of text, secret | none |" in page
    assert "`HOSTPULSE_ALERTS__NOTIFY__NAME__GROUP_WAIT` |" in page
    assert '| `mqtt.protocol` | `"3.1.1"` or `"5"` | `"3.1.1"` |' in page


def test_descriptions_are_one_sentence() -> None:
    for key in KEYS.values():
        assert key.field.description
        assert key.field.description.endswith(".")
        assert "\n" not in key.field.description


def test_the_example_changes_nothing(place: Place) -> None:
    assert place.load(toml=example_file()).settings == place.load().settings


def test_the_example_without_its_comment_signs_has_every_key_and_default() -> None:
    lines = [
        line[1:] if line.startswith("#") and not line.startswith("# ") else line for line in example_file().splitlines()
    ]
    tables = tomllib.loads("\n".join(lines))
    leaves = {
        (f"{name}.{inner}" if isinstance(value, dict) else name)
        for name, value in tables.items()
        for inner in (value if isinstance(value, dict) else [""])
    }
    assert leaves == set(KEYS) | set(TABLES)
    for table, model in TABLES.items():
        section, _, name = table.rpartition(".")
        (one,) = tables[section][name].values()
        assert set(one) == set(model.model_fields)
    example, default = Settings.model_validate(tables), Settings()
    for name, key in KEYS.items():
        extra = key.field.json_schema_extra
        if not (isinstance(extra, dict) and "otherwise" in extra):
            assert key.value(example) == key.value(default), name


def test_the_overview(place: Place) -> None:
    toml = 'host = "h"\ndata_dir = "/a b"\n[collect]\nignore_devices = ["a\\n", "b"]\n[mqtt]\nport = 7\n'
    loaded = place.load({"HOSTPULSE_INTERVAL": "2.5"}, toml=toml)
    lines = describe(loaded)
    assert [line.key for line in lines] == list(KEYS)
    file = str(place.user_file)
    assert lines[:4] == [
        ("host", "h", file),
        ("interval", "2.5", "HOSTPULSE_INTERVAL"),
        ("data_dir", str(Path("/a b")), file),
        ("log_level", "info", "default"),
    ]
    assert ("mqtt.host", "not set", "default") in lines
    assert ("mqtt.port", "7", file) in lines
    assert ("mqtt.tls", "false", "default") in lines
    assert ("collect.ignore_devices", '["a\\n", "b"]', file) in lines


def test_the_overview_cannot_move_the_cursor(place: Place) -> None:
    file = place.write("a\x1bb.toml", 'data_dir = "/a\\u001b[2J"')
    line = next(line for line in describe(place.load(config_file=file)) if line.key == "data_dir")
    assert line == ("data_dir", "/a\\x1b[2J", f"{place.root}/a\\x1bb.toml")


def test_every_section_is_a_table_of_the_page() -> None:
    for section in SECTIONS:
        assert f"\n## {section}\n" in settings_page()


def test_defaults_are_valid() -> None:
    settings = Settings()
    assert Settings.model_validate(settings.model_dump()) == settings
    assert set(settings.collect.disable) <= set(SUBSYSTEMS)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().mqtt.port = 1  # type: ignore[misc]
    with pytest.raises(ValueError, match="frozen"):
        Settings().interval = 1  # type: ignore[misc]
