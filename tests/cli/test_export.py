"""`hostpulse export`: what stands in the history, as CSV and JSON lines."""

import csv
import io
import json
import os
import pty
import re
import stat
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from hostpulse.bus.messages import TABLES, BatteryPack, CpuCore, DiskMount
from hostpulse.consumer.storage.embedded import open_writer

from .support import SECONDS, Hostpulse, sample

NOW = 1_780_000_000_123  # 2026-05-28T20:26:40.123Z
ALL = ("--since", "2020-01-01")


def rows(hostpulse: Hostpulse, *arguments: object) -> list[list[str]]:
    """Return the rows of a CSV export, the header first."""
    text = hostpulse.output("export", *arguments).decode()
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


def objects(hostpulse: Hostpulse, *arguments: object) -> list[dict[str, object]]:
    done = hostpulse.run("export", *arguments, "--format", "jsonl")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def mounts(*names: str) -> dict[str, DiskMount]:
    return {name: DiskMount(used_percent=12.5, file_system="ext4") for name in names}


def test_the_header_has_the_columns_of_the_table(hostpulse: Hostpulse) -> None:
    hostpulse.write([sample("disk", NOW, read_bytes_per_second=7, mount=mounts("/"))])
    for table in ("disk", "disk_mount"):
        header, row = rows(hostpulse, table, *ALL)
        assert tuple(header) == TABLES[table].columns
        assert row[:2] == ["2026-05-28T20:26:40.123Z", "web-1"]
    assert dict(zip(header, row, strict=True)) | {"mount": "/", "used_percent": "12.5", "file_system": "ext4"} == dict(
        zip(header, row, strict=True)
    )
    assert row.count("") == len(row) - 5  # what is not known is absent


def test_values_stand_as_in_the_message(hostpulse: Hostpulse) -> None:
    values = {"uptime_seconds": 0.1 + 0.2, "processes": 2**63 - 1, "threads": 0, "platform": "Dębian — 日本 🐧"}
    hostpulse.write([sample("system", NOW, **values), sample("battery", NOW, mains=True, charge_percent=100.0)])
    (row,) = objects(hostpulse, "system", *ALL)
    assert row == {"timestamp": "2026-05-28T20:26:40.123Z", "host": "web-1", **values}
    assert rows(hostpulse, "system", *ALL, "--fields", ",".join(values))[1][2:] == [
        "0.30000000000000004",
        "9223372036854775807",
        "0",
        "Dębian — 日本 🐧",
    ]
    (row,) = objects(hostpulse, "battery", *ALL)
    assert row["mains"] is True
    assert rows(hostpulse, "battery", *ALL, "--fields", "mains")[1][2:] == ["1"]


def test_fields_are_chosen_in_their_order(hostpulse: Hostpulse) -> None:
    hostpulse.write([sample("cpu", NOW, utilization_percent=1.5, load_average_1m=2.5, user_percent=0.5)])
    arguments = ("cpu", *ALL, "--fields", "load_average_1m, utilization_percent")
    assert rows(hostpulse, *arguments) == [
        ["timestamp", "host", "load_average_1m", "utilization_percent"],
        ["2026-05-28T20:26:40.123Z", "web-1", "2.5", "1.5"],
    ]
    assert list(objects(hostpulse, *arguments)[0]) == ["timestamp", "host", "load_average_1m", "utilization_percent"]


def test_hosts_keys_and_times_are_chosen(hostpulse: Hostpulse) -> None:
    hostpulse.write(
        [
            sample("disk", NOW + 1000 * number, host=host, mount=mounts("/", "/home", "/srv"))
            for number, host in enumerate(["a", "b", "c", "a"])
        ]
    )

    def found(*arguments: str) -> list[tuple[str, ...]]:
        return sorted((row[0][17:19], row[1], row[2]) for row in rows(hostpulse, "disk_mount", *arguments)[1:])

    assert len(found(*ALL)) == 12
    assert {host for _, host, _ in found(*ALL, "--host", "a", "--host", "c")} == {"a", "c"}
    assert found(*ALL, "--host", "b", "--key", "/srv", "--key", "/") == [("41", "b", "/"), ("41", "b", "/srv")]
    # The start counts, the end does not.
    between = ("--since", "2026-05-28T20:26:41.123Z", "--until", "2026-05-28T20:26:42.123Z")
    assert {second for second, _, _ in found(*between)} == {"41"}
    offset = ("--since", "2026-05-28T22:26:41.124+02:00", "--until", "2026-05-28T22:26:42.124+02:00")
    assert {second for second, _, _ in found(*offset)} == {"42"}


