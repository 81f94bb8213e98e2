"""What drives say of their own health, through smartctl."""

from collections.abc import Callable, Iterable
from random import Random

from msgspec import UNSET
from msgspec.structs import replace

from hostpulse.bus.messages import Smart, SmartDrive

from ..files import list_directory, read_bytes, read_line, read_text
from ..machine import Machine
from ..programs import ProgramHangsError
from .base import Collector, MissingError, NoDataError
from .smartctl import Answer, Device, DriveState, devices_of, drive_command, read_answer, scan_command

__all__ = ["SmartCollector", "may_send_raw_commands"]

_SCAN_SECONDS = 60.0
_DRIVE_SECONDS = 30.0
_GRACE_SECONDS = 60.0
_SPREAD_SECONDS = 2.0
_RAW_IO = 17  # number of CAP_SYS_RAWIO
_VPD_HEADER_BYTES = 4
_WITH_VALUES = frozenset({DriveState.OK, DriveState.ASLEEP})
_PHYSICAL = ("sd", "hd", "nvme")


def may_send_raw_commands() -> bool:
    """Return whether this process has the capability to send raw commands to drives."""
    status = (read_bytes("/proc/self/status") or b"").decode("ascii", "replace")
    _, _, rest = status.partition("CapEff:")
    return bool(rest) and bool(int(rest.split(None, 1)[0], 16) >> _RAW_IO & 1)


