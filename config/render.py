"""The documentation of the settings and an example file, both made from the model.

In the repository, `python -m hostpulse.config.render` writes them anew.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from .keys import KEYS, SECTIONS, TABLES, Key
from .settings import Settings
from .text import to_toml

__all__ = ["GENERATED", "example_file", "settings_page", "write_generated"]

_PAGE_HEAD = """\
# Settings

<!-- Made from config/settings.py by `python -m hostpulse.config.render`; do not edit. -->

A setting is taken from the first of these places that has it:

1. the command line: `--set mqtt.host=broker.lan`
2. the environment: `HOSTPULSE_MQTT__HOST=broker.lan` (two underscores between section and key)
3. secret files: the file that `HOSTPULSE_MQTT__PASSWORD_FILE` names, which works for every key, or
   `/run/secrets/hostpulse_mqtt__password`, or for a systemd service its credential of that name
4. a TOML file: the one that `--config` or `HOSTPULSE_CONFIG` names; without these
   `$XDG_CONFIG_HOME/hostpulse/config.toml` (usually `~/.config/hostpulse/config.toml`), then
   `/etc/hostpulse/config.toml`
5. its default

A secret that everybody on the machine can read (a file without `chmod o-r`, a password on a command line, the key of
`mqtt.key_file`) is a warning; of what a container's engine mounts in `/run/secrets` there is none. Services get neither
our variables nor our options.

`hostpulse config show` prints what is in effect and where it comes from. What cannot be right is refused, with the
place of the mistake: an unknown key, a variable or secret file beginning with `HOSTPULSE_` or `hostpulse_` that names
no setting, a named file that is not there, a variable that is set together with its `_FILE`.

On the command line and in the environment a list is written `lo,veth*` or `["lo", "veth*"]`, one of URLs with spaces or
lines between them; an empty text empties a list, and takes the value of a key that may have none. A path may begin with
`~`, and is otherwise relative to the working directory. Durations are written `12h`, `30d`, `2y`, sizes `64 MiB`,
`1 GiB`.

[config/default.toml](../config/default.toml) is a file with every key, to start from.
"""
_EXAMPLE_HEAD = """\
# Settings of hostpulse, for ~/.config/hostpulse/config.toml or /etc/hostpulse/config.toml.
# To change one, take away the # before its key. Made from the model; docs/settings.md says more.
"""
_NAME = "ops"
_COLUMNS = ("Key", "Type", "Default", "Environment variable", "Meaning")


def settings_page() -> str:
    """Return docs/settings.md."""
    types = _types()
    parts = [_PAGE_HEAD, _table(_keys_of(""), types)]
    for section, model in SECTIONS.items():
        parts += [f"## {section}\n\n{model.__doc__}\n", _table(_keys_of(section), types)]
        for table, inner in _tables_of(section):
            parts += [f"## {table}.NAME\n\n{inner.__doc__}\n", _table(_keys_in(table, "NAME"), types)]
    return "\n".join(parts)


def example_file() -> str:
    """Return a TOML file with every key in a comment."""
    parts = [_EXAMPLE_HEAD, *map(_example, _keys_of(""))]
    for section, model in SECTIONS.items():
        parts += [f"[{section}]\n# {model.__doc__}\n", *map(_example, _keys_of(section))]
        for table, inner in _tables_of(section):
            parts += [f"#[{table}.{_NAME}]\n# {inner.__doc__}\n", *map(_example, _keys_in(table, _NAME))]
    return "\n".join(parts)


def _keys_of(section: str) -> list[Key]:
    return [key for name, key in KEYS.items() if name.rpartition(".")[0] == section]


def _tables_of(section: str) -> list[tuple[str, type[BaseModel]]]:
    return [(name, model) for name, model in TABLES.items() if name.rpartition(".")[0] == section]


def _keys_in(table: str, name: str) -> list[Key]:
    return [Key(f"{table}.{name}.{leaf}", field) for leaf, field in TABLES[table].model_fields.items()]


def _table(keys: list[Key], types: Mapping[str, str]) -> str:
    rows = [_COLUMNS, tuple("---" for _ in _COLUMNS)]
    rows += [
        (f"`{key.name}`", types[key.name], _default(key), f"`{key.variable}`", key.field.description or "")
        for key in keys
    ]
    # A bar would end the cell.
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in escaped)


def _example(key: Key) -> str:
    name = key.name.rpartition(".")[2]
    otherwise = _otherwise(key)
    value = key.field.examples[0] if otherwise and key.field.examples else key.field.default
    note = f" Without it: {otherwise.replace('`', '')}." if otherwise else ""
    return f"# {key.field.description}{note}\n#{name} = {to_toml(value)}\n"


def _default(key: Key) -> str:
    return _otherwise(key) or f"`{to_toml(key.field.default)}`"


def _otherwise(key: Key) -> str:
    """Return what stands for a default that differs from machine to machine, or is no value."""
    extra = key.field.json_schema_extra
    return str(extra.get("otherwise", "")) if isinstance(extra, dict) else ""


def _types() -> dict[str, str]:
    schema = Settings.model_json_schema()
    found: dict[str, str] = {}
    for name in KEYS:
        section, _, leaf = name.rpartition(".")
        table = schema["$defs"][SECTIONS[section].__name__] if section else schema
        found[name] = _type_text(table["properties"][leaf])
    for name, model in TABLES.items():
        for leaf, properties in model.model_json_schema()["properties"].items():
            found[f"{name}.NAME.{leaf}"] = _type_text(properties)
    return found


def _type_text(schema: Mapping[str, Any]) -> str:  # noqa: C901, PLR0911 - a table
    match schema:
        case {"anyOf": [inner, {"type": "null"}]}:
            return _type_text(inner)
        case {"enum": choices}:
            return " or ".join(f"`{to_toml(choice)}`" for choice in choices)
        case {"const": choice}:
            return f"`{to_toml(choice)}`"
        case {"type": "array", "items": {"format": "password"}}:
            return "text or list of text, secret"
        case {"type": "array"}:
            return "list of text"
        case {"type": "boolean"}:
            return "`true` or `false`"
        case {"type": "integer" | "number" as kind, "minimum": low, "maximum": high}:
            return f"{'whole number' if kind == 'integer' else 'number'}, {low:g} to {high:g}"
        case {"format": "path" | "duration" | "size" as kind}:
            return str(kind)
        case {"format": "sync"}:
            return '`"never"`, `"always"` or duration'
        case {"format": "password"}:
            return "text, secret"
        case _:
            return "text"


GENERATED: MappingProxyType[str, Callable[[], str]] = MappingProxyType(
    {
        "docs/settings.md": settings_page,
        "config/default.toml": example_file,
    }
)
"""The generated files of the repository, and what makes each."""


def write_generated(repository: Path) -> None:
    """Write the generated files anew."""
    for name, make in GENERATED.items():
        (repository / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    write_generated(Path())