def test_no_text_is_a_formula(hostpulse: Hostpulse) -> None:
    texts = sorted(f"{start}cmd|' /C calc'!A1" for start in "=+-@\t\r\n＝＠")  # noqa: RUF001
    hostpulse.write(
        [sample("disk", NOW, host=evil, mount={evil: DiskMount(file_system=evil, used_percent=-1.5)}) for evil in texts]
    )
    found = rows(hostpulse, "disk_mount", *ALL, "--fields", "file_system,used_percent")[1:]
    # A number is none.
    assert sorted(row[1:] for row in found) == [[f"'{evil}", f"'{evil}", f"'{evil}", "-1.5"] for evil in texts]
    records = objects(hostpulse, "disk_mount", *ALL)
    assert sorted((record["host"], record["mount"]) for record in records) == [(evil, evil) for evil in texts]
    raw = ("--every", "raw", "--format", "csv")
    text = hostpulse.output("history", "disk_mount.used_percent", *ALL, *raw).decode()
    found = list(csv.reader(io.StringIO(text, newline="")))[1:]
    assert sorted(row[1:3] for row in found) == [[f"'{evil}", f"'{evil}"] for evil in texts]


def test_text_that_csv_has_to_quote(hostpulse: Hostpulse) -> None:
    keys = ["a,b", 'say "hi"', "two\nlines", "ü 日本 🐧", "'", " ", "\x1b[2J", ";", "a\r\nb"]
    hostpulse.write([sample("disk", NOW, mount=mounts(*keys))])
    assert sorted(row[2] for row in rows(hostpulse, "disk_mount", *ALL)[1:]) == sorted(keys)
    assert sorted(str(row["mount"]) for row in objects(hostpulse, "disk_mount", *ALL)) == sorted(keys)
    # It is UTF-8 whatever the locale says.
    elsewhere = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    assert "ü 日本 🐧".encode() in hostpulse.output("export", "disk_mount", *ALL, environment=elsewhere)


def test_nothing_found_is_said_and_is_no_failure(hostpulse: Hostpulse) -> None:
    hostpulse.write([sample("cpu", NOW, load_average_1m=1.0)])
    for arguments, reason in (
        (("cpu", "--since", "1s"), "no cpu since 1s"),
        (("cpu", *ALL, "--host", "webb"), "no host 'webb' in the history; there are web-1"),
        (("cpu_core", *ALL, "--key", "7"), "no cpu_core of 7 since 2020-01-01"),
        (("battery", *ALL, "--until", "2021-01-01"), "no battery since 2020-01-01 and before 2021-01-01"),
    ):
        done = hostpulse.run("export", *arguments)
        assert done.returncode == 0
        assert done.stdout.count("\n") == 1
        assert done.stderr == f"hostpulse: {reason}\n"


def test_list_names_every_table_with_values(hostpulse: Hostpulse) -> None:
    done = hostpulse.run("export", "list")
    assert (done.returncode, done.stderr) == (0, "")
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names == [table.name for table in TABLES.values() if table.fields]
    meanings = {line.index(line.split()[1], len(line.split()[0])) for line in done.stdout.splitlines()}
    assert len(meanings) == 1  # they stand below each other


# Files


def test_a_file_takes_its_name_when_it_is_whole(hostpulse: Hostpulse, tmp_path: Path) -> None:
    hostpulse.write([sample("cpu", NOW, load_average_1m=1.0)])
    out = tmp_path / "out"
    out.mkdir()
    old = out / "old.csv"
    old.write_text("old")
    old.chmod(0o640)
    link = out / "link.csv"
    link.symlink_to(old)
    for name in ("new.csv", "link.csv"):
        done = hostpulse.run("export", "cpu", *ALL, "-o", out / name, umask=0o022)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert link.is_symlink()
    assert old.read_text() == (out / "new.csv").read_text() == hostpulse.run("export", "cpu", *ALL).stdout
    assert stat.S_IMODE(old.stat().st_mode) == 0o640
    assert stat.S_IMODE((out / "new.csv").stat().st_mode) == 0o644
    failed = hostpulse.run("export", "cup", *ALL, "-o", out / "never.csv")
    assert failed.returncode == 2
    assert sorted(path.name for path in out.iterdir()) == ["link.csv", "new.csv", "old.csv"]


