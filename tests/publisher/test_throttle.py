"""What slows a processor down. The laptop and the Raspberry Pi of the machines have the usual cases."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from hostpulse.publisher.collectors.base import NoDataError
from hostpulse.publisher.collectors.throttle import (
    CpuThrottleCollector,
    FirmwareState,
    share_of_looks,
    share_of_time,
)

CPUS = "sys/devices/system/cpu"
FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"
PI_5_FIRMWARE = "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled"


def write_cpu(tree: Any, number: int, *, package: int = 0, core: int = 0, times: tuple[int, int] = (0, 0)) -> None:
    """Write one CPU: the milliseconds of its package and of its core."""
    directory = f"{CPUS}/cpu{number}"
    tree.write(f"{directory}/topology/physical_package_id", f"{package}\n")
    tree.write(f"{directory}/topology/core_id", f"{core}\n")
    for kind, time in zip(("package", "core"), times, strict=True):
        tree.write(f"{directory}/thermal_throttle/{kind}_throttle_total_time_ms", f"{time}\n")


def test_share_is_that_of_the_part_that_was_slowed_most(bare: Any) -> None:
    write_cpu(bare, 0, core=0, times=(100, 50))
    write_cpu(bare, 1, core=1, times=(100, 700))
    collector = CpuThrottleCollector(bare.machine)
    assert collector.probe()
    assert collector.read().throttled_percent is UNSET
    bare.clocks.advance(10)
    write_cpu(bare, 0, core=0, times=(300, 50))
    write_cpu(bare, 1, core=1, times=(300, 1950))
    fields = collector.read()
    assert fields.throttled_percent == 12.5
    assert fields.throttle_reasons is UNSET
    assert fields.under_voltage is UNSET
    bare.clocks.advance(10)
    assert collector.read().throttled_percent == 0.0


def test_an_episode_that_is_longer_than_the_period_is_the_whole_period(bare: Any) -> None:
    write_cpu(bare, 0)
    collector = CpuThrottleCollector(bare.machine)
    collector.probe()
    collector.read()
    bare.clocks.advance(15)
    write_cpu(bare, 0, times=(600_000, 0))
    assert collector.read().throttled_percent == 100.0


def test_no_share_over_a_suspension_and_after_the_counters_began_again(bare: Any) -> None:
    write_cpu(bare, 0, times=(1000, 1000))
    collector = CpuThrottleCollector(bare.machine)
    collector.probe()
    collector.read()
    bare.clocks.advance(15, suspended=3600)
    write_cpu(bare, 0, times=(2000, 2000))
    assert collector.read().throttled_percent is UNSET
    bare.clocks.advance(15)
    write_cpu(bare, 0, times=(3, 3))
    assert collector.read().throttled_percent is UNSET


def test_a_package_is_read_once_however_many_cpus_it_has(bare: Any) -> None:
    for number in range(256):
        write_cpu(bare, number, package=number // 128, core=number // 2 % 64)
    collector = CpuThrottleCollector(bare.machine)
    collector.probe()
    collector.read()
    # only the first CPU of a package and of a core is looked at: what the others say changes nothing
    for number in range(1, 256, 2):
        write_cpu(bare, number, package=number // 128, core=number // 2 % 64, times=(15_000, 15_000))
    bare.clocks.advance(15)
    assert collector.read().throttled_percent == 0.0


def test_a_cpu_that_is_switched_off_leaves_its_core_to_its_sibling(bare: Any) -> None:
    bare.write(f"{CPUS}/online", "0-1\n")
    write_cpu(bare, 0, times=(100, 100))
    write_cpu(bare, 1, times=(100, 100))
    collector = CpuThrottleCollector(bare.machine)
    collector.probe()
    collector.read()
    for kind in ("package", "core"):
        (bare.root / f"{CPUS}/cpu0/thermal_throttle/{kind}_throttle_total_time_ms").unlink()
    bare.write(f"{CPUS}/online", "1\n")
    bare.clocks.advance(10)
    write_cpu(bare, 1, times=(100, 1100))
    assert collector.read().throttled_percent == 10.0


@pytest.mark.parametrize("path", [FIRMWARE, PI_5_FIRMWARE])
def test_firmware_of_a_raspberry_pi(bare: Any, path: str) -> None:
    bare.write(path, "0\n")
    collector = CpuThrottleCollector(bare.machine)
    assert collector.probe()
    first = collector.read()
    assert (first.throttled_percent, first.throttle_reasons, first.under_voltage) == (UNSET, "none", False)
    bare.clocks.advance(15)
    bare.write(path, "50005\n")
    second = collector.read()
    assert (second.throttled_percent, second.throttle_reasons, second.under_voltage) == (50.0, "under_voltage", True)
    bare.clocks.advance(15)
    bare.write(path, "d000c\n")
    third = collector.read()
    assert (third.throttled_percent, third.throttle_reasons, third.under_voltage) == (100.0, "thermal", False)
    bare.clocks.advance(15)
    bare.write(path, "d0000\n")  # it was so, and is no more
    assert collector.read().throttle_reasons == "none"
    bare.clocks.advance(15, suspended=60)
    assert collector.read().throttled_percent is UNSET


@pytest.mark.parametrize(
    ("bits", "reasons"),
    [
        (0x0, "none"),
        (0x1, "under_voltage"),
        (0x2, "frequency_cap"),
        (0x4, "thermal"),
        (0x8, "thermal"),
        (0x5, "under_voltage"),
        (0xB, "thermal,under_voltage,frequency_cap"),
        (0xF0000, "none"),
        (0xFFF0, "none"),
    ],
)
def test_reasons(bits: int, reasons: str) -> None:
    assert FirmwareState(bits).reasons == reasons


def test_voltage_of_a_kernel_that_has_only_the_chip(bare: Any) -> None:
    bare.write("sys/class/hwmon/hwmon1/name", "rpi_volt\n")
    bare.write("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n")
    collector = CpuThrottleCollector(bare.machine)
    assert collector.probe()
    fields = collector.read()
    assert (fields.under_voltage, fields.throttled_percent, fields.throttle_reasons) == (True, UNSET, UNSET)
    bare.write("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "0\n")
    assert collector.read().under_voltage is False


def test_an_alarm_between_two_looks_counts(bare: Any) -> None:
    bare.write(FIRMWARE, "50000\n")
    bare.write("sys/class/hwmon/hwmon1/name", "rpi_volt\n")
    bare.write("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n")
    collector = CpuThrottleCollector(bare.machine)
    collector.probe()
    assert collector.read().under_voltage is True


@pytest.mark.parametrize("content", ["", "VCHI initialization failed", "\0"])
def test_firmware_that_says_nonsense_is_nothing(bare: Any, content: str) -> None:
    bare.write(FIRMWARE, content)
    collector = CpuThrottleCollector(bare.machine)
    assert collector.probe()
    with pytest.raises(NoDataError, match="nothing tells"):
        collector.read()


def test_a_processor_that_counts_only_episodes_has_none(bare: Any) -> None:
    write_cpu(bare, 0)
    for kind in ("package", "core"):  # a kernel before 5.6
        path = bare.root / f"{CPUS}/cpu0/thermal_throttle/{kind}_throttle_total_time_ms"
        path.rename(path.with_name(f"{kind}_throttle_count"))
    assert not CpuThrottleCollector(bare.machine).probe()


@pytest.mark.parametrize("name", ["desktop", "container", "vm"])
def test_machines_without_it_have_none(name: str, tree_of: Callable[[str], Any]) -> None:
    assert not CpuThrottleCollector(tree_of(name).machine).probe()


TIMES = st.dictionaries(st.sampled_from(["package 0", "core 0 0 0", "core 0 0 1"]), st.integers(0, 2**63 - 1))


@given(now=TIMES, before=TIMES, seconds=st.one_of(st.none(), st.floats(1e-3, 1e9)))
def test_share_is_within_0_and_100_or_unknown(
    now: dict[str, int], before: dict[str, int], seconds: float | None
) -> None:
    share = share_of_time(now, before, seconds)
    grown = [part for part in now if part in before and now[part] >= before[part]]
    if seconds is None or not grown:
        assert share is UNSET
    else:
        assert isinstance(share, float)
        assert 0 <= share <= 100
        assert (share == 0) == (max(now[part] - before[part] for part in grown) < seconds * 0.5)


@given(now=st.integers(0, 2**20), before=st.one_of(st.none(), st.integers(0, 2**20)))
def test_looks_are_whole_halves(now: int, before: int | None) -> None:
    share = share_of_looks(FirmwareState(now), None if before is None else FirmwareState(before), 15.0)
    assert share is UNSET if before is None else share in {0.0, 50.0, 100.0}
