"""What the compose stack needs before its services start: directories of their own, secrets, mosquitto's accounts.

    <secrets>/mosquitto    passwords, acl
    <secrets>/influxdb     admin-password, admin-token
    <secrets>/publisher    host, mqtt-username, mqtt-password
    <secrets>/consumer     mqtt-password; `hostpulse influxdb setup` adds influxdb-writer-token
    <secrets>/reader       `hostpulse influxdb setup` adds influxdb-reader-token
    <secrets>/grafana      admin-password

Each of them is a volume of its own, which only that service sees. What is there is kept.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from hostpulse.bus.topics import escape

from .passwords import PasswordFile
from .secret_files import give_directory, new_secret, read_secret, write_secret

__all__ = ["ACCOUNTS", "CONSUMER", "prepare"]

ACCOUNTS: Mapping[str, int] = MappingProxyType(
    {"mosquitto": 1883, "influxdb": 1000, "publisher": 10001, "consumer": 10001, "reader": 472, "grafana": 472}
)
"""The numbers of the accounts in the images, by service."""

CONSUMER = "consumer"


def prepare(secrets: Path, data: Path, acl: Path, host: str) -> None:
    """Make what is missing.

    Args:
        secrets: directory of the services' directories of secrets.
        data: directory of the services' directories of data: those that are there are given to their service.
        acl: mosquitto's list of rights, which is copied: mosquitto wants to be the only one who can read it.
        host: name of this machine.

    Raises:
        HostpulseError: another process does the same.
        OSError: something cannot be read, written or given away.
    """
    for service, account in ACCOUNTS.items():
        give_directory(secrets / service, account)
        if (data / service).is_dir():
            give_directory(data / service, account)
    for name in ("influxdb/admin-password", "influxdb/admin-token", "grafana/admin-password"):
        _secret(secrets / name)
    mosquitto = secrets / "mosquitto"
    write_secret(mosquitto / "acl", acl.read_text("utf-8"))
    passwords = PasswordFile(mosquitto / "passwords")
    _account(passwords, CONSUMER, secrets / "consumer" / "mqtt-password")
    _publisher(passwords, secrets / "publisher", host)


def _secret(path: Path) -> str:
    """Return the secret in a file, which is made where it is missing."""
    found = read_secret(path)
    if found is None:
        found = new_secret()
        write_secret(path, found)
    return found


def _account(passwords: PasswordFile, name: str, path: Path) -> None:
    password = _secret(path)
    if not passwords.knows(name, password):
        passwords.set(name, password)


def _publisher(passwords: PasswordFile, directory: Path, host: str) -> None:
    """Make the account of this machine: its user name is what its topics have for its name."""
    for name, text in (("host", host), ("mqtt-username", escape(host))):
        if read_secret(directory / name) != text:
            write_secret(directory / name, text)
    _account(passwords, escape(host), directory / "mqtt-password")