def test_a_device_is_written_and_not_replaced(hostpulse: Hostpulse, tmp_path: Path) -> None:
    hostpulse.write([sample("cpu", NOW, load_average_1m=1.0)])
    assert hostpulse.run("export", "cpu", *ALL, "-o", "/dev/null").returncode == 0
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)  # noqa: PTH116
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    running = hostpulse.start("export", "cpu", *ALL, "-o", pipe)
    assert pipe.read_text().startswith("timestamp,host,")
    assert running.process.wait(SECONDS) == 0
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert hostpulse.run("export", "cpu", *ALL, "-o", "-").stdout.startswith("timestamp,host,")


# Terminals


def on_terminal(hostpulse: Hostpulse, streams: Sequence[str], *arguments: str) -> tuple[str, str]:
    """Return what the command writes to a terminal on some streams, and what to standard output if that is none."""
    master, slave = pty.openpty()
    elsewhere = hostpulse.home / "elsewhere"
    with elsewhere.open("wb") as file:
        process = subprocess.Popen(
            hostpulse.command(*arguments),
            env=hostpulse.environment | {"TERM": "xterm"},
            stdin=subprocess.DEVNULL,
            stdout=slave if "stdout" in streams else file,
            stderr=slave if "stderr" in streams else file,
        )
    os.close(slave)
    shown = b""
    with suppress(OSError):  # the end
        while data := os.read(master, 65536):
            shown += data
    code = process.wait(SECONDS)
    os.close(master)
    assert code == 0
    return shown.decode(), elsewhere.read_text()


def test_a_progress_bar_on_standard_error_only(hostpulse: Hostpulse) -> None:
    hostpulse.write([sample("cpu", NOW + number, load_average_1m=1.0) for number in range(9000)])
    command = ("export", "cpu", *ALL)
    shown, output = on_terminal(hostpulse, ["stderr"], *command)
    assert re.search(r"9000/9000\x1b\[0m rows", shown)
    assert output.count("\n") == 9001
    assert "\x1b" not in output
    shown, _ = on_terminal(hostpulse, ["stderr", "stdout"], *command)
    assert shown.count("\r\n") == 9001
    assert "rows" not in shown


def test_a_terminal_is_not_steered_by_data(hostpulse: Hostpulse) -> None:
    hostpulse.write([sample("disk", NOW, mount=mounts("\x1b[2J\x9b2J\u202eevil"))])
    for arguments in (("export", "disk_mount"), ("history", "disk_mount.used_percent", "--every", "raw")):
        for form in ("csv", "jsonl" if arguments[0] == "export" else "table"):
            shown, _ = on_terminal(hostpulse, ["stdout"], *arguments, *ALL, "--format", form)
            assert "evil" in shown
            assert not re.search("\x1b\\[2J|\x9b|\u202e", shown), form


# Memory

MEASURE = """
import sys
from hostpulse.cli.main import main
code = main(sys.argv[1:])
with open("/proc/self/status") as file:  # ru_maxrss knows what the parent needed, too
    (peak,) = [line.split()[1] for line in file if line.startswith("VmHWM:")]
sys.stderr.write(peak)
sys.exit(code)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")
def test_memory_does_not_grow_with_the_table(hostpulse: Hostpulse) -> None:
    cores = {f"{number:03}": CpuCore(utilization_percent=12.5, frequency_hertz=4_000_000_000) for number in range(500)}
    peaks = []
    with open_writer(hostpulse.history, retention=None, rollup_retention=None) as writer:
        for first, last in ((0, 100), (100, 1000)):
            writer.write([sample("cpu", NOW + second * 1000, core=cores) for second in range(first, last)])
            command = [sys.executable, "-P", "-c", MEASURE, "export", "cpu_core", *ALL]
            done = subprocess.run(command, env=hostpulse.environment, capture_output=True, check=True, timeout=200)
            assert done.stdout.count(b"\n") == last * 500 + 1
            peaks.append(int(done.stderr))
    assert peaks[1] - peaks[0] < 8 * 1024, peaks  # KiB; 450,000 rows more are 20 MiB of text alone


def test_batteries_by_name(hostpulse: Hostpulse) -> None:
    hostpulse.write([sample("battery", NOW, pack={"BAT0": BatteryPack(charge_percent=50.0, state="full")})])
    assert objects(hostpulse, "battery_pack", *ALL) == [
        {
            "timestamp": "2026-05-28T20:26:40.123Z",
            "host": "web-1",
            "pack": "BAT0",
            "charge_percent": 50.0,
            "state": "full",
        }
    ]
