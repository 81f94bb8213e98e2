"""Network interfaces: traffic (fast), links, errors and sockets (slow)."""

import os
from collections.abc import Sequence

from msgspec import UNSET

from hostpulse.bus.messages import Network, NetworkInterface

from ..files import OpenFile, read_bytes, read_int, read_line
from ..machine import Machine
from ..rates import Stopwatch, per_second, whole_per_second
from .base import Collector
from .patterns import matches

__all__ = ["NetworkCollector", "NetworkLinkCollector", "parse_interfaces", "parse_sockets"]

# Columns of /proc/net/dev behind the name.
_RECEIVED_BYTES, _RECEIVED_PACKETS, _RECEIVED_ERRORS, _RECEIVED_DROPS = 0, 1, 2, 3
_SENT_BYTES, _SENT_PACKETS, _SENT_ERRORS, _SENT_DROPS = 8, 9, 10, 11
_HEADER_LINES = 2
_MEGABIT = 1_000_000
_NO_SPEED = 2**32 - 1  # -1 as older kernels write it


def parse_interfaces(data: bytes) -> dict[str, list[int]]:
    """Return the columns of each interface of /proc/net/dev."""
    interfaces = {}
    for line in data.splitlines()[_HEADER_LINES:]:
        name, _, columns = line.rpartition(b":")  # an alias has a colon in its name
        interfaces[name.strip().decode("utf-8", "replace")] = [int(column) for column in columns.split()]
    return interfaces


class _Chooser:
    """Which interfaces are reported, and which of them are physical."""

    def __init__(self, machine: Machine, ignore: Sequence[str]) -> None:
        self._root = f"{machine.sys}/class/net"
        self._ignore = ignore
        self._known: dict[str, bool] = {}

    def reported(self, name: str) -> bool:
        """Return whether the settings leave it."""
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = not matches(name, self._ignore)
        return known

    def physical(self, names: Sequence[str]) -> list[str]:
        """Return those that have hardware; in a container, which has none, all of them."""
        return [name for name in names if os.path.exists(f"{self._root}/{name}/device")] or list(names)  # noqa: PTH110


class NetworkCollector(Collector):
    """Bytes and packets of each interface. The total counts physical interfaces, so nothing twice.

    Sources: /proc/net/dev, /sys/class/net.
    """

    name = "network"
    subsystem = "network"
    inline = True

    def __init__(self, machine: Machine, *, ignore: Sequence[str] = ()) -> None:
        self._dev = OpenFile(machine.proc_net("dev"))
        self._chooser = _Chooser(machine, ignore)
        self._stopwatch = Stopwatch(machine.clock)
        self._before: dict[str, list[int]] = {}
        self._physical: list[str] = []
        self._names: list[str] = []

    def read(self) -> Network:
        """Return totals now, and the rates since the last reading."""
        seconds = self._stopwatch.lap()
        now = {name: row for name, row in parse_interfaces(self._dev.read()).items() if self._chooser.reported(name)}
        before, self._before = self._before, now
        names = list(now)
        if names != self._names:  # looked up in sysfs only when an interface has come or gone
            self._names, self._physical = names, self._chooser.physical(names)
        fields = Network(
            received_bytes=sum(now[name][_RECEIVED_BYTES] for name in self._physical),
            sent_bytes=sum(now[name][_SENT_BYTES] for name in self._physical),
        )
        if seconds is None:
            return fields
        # One that never carried anything (a bridge without a guest) has its state in the slow message, and no traffic.
        interfaces = {
            name: _traffic(row, before[name], seconds)
            for name, row in now.items()
            if name in before and (row[_RECEIVED_BYTES] or row[_SENT_BYTES])
        }
        fields.interface = interfaces or UNSET
        physical = [interfaces[name] for name in self._physical if name in interfaces]
        received = [rate for one in physical if (rate := one.received_bytes_per_second) is not UNSET]
        sent = [rate for one in physical if (rate := one.sent_bytes_per_second) is not UNSET]
        fields.received_bytes_per_second = sum(received) if received else UNSET
        fields.sent_bytes_per_second = sum(sent) if sent else UNSET
        return fields


