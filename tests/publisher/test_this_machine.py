"""The machine that the tests run on, against what other programs say of it.

It goes on between our reading and theirs: where that shows, a comparison may take some attempts.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from hostpulse.publisher.collectors.base import NoDataError
from hostpulse.publisher.collectors.registry import Choice, build
from hostpulse.publisher.inventory import take_inventory
from hostpulse.publisher.machine import Machine

from ..attempts import some_attempts

Reader = Callable[[Any], dict[str, Any]]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the collectors of Linux")


def collector(name: str, **choice: Any) -> Any:
    return next(one for one in build(Machine(), Choice(**choice)) if one.name == name)


def output(*command: str) -> str:
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no {command[0]} here")
    return subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}).stdout


def test_every_collector_reads_or_says_why_not(read_message: Reader) -> None:
    nothing = []
    for one in build(Machine(), Choice()):
        try:
            assert not one.probe() or read_message(one) is not None
        except NoDataError:
            nothing.append(one.name)
    assert set(nothing) <= {"sensors", "nvme_temperature", "battery", "cpu_clock", "disk_mounts"}


@some_attempts
def test_memory_is_what_free_says(read_message: Reader) -> None:
    ours, details = read_message(collector("memory")), read_message(collector("memory_details"))
    lines = {line.split(":")[0]: line.split()[1:] for line in output("free", "-b").splitlines()[1:]}
    total, _used, free, _shared, cache, available = (int(word) for word in lines["Mem"])
    assert details["total_bytes"] == total
    # other processes take and give back memory between the two readings
    slack = 0.05 * total
    assert ours["available_bytes"] == pytest.approx(available, abs=slack)
    assert details["free_bytes"] == pytest.approx(free, abs=slack)
    assert details["cached_bytes"] + details["buffers_bytes"] == pytest.approx(cache, abs=slack)
    assert details["swap_total_bytes"] == int(lines["Swap"][0])


@some_attempts
def test_file_systems_are_what_df_says(read_message: Reader) -> None:
    mounts = read_message(collector("disk_mounts", ignore_file_systems=("proc", "sysfs", "cgroup*")))["mount"]
    checked = 0
    for point, mount in mounts.items():
        line = output("df", "-B1", "--output=size,used,avail,pcent,itotal,iused", point).splitlines()[1].split()
        size, used, available = (int(word) for word in line[:3])
        assert mount["total_bytes"] == size
        # files are written between the two readings: allow 1 % of the file system, and at least 64 MiB
        slack = max(0.01 * size, 64 * 2**20)
        assert mount["used_bytes"] == pytest.approx(used, abs=slack)
        assert mount["available_bytes"] == pytest.approx(available, abs=slack)
        if line[3] != "-":
            # df rounds up to a whole percent
            assert mount["used_percent"] == pytest.approx(int(line[3][:-1]) - 0.5, abs=0.6 + 100 * slack / size)
        if line[4] not in {"-", "0"}:
            assert mount["inodes_total"] == pytest.approx(int(line[4]), rel=0.02)  # xfs makes them as it goes
        checked += 1
    assert "/" in mounts
    assert checked == len(mounts)


@some_attempts
def test_interfaces_are_what_the_kernel_says(read_message: Reader) -> None:
    def table() -> dict[str, tuple[int, int]]:
        rows = re.findall(r"^\s*(\S+?):\s*(.*)$", Path("/proc/net/dev").read_text(), re.MULTILINE)
        return {name: (int(columns.split()[0]), int(columns.split()[8])) for name, columns in rows}

    before = table()
    ours = read_message(collector("network_links"))["interface"]
    after = table()
    assert set(ours) == set(before)
    for name, interface in ours.items():  # counters only grow, so ours lies between
        assert before[name][0] <= interface["received_bytes"] <= after[name][0]
        assert before[name][1] <= interface["sent_bytes"] <= after[name][1]
        state = Path(f"/sys/class/net/{name}/operstate")
        assert interface.get("link") == (state.read_text().strip() if state.exists() else None)


@some_attempts
def test_time_since_boot_is_what_uptime_says(read_message: Reader) -> None:
    ours = read_message(collector("system"))
    started = datetime.fromisoformat(output("uptime", "-s").strip()).astimezone().timestamp()
    # uptime reckons from the wall clock, in whole seconds; the kernel's own boot time follows corrections of the clock
    assert ours["boot_time_seconds"] == pytest.approx(started, abs=2)
    assert ours["uptime_seconds"] == pytest.approx(time.time() - started, abs=3)
    load = float(output("uptime").rpartition("load average:")[2].split(",")[0])
    assert read_message(collector("cpu"))["load_average_1m"] == pytest.approx(load, abs=0.5)  # renewed every 5 s


def test_processors_are_as_many_as_nproc_says(read_message: Reader) -> None:
    ours = collector("cpu")
    ours.read()
    time.sleep(0.1)
    cores = read_message(ours)["core"]
    assert len(cores) == int(output("nproc", "--all")) == psutil.cpu_count()
    assert take_inventory(Machine(), host="h", session=0, intervals={}).processor.threads == len(cores)


@some_attempts
def test_busy_processor_is_seen() -> None:
    ours = collector("cpu")
    ours.read()
    before = psutil.cpu_times()
    end = time.monotonic() + 0.6
    while time.monotonic() < end:
        sum(range(1000))
    found = ours.read()
    after = psutil.cpu_times()
    spent = [max(0.0, now - then) for now, then in zip(after[:8], before[:8], strict=True)]  # without guests
    busy = 100 * (1 - (spent[3] + spent[4]) / sum(spent))
    # ticks are 10 ms, and the two begin and end at different moments
    assert found.utilization_percent == pytest.approx(busy, abs=12)
    assert found.utilization_percent > 50 / len(found.core)


@some_attempts
def test_disks_are_those_psutil_knows() -> None:
    ours = collector("disk_devices")
    if not ours.probe():
        pytest.skip("this machine has no /proc/diskstats")
    ours.read()
    time.sleep(0.05)
    devices = ours.read().device
    counters = psutil.disk_io_counters(perdisk=True)
    used = {name for name, one in counters.items() if one.read_count or one.write_count}
    assert set(devices or ()) == {name for name in used if Path(f"/sys/block/{name.replace('/', '!')}").is_dir()}


@some_attempts
def test_sockets_are_those_the_kernel_counts(read_message: Reader) -> None:
    ours = read_message(collector("network_links"))
    text = Path("/proc/net/sockstat").read_text() + Path("/proc/net/sockstat6").read_text()
    connections = sum(int(number) for number in re.findall(r"^TCP6?: inuse (\d+)", text, re.MULTILINE))
    assert ours["tcp_connections"] == pytest.approx(connections, abs=50)  # other programs open and close some


@some_attempts
def test_processes_are_those_psutil_sees(read_message: Reader) -> None:
    ours = read_message(collector("system"))
    assert ours["processes"] == pytest.approx(len(psutil.pids()), rel=0.5, abs=20)  # they come and go
    assert ours["hostname"] == os.uname().nodename
    assert ours["kernel"] == os.uname().release
