"""The collectors of other systems, run here through psutil, beside those of Linux."""

import sys
import time
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from msgspec import UNSET

from hostpulse.publisher.collectors import registry
from hostpulse.publisher.collectors.base import Collector, NoDataError
from hostpulse.publisher.collectors.portable import build_portable
from hostpulse.publisher.collectors.registry import Choice, build
from hostpulse.publisher.machine import Machine

from ..attempts import some_attempts

Reader = Callable[[Any], dict[str, Any]]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="compares with the collectors of Linux")


def portable(name: str, machine: Machine | None = None, **choice: Any) -> Collector:
    return next(one for one in build_portable(machine or Machine(), **choice) if one.name == name)


def linux(name: str, **choice: Any) -> Collector:
    return next(one for one in build(Machine(), Choice(**choice)) if one.name == name)


def test_other_systems_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.sys, "platform", "darwin")
    found = build(Machine(), Choice(disable=("battery",), ignore_devices=("*",)))
    assert {one.subsystem for one in found} == {"cpu", "memory", "disk", "network", "sensors", "system"}
    disks = next(one for one in found if one.name == "disk_devices")
    assert disks.read().device is UNSET  # type: ignore[attr-defined]


def test_every_one_makes_a_message(read_message: Reader) -> None:
    for collector in build_portable(Machine(), ignore_interfaces=("veth*",)):
        if collector.probe():
            try:
                read_message(collector)
            except NoDataError:
                assert collector.name in {"sensors", "disk_mounts"}


@some_attempts
def test_memory_is_that_of_linux(read_message: Reader) -> None:
    ours, details, other = (read_message(one) for one in (linux("memory"), linux("memory_details"), portable("memory")))
    assert other["total_bytes"] == details["total_bytes"]
    assert other["swap_total_bytes"] == details["swap_total_bytes"]
    # other processes of this machine take and give back memory between the two readings
    assert other["available_bytes"] == pytest.approx(ours["available_bytes"], abs=0.05 * other["total_bytes"])
    assert other["used_bytes"] + other["available_bytes"] == other["total_bytes"]


@some_attempts
def test_processor_is_that_of_linux() -> None:
    ours, other = linux("cpu"), portable("cpu")
    for collector in (ours, other):
        collector.read()
    end = time.monotonic() + 0.6
    while time.monotonic() < end:  # keep one CPU busy, so that there is something to see
        sum(range(1000))
    a: Any = ours.read()
    b: Any = other.read()
    assert set(a.core) == set(b.core)
    # ticks are 10 ms: over 600 ms each share is known to about 2 %, and the readings begin and end at other moments
    assert b.utilization_percent == pytest.approx(a.utilization_percent, abs=12)
    assert b.utilization_percent > 50 / len(b.core)
    assert b.load_average_1m == pytest.approx(a.load_average_1m, abs=1.0)


def test_guests_and_waiting_are_not_busy(bare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    times = namedtuple("times", "user nice system idle iowait guest")  # noqa: PYI024
    now = [times(10, 0, 10, 100, 0, 10)]
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu=False: now if percpu else now[0])
    collector = portable("cpu", bare.machine)
    collector.read()
    now[0] = times(30, 0, 20, 150, 20, 30)
    bare.clocks.advance(2)
    found: Any = collector.read()
    assert (found.utilization_percent, found.user_percent, found.system_percent) == (30.0, 20.0, 10.0)
    assert found.core["0"].utilization_percent == 30.0


def test_mounts_are_those_of_linux(read_message: Reader) -> None:
    ignored: dict[str, Any] = {"ignore_file_systems": ("tmpfs", "devtmpfs", "overlay", "proc", "sysfs", "squashfs")}
    try:
        other = read_message(portable("disk_mounts", **ignored))["mount"]
    except NoDataError:
        pytest.skip("this machine has no file system on a device")
    ours = read_message(linux("disk_mounts", **ignored))["mount"]
    both = set(ours) & set(other)
    for point in both:
        assert other[point]["total_bytes"] == ours[point]["total_bytes"]
        assert other[point]["used_percent"] == pytest.approx(ours[point]["used_percent"], abs=1)
    assert both or not ours or not other


def test_network_is_that_of_linux(read_message: Reader) -> None:
    ours, other = read_message(linux("network_links")), read_message(portable("network"))
    assert set(other["interface"]) == set(ours["interface"])
    for name, interface in other["interface"].items():
        before = ours["interface"][name]["received_bytes"]
        assert before <= interface["received_bytes"] < before + 2**30  # read later; a counter only grows


