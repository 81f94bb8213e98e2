"""The operating system as a whole."""

import os
import struct

from msgspec import UNSET, UnsetType

from hostpulse.bus.messages import System

from ..files import LONGEST_TEXT, OpenFile, list_directory, read_bytes, read_line, read_text
from ..machine import Machine
from .base import Collector

__all__ = ["SystemCollector", "platform_name"]

# One record of utmp (glibc, every architecture with 32-bit times in it): type, then 380 bytes that we do not need.
_UTMP_RECORD = struct.Struct("<h382x")
_UTMP_USER_PROCESS = 7


def platform_name(machine: Machine) -> str | None:
    """Return the operating system and its version as /etc/os-release calls it."""
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        for line in (read_text(machine.path(path)) or "").splitlines():
            key, _, value = line.partition("=")
            if key == "PRETTY_NAME":
                return value.strip("\"'")[:LONGEST_TEXT]
    return None


def _is_login(session: str) -> bool:
    """Return whether a session of logind is that of a person who has not logged out: no greeter, no manager."""
    lines = session.splitlines()
    return any(line.startswith("CLASS=user") for line in lines) and "STATE=closing" not in lines


class SystemCollector(Collector):
    """Uptime, processes, threads, users, and what the system calls itself.

    Sources: /proc/uptime, /proc/loadavg, /proc, /run/systemd/sessions or utmp, /etc/os-release.
    """

    name = "system"
    subsystem = "system"
    period_seconds = 30.0
    inline = True

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._uptime = OpenFile(f"{machine.proc}/uptime")
        self._load = OpenFile(f"{machine.proc}/loadavg")
        self._stat = OpenFile(f"{machine.proc}/stat")

    def read(self) -> System:
        """Return all of it now."""
        proc = self._machine.proc
        running, _, threads = self._load.read().split()[3].partition(b"/")
        stat = self._stat.read()
        start = stat.index(b"\nbtime ") + len(b"\nbtime ")
        return System(
            uptime_seconds=float(self._uptime.read().split()[0]),
            boot_time_seconds=float(stat[start : stat.index(b"\n", start)]),
            processes=sum(name.isdigit() for name in os.listdir(proc)),  # noqa: PTH208
            threads=int(threads),
            running=int(running),
            users=self._users(),
            hostname=read_line(f"{proc}/sys/kernel/hostname") or UNSET,
            platform=platform_name(self._machine) or UNSET,
            kernel=read_line(f"{proc}/sys/kernel/osrelease") or UNSET,
        )

    def _users(self) -> int | UnsetType:
        """Return the sessions of people: as logind knows them, else as utmp does, which newer systems have not."""
        sessions = self._machine.path("/run/systemd/sessions")
        if os.path.isdir(sessions):  # noqa: PTH112
            return sum(_is_login(read_text(f"{sessions}/{name}") or "") for name in list_directory(sessions))
        data = read_bytes(self._machine.path("/run/utmp"))
        if data is None or len(data) % _UTMP_RECORD.size:
            return UNSET
        return [kind for (kind,) in _UTMP_RECORD.iter_unpack(data)].count(_UTMP_USER_PROCESS)
