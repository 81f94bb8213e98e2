from collections.abc import Callable
from typing import Any

import pytest

from hostpulse.publisher.collectors.base import NoDataError
from hostpulse.publisher.collectors.battery import BatteryCollector

Reader = Callable[[Any], dict[str, Any]]

ENERGY = {
    "type": "Battery",
    "status": "Discharging",
    "energy_now": 30_000_000,
    "energy_full": 40_000_000,
    "power_now": 10_000_000,
}


def add(tree: Any, name: str, **files: str | int) -> None:
    for file, content in files.items():
        tree.write(f"sys/class/power_supply/{name}/{file}", f"{content}\n")


def test_two_batteries_are_added_up(bare: Any, read_message: Reader) -> None:
    add(bare, "BAT0", **ENERGY)
    add(bare, "BAT1", **(ENERGY | {"status": "Not charging", "energy_now": 20_000_000, "power_now": 0}))
    found = read_message(BatteryCollector(bare.machine))
    assert found["charge_percent"] == 62.5
    assert found["remaining_seconds"] == 5 * 3600  # 50 Wh at 10 W
    assert found["pack"]["BAT0"]["remaining_seconds"] == 3 * 3600
    assert found["pack"]["BAT1"]["state"] == "not_charging"
    assert "remaining_seconds" not in found["pack"]["BAT1"]
    assert "mains" not in found


def test_charging_counts_to_full(bare: Any, read_message: Reader) -> None:
    add(bare, "BAT0", **(ENERGY | {"status": "Charging"}))
    add(bare, "ADP1", type="Mains", online=1)
    found = read_message(BatteryCollector(bare.machine))
    assert (found["mains"], found["remaining_seconds"]) == (True, 3600)


def test_charge_in_ampere_hours_becomes_energy(bare: Any, read_message: Reader) -> None:
    add(
        bare,
        "BAT0",
        type="Battery",
        status="Discharging",
        charge_now=2_000_000,
        charge_full=4_000_000,
        charge_full_design=5_000_000,
        current_now=-1_000_000,  # some firmware counts this way
        voltage_min_design=10_000_000,
        voltage_now=12_000_000,
    )
    pack = read_message(BatteryCollector(bare.machine))["pack"]["BAT0"]
    assert pack == {
        "charge_percent": 50.0,
        "state": "discharging",
        "power_watts": 12.0,
        "remaining_seconds": 6000,  # 20 Wh at 12 W
        "energy_joules": 72000,
        "health_percent": 80.0,
        "voltage_volts": 12.0,
    }


def test_battery_that_knows_only_its_share(bare: Any, read_message: Reader) -> None:
    add(bare, "BAT0", type="Battery", status="Full", capacity=103, cycle_count=-1)
    assert read_message(BatteryCollector(bare.machine)) == {
        "charge_percent": 100.0,
        "pack": {"BAT0": {"charge_percent": 100.0, "state": "full"}},
    }


def test_unknown_is_absent_and_not_zero(bare: Any, read_message: Reader) -> None:
    add(
        bare, "BAT0", **(ENERGY | {"energy_full": 0, "power_now": "", "energy_now": -1, "cycle_count": 0, "status": ""})
    )
    assert read_message(BatteryCollector(bare.machine)) == {"pack": {"BAT0": {"state": "unknown"}}}
    add(bare, "BAT0", power_now=10_000_000, status="Discharging")
    assert "remaining_seconds" not in read_message(BatteryCollector(bare.machine))


def test_batteries_of_mice_are_not_the_machines(bare: Any) -> None:
    add(bare, "hidpp_battery_0", type="Battery", scope="Device", capacity=50)
    add(bare, "AC", type="Mains", online=1)
    assert not BatteryCollector(bare.machine).probe()


def test_battery_that_was_taken_out(bare: Any) -> None:
    add(bare, "BAT0", **(ENERGY | {"present": 0}))
    collector = BatteryCollector(bare.machine)
    assert collector.probe()
    with pytest.raises(NoDataError):
        collector.read()


def test_what_comes_later_is_found(bare: Any, read_message: Reader) -> None:
    add(bare, "BAT0", **ENERGY)
    collector = BatteryCollector(bare.machine)
    assert set(read_message(collector)["pack"]) == {"BAT0"}
    add(bare, "BAT1", **ENERGY)
    add(bare, "charger", type="USB_PD", online=1)
    found = collector.read()
    assert set(found.pack) == {"BAT0", "BAT1"}  # type: ignore[arg-type]
    assert found.mains is True
