"""Whole machines. expected.json is what the publisher says of each; what follows is known from elsewhere."""

from collections.abc import Callable
from typing import Any

import pytest

from hostpulse.bus.fields import Kind
from hostpulse.bus.messages import TABLES

MACHINES = ("container", "desktop", "laptop", "raspberry-pi", "server", "vm")

# The table in machines/README.md: busy, iowait, steal in percent; bytes in 2 s of a device and of an interface.
KNOWN = {
    "desktop": (12.85, 0.16, 0.00, ("nvme0n1", 1810432, 5386240), ("enp6s0", 3148204, 184920)),
    "laptop": (4.25, 0.00, 0.00, ("nvme0n1", 311296, 1687552), ("wlp0s20f3", 412836, 61284)),
    "server": (30.79, 0.36, 0.00, ("md0", 448790528, 200278016), ("bond0", 366666486, 273755738)),
    "raspberry-pi": (8.73, 1.00, 0.00, ("mmcblk0", 49152, 94208), ("eth0", 8124, 14820)),
    "container": (63.17, 0.00, 0.50, ("nvme0n1", 65536, 2105344), ("eth0", 1829384, 6182936)),
    "vm": (65.00, 4.25, 17.25, ("vda", 1531904, 1167360), ("ens3", 612938, 1829384)),
}

RATES = {field.name for table in TABLES.values() for field in table.fields if field.kind is Kind.RATE}


@pytest.mark.parametrize("name", MACHINES)
def test_machine_says_what_is_expected(
    name: str, replay_of: Callable[[str], Any], golden: Callable[[str, Any], None]
) -> None:
    golden(name, replay_of(name))


@pytest.mark.parametrize("name", MACHINES)
def test_rates_are_those_the_tree_was_made_with(name: str, replay_of: Callable[[str], Any]) -> None:
    busy, iowait, steal, (device, read, written), (interface, received, sent) = KNOWN[name]
    found = replay_of(name)
    cpu = found.fields("cpu")
    # rounded to one decimal place, and the table to two
    assert cpu["utilization_percent"] == pytest.approx(busy, abs=0.056)
    assert cpu["iowait_percent"] == pytest.approx(iowait, abs=0.056)
    assert cpu["steal_percent"] == pytest.approx(steal, abs=0.056)
    devices, interfaces = found.fields("disk_devices")["device"], found.fields("network")["interface"]
    assert devices[device]["read_bytes_per_second"] * 2 == read
    assert devices[device]["write_bytes_per_second"] * 2 == written
    assert interfaces[interface]["received_bytes_per_second"] == pytest.approx(received / 2, abs=0.5)
    assert interfaces[interface]["sent_bytes_per_second"] == pytest.approx(sent / 2, abs=0.5)


@pytest.mark.parametrize("name", MACHINES)
def test_first_reading_has_no_rates(name: str, replay_of: Callable[[str], Any]) -> None:
    def names(value: dict[str, Any]) -> set[str]:
        return {*value}.union(*(names(inner) for inner in value.values() if isinstance(inner, dict)))

    for entry in replay_of(name).first:
        assert not names(entry.get("message", {})) & RATES


@pytest.mark.parametrize("name", MACHINES)
def test_totals_count_nothing_twice(name: str, replay_of: Callable[[str], Any]) -> None:
    found = replay_of(name)
    inventory, disk, network = found.inventory, found.fields("disk_devices"), found.fields("network")
    physical = [one for one in disk["device"] if not one.startswith(("md", "dm-"))]
    assert disk["read_bytes_per_second"] == sum(disk["device"][one]["read_bytes_per_second"] for one in physical)
    assert disk["write_bytes_per_second"] == sum(disk["device"][one]["write_bytes_per_second"] for one in physical)
    hardware = [one for one, about in inventory["interfaces"].items() if about["physical"]] or network["interface"]
    assert network["received_bytes_per_second"] == sum(
        network["interface"][one]["received_bytes_per_second"] for one in hardware if one in network["interface"]
    )


@pytest.mark.parametrize("name", MACHINES)
def test_cores_average_to_the_whole(name: str, replay_of: Callable[[str], Any]) -> None:
    cpu = replay_of(name).fields("cpu")
    shares = [core["utilization_percent"] for core in cpu["core"].values()]
    assert len(shares) == replay_of(name).inventory["processor"]["threads"]
    # each CPU's time differs by up to 1 of 200 ticks, and every share is rounded
    assert sum(shares) / len(shares) == pytest.approx(cpu["utilization_percent"], abs=0.4)


def test_desktop_leaves_out_channels_without_a_sensor(replay_of: Callable[[str], Any]) -> None:
    temperatures = replay_of("desktop").fields("sensors")["temperature"]
    assert not [name for name in temperatures if "auxtin1" in name or "auxtin2" in name or "pch" in name]
    assert temperatures["sda_temp1"] == {"temperature_celsius": 33.0, "high_celsius": 70.0, "critical_celsius": 70.0}
    assert temperatures["amdgpu_junction"]["critical_celsius"] == 110.0
    assert all(0 < one["temperature_celsius"] < 100 for one in temperatures.values())
    assert replay_of("desktop").fields("sensors")["fan"]["nct6798_fan3"] == {"speed_rpm": 0}
    # 65261.85 °C is how an NVMe without a limit for this sensor says so
    assert "high_celsius" not in replay_of("desktop").fields("nvme_temperature")["temperature"]["nvme0_sensor_1"]


