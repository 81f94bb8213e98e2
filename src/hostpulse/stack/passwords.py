"""mosquitto's password file, as mosquitto_passwd writes it: `name:$7$<iterations>$<salt>$<hash>`, PBKDF2 of SHA-512."""

import base64
import hashlib
import hmac
import os
from pathlib import Path

from hostpulse.bus.errors import HostpulseError
from hostpulse.bus.lock import FileLock

from .secret_files import write_secret

__all__ = ["PasswordFile"]

_KIND = "7"
_ITERATIONS = 101  # mosquitto's own number. The passwords are 256 random bits: nobody guesses one, however fast.
_SALT_BYTES = 12
_LOCK_SECONDS = 10.0


class PasswordFile:
    """The accounts of a mosquitto.

    Args:
        path: of the file; there need not be one yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def knows(self, name: str, password: str) -> bool:
        """Return whether an account has this password."""
        parts = self._lines().get(name, "").split("$")
        if len(parts) != len(("", _KIND, "iterations", "salt", "hash")) or parts[1] != _KIND:
            return False
        salt, expected = base64.b64decode(parts[3]), base64.b64decode(parts[4])
        return hmac.compare_digest(_hash(password, salt, int(parts[2])), expected)

    def set(self, name: str, password: str) -> None:
        """Make an account, or give one another password.

        Raises:
            HostpulseError: another process changes the file and does not come to an end.
            OSError: the file cannot be written.
        """
        lock = FileLock(self._path.with_name(f".{self._path.name}.lock"))
        if not lock.acquire(_LOCK_SECONDS):
            raise HostpulseError(f"{self._path} is being changed by another process; try again")
        try:
            lines = self._lines()
            salt = os.urandom(_SALT_BYTES)
            parts = (_KIND, str(_ITERATIONS), _text(salt), _text(_hash(password, salt, _ITERATIONS)))
            lines[name] = "".join(f"${part}" for part in parts)
            write_secret(self._path, "".join(f"{one}:{value}\n" for one, value in lines.items()))
        finally:
            lock.release()

    def _lines(self) -> dict[str, str]:
        try:
            text = self._path.read_text("utf-8")
        except FileNotFoundError:
            return {}
        return {name: value for name, _, value in (line.partition(":") for line in text.splitlines()) if value}


def _hash(password: str, salt: bytes, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
