"""The publisher without any right, in what config/systemd asks of the kernel: it reports the same as root does.

systemd itself is not run here. What it would do is done by hand: the file system read-only, without devices, the
account nobody, no capability, no new privileges, no memory that is written and executed.
"""

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


def tables(found: list[tuple[str, bytes]]) -> dict[str, set[str]]:
    """Return what was published: fields by subsystem, those of a map with the keys of the map."""
    known: dict[str, set[str]] = {}
    for topic, payload in list(found):
        name = topic.rpartition("/")[2]
        if name == "status":
            continue
        fields = known.setdefault(name, set())
        for field, value in json.loads(payload).items():
            fields.add(field)
            if isinstance(value, dict):
                fields |= {f"{field}.{key}.{part}" for key, inner in value.items() for part in _parts(inner)}
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
    published: list[dict[str, set[str]]] = []
    for restricted in (False, True):
        options = tmp_path / f"options-{restricted}"
        settings = Settings(host=f"web-{restricted}", interval=0.5)
        options.write_bytes(encode_options(publisher_options(settings, broker.options("publisher"))))
        program = [sys.executable, "-P", "-c", PUBLISHER, *(["restricted"] if restricted else [])]
        with listening(broker.port) as found, options.open("rb") as file:
            command = [*(sandbox if restricted else []), *program]
            running = Running(command, hostpulse.environment, tmp_path / f"log-{restricted}", stdin=file)
            try:
                eventually(
                    lambda found=found: len([1 for topic, _ in found if topic.endswith("/network")]) >= 6,
                    what=lambda running=running: running.output,
                )
            finally:
                running.end()
            published.append(tables(found))
            assert "Traceback" not in running.output
    root, restricted_account = published
    assert set(root) >= {"cpu", "memory", "disk", "network", "system", "publisher"}
    missing = {name: root[name] - restricted_account.get(name, set()) for name in root}
    assert {name: fields for name, fields in missing.items() if fields} == {}
    # What systemd mounts over itself is no further file system.
    assert restricted_account["disk"] - root["disk"] == set()
