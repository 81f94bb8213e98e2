from collections.abc import Callable
from typing import Any

import pytest

from hostpulse.publisher.collectors.base import NoDataError
from hostpulse.publisher.collectors.cpu import CpuClockCollector
from hostpulse.publisher.collectors.hwmon import slug
from hostpulse.publisher.collectors.sensors import NvmeTemperatureCollector, SensorsCollector

Reader = Callable[[Any], dict[str, Any]]


def add_chip(tree: Any, number: int, driver: str, device: str | None = None, **files: str | int) -> str:
    """Add a chip of hwmon; return its directory."""
    directory = f"sys/class/hwmon/hwmon{number}"
    tree.write(f"{directory}/name", f"{driver}\n")
    for name, content in files.items():
        tree.write(f"{directory}/{name}", f"{content}\n")
    if device is not None:
        (tree.root / "sys/devices" / device).mkdir(parents=True, exist_ok=True)
        tree.link(f"{directory}/device", f"../../../devices/{device}")
    return directory


def test_chips_of_one_driver_are_told_apart_by_their_device_whatever_their_number(
    bare: Any, read_message: Reader
) -> None:
    add_chip(bare, 7, "amdgpu", "pci/0000:03:00.0", temp1_input=50000, temp1_label="edge")
    add_chip(bare, 2, "amdgpu", "pci/0000:0a:00.0", temp1_input=60000, temp1_label="edge")
    temperatures = read_message(SensorsCollector(bare.machine))["temperature"]
    assert {name: one["temperature_celsius"] for name, one in temperatures.items()} == {
        "amdgpu_03_00_edge": 50.0,
        "amdgpu_0a_00_edge": 60.0,
    }


def test_chips_and_channels_that_nothing_tells_apart_are_numbered(bare: Any, read_message: Reader) -> None:
    for number in range(3):
        add_chip(bare, number, "w83627", temp1_input=40000 + number * 1000, fan1_input=1000 + number)
    add_chip(bare, 3, "it8688", temp1_input=30000, temp1_label="CPU", temp2_input=31000, temp2_label="CPU")
    found = read_message(SensorsCollector(bare.machine))
    assert list(found["temperature"]) == [
        "it8688_cpu",
        "it8688_cpu_2",
        "w83627_temp1",
        "w83627_2_temp1",
        "w83627_3_temp1",
    ]
    assert found["fan"] == {
        "w83627_fan1": {"speed_rpm": 1000},
        "w83627_2_fan1": {"speed_rpm": 1001},
        "w83627_3_fan1": {"speed_rpm": 1002},
    }


def test_drives_are_called_by_their_names(bare: Any, read_message: Reader) -> None:
    for number, drive in enumerate(("sdb", "sda")):
        device = f"ata{number}/target{number}:0:0/{number}:0:0:0"
        bare.write(f"sys/devices/{device}/block/{drive}/size", "1")
        add_chip(bare, number, "drivetemp", device, temp1_input=30000 + number * 1000)
    temperatures = read_message(SensorsCollector(bare.machine))["temperature"]
    assert {name: one["temperature_celsius"] for name, one in temperatures.items()} == {
        "sdb_temp1": 30.0,
        "sda_temp1": 31.0,
    }


def test_nvme_is_read_by_its_own_collector_only(bare: Any, read_message: Reader) -> None:
    add_chip(bare, 0, "nvme", "pci/nvme/nvme1", temp1_input=40850, temp1_label="Composite", temp1_crit=84850)
    add_chip(bare, 1, "nvme", temp1_input=35850)  # without a link to its drive
    assert set(read_message(NvmeTemperatureCollector(bare.machine))["temperature"]) == {"nvme1_composite", "nvme_temp1"}
    assert not SensorsCollector(bare.machine).probe()


