"""Secrets that others on this machine can read: right as settings, and worth a warning."""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from .keys import find_key
from .settings import Settings
from .sources import Entry
from .text import printable

__all__ = ["find_exposures"]


def find_exposures(settings: Settings, entries: Iterable[Entry], secrets_dir: Path) -> Iterator[str]:
    """Find secrets that everybody on this machine can read, each with what to do about it.

    Args:
        settings: what is in effect.
        entries: where that came from.
        secrets_dir: what an engine mounts there for its container has the engine's rights, and is left out.
    """
    files: dict[Path, str] = {}
    for entry in entries:
        setting = find_key(entry.key)
        if setting is None or not setting.is_secret or entry.value is None:
            continue
        if entry.file is not None and not _is_handed_in(entry.file, secrets_dir):
            files.setdefault(entry.file, entry.key)
        elif entry.origin.startswith("--set "):
            better = f"put it in a file, see {setting.variable}_FILE"
            yield f"{entry.origin}: the list of processes shows it to everybody; {better}"
    if settings.mqtt.key_file is not None:
        files.setdefault(settings.mqtt.key_file, "mqtt.key_file")
    for file, key in files.items():
        if _is_open_to_all(file):
            yield printable(f"{file}: everybody on this machine can read {key}; chmod o-r {file}")


def _is_open_to_all(file: Path) -> bool:
    if os.name != "posix":
        return False
    try:
        whole = file.resolve()
        return bool(whole.stat().st_mode & stat.S_IROTH) and all(
            directory.stat().st_mode & stat.S_IXOTH for directory in whole.parents
        )
    except OSError:  # what cannot be looked at is not open to all
        return False


def _is_handed_in(file: Path, secrets_dir: Path) -> bool:
    return file.parent == secrets_dir and (os.path.ismount(file) or os.path.ismount(secrets_dir))
