"""What smartctl 7 says in JSON, and what of it we believe.

Its exit status is a set of bits of which most describe the drive and none is our error. What it could not do it tells
in `messages`, which are sentences.
"""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from hostpulse.bus.messages import SmartDrive

from ..files import LONGEST_TEXT
from ..programs import Output

__all__ = ["Answer", "Device", "DriveState", "devices_of", "drive_command", "read_answer", "scan_command"]

_LARGEST_ANSWER = 1 << 20
_LARGEST = 2**63 - 1
_LONGEST_SERIAL = 128

_ASLEEP_STATUS, _UNKNOWN_MODE_STATUS = 3, 5  # exit codes that we choose for a drive that sleeps or cannot be asked
_BAD_CALL, _NO_ANSWER, _FAILING = 1, 2, 8  # bits of the exit status
_DENIED = ("permission denied", "operation not permitted")

_LOWEST_CELSIUS, _HIGHEST_CELSIUS = -40, 125
_NVME_UNIT_BYTES = 512_000
_GIGABYTE = 10**9
_HOUR, _MINUTE = 3600, 60

# Bits of an NVMe's critical_warning by number.
_WARNINGS = ("spare", "temperature", "reliability", "read_only", "backup", "memory_region")
_WARNING_OF_HEAT = 2

_REALLOCATED, _REPORTED_UNCORRECTABLE, _PENDING, _OFFLINE_UNCORRECTABLE, _CRC_ERRORS = 5, 187, 197, 198, 199
_WRITTEN, _READ = 241, 242
# The normalised value of these falls from 100 while a flash drive wears out; vendors give the numbers other meanings
# too, so it is the names of smartctl's database that count.
_LIFE_LEFT = frozenset(
    {
        "Media_Wearout_Indicator",
        "Percent_Life_Remaining",
        "Percent_Lifetime_Remain",
        "Remaining_Lifetime_Perc",
        "SSD_Life_Left",
        "Wear_Leveling_Count",
    }
)
_SPARE_LEFT = frozenset({"Available_Reservd_Space"})
_UNITS = re.compile(r"_(?:(\d+)?(MiB|GiB))$")
_UNIT_BYTES = {"MiB": 1 << 20, "GiB": 1 << 30}
_LEADING_NUMBER = re.compile(r"\d{1,19}(?![\d.])")


class DriveState(StrEnum):
    """Why there are values of a drive, or none."""

    OK = "ok"
    ASLEEP = "asleep"
    UNSUPPORTED = "unsupported"
    DISABLED = "disabled"
    STALLED = "stalled"
    UNREADABLE = "unreadable"
    NO_PERMISSION = "no_permission"


class Device(NamedTuple):
    """What smartctl calls a drive: a file, and the way in which it is to be asked."""

    path: str
    type: str
    denied: bool = False

    @property
    def name(self) -> str:
        """The name of the file below /dev, and the way where several drives are behind one file."""
        name = self.path.removeprefix("/dev/")
        return f"{name} {self.type}" if "," in self.type else name


class Answer(NamedTuple):
    """What a drive said.

    Attributes:
        state: whether it said anything.
        serial: its serial number; None if that is not known.
        drive: its values; only those that are known.
    """

    state: DriveState
    serial: str | None
    drive: SmartDrive


def scan_command() -> Sequence[str]:
    """Return what finds the drives."""
    return ("smartctl", "--json", "--scan-open")


def drive_command(device: Device) -> Sequence[str]:
    """Return what asks a drive, unless it sleeps. Without its type smartctl would try some out and wake it."""
    mode = f"standby,{_ASLEEP_STATUS},{_UNKNOWN_MODE_STATUS}"
    return ("smartctl", "--json", "-a", "-d", device.type, "-n", mode, device.path)


def devices_of(output: Output) -> list[Device]:
    """Return the drives that a scan found."""
    devices = _decode(output).get("devices")
    return [
        Device(path, kind, denied=_is_denied(_text(entry, "open_error") or ""))
        for entry in (devices if isinstance(devices, list) else [])
        if (path := _text(entry, "name")) and (kind := _text(entry, "type"))
    ]


def read_answer(output: Output, *, privileged: bool) -> Answer:
    """Return what a drive said.

    Args:
        output: what `drive_command` left.
        privileged: whether raw commands may be sent to drives. Without, a drive that is well says that it sleeps.
    """
    data = _decode(output)
    state = _state(output.code, data, privileged=privileged)
    drive = SmartDrive(state=state, model=_model(data))
    if state is DriveState.OK:
        _add_common(drive, data, output.code)
        _add_nvme(drive, data)
        _add_ata(drive, data)
        _add_scsi(drive, data)
    return Answer(state, (_text(data, "serial_number") or "")[:_LONGEST_SERIAL] or None, drive)


