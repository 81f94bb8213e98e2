"""A network of its own for the processes of a scenario: a namespace, joined to the rest by a pair of interfaces."""

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

__all__ = ["Network", "network"]


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, capture_output=True, text=True)


class Network:
    """A namespace whose processes reach a broker at `address`, unless the network is cut.

    Args:
        number: tells it from those of other tests.
    """

    def __init__(self, number: int) -> None:
        self._name = f"hostpulse{number}"
        self._outside, self._inside = f"hp{number}o", f"hp{number}i"
        base = f"10.{200 + number // 256 % 50}.{number % 256}"
        self.address = f"{base}.1"
        self._inner_address = f"{base}.2"

    @property
    def command(self) -> tuple[str, ...]:
        """What goes before the command line of a process in it."""
        return ("ip", "netns", "exec", self._name)

    def open(self) -> None:
        """Make it, or skip the test."""
        if os.geteuid() != 0:
            pytest.skip("a network of its own needs root")
        if shutil.which("ip") is None:
            pytest.skip("a network of its own needs ip (iproute2)")
        made = _run("ip", "netns", "add", self._name)
        if made.returncode:
            pytest.skip(f"a network of its own cannot be made here: {made.stderr.strip()}")
        inside = ("ip", "-n", self._name)
        for command in (
            ("ip", "link", "add", self._outside, "type", "veth", "peer", "name", self._inside, "netns", self._name),
            ("ip", "address", "add", f"{self.address}/30", "dev", self._outside),
            ("ip", "link", "set", self._outside, "up"),
            (*inside, "address", "add", f"{self._inner_address}/30", "dev", self._inside),
            (*inside, "link", "set", self._inside, "up"),
            (*inside, "link", "set", "lo", "up"),
        ):
            done = _run(*command)
            if done.returncode:
                self.close()
                pytest.skip(f"a network of its own cannot be made here: {done.stderr.strip()}")

    def close(self) -> None:
        _run("ip", "link", "delete", self._outside)
        _run("ip", "netns", "delete", self._name)

    def cut(self) -> None:
        """Take the link down: what is sent goes nowhere, and nobody is told."""
        subprocess.run(("ip", "link", "set", self._outside, "down"), check=True)

    def mend(self) -> None:
        """Undo `cut`."""
        subprocess.run(("ip", "link", "set", self._outside, "up"), check=True)

    def drop(self) -> None:
        """Lose every packet, both ways, or skip the test."""
        if shutil.which("iptables") is None:
            pytest.skip("losing packets in silence needs iptables")
        for chain in ("INPUT", "OUTPUT"):
            done = _run(*self.command, "iptables", "-I", chain, "-p", "tcp", "-j", "DROP")
            if done.returncode:
                pytest.skip(f"losing packets in silence cannot be had here: {done.stderr.strip()}")

    def let_pass(self) -> None:
        """Undo `drop`."""
        for chain in ("INPUT", "OUTPUT"):
            subprocess.run((*self.command, "iptables", "-F", chain), check=True)

    def impair(self, *what: str) -> None:
        """Delay, lose and disorder packets as netem understands it, or skip the test."""
        if shutil.which("tc") is None:
            pytest.skip("a slow network needs tc (iproute2)")
        done = _run("tc", "qdisc", "add", "dev", self._outside, "root", "netem", *what)
        if done.returncode:
            pytest.skip(f"a slow network needs netem in the kernel: {done.stderr.strip()}")
        subprocess.run((*self.command, "tc", "qdisc", "add", "dev", self._inside, "root", "netem", *what), check=True)


@pytest.fixture
def network() -> Iterator[Network]:
    made = Network(os.getpid() % 12_800)
    made.open()
    yield made
    made.close()