def test_totals_of_the_network(bare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    row = namedtuple("row", "bytes_sent bytes_recv packets_sent packets_recv errin errout dropin dropout")  # noqa: PYI024
    rows = {"en0": row(0, 1000, 0, 0, 0, 0, 0, 0), "Loopback Pseudo-Interface 1": row(9, 9, 9, 9, 9, 9, 9, 9)}
    monkeypatch.setattr(psutil, "net_io_counters", lambda **_: rows)
    collector = portable("network", bare.machine)
    assert collector.read().received_bytes_per_second is UNSET  # type: ignore[attr-defined]
    bare.clocks.advance(2)
    rows["en0"] = row(500, 3000, 2, 4, 0, 0, 0, 0)
    found: Any = collector.read()
    assert (found.received_bytes_per_second, found.sent_bytes_per_second, found.received_bytes) == (1000, 250, 3000)
    assert set(found.interface) == {"en0"}


def test_disk_devices(bare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    row = namedtuple("row", "read_count write_count read_bytes write_bytes busy_time")  # noqa: PYI024
    rows = {"disk0": row(1, 1, 1000, 1000, 500)}
    monkeypatch.setattr(psutil, "disk_io_counters", lambda **_: rows)
    collector = portable("disk_devices", bare.machine)
    collector.read()
    bare.clocks.advance(2)
    rows["disk0"] = row(3, 1, 3000, 1000, 1500)
    found: Any = collector.read()
    assert (found.read_bytes_per_second, found.device["disk0"].busy_percent) == (1000, 50.0)
    bare.clocks.advance(2)
    rows["disk0"] = row(0, 0, 0, 0, 0)
    found = collector.read()
    assert (found.read_bytes_per_second, found.device["disk0"].busy_percent) == (UNSET, UNSET)


def test_system_is_that_of_linux(read_message: Reader) -> None:
    ours, other = read_message(linux("system")), read_message(portable("system"))
    # the boot time of the kernel is in whole seconds, and the wall clock may have been set since
    assert other["uptime_seconds"] == pytest.approx(ours["uptime_seconds"], abs=5)
    assert other["boot_time_seconds"] == pytest.approx(ours["boot_time_seconds"], abs=1)
    assert other["processes"] == pytest.approx(ours["processes"], rel=0.5, abs=20)  # processes come and go
    assert other["kernel"] == ours["kernel"]


@pytest.mark.parametrize("broken", [None, NotImplementedError, FileNotFoundError, "absent"])
def test_system_without_a_clock_of_its_processor(monkeypatch: pytest.MonkeyPatch, broken: Any) -> None:
    def cpu_freq() -> None:
        if broken is not None:
            raise broken

    if broken == "absent":
        monkeypatch.delattr(psutil, "cpu_freq", raising=False)
    else:
        monkeypatch.setattr(psutil, "cpu_freq", cpu_freq)
    found: Any = portable("cpu").read()
    assert found.frequency_hertz is UNSET
    assert found.load_average_1m >= 0


@pytest.mark.parametrize(
    ("function", "collector"),
    [("sensors_temperatures", "sensors"), ("sensors_battery", "battery"), ("disk_io_counters", "disk_devices")],
)
def test_system_without_a_function(monkeypatch: pytest.MonkeyPatch, function: str, collector: str) -> None:
    monkeypatch.delattr(psutil, function, raising=False)
    assert not portable(collector).probe()


def test_sensors(monkeypatch: pytest.MonkeyPatch, read_message: Reader) -> None:
    sensor = namedtuple("sensor", "label current high critical")  # noqa: PYI024
    fan = namedtuple("fan", "label current")  # noqa: PYI024
    chips = {"cpu": [sensor("Package 0", 50.04, 80.0, None), sensor("", 0.0, None, None), sensor("", 40.0, None, None)]}
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: chips, raising=False)
    monkeypatch.setattr(psutil, "sensors_fans", lambda: {"smc": [fan("", 1200)]}, raising=False)
    found = {
        "temperature": {
            "cpu_package_0": {"temperature_celsius": 50.0, "high_celsius": 80.0},
            "cpu_3": {"temperature_celsius": 40.0},
        },
        "fan": {"smc_1": {"speed_rpm": 1200}},
    }
    assert read_message(portable("sensors")) == found
    monkeypatch.delattr(psutil, "sensors_fans")
    del found["fan"]
    assert read_message(portable("sensors")) == found
    chips.clear()
    with pytest.raises(NoDataError):
        portable("sensors").read()


def test_battery(monkeypatch: pytest.MonkeyPatch, read_message: Reader) -> None:
    battery = namedtuple("battery", "percent secsleft power_plugged")  # noqa: PYI024
    now: list[Any] = [battery(55.55, 3600, power_plugged=False)]
    monkeypatch.setattr(psutil, "sensors_battery", lambda: now[0], raising=False)
    collector = portable("battery")
    assert read_message(collector) == {
        "charge_percent": 55.5,
        "mains": False,
        "remaining_seconds": 3600,
        "pack": {"battery": {"charge_percent": 55.5, "state": "discharging", "remaining_seconds": 3600}},
    }
    now[0] = battery(90, psutil.POWER_TIME_UNLIMITED, power_plugged=True)
    assert read_message(collector)["mains"] is True
    assert "remaining_seconds" not in read_message(collector)
    now[0] = None
    assert not portable("battery").probe()
    with pytest.raises(NoDataError):
        collector.read()