def _traffic(now: list[int], before: list[int], seconds: float) -> NetworkInterface:
    return NetworkInterface(
        received_bytes_per_second=whole_per_second(now[_RECEIVED_BYTES], before[_RECEIVED_BYTES], seconds),
        sent_bytes_per_second=whole_per_second(now[_SENT_BYTES], before[_SENT_BYTES], seconds),
        received_packets_per_second=per_second(now[_RECEIVED_PACKETS], before[_RECEIVED_PACKETS], seconds),
        sent_packets_per_second=per_second(now[_SENT_PACKETS], before[_SENT_PACKETS], seconds),
    )


class NetworkLinkCollector(Collector):
    """State, speed, totals, errors and drops of each interface, and the number of sockets.

    Asking a driver for its speed can take long, and errors are rare, so this is done less often.

    Sources: /proc/net/dev, /proc/net/sockstat, sockstat6, /sys/class/net.
    """

    name = "network_links"
    subsystem = "network"
    period_seconds = 30.0

    def __init__(self, machine: Machine, *, ignore: Sequence[str] = ()) -> None:
        self._dev = OpenFile(machine.proc_net("dev"))
        self._sockets = machine.proc_net("sockstat"), machine.proc_net("sockstat6")
        self._root = f"{machine.sys}/class/net"
        self._chooser = _Chooser(machine, ignore)
        self._stopwatch = Stopwatch(machine.clock)
        self._before: dict[str, list[int]] = {}

    def read(self) -> Network:
        """Return links and sockets now, errors and drops since the last reading."""
        seconds = self._stopwatch.lap()
        now = {name: row for name, row in parse_interfaces(self._dev.read()).items() if self._chooser.reported(name)}
        before, self._before = self._before, now
        counts = parse_sockets(*(read_bytes(path) or b"" for path in self._sockets))
        return Network(
            sockets_used=counts.get("sockets used", UNSET),
            tcp_connections=counts.get("TCP inuse", UNSET),
            tcp_time_wait=counts.get("TCP tw", UNSET),
            udp_sockets=counts.get("UDP inuse", UNSET),
            interface={name: self._link(name, row, before.get(name), seconds) for name, row in now.items()} or UNSET,
        )

    def _link(self, name: str, now: list[int], before: list[int] | None, seconds: float | None) -> NetworkInterface:
        fields = NetworkInterface(
            link=read_line(f"{self._root}/{name}/operstate") or UNSET,
            received_bytes=now[_RECEIVED_BYTES],
            sent_bytes=now[_SENT_BYTES],
        )
        speed = read_int(f"{self._root}/{name}/speed")
        if speed is not None and 0 < speed < _NO_SPEED:  # -1 where there is no link
            fields.speed_bits_per_second = speed * _MEGABIT
        if before is not None:
            fields.received_errors_per_second = per_second(now[_RECEIVED_ERRORS], before[_RECEIVED_ERRORS], seconds)
            fields.sent_errors_per_second = per_second(now[_SENT_ERRORS], before[_SENT_ERRORS], seconds)
            fields.received_drops_per_second = per_second(now[_RECEIVED_DROPS], before[_RECEIVED_DROPS], seconds)
            fields.sent_drops_per_second = per_second(now[_SENT_DROPS], before[_SENT_DROPS], seconds)
        return fields


def parse_sockets(four: bytes, six: bytes) -> dict[str, int]:
    """Return the counts of sockstat by protocol and name (`TCP inuse`), those of IPv6 added to those of IPv4."""
    counts: dict[str, int] = {}
    for line in (four + six).decode().splitlines():
        protocol, _, rest = line.partition(":")
        words = rest.split()
        for name, value in zip(words[::2], words[1::2], strict=False):
            if value.isdecimal():
                key = f"{protocol.removesuffix('6')} {name}"
                counts[key] = counts.get(key, 0) + int(value)
    return counts