def test_desktop_mounts_are_what_df_calls_storage(replay_of: Callable[[str], Any]) -> None:
    mounts = replay_of("desktop").fields("disk_mounts")["mount"]
    assert set(mounts) == {"/", "/home", "/boot/efi", "/media/anna/Photo Archive"}


def test_laptop_sensors_are_there_once(replay_of: Callable[[str], Any]) -> None:
    temperatures = replay_of("laptop").fields("sensors")["temperature"]
    assert not {"x86_pkg_temp", "int3400_thermal", "acpitz", "iwlwifi_1", "thinkpad_temp4", "thinkpad_gpu"} & set(
        temperatures
    )
    assert {"coretemp_package_id_0", "acpitz_temp1", "iwlwifi_1_temp1", "thinkpad_cpu"} <= set(temperatures)
    cores = [name for name in temperatures if name.startswith("coretemp_core_")]
    assert cores == sorted(cores, key=lambda name: int(name.rpartition("_")[2]))


def test_laptop_battery_and_time_since_boot(replay_of: Callable[[str], Any]) -> None:
    found = replay_of("laptop")
    battery = found.fields("battery", "first")
    assert battery["mains"] is False
    assert battery["pack"]["BAT0"]["charge_percent"] == pytest.approx(100 * 39.87 / 54.32, abs=0.05)
    assert battery["pack"]["BAT0"]["health_percent"] == pytest.approx(100 * 54.32 / 57.0, abs=0.05)
    assert battery["remaining_seconds"] == round(39.87 / 7.843 * 3600)
    assert found.fields("system", "first")["uptime_seconds"] == 412873.61  # suspended time included
    assert found.fields("system")["users"] == 1  # the manager's session is nobody's
    assert set(found.fields("disk_mounts")["mount"]) == {"/", "/home", "/boot", "/boot/efi"}  # two subvolumes


def test_server(replay_of: Callable[[str], Any]) -> None:
    found = replay_of("server")
    for reading in ("first", "second"):
        dead = found.fields("disk_mounts", reading)["mount"]["/mnt/dead-nfs"]
        assert dead == {"device": "filer1.example.net:/export/projects", "file_system": "nfs4", "state": "stalled"}
        assert len(found.fields("disk_mounts", reading)["mount"]) == 5
    assert found.fields("cpu_clock")["temperature_celsius"] == 62.0  # the hotter of two packages
    temperatures = found.fields("sensors")["temperature"]
    assert {"coretemp_package_id_0", "coretemp_1_package_id_1"} <= set(temperatures)
    assert len(temperatures) == 2 * 21
    assert found.fields("system")["users"] == 2  # a third session is closing
    processor = found.inventory["processor"]
    assert (processor["packages"], processor["cores"], processor["threads"]) == (2, 40, 80)
    assert 0 < found.fields("disk_devices")["device"]["md0"]["write_latency_seconds"] < 1


def test_container_knows_its_limits(replay_of: Callable[[str], Any]) -> None:
    found = replay_of("container")
    assert found.fields("cpu")["limit_cores"] == 2.0
    assert found.fields("cpu")["limit_throttled_percent"] == pytest.approx(
        (81830588938 - 81829384756) / 2e6 * 100, abs=0.05
    )
    memory = found.fields("memory_details")
    assert memory["limit_bytes"] == 2**31
    assert memory["limit_used_bytes"] < 1540595712
    assert set(found.fields("disk_mounts")["mount"]) == {"/"}  # resolv.conf and hosts are files
    for name in ("desktop", "server"):
        assert "limit_bytes" not in replay_of(name).fields("memory_details")
        assert "limit_cores" not in replay_of(name).fields("cpu")


def test_what_a_machine_has_not_is_absent(replay_of: Callable[[str], Any]) -> None:
    for name in ("vm", "raspberry-pi"):
        assert not [entry for entry in replay_of(name).second if "pressure_some_percent" in str(entry)]
    assert "temperature_celsius" not in replay_of("vm").fields("cpu_clock")
    assert "vendor" not in replay_of("raspberry-pi").inventory
    assert replay_of("raspberry-pi").inventory["processor"]["model"] == "Cortex-A72"
    assert replay_of("raspberry-pi").inventory["product"] == "Raspberry Pi 4 Model B Rev 1.5"
    assert replay_of("raspberry-pi").inventory["drives"]["mmcblk0"]["model"] == "SN32G"
    assert {one["collector"] for one in replay_of("vm").second if "nothing" in one} == {
        "cpu_throttle",
        "sensors",
        "nvme_temperature",
        "battery",
        "smart",
    }