class SmartCollector(Collector):
    """Health, wear, errors and temperature of each drive.

    A drive is asked by a program of its own that is ended after half a minute; one that cannot even be ended is
    `stalled`, and is not asked again before it has come back. A drive that sleeps is not woken; what it said before
    counts on. Each has its turn with a pause of chance before it, so that an array is not held up at one moment. The
    first turn comes a while after the start: the next one is so far away that every consumer should have this one.

    A drive is called by its serial number, which stands on its label and stays whatever it is plugged into. That of
    one that sleeps or may not be asked comes from sysfs, or from when it was awake.

    Sources: `smartctl --json`, /sys/block, /sys/class/nvme.

    Args:
        machine: whose drives.
        privileged: returns whether raw commands may be sent to drives.
    """

    name = "smart"
    subsystem = "smart"
    period_seconds = 1800.0
    delay_seconds = 20.0
    time_limit_seconds = _SCAN_SECONDS + _GRACE_SECONDS
    worker = "smart"

    def __init__(self, machine: Machine, *, privileged: Callable[[], bool] = may_send_raw_commands) -> None:
        self._sys = machine.sys
        self._run = machine.run
        self._privileged = privileged
        self._sleep = machine.sleep
        self._random = Random()  # noqa: S311  no secret
        self._devices: list[Device] = []
        self._seen: list[list[str]] | None = None
        self._identities: dict[Device, tuple[str, str | None]] = {}
        self._known: dict[str, SmartDrive] = {}
        self._hanging: dict[Device, ProgramHangsError] = {}
        self._hanging_scan: ProgramHangsError | None = None

    def probe(self) -> bool:
        """Return whether smartctl finds a drive.

        Raises:
            MissingError: there are drives, but no smartctl, or no right to ask any.
        """
        self._seen = None
        try:
            self._scan()
        except FileNotFoundError:
            if any(name.startswith(_PHYSICAL) for name in list_directory(f"{self._sys}/block")):
                raise MissingError(
                    "there is no smartctl to ask the drives for their health; install smartmontools"
                ) from None
            return False
        if self._devices and all(device.denied for device in self._devices):
            raise _no_permission()
        return bool(self._devices)

    def read(self) -> Smart:
        """Ask every drive that is awake.

        Raises:
            NoDataError: there is no drive, or no right to ask any.
            OSError: smartctl cannot be run.
        """
        self._scan()
        answers = list(self._ask_all())
        if not answers:
            raise NoDataError("there is no drive that can be asked")
        states = {answer.state for _, answer in answers}
        if DriveState.NO_PERMISSION in states and not states & _WITH_VALUES:
            raise _no_permission()
        drives: dict[str, SmartDrive] = {}
        for device, answer in answers:
            if (key := self._key(device, answer, drives)) is not None:
                drives[key] = self._with_what_is_known(key, answer.drive)
        self._known = {key: drive for key, drive in drives.items() if drive.state in _WITH_VALUES}
        known = [drive.healthy for drive in drives.values() if drive.healthy is not UNSET]
        return Smart(drives=len(drives), failing_drives=known.count(False) if known else UNSET, drive=drives)

    def _scan(self) -> None:
        """Look for drives, at first and whenever one was plugged in or pulled out."""
        seen = [list_directory(f"{self._sys}/block"), list_directory(f"{self._sys}/class/nvme")]
        if seen == self._seen:
            return
        if self._hanging_scan is not None and not self._hanging_scan.has_ended():
            raise self._hanging_scan
        try:
            self._devices = devices_of(self._run(scan_command(), _SCAN_SECONDS))
        except ProgramHangsError as error:
            self._hanging_scan = error
            raise
        self._seen = seen
        # What was plugged in may have the name of what was pulled out.
        self._identities.clear()
        self.time_limit_seconds = (
            _SCAN_SECONDS + _GRACE_SECONDS + len(self._devices) * (_DRIVE_SECONDS + _SPREAD_SECONDS)
        )

    def _ask_all(self) -> Iterable[tuple[Device, Answer]]:
        privileged = self._privileged()
        for number, device in enumerate(self._devices):
            if device.denied:
                yield device, _without_values(DriveState.NO_PERMISSION)
                continue
            if number:
                self._sleep(self._random.uniform(0, _SPREAD_SECONDS))
            yield device, self._ask(device, privileged=privileged)

    def _ask(self, device: Device, *, privileged: bool) -> Answer:
        hanging = self._hanging.get(device)
        if hanging is not None and not hanging.has_ended():
            return _without_values(DriveState.STALLED)
        self._hanging.pop(device, None)
        try:
            return read_answer(self._run(drive_command(device), _DRIVE_SECONDS), privileged=privileged)
        except ProgramHangsError as error:
            self._hanging[device] = error
            return _without_values(DriveState.STALLED)

    def _key(self, device: Device, answer: Answer, taken: dict[str, SmartDrive]) -> str | None:
        """Complete what an answer says of which drive it is, and return its key.

        Returns:
            None if nothing tells which drive it is, or if it is there already.
        """
        drive = answer.drive
        if answer.serial is not None:
            model = None if drive.model is UNSET else drive.model
            self._identities[device] = answer.serial, model
        elif device not in self._identities:
            serial = _serial_of_sysfs(self._sys, device)
            if serial is None:
                return None
            self._identities[device] = serial, _model_of_sysfs(self._sys, device)
        serial, model = self._identities[device]
        drive.device = device.name
        drive.model = drive.model or model or UNSET
        if serial not in taken:
            return serial
        # Two paths lead to the same drive; if it is another one, its maker has not been careful.
        return f"{serial} {drive.model}" if drive.model and drive.model != taken[serial].model else None

    def _with_what_is_known(self, key: str, drive: SmartDrive) -> SmartDrive:
        """Return a drive that sleeps with what it said when it was awake: all but its temperature stays as it was."""
        known = self._known.get(key) if drive.state == DriveState.ASLEEP else None
        if known is None:
            return drive
        return replace(known, device=drive.device, state=drive.state, temperature_celsius=UNSET)


def _no_permission() -> MissingError:
    return MissingError("smartctl may not ask the drives; docs/privileges.md names the rights that it takes")


def _without_values(state: DriveState) -> Answer:
    return Answer(state, None, SmartDrive(state=state))


def _serial_of_sysfs(sys: str, device: Device) -> str | None:
    """Return what the kernel knows since it found the drive; asking for it wakes none."""
    name = device.name
    if name.startswith("nvme"):
        return _words(read_text(f"{sys}/class/nvme/{name}/serial"))
    page = read_bytes(f"{sys}/block/{name}/device/vpd_pg80") or b""
    return _words(page[_VPD_HEADER_BYTES:].decode("ascii", "replace"))


def _model_of_sysfs(sys: str, device: Device) -> str | None:
    """Return the model; that of a SATA drive is cut to 16 characters there."""
    name = device.name
    return _words(
        read_line(f"{sys}/class/nvme/{name}/model" if name.startswith("nvme") else f"{sys}/block/{name}/device/model")
    )


def _words(text: str | None) -> str | None:
    """Return text as smartctl would have it."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text or "").split()) or None
