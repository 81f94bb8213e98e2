"""The settings files: which ones are read, and what is in them."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import Problem
from .keys import SECTIONS, TABLES, find_key, is_name
from .sources import CONFIG_VARIABLE, Entry, unknown

__all__ = ["ConfigFile", "config_files", "file_values"]

_PLACE = re.compile(r"(?P<what>.*) \(at (?:line (?P<line>\d+), column \d+|end of document)\)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A TOML file to read.

    Attributes:
        path: where it is.
        named_by: option or variable that names it; "" for a usual place, where there need not be one.
    """

    path: Path
    named_by: str = ""


def config_files(config_file: Path | None, environ: Mapping[str, str], system_file: Path) -> list[ConfigFile]:
    """Return the files to read, the most important first."""
    if config_file is not None:
        return [ConfigFile(config_file, "--config")]
    if named := environ.get(CONFIG_VARIABLE):
        return [ConfigFile(Path(named), CONFIG_VARIABLE)]
    return [
        *(ConfigFile(directory / "hostpulse" / "config.toml") for directory in _user_directories(environ)),
        ConfigFile(system_file),
    ]


def _user_directories(environ: Mapping[str, str]) -> Iterator[Path]:
    # The XDG specification: a path that is not absolute does not count.
    directory = Path(environ.get("XDG_CONFIG_HOME", ""))
    home = Path(environ.get("HOME") or environ.get("USERPROFILE", ""))
    if directory.is_absolute():
        yield directory
    elif home.is_absolute():
        yield home / ".config"


def file_values(file: ConfigFile) -> Iterator[Entry | Problem]:
    """Values of a TOML file, and every key in it that means nothing."""
    table = _read(file)
    if isinstance(table, Problem):
        yield table
        return
    for name, value in table.items():
        if name not in SECTIONS:
            yield _entry(file, name, value)
        elif isinstance(value, dict):
            for inner, inner_value in value.items():
                if f"{name}.{inner}" in TABLES:
                    yield from _tables(file, f"{name}.{inner}", inner_value)
                else:
                    yield _entry(file, f"{name}.{inner}", inner_value)
        else:
            yield Problem(str(file.path), f"{name} is a section; write [{name}] and its keys below it", name)


def _tables(file: ConfigFile, name: str, tables: object) -> Iterator[Entry | Problem]:
    """Values of the tables in a table whose names people choose."""
    origin = str(file.path)
    if not isinstance(tables, dict):
        yield Problem(origin, f"{name} is a section; write [{name}.ops] and its keys below it", name)
        return
    for chosen, table in tables.items():
        path = f"{name}.{chosen}"
        if not is_name(chosen):
            yield unknown(origin, "section", path)
        elif not isinstance(table, dict) or not table:
            example = next(iter(TABLES[name].model_fields))
            yield Problem(origin, f"{path} is a section; write [{path}] and its keys below it, such as {example}", path)
        else:
            for leaf, value in table.items():
                yield _entry(file, f"{path}.{leaf}", value)


def _entry(file: ConfigFile, name: str, value: object) -> Entry | Problem:
    origin = str(file.path)
    key = find_key(name)
    if key is not None:
        return Entry(name, value, origin, is_secret=key.is_secret, file=file.path)
    return unknown(origin, "section" if isinstance(value, dict) else "setting", name)


def _read(file: ConfigFile) -> dict[str, object] | Problem:
    where = f"{file.path} " if file.named_by else ""
    origin = file.named_by or str(file.path)
    try:
        # Editors of Windows begin a text with a mark, which TOML does not know.
        text = file.path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        return Problem(f"{file.path}, line {line}", "not UTF-8 text")
    except (FileNotFoundError, NotADirectoryError) as error:
        return Problem(origin, f"{where}cannot be read: {error.strerror}") if file.named_by else {}
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        return Problem(origin, f"{where}cannot be read: {reason or 'not a path'}")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        return _syntax_problem(file.path, text, error)


def _syntax_problem(path: Path, text: str, error: Exception) -> Problem:
    place = _PLACE.fullmatch(str(error))
    if place is None:  # a number or a nesting without end: Python's own words do not help
        return Problem(str(path), "not valid TOML: a number is too long, or lists are nested too deeply")
    line = place["line"] or text.rstrip("\n").count("\n") + 1
    what = place["what"]
    return Problem(f"{path}, line {line}", f"not valid TOML: {what[:1].lower()}{what[1:]}")
