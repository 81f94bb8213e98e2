"""A drive that fails: from what smartctl says to the alert, the history and the table, all of it real but the drive."""

import json
import os
from pathlib import Path

import pytest

from ..drives import answer, install, scan
from .support import Hostpulse, eventually

SUMMARY = "INVENTED HDD 4TB (sda, INVHDD0001) of web-1 says that it is failing: save what is on it, and replace it"


@pytest.fixture
def drives(hostpulse: Hostpulse, tmp_path: Path) -> None:
    """Let smartctl find a drive that fails, one that is well, and one that sleeps."""
    asleep = {"sdb": "sat"}
    install(
        tmp_path / "bin",
        {
            "scan": scan({"sda": "sat", "nvme0": "nvme"} | asleep),
            "/dev/sda": answer("made/hdd-failing"),
            "/dev/nvme0": answer("made/nvme"),
            "/dev/sdb": answer("made/asleep"),
        },
    )
    device = tmp_path / "sys" / "block" / "sdb" / "device"
    device.mkdir(parents=True)
    (device / "vpd_pg80").write_bytes(b"\0\x80\0\x0aINVHDD0002")
    (device / "model").write_text("INVENTED HDD 4TB\n")
    hostpulse.environment |= {
        "PATH": f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}",
        "HOSTPULSE_ROOTS__SYS": f"{tmp_path}/sys",
    }


@pytest.mark.usefixtures("drives")
def test_drive_that_fails(hostpulse: Hostpulse) -> None:
    up = hostpulse.start("up")
    eventually(lambda: "smart_failing" in hostpulse.run("alerts", "list").stdout, what=lambda: up.output)
    alerts = [json.loads(line) for line in hostpulse.run("alerts", "list", "--json").stdout.splitlines()]
    assert [(one["rule"], one["labels"], one["level"], one["summary"]) for one in alerts] == [
        ("smart_failing", {"drive": "INVHDD0001"}, "critical", SUMMARY),
        ("smart_sectors", {"drive": "INVHDD0001"}, "warning", alerts[1]["summary"]),
    ]
    rows = hostpulse.output("export", "smart_drive", "--format", "jsonl", "--since", "1h").splitlines()
    drives = {row["drive"]: row for row in map(json.loads, rows)}
    assert {drive: (row["device"], row["state"], row.get("healthy")) for drive, row in drives.items()} == {
        "INVHDD0001": ("sda", "ok", False),
        "INVHDD0002": ("sdb", "asleep", None),
        "INVNVME0001": ("nvme0", "ok", True),
    }
    assert drives["INVHDD0001"]["pending_sectors"] == 112
    up.says("smart      3 drives, 1 asleep · 1 failing · 3 % worn")
    assert up.end() == 0


@pytest.mark.usefixtures("drives")
def test_check_finds_the_drives(hostpulse: Hostpulse) -> None:
    lines = hostpulse.run("check", "publish").stdout.splitlines()
    assert [line for line in lines if "collectors found" in line and "smart" in line]


def test_check_says_what_is_missing_for_the_health_of_drives(hostpulse: Hostpulse, tmp_path: Path) -> None:
    install(tmp_path / "bin", {"scan": answer("qemu/scan-denied")})
    hostpulse.environment["PATH"] = f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}"
    done = hostpulse.run("check", "publish")
    line = "--   collectors smart: smartctl may not ask the drives; docs/privileges.md names the rights that it takes"
    assert line in done.stdout.splitlines()
