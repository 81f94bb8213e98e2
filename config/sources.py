"""Where values come from. Each source yields what it found: values, and mistakes with the name that was meant."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from .errors import Problem
from .keys import KEYS, NAME_RULE, PREFIX, SECTIONS, TABLES, Key, find_key, is_name, table_of
from .text import nearest

__all__ = ["CONFIG_VARIABLE", "Entry", "command_line", "environment", "secret_files", "secret_variables", "unknown"]

CONFIG_VARIABLE = f"{PREFIX}CONFIG"

_FILE = "_FILE"
_MAXIMUM_SECRET_BYTES = 65_536
_VARIABLES = MappingProxyType({key.variable: key for key in KEYS.values()})
# HOSTPULSE_MQTT__CA_FILE is the key ca_file, not a file that holds some `ca`.
_FILE_VARIABLES = tuple(name for variable in _VARIABLES if (name := variable + _FILE) not in _VARIABLES)
# Kubernetes and container links describe a service named hostpulse… in variables of these forms.
_SERVICE_LINK = re.compile(
    r"\w+_SERVICE_HOST|\w+_SERVICE_PORT(_\w+)?|\w+_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?", re.ASCII
)
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://", re.ASCII)


@dataclass(frozen=True, slots=True)
class Entry:
    """A value that a source has for a key.

    Attributes:
        key: dotted name.
        value: as the source has it, not yet validated; kept out of the repr, for it may be a secret.
        origin: file, variable or option that it came from.
        is_secret: whether nobody may see it.
        file: that it came from; None for another source.
    """

    key: str
    value: object = field(repr=False)
    origin: str
    is_secret: bool
    file: Path | None = None


def command_line(overrides: Mapping[str, str]) -> Iterator[Entry | Problem]:
    """Values of `--set key=text`."""
    for name, text in overrides.items():
        origin = f"--set {name}"
        key = find_key(name)
        if key is not None:
            yield _from_text(key, text, origin)
        elif (example := _example(name)) is not None:
            yield Problem(origin, f"{name} is a section; set one of its keys, such as {example}", name)
        else:
            yield unknown(origin, "setting", name)


def environment(environ: Mapping[str, str]) -> Iterator[Entry | Problem]:
    """Values of `HOSTPULSE_…` variables, and every variable of that prefix that means nothing."""
    for name, text in sorted(environ.items()):
        if not name.upper().startswith(PREFIX) or name == CONFIG_VARIABLE or _is_service_link(name, text):
            continue
        key, file_key = _key_of(name), _key_of_file(name)
        if key is not None:
            yield _from_text(key, text, name)
        elif file_key is None:
            yield _unknown_variable(name)
        elif text and file_key.variable in environ:
            yield Problem(name, f"{file_key.variable} is set as well; set only one of the two", file_key.name)


def secret_variables(environ: Mapping[str, str]) -> Iterator[Entry | Problem]:
    """Values in the files that `HOSTPULSE_…_FILE` variables name."""
    for name, path in sorted(environ.items()):
        key = _key_of_file(name)
        if path and key is not None:
            yield _from_secret_file(key, Path(path), name)


def secret_files(directory: Path) -> Iterator[Entry | Problem]:
    """Values in the files of a directory that are named like variables, in small letters."""
    try:
        paths = sorted(path for path in directory.iterdir() if path.name.upper().startswith(PREFIX))
    except OSError:
        return  # there is none, or it is somebody else's: it was not named
    for path in paths:
        key = _key_of(path.name.upper())
        if key is not None:
            yield _from_secret_file(key, path, str(path))
        else:
            meant = find_key(_nearest(_dotted(path.name), KEYS) or "")
            hint = _hint(meant.variable.lower() if meant else None)
            yield Problem(str(path), f"no setting has this name{hint}", meant.name if meant else "")


def unknown(origin: str, kind: str, name: str) -> Problem:
    """Say that there is no setting or section of a dotted name, and what may have been meant."""
    found = table_of(name)
    if found is not None and not is_name(found[1]):
        return Problem(origin, f"there is no {kind} {name}; {NAME_RULE}", found[0])
    meant = _nearest(name, [*KEYS, *SECTIONS, *TABLES])
    return Problem(origin, f"there is no {kind} {name}{_hint(meant)}", meant or "")


def _nearest(wrong: str, known: Iterable[str]) -> str | None:
    """Return the name that was probably meant, in a table with a chosen name a key of that."""
    match table_of(wrong):
        case table, chosen, rest if is_name(chosen):
            leaf = nearest(rest, TABLES[table].model_fields)
            return None if leaf is None else f"{table}.{chosen}.{leaf}"
        case _:
            return nearest(wrong, known)


def _key_of(variable: str) -> Key | None:
    """Return the key that a variable sets."""
    if variable in _VARIABLES:
        return _VARIABLES[variable]
    # Only keys in tables are found by their parts: mqtt__host and mqtt_host are two names, and one of them is wrong.
    key = find_key(_dotted(variable)) if variable.startswith(PREFIX) else None
    return key if key is not None and key.variable == variable else None


def _key_of_file(variable: str) -> Key | None:
    """Return the key whose value is in the file that a variable names."""
    return _key_of(variable.removesuffix(_FILE)) if variable.endswith(_FILE) and _key_of(variable) is None else None


def _example(name: str) -> str | None:
    """Return a key of a section or of a table in one; None if it is neither."""
    if name in SECTIONS:
        return f"{name}.{next(iter(SECTIONS[name].model_fields))}"
    if name in TABLES:
        return f"{name}.ops.{next(iter(TABLES[name].model_fields))}"
    match table_of(name):
        case table, chosen, "" if is_name(chosen):
            return f"{name}.{next(iter(TABLES[table].model_fields))}"
        case _:
            return None


def _is_service_link(name: str, text: str) -> bool:
    return bool(_SERVICE_LINK.fullmatch(name) or (name.endswith("_PORT") and _SERVICE_ADDRESS.match(text)))


def _unknown_variable(name: str) -> Problem:
    section = _dotted(name)
    if (example := find_key(_example(section) or "")) is not None:
        return Problem(name, f"{section} is a section; set one of its keys, such as {example.variable}", section)
    right = {_dotted(variable): variable for variable in (*_VARIABLES, *_FILE_VARIABLES, CONFIG_VARIABLE)}
    meant = _nearest(section, right)
    in_table = find_key(meant or "") if table_of(section) else None
    variable = in_table.variable if in_table else right.get(meant or "", "")
    about = _key_of(variable) or _key_of_file(variable)
    return Problem(name, f"no setting has this name{_hint(variable)}", about.name if about else "")


def _dotted(variable: str) -> str:
    return variable[len(PREFIX) :].lower().replace("__", ".")


def _hint(meant: str | None) -> str:
    return f"; did you mean {meant}?" if meant else ""


def _from_text(key: Key, text: str, origin: str, *, secret_file: Path | None = None) -> Entry | Problem:
    value: object = text
    if key.is_list:
        try:
            value = _to_list(text, None if key.is_secret else ",")
        except ValueError:
            example = "a b" if key.is_secret else "a,b"
            return Problem(origin, f'{key.name} must be a list: {example} or ["a", "b"]', key.name)
    elif key.is_optional and not text:
        value = None
    return Entry(key.name, value, origin, is_secret=secret_file is not None or key.is_secret, file=secret_file)


def _to_list(text: str, separator: str | None) -> object:
    """Return the parts of a text between commas; URLs have some, and stand between white space (None)."""
    text = text.strip()
    # A pattern may begin with a bracket, too: [ab]*
    if text.startswith('["') or (text.startswith("[") and text.endswith("]")):
        try:
            return json.loads(text)
        except RecursionError:
            raise ValueError("nested too deeply") from None
    return [part.strip() for part in text.split(separator) if part.strip()]


def _from_secret_file(key: Key, path: Path, origin: str) -> Entry | Problem:
    where = "" if origin == str(path) else f"{path} "
    try:
        with path.open("rb") as file:
            data = file.read(_MAXIMUM_SECRET_BYTES + 1)
        text = data.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        return Problem(origin, f"{where}is not UTF-8 text", key.name)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        return Problem(origin, f"{where}cannot be read: {reason or 'not a path'}", key.name)
    if len(data) > _MAXIMUM_SECRET_BYTES:
        return Problem(origin, f"{where}is too large: at most {_MAXIMUM_SECRET_BYTES} bytes", key.name)
    if not text:
        return Problem(origin, f"{where}is empty", key.name)
    return _from_text(key, text, origin, secret_file=path)