def _decode(output: Output) -> Mapping[str, Any]:
    """Return the JSON object; an empty one where there is none."""
    if len(output.text) > _LARGEST_ANSWER:
        return {}
    try:
        data = msgspec.json.decode(output.text.decode("utf-8", "replace"))  # a model may be any bytes
    except (msgspec.DecodeError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _state(code: int, data: Mapping[str, Any], *, privileged: bool) -> DriveState:
    said = _messages(data)
    if code == _ASLEEP_STATUS and "mode, exit(" in said:
        # A command that fails counts as SLEEP for smartctl, also one that only lacked a right.
        return DriveState.ASLEEP if privileged or "standby mode" in said else DriveState.NO_PERMISSION
    if code == _UNKNOWN_MODE_STATUS and f"exit({_UNKNOWN_MODE_STATUS})" in said:
        return DriveState.UNSUPPORTED  # asking further could wake it
    if _is_denied(said):
        return DriveState.NO_PERMISSION
    if not data or code < 0 or code & _NO_ANSWER:
        return DriveState.UNREADABLE
    support = _at(data, "smart_support")
    if code & _BAD_CALL or _at(support, "available") is False:
        return DriveState.UNSUPPORTED
    return DriveState.DISABLED if _at(support, "enabled") is False else DriveState.OK


def _messages(data: Mapping[str, Any]) -> str:
    """Return the sentences that smartctl said, in lower case."""
    messages = _at(data, "smartctl", "messages")
    entries = messages if isinstance(messages, list) else []
    return "\n".join(_text(entry, "string") or "" for entry in entries).lower()


def _is_denied(text: str) -> bool:
    return any(words in text.lower() for words in _DENIED)


def _model(data: Mapping[str, Any]) -> str | UnsetType:
    return _text(data, "model_name") or _text(data, "scsi_model_name") or UNSET


def _add_common(drive: SmartDrive, data: Mapping[str, Any], code: int) -> None:
    passed = _at(data, "smart_status", "passed")
    if isinstance(passed, bool):
        drive.healthy = passed
    elif code & _FAILING:
        drive.healthy = False
    celsius = _at(data, "temperature", "current")
    # 0 is what drives without a sensor say, and -273 those that are made up by a hypervisor.
    if type(celsius) is int and celsius and _LOWEST_CELSIUS < celsius <= _HIGHEST_CELSIUS:
        drive.temperature_celsius = float(celsius)
    hours, minutes = (_count(data, "power_on_time", name) for name in ("hours", "minutes"))
    if hours is not UNSET:
        drive.power_on_seconds = min(hours * _HOUR + (0 if minutes is UNSET else minutes * _MINUTE), _LARGEST)
    drive.power_cycles = _count(data, "power_cycle_count")
    drive.wear_percent = _percent(data, "endurance_used", "current_percent")
    drive.available_spare_percent = _percent(data, "spare_available", "current_percent")
    drive.available_spare_threshold_percent = _percent(data, "spare_available", "threshold_percent")


def _add_nvme(drive: SmartDrive, data: Mapping[str, Any]) -> None:
    log = _at(data, "nvme_smart_health_information_log")
    warning = _count(log, "critical_warning")
    if warning is not UNSET:
        words = [word for bit, word in enumerate(_WARNINGS) if warning >> bit & 1]
        drive.critical_warning = ",".join(words) or "none"
        drive.healthy = not warning & ~_WARNING_OF_HEAT
    spare, threshold = _percent(log, "available_spare"), _percent(log, "available_spare_threshold")
    if spare or threshold:  # both are 0 where a hypervisor makes the drive up
        drive.available_spare_percent, drive.available_spare_threshold_percent = spare, threshold
    drive.wear_percent = _percent(log, "percentage_used") if drive.wear_percent is UNSET else drive.wear_percent
    drive.media_errors = _count(log, "media_errors")
    drive.unsafe_shutdowns = _count(log, "unsafe_shutdowns")
    drive.read_bytes = _times(_count(log, "data_units_read"), _NVME_UNIT_BYTES)
    drive.written_bytes = _times(_count(log, "data_units_written"), _NVME_UNIT_BYTES)


def _add_ata(drive: SmartDrive, data: Mapping[str, Any]) -> None:
    table = _at(data, "ata_smart_attributes", "table")
    known = table if isinstance(table, list) else []
    entries = {number: entry for entry in known if type(number := _at(entry, "id")) is int}
    if not entries:
        return
    drive.reallocated_sectors = _raw(entries.get(_REALLOCATED))
    drive.media_errors = _raw(entries.get(_REPORTED_UNCORRECTABLE))
    drive.pending_sectors = _raw(entries.get(_PENDING))
    drive.uncorrectable_sectors = _raw(entries.get(_OFFLINE_UNCORRECTABLE))
    drive.crc_errors = _raw(entries.get(_CRC_ERRORS))
    block = _count(data, "logical_block_size")
    drive.read_bytes = _bytes(entries.get(_READ), block)
    drive.written_bytes = _bytes(entries.get(_WRITTEN), block)
    for entry in entries.values():
        name, value = _text(entry, "name"), _percent(entry, "value")
        if value is UNSET or value > 100:  # noqa: PLR2004  percent
            continue
        if name in _LIFE_LEFT and drive.wear_percent is UNSET:
            drive.wear_percent = 100.0 - value
        elif name in _SPARE_LEFT and drive.available_spare_percent is UNSET:
            drive.available_spare_percent = value
            drive.available_spare_threshold_percent = _percent(entry, "thresh")


def _add_scsi(drive: SmartDrive, data: Mapping[str, Any]) -> None:
    counters = _at(data, "scsi_error_counter_log")
    if isinstance(counters, dict):
        errors = [_count(counters, kind, "total_uncorrected_errors") for kind in ("read", "write", "verify")]
        known = [count for count in errors if count is not UNSET]
        drive.media_errors = sum(known) if known else UNSET
        drive.read_bytes = _gigabytes(counters, "read")
        drive.written_bytes = _gigabytes(counters, "write")
    defects = _count(data, "scsi_grown_defect_list")
    drive.reallocated_sectors = defects if defects is not UNSET else drive.reallocated_sectors
    used = _percent(data, "scsi_percentage_used_endurance_indicator")
    drive.wear_percent = used if used is not UNSET else drive.wear_percent


# Values of which the type cannot be relied on


def _at(data: object, *names: str) -> Any:
    """Return what is at a path of names; None where there is nothing."""
    for name in names:
        data = data.get(name) if isinstance(data, dict) else None
    return data


def _text(data: object, *names: str) -> str | None:
    """Return text as a message can hold it: on one line, without what cannot be printed."""
    value = _at(data, *names)
    if not isinstance(value, str):
        return None
    return " ".join("".join(sign if sign.isprintable() else " " for sign in value).split())[:LONGEST_TEXT] or None


def _count(data: object, *names: str) -> int | UnsetType:
    value = _at(data, *names)
    return value if type(value) is int and 0 <= value <= _LARGEST else UNSET


def _percent(data: object, *names: str) -> float | UnsetType:
    value = _count(data, *names)
    return UNSET if value is UNSET or value > 255 else float(value)  # noqa: PLR2004  a byte is what drives have for it


def _times(count: int | UnsetType, factor: int) -> int | UnsetType:
    return UNSET if count is UNSET or count * factor > _LARGEST else count * factor


def _raw(attribute: object) -> int | UnsetType:
    """Return the raw value of an attribute of ATA, as smartctl reads it for this model.

    Some vendors keep several numbers in one; the text has the one that counts at its beginning.
    """
    found = _LEADING_NUMBER.match(_text(attribute, "raw", "string") or "")
    number = int(found[0]) if found else _LARGEST + 1
    return number if number <= _LARGEST else UNSET


def _bytes(attribute: object, block: int | UnsetType) -> int | UnsetType:
    """Return how many bytes an attribute counts; its name says in which unit."""
    name = _text(attribute, "name") or ""
    if (found := _UNITS.search(name)) is not None:
        return _times(_raw(attribute), int(found[1] or 1) * _UNIT_BYTES[found[2]])
    return UNSET if block is UNSET or not name.startswith("Total_LBAs_") else _times(_raw(attribute), block)


def _gigabytes(counters: object, kind: str) -> int | UnsetType:
    """Return the bytes that a drive has moved; smartctl has them in billions, with a point, as text."""
    text = _text(counters, kind, "gigabytes_processed") or ""
    try:
        number = round(float(text) * _GIGABYTE)
    except (ValueError, OverflowError):
        return UNSET
    return number if 0 <= number <= _LARGEST else UNSET
