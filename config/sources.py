"""Where values come from. Each source yields what it found: values, and mistakes with the name that was meant."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from .errors import Problem
from .keys import KEYS, PREFIX, SECTIONS, Key
from .text import nearest

__all__ = ["CONFIG_VARIABLE", "Entry", "command_line", "environment", "secret_files", "secret_variables"]

CONFIG_VARIABLE = f"{PREFIX}CONFIG"

_FILE = "_FILE"
_MAXIMUM_SECRET_BYTES = 65_536
_VARIABLES = MappingProxyType({key.variable: key for key in KEYS.values()})
# HOSTPULSE_MQTT__CA_FILE is the key ca_file, not a file that holds some `ca`.
_FILE_VARIABLES = MappingProxyType(
    {key.variable + _FILE: key for key in KEYS.values() if key.variable + _FILE not in _VARIABLES}
)
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
        if name in KEYS:
            yield _from_text(KEYS[name], text, origin)
        elif name in SECTIONS:
            example = f"{name}.{next(iter(SECTIONS[name].model_fields))}"
            yield Problem(origin, f"{name} is a section; set one of its keys, such as {example}", name)
        else:
            meant = nearest(name, [*KEYS, *SECTIONS])
            yield Problem(origin, f"there is no setting {name}{_hint(meant)}", meant or "")


def environment(environ: Mapping[str, str]) -> Iterator[Entry | Problem]:
    """Values of `HOSTPULSE_…` variables, and every variable of that prefix that means nothing."""
    for name, text in sorted(environ.items()):
        if not name.upper().startswith(PREFIX) or name == CONFIG_VARIABLE or _is_service_link(name, text):
            continue
        if name in _VARIABLES:
            yield _from_text(_VARIABLES[name], text, name)
        elif name in _FILE_VARIABLES:
            key = _FILE_VARIABLES[name]
            if text and key.variable in environ:
                yield Problem(name, f"{key.variable} is set as well; set only one of the two", key.name)
        else:
            yield _unknown_variable(name)


def secret_variables(environ: Mapping[str, str]) -> Iterator[Entry | Problem]:
    """Values in the files that `HOSTPULSE_…_FILE` variables name."""
    for name, key in _FILE_VARIABLES.items():
        if path := environ.get(name):
            yield _from_secret_file(key, Path(path), name)


def secret_files(directory: Path) -> Iterator[Entry | Problem]:
    """Values in the files of a directory that are named like variables, in small letters."""
    try:
        paths = sorted(path for path in directory.iterdir() if path.name.upper().startswith(PREFIX))
    except OSError:
        return  # there is none, or it is somebody else's: it was not named
    for path in paths:
        key = _VARIABLES.get(path.name.upper())
        if key is not None:
            yield _from_secret_file(key, path, str(path))
        else:
            meant = nearest(_dotted(path.name), KEYS)
            hint = _hint(meant and KEYS[meant].variable.lower())
            yield Problem(str(path), f"no setting has this name{hint}", meant or "")


def _is_service_link(name: str, text: str) -> bool:
    return bool(_SERVICE_LINK.fullmatch(name) or (name.endswith("_PORT") and _SERVICE_ADDRESS.match(text)))


def _unknown_variable(name: str) -> Problem:
    section = _dotted(name)
    if section in SECTIONS:
        example = KEYS[f"{section}.{next(iter(SECTIONS[section].model_fields))}"].variable
        return Problem(name, f"{section} is a section; set one of its keys, such as {example}", section)
    right = {_dotted(variable): variable for variable in (*_VARIABLES, *_FILE_VARIABLES, CONFIG_VARIABLE)}
    meant = nearest(section, right)
    variable = right[meant] if meant else None
    about = _VARIABLES.get(variable or "") or _FILE_VARIABLES.get(variable or "")
    return Problem(name, f"no setting has this name{_hint(variable)}", about.name if about else "")


def _dotted(variable: str) -> str:
    return variable[len(PREFIX) :].lower().replace("__", ".")


def _hint(meant: str | None) -> str:
    return f"; did you mean {meant}?" if meant else ""


def _from_text(key: Key, text: str, origin: str, *, secret_file: Path | None = None) -> Entry | Problem:
    value: object = text
    if key.is_list:
        try:
            value = _to_list(text)
        except ValueError:
            return Problem(origin, f'{key.name} must be a list: a,b or ["a", "b"]', key.name)
    elif key.is_optional and not text:
        value = None
    return Entry(key.name, value, origin, is_secret=secret_file is not None or key.is_secret, file=secret_file)


def _to_list(text: str) -> object:
    text = text.strip()
    # A pattern may begin with a bracket, too: [ab]*
    if text.startswith('["') or (text.startswith("[") and text.endswith("]")):
        try:
            return json.loads(text)
        except RecursionError:
            raise ValueError("nested too deeply") from None
    return [part.strip() for part in text.split(",") if part.strip()]


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
