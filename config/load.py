"""Load the settings from all their sources.

Precedence: command line, environment, secret files, TOML files, defaults.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from .checks import Conflict, find_conflicts
from .errors import Problem, SettingsError
from .exposure import find_exposures
from .faults import fault_key, to_problem
from .files import config_files, file_values
from .keys import all_keys
from .settings import Settings
from .sources import Entry, command_line, environment, secret_files, secret_variables

__all__ = ["DEFAULT_ORIGIN", "SECRETS_DIRECTORY", "SYSTEM_FILE", "Loaded", "load"]

SECRETS_DIRECTORY = Path("/run/secrets")
SYSTEM_FILE = Path("/etc/hostpulse/config.toml")
DEFAULT_ORIGIN = "default"


@dataclass(frozen=True, slots=True)
class Loaded:
    """The effective settings.

    Attributes:
        settings: the values.
        origins: where each came from, by dotted key: a file, a variable, `--set key`, or `default`.
        warnings: secrets that everybody on this machine can read, a line for each.
    """

    settings: Settings
    origins: Mapping[str, str]
    warnings: tuple[str, ...] = ()


def load(
    *,
    overrides: Mapping[str, str],
    config_file: Path | None,
    environ: Mapping[str, str],
    secrets_dir: Path | None = None,
    system_file: Path = SYSTEM_FILE,
) -> Loaded:
    """Return the effective settings and where each came from.

    Args:
        overrides: text by dotted key, from the command line.
        config_file: the file that the command line names; None for HOSTPULSE_CONFIG or the usual places.
        environ: the environment.
        secrets_dir: directory of secret files named like `hostpulse_mqtt__password`, which need not be there; None
            for the one that systemd made for this service, or else /run/secrets.
        system_file: the settings file for all users; there need not be one.

    Raises:
        SettingsError: with every mistake that was found.
    """
    if secrets_dir is None:
        secrets_dir = Path(environ.get("CREDENTIALS_DIRECTORY") or SECRETS_DIRECTORY)
    entries: dict[str, Entry] = {}
    problems: list[Problem] = []
    for found in chain(
        command_line(overrides),
        environment(environ),
        secret_variables(environ),
        secret_files(secrets_dir),
        *map(file_values, config_files(config_file, environ, system_file)),
    ):
        if isinstance(found, Problem):
            problems.append(found)
        else:
            entries.setdefault(found.key, found)
    settings = _validate(entries, problems)
    origins = {
        name: entries[name].origin if name in entries else DEFAULT_ORIGIN
        for name in (key.name for key in all_keys(settings))
    }
    conflicts = find_conflicts(settings, {name for name, entry in entries.items() if entry.is_secret})
    problems += _conflicts(conflicts, origins, {problem.about for problem in problems})
    if problems:
        raise SettingsError(*dict.fromkeys(map(str, problems)))
    warnings = tuple(find_exposures(settings, entries.values(), secrets_dir))
    return Loaded(settings, MappingProxyType(origins), warnings)


def _validate(entries: Mapping[str, Entry], problems: list[Problem]) -> Settings:
    """Return the settings of the entries that are right; the others become problems."""
    right = dict(entries)
    while True:
        try:
            return Settings(**_nest(right.values()))
        except ValidationError as error:
            faults = error.errors(include_url=False)
        problems += [to_problem(fault, entries[fault_key(fault, entries)]) for fault in faults]
        for name in {fault_key(fault, entries) for fault in faults}:
            del right[name]


def _nest(entries: Iterable[Entry]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for entry in entries:
        *sections, name = entry.key.split(".")
        table = values
        for section in sections:
            table = table.setdefault(section, {})
        table[name] = entry.value
    return values


def _conflicts(conflicts: Iterable[Conflict], origins: Mapping[str, str], doubtful: set[str]) -> Iterator[Problem]:
    """Yield the conflicts that do not merely follow from another mistake."""
    for keys, text in conflicts:
        if doubtful.isdisjoint({*keys, *(key.partition(".")[0] for key in keys)}):
            origin = next(origins[key] for key in keys if origins[key] != DEFAULT_ORIGIN)
            yield Problem(origin, text, keys[0])
