"""Batteries and mains."""

from typing import NamedTuple

from msgspec import UNSET

from hostpulse.bus.messages import Battery, BatteryPack

from ..files import list_directory, read_int, read_text
from ..machine import Machine
from ..rates import percent
from .base import Collector, NoDataError
from .hwmon import slug

__all__ = ["BatteryCollector"]

_MICRO = 1e-6
_BEYOND_REASON = 10**12  # a megawatt hour
_SECONDS_PER_HOUR = 3600
_MAINS = ("Mains", "USB", "Wireless")  # older kernels also write USB_C, USB_PD and the like


class _Charge(NamedTuple):
    """Energy in watt hours and power in watts, as far as the battery tells."""

    now: float | None
    full: float | None
    design: float | None
    power: float | None


class BatteryCollector(Collector):
    """Charge, power and health of each battery, and whether the machine runs from the mains.

    Batteries of mice and keyboards (scope Device) are not the machine's.

    Source: /sys/class/power_supply.
    """

    name = "battery"
    subsystem = "battery"
    period_seconds = 15.0

    def __init__(self, machine: Machine) -> None:
        self._root = f"{machine.sys}/class/power_supply"
        self._batteries: list[str] = []
        self._supplies: list[str] = []

    def probe(self) -> bool:
        """Find the batteries."""
        kinds = {name: read_text(f"{self._root}/{name}/type") or "" for name in list_directory(self._root)}
        own = {name for name in kinds if read_text(f"{self._root}/{name}/scope") != "Device"}
        self._batteries = [name for name, kind in kinds.items() if kind == "Battery" and name in own]
        self._supplies = [name for name, kind in kinds.items() if kind.startswith(_MAINS) and name in own]
        return bool(self._batteries)

    def read(self) -> Battery:
        """Return batteries and mains now."""
        self.probe()  # a second battery or a charger may have come
        charges = {name: self._charge(name) for name in self._batteries if self._number(name, "present") != 0}
        packs = {name: self._pack(name, charge) for name, charge in charges.items()}
        if not packs:
            raise NoDataError("no battery is in the machine")
        fields = Battery(pack=packs)
        online = [state for name in self._supplies if (state := self._number(name, "online")) is not None]
        if online:
            fields.mains = any(online)
        known = [charge for charge in charges.values() if charge.now is not None and charge.full]
        now = sum(charge.now or 0 for charge in known)
        full = sum(charge.full or 0 for charge in known)
        fields.charge_percent = percent(now, full) if full else next(iter(packs.values())).charge_percent
        power = sum(charge.power or 0 for charge in charges.values())
        states = {pack.state for pack in packs.values()}
        if power and full and "discharging" in states:
            fields.remaining_seconds = round(now / power * _SECONDS_PER_HOUR)
        elif power and full and "charging" in states:
            fields.remaining_seconds = round(max(0.0, full - now) / power * _SECONDS_PER_HOUR)
        return fields

    def _number(self, name: str, what: str) -> int | None:
        number = read_int(f"{self._root}/{name}/{what}")
        return number if number is not None and abs(number) < _BEYOND_REASON else None

    def _charge(self, name: str) -> _Charge:
        """Return the battery in watt hours; one that counts ampere hours is converted by its design voltage."""
        voltage = self._number(name, "voltage_min_design") or self._number(name, "voltage_now")
        in_energy = self._number(name, "energy_now") is not None
        factor = _MICRO if in_energy else (voltage or 0) * _MICRO * _MICRO
        unit = "energy" if in_energy else "charge"

        def scaled(what: str) -> float | None:
            value = self._number(name, what)
            return None if value is None or value < 0 or not factor else value * factor

        power = self._number(name, "power_now")
        current = self._number(name, "current_now")
        actual = self._number(name, "voltage_now")
        if power is None and current is not None and actual is not None:
            power = round(current * actual * _MICRO)
        watts = None if power is None else abs(power) * _MICRO  # some firmware counts discharge as negative
        return _Charge(scaled(f"{unit}_now"), scaled(f"{unit}_full"), scaled(f"{unit}_full_design"), watts)

    def _pack(self, name: str, charge: _Charge) -> BatteryPack:
        state = slug(read_text(f"{self._root}/{name}/status") or "") or "unknown"
        fields = BatteryPack(state=state)
        capacity, voltage = self._number(name, "capacity"), self._number(name, "voltage_now")
        cycles = self._number(name, "cycle_count")
        if charge.now is not None and charge.full:
            fields.charge_percent = percent(charge.now, charge.full)
            fields.energy_joules = round(charge.now * _SECONDS_PER_HOUR)
            left = charge.now if state == "discharging" else charge.full - charge.now
            if charge.power and state in {"charging", "discharging"}:
                fields.remaining_seconds = round(max(0.0, left) / charge.power * _SECONDS_PER_HOUR)
        elif capacity is not None:
            fields.charge_percent = percent(capacity, 100)
        if charge.full is not None and charge.design:
            fields.health_percent = percent(charge.full, charge.design)
        fields.power_watts = UNSET if charge.power is None else round(charge.power, 2)
        fields.voltage_volts = UNSET if voltage is None else round(voltage * _MICRO, 2)
        fields.cycles = cycles if cycles and cycles > 0 else UNSET  # firmware that does not count says 0 or -1
        return fields