def test_files_of_old_drivers_are_below_device(bare: Any, read_message: Reader) -> None:
    bare.write("sys/devices/platform/w83627ehf.656/name", "w83627ehf\n")
    bare.write("sys/devices/platform/w83627ehf.656/temp2_input", "45500\n")
    (bare.root / "sys/class/hwmon/hwmon0").mkdir(parents=True)
    bare.link("sys/class/hwmon/hwmon0/device", "../../../devices/platform/w83627ehf.656")
    found = read_message(SensorsCollector(bare.machine))
    assert found == {"temperature": {"w83627ehf_temp2": {"temperature_celsius": 45.5}}}


@pytest.mark.parametrize(
    "raw", ["0", "-40000", "-62000", "127000", "125001", "-273150", "", "nan", "x", "9" * 400, "1e4"]
)
def test_what_can_be_no_temperature_is_absent(bare: Any, read_message: Reader, raw: str) -> None:
    add_chip(bare, 0, "nct6798", temp1_input=raw, temp2_input="30000")
    assert read_message(SensorsCollector(bare.machine)) == {
        "temperature": {"nct6798_temp2": {"temperature_celsius": 30.0}}
    }


@pytest.mark.parametrize(("raw", "celsius"), [("-39999", -40.0), ("-500", -0.5), ("125000", 125.0), ("49\n", 0.0)])
def test_temperatures_at_the_bounds(bare: Any, read_message: Reader, raw: str, celsius: float) -> None:
    add_chip(bare, 0, "lm75", temp1_input=raw)
    assert read_message(SensorsCollector(bare.machine))["temperature"]["lm75_temp1"]["temperature_celsius"] == celsius


def test_limits_without_meaning_are_absent(bare: Any, read_message: Reader) -> None:
    add_chip(bare, 0, "a", temp1_input=30000, temp1_max=0, temp1_crit=65261850)
    add_chip(bare, 1, "b", temp1_input=30000, temp1_max=-1000, temp1_crit="none")
    add_chip(bare, 2, "c", temp1_input=30000, temp1_max=80000, temp1_crit=95500)
    temperatures = read_message(SensorsCollector(bare.machine))["temperature"]
    assert temperatures["a_temp1"] == temperatures["b_temp1"] == {"temperature_celsius": 30.0}
    assert temperatures["c_temp1"] == {"temperature_celsius": 30.0, "high_celsius": 80.0, "critical_celsius": 95.5}


def test_fans(bare: Any, read_message: Reader) -> None:
    add_chip(
        bare,
        0,
        "it8688",
        fan1_input=1200,
        fan1_min=300,
        fan1_label="CPU Fan",
        fan2_input=0,
        fan2_min=-1,
        fan3_input=65535,
        fan4_input=-1,
        fan5_input="n/a",
    )
    assert read_message(SensorsCollector(bare.machine)) == {
        "fan": {"it8688_cpu_fan": {"speed_rpm": 1200, "minimum_rpm": 300}, "it8688_fan2": {"speed_rpm": 0}}
    }


def test_zones_repeat_no_chip(bare: Any, read_message: Reader) -> None:
    kinds = ["acpitz", "x86_pkg_temp", "INT3400 Thermal", "soc_dts0", "pch_skylake", "B0D4", "B0D4"]
    for number, kind in enumerate(kinds):
        bare.write(f"sys/class/thermal/thermal_zone{number}/type", f"{kind}\n")
        bare.write(f"sys/class/thermal/thermal_zone{number}/temp", f"{40 + number}000\n")
    (bare.root / "sys/class/thermal/thermal_zone0/hwmon1").mkdir()  # linked to its chip
    bare.write("sys/class/thermal/thermal_zone3/trip_point_1_type", "critical\n")
    bare.write("sys/class/thermal/thermal_zone3/trip_point_1_temp", "105000\n")
    bare.write("sys/class/thermal/cooling_device0/type", "Processor\n")
    add_chip(bare, 0, "coretemp", temp1_input=41000, temp1_label="Package id 0")
    add_chip(bare, 1, "pch_skylake", temp1_input=44000)
    assert read_message(SensorsCollector(bare.machine))["temperature"] == {
        "soc_dts0": {"temperature_celsius": 43.0, "critical_celsius": 105.0},
        "b0d4": {"temperature_celsius": 45.0},
        "b0d4_6": {"temperature_celsius": 46.0},
        "coretemp_package_id_0": {"temperature_celsius": 41.0},
        "pch_skylake_temp1": {"temperature_celsius": 44.0},
    }


