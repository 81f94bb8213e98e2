"""The publisher without any right, in what config/systemd asks of the kernel: it reports the same as root does.

systemd itself is not run here. What it would do is done by hand: the file system read-only, without devices, the
account nobody, no capability, no new privileges, no memory that is written and executed.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hostpulse.cli.arguments import publisher_options
from hostpulse.cli.launch import encode_options
from hostpulse.config.settings import Settings

from ..brokers import Broker
from .support import Hostpulse, Running, eventually
from .test_halves import listening

NOBODY = 65534

# What systemd does with mounts, in a mount namespace of its own: nothing of it is seen outside.
SANDBOX = """
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755,nosuid,noexec tmpfs /mnt
for device in null zero random urandom; do touch /mnt/$device; mount --bind /dev/$device /mnt/$device; done
mkdir /mnt/shm /mnt/pts; mount --bind /dev/shm /mnt/shm; mount --bind /dev/pts /mnt/pts
mount --move /mnt /dev
for place in / /home /root /sys /proc/sys; do
    mount --rbind $place $place && mount -o remount,bind,ro $place
done
exec "$@"
"""

# The account and what it may not do. Everything is imported before, for the account cannot read our checkout.
PUBLISHER = f"""
import ctypes, os, pathlib, sys
from hostpulse.publisher import __main__ as main
from hostpulse.publisher.collectors import Choice, build
from hostpulse.publisher.machine import Machine
import encodings.idna
build(Machine(proc="/proc", sys="/sys", filesystem="/"), Choice())
libc = ctypes.CDLL(None, use_errno=True)
if "restricted" in sys.argv:
    os.setgroups([])
    os.setresgid(*3 * ({NOBODY},))
    os.setresuid(*3 * ({NOBODY},))
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    libc.prctl(65, 1, 0, 0, 0)  # PR_SET_MDWE, from Linux 6.3 on
    status = pathlib.Path("/proc/self/status").read_text()
    assert "CapEff:\\t0000000000000000" in status and "NoNewPrivs:\\t1" in status
    try:
        pathlib.Path("/var/tmp/hostpulse-was-here").touch()
    except OSError:
        pass
    else:
        raise SystemExit("the file system can be written")
sys.exit(main.main())
"""


# There is a latency only where something was read or written since the message before.
LATENCIES = {"read_latency_seconds": "reads_per_second", "write_latency_seconds": "writes_per_second"}


def tables(found: list[tuple[str, bytes]], host: str) -> dict[str, set[str]]:
    """Return what a host has published: fields by subsystem, those of a map with the keys of the map.

    Latencies, which come and go with what the machine does, are left out; that they stand where they must is checked.
    """
    known: dict[str, set[str]] = {}
    for topic, payload in list(found):
        _, sender, name = topic.split("/")
        if sender != host or name == "status":
            continue
        message = json.loads(payload)
        fields = known.setdefault(name, set())
        for field, value in message.items():
            fields.add(field)
            if isinstance(value, dict):
                fields |= {f"{field}.{key}.{part}" for key, inner in value.items() for part in _parts(inner)}
        if name == "disk":
            for device in message.get("device", {}).values():
                assert {part for part, rate in LATENCIES.items() if device.get(rate)} <= set(device)
            fields -= {field for field in fields if field.rpartition(".")[2] in LATENCIES}
    return known


def _parts(inner: object) -> list[str]:
    return list(inner) if isinstance(inner, dict) else [""]


@pytest.mark.skipif(sys.platform != "linux", reason="mount namespaces are Linux'")
def test_without_rights_it_reports_what_root_reports(
    hostpulse: Hostpulse, make_broker: Callable[..., Broker], tmp_path: Path
) -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root, to have something to give up")
    if subprocess.run(["unshare", "--mount", "sh", "-c", SANDBOX, "sh", "true"], check=False).returncode:
        pytest.skip("needs the right to mount")
    broker = make_broker("mosquitto")
    sandbox = ["unshare", "--mount", "sh", "-c", SANDBOX, "sh"]

    # Both at the same time, so that they see the machine do the same.
    with listening(broker.port) as found, contextlib.ExitStack() as stack:
        everything: list[Running] = []
        for host in ("root", "restricted"):
            options = tmp_path / f"options-{host}"
            settings = Settings(host=host, interval=0.5, data_dir=tmp_path / f"data-{host}")
            identity = f"publisher-{host}"
            options.write_bytes(encode_options(publisher_options(settings, broker.options(identity))))
            program = [sys.executable, "-P", "-c", PUBLISHER, host]
            command = [*(sandbox if host == "restricted" else []), *program]
            with options.open("rb") as file:
                running = Running(command, hostpulse.environment, tmp_path / f"log-{host}", stdin=file)
            stack.callback(running.end)
            everything.append(running)
        eventually(
            lambda: all(
                len([1 for topic, _ in found if topic == f"hostpulse/{host}/network"]) >= 6
                for host in ("root", "restricted")
            ),
            what=lambda: [running.output for running in everything],
        )
        root = tables(found, "root")
        assert set(root) >= {"cpu", "memory", "disk", "network", "system", "publisher"}

        def missing() -> dict[str, set[str]]:
            restricted = tables(found, "restricted")
            return {name: left for name in root if (left := root[name] - restricted.get(name, set()))}

        eventually(lambda: not missing(), what=missing)  # it may be some messages behind
    for running in everything:
        assert "Traceback" not in running.output
    # What systemd mounts over itself is no further file system.
    assert tables(found, "restricted")["disk"] - tables(found, "root")["disk"] == set()