def test_processor_temperature_without_a_chip_is_that_of_its_zone(bare: Any, read_message: Reader) -> None:
    bare.write("sys/class/thermal/thermal_zone0/type", "acpitz")
    bare.write("sys/class/thermal/thermal_zone0/temp", "27800")
    bare.write("sys/class/thermal/thermal_zone1/type", "x86_pkg_temp")
    bare.write("sys/class/thermal/thermal_zone1/temp", "61000")
    assert read_message(CpuClockCollector(bare.machine)) == {"temperature_celsius": 61.0}
    assert read_message(SensorsCollector(bare.machine))["temperature"]["x86_pkg_temp"] == {"temperature_celsius": 61.0}


@pytest.mark.parametrize(
    ("driver", "labels", "celsius"),
    [
        ("k10temp", {"Tctl": 70, "Tdie": 60, "Tccd1": 65}, 60.0),
        ("k10temp", {"Tctl": 70, "Tccd1": 65}, 70.0),
        ("k10temp", {"": 55}, 55.0),
        ("coretemp", {"Package id 0": 50, "Core 0": 52}, 50.0),
        ("cpu_thermal", {"": 48}, 48.0),
    ],
)
def test_processor_temperature(
    bare: Any, read_message: Reader, driver: str, labels: dict[str, int], celsius: float
) -> None:
    files: dict[str, Any] = {}
    for number, (label, value) in enumerate(labels.items(), 1):
        files[f"temp{number}_input"] = value * 1000
        files |= {f"temp{number}_label": label} if label else {}
    add_chip(bare, 0, driver, **files)
    assert read_message(CpuClockCollector(bare.machine)) == {"temperature_celsius": celsius}


def test_chip_that_comes_later_is_found(bare: Any, read_message: Reader) -> None:
    add_chip(bare, 0, "acpitz", temp1_input=30000)
    sensors, clock = SensorsCollector(bare.machine), CpuClockCollector(bare.machine)
    bare.write("proc/cpuinfo", "processor\t: 0\ncpu MHz\t\t: 2000.5\n")
    assert set(read_message(sensors)["temperature"]) == {"acpitz_temp1"}
    assert "temperature_celsius" not in read_message(clock)
    directory = add_chip(bare, 1, "k10temp", temp1_input=45000, temp1_label="Tctl", fan1_input=800)
    assert set(read_message(sensors)["temperature"]) == {"acpitz_temp1", "k10temp_tctl"}
    assert read_message(clock)["temperature_celsius"] == 45.0
    for file in (bare.root / directory).iterdir():
        file.unlink()
    (bare.root / directory).rmdir()
    assert set(read_message(sensors)["temperature"]) == {"acpitz_temp1"}
    assert "temperature_celsius" not in read_message(clock)


def test_nothing_that_answers_is_no_data(bare: Any) -> None:
    add_chip(bare, 0, "iwlwifi_1", temp1_input="")
    add_chip(bare, 1, "nvme", temp1_input="")
    for collector in (SensorsCollector(bare.machine), NvmeTemperatureCollector(bare.machine)):
        assert collector.probe()
        with pytest.raises(NoDataError):
            collector.read()


@pytest.mark.parametrize(
    ("text", "name"), [("Tccd1", "tccd1"), ("Core 0", "core_0"), ("°/!", ""), ("a" * 99, "a" * 64)]
)
def test_slug(text: str, name: str) -> None:
    assert slug(text) == name
