"""What drives say of their health. The answers are explained in tests/smartctl/README.md."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from hostpulse.bus.messages import Smart, SmartDrive
from hostpulse.publisher.collectors.base import MissingError, NoDataError
from hostpulse.publisher.collectors.smart import SmartCollector
from hostpulse.publisher.collectors.smartctl import Device, DriveState, drive_command, read_answer
from hostpulse.publisher.machine import Machine
from hostpulse.publisher.programs import Output, ProgramHangsError, run_program

from ..drives import ANSWERS, answer, output, scan


def collector_of(tree: Any, types: Mapping[str, str], *, privileged: bool = True) -> SmartCollector:
    """Return the collector of a machine whose drives are found with these types; they have still to get answers."""
    tree.drives.answers["scan"] = scan(types)
    return SmartCollector(tree.machine, privileged=lambda: privileged)


def alone(tree: Any, name: str, *, device: str = "sda", kind: str = "sat", privileged: bool = True) -> Smart:
    """Return what is said of a machine with one drive."""
    collector = collector_of(tree, {device: kind}, privileged=privileged)
    tree.drives.answers[f"/dev/{device}"] = answer(name)
    assert collector.probe()
    return collector.read()


def drives(fields: Smart) -> dict[str, SmartDrive]:
    assert fields.drive is not UNSET
    return fields.drive


def drive_of(name: str, *, privileged: bool = True) -> SmartDrive:
    return read_answer(output(answer(name)), privileged=privileged).drive


def said(drive: SmartDrive) -> dict[str, Any]:
    return {name: value for name in drive.__struct_fields__ if (value := getattr(drive, name)) is not UNSET}


def changed(name: str, change: Callable[[dict[str, Any]], object]) -> SmartDrive:
    """Return what is made of an answer in which something is different."""
    data = json.loads(answer(name))
    change(data)
    return read_answer(output(json.dumps(data).encode()), privileged=True).drive


# --- one drive


def test_nvme() -> None:
    assert said(drive_of("made/nvme")) == {
        "model": "INVENTED NVMe 1TB",
        "state": "ok",
        "healthy": True,
        "critical_warning": "none",
        "temperature_celsius": 42.0,
        "power_on_seconds": 9213 * 3600,
        "power_cycles": 812,
        "unsafe_shutdowns": 37,
        "wear_percent": 3.0,
        "available_spare_percent": 100.0,
        "available_spare_threshold_percent": 10.0,
        "media_errors": 0,
        "read_bytes": 41275883 * 512_000,
        "written_bytes": 38112640 * 512_000,
    }


def test_nvme_that_is_worn_out() -> None:
    drive = drive_of("made/nvme-worn")
    assert drive.healthy is False
    assert drive.critical_warning == "spare,reliability"
    assert (drive.wear_percent, drive.available_spare_percent, drive.media_errors) == (113.0, 8.0, 17)


def test_heat_alone_is_no_failure() -> None:
    drive = drive_of("made/nvme-hot")
    assert drive.healthy is True
    assert drive.critical_warning == "temperature"
    assert drive.temperature_celsius == 86.0
    real = drive_of("qemu/nvme-warning")
    assert real.healthy is False
    assert real.critical_warning == "temperature,reliability"


def test_nvme_that_a_hypervisor_makes_up_has_no_spare() -> None:
    drive = drive_of("qemu/nvme")
    assert drive.healthy is True
    assert drive.available_spare_percent is UNSET
    assert drive.available_spare_threshold_percent is UNSET


def test_sata_ssd() -> None:
    drive = drive_of("made/ssd")
    assert drive.healthy is True
    assert drive.wear_percent == 12.0
    assert (drive.available_spare_percent, drive.available_spare_threshold_percent) == (97.0, 10.0)
    assert drive.written_bytes == 824113 * 32 * 2**20
    assert drive.read_bytes == 331207 * 32 * 2**20
    assert (drive.reallocated_sectors, drive.pending_sectors, drive.crc_errors) == (2, 0, 3)
    assert drive.temperature_celsius == 33.0  # and not the three numbers that are packed into the raw value
    assert drive.critical_warning is UNSET


def test_hard_disk() -> None:
    drive = drive_of("made/hdd")
    assert drive.healthy is True
    assert drive.power_on_seconds == 20412 * 3600
    assert drive.written_bytes == 51539607552 * 512
    assert drive.wear_percent is UNSET
    assert drive.media_errors == 0
    real = drive_of("qemu/hdd")
    assert (real.healthy, real.temperature_celsius, real.reallocated_sectors) == (True, 31.0, 0)
    assert real.pending_sectors is UNSET


def test_hard_disk_with_sectors_that_it_cannot_read() -> None:
    drive = drive_of("made/hdd-pending")
    assert drive.healthy is True
    assert (drive.reallocated_sectors, drive.pending_sectors, drive.uncorrectable_sectors) == (24, 8, 8)
    assert (drive.media_errors, drive.crc_errors) == (3, 11)


def test_hard_disk_that_fails() -> None:
    assert output(answer("made/hdd-failing")).code & 8
    drive = drive_of("made/hdd-failing")
    assert (drive.state, drive.healthy) == ("ok", False)
    assert drive.reallocated_sectors == 3928

    def forget(data: dict[str, Any]) -> None:
        del data["smart_status"]

    assert changed("made/hdd-failing", forget).healthy is False  # the exit status says it, too
    assert changed("made/hdd", forget).healthy is UNSET  # not known is not well


def test_sas() -> None:
    drive = drive_of("made/sas")
    assert said(drive) == {
        "model": "SEAGATE INVENTED SAS",
        "state": "ok",
        "healthy": True,
        "temperature_celsius": 36.0,
        "power_on_seconds": 31877 * 3600 + 42 * 60,
        "media_errors": 2,
        "reallocated_sectors": 6,
        "read_bytes": 213_874_219_000_000,
        "written_bytes": 98_112_704_000_000,
    }


def test_newer_versions_say_wear_and_spare_of_every_kind() -> None:
    def add(data: dict[str, Any]) -> None:
        data["endurance_used"] = {"current_percent": 21}
        data["spare_available"] = {"current_percent": 95, "threshold_percent": 5}

    drive = changed("made/hdd", add)
    assert (drive.wear_percent, drive.available_spare_percent) == (21.0, 95.0)
    assert drive.available_spare_threshold_percent == 5.0


@pytest.mark.parametrize("celsius", [0, -273, 200, "warm", True, None])
def test_temperature_that_is_none(celsius: object) -> None:
    assert changed("made/nvme", lambda data: data["temperature"].update(current=celsius)).temperature_celsius is UNSET


# --- drives that say nothing


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("made/asleep", DriveState.ASLEEP),
        ("made/mode-unknown", DriveState.UNSUPPORTED),
        ("made/disabled", DriveState.DISABLED),
        ("qemu/sas-without-smart", DriveState.UNSUPPORTED),
        ("qemu/usb-unknown", DriveState.UNSUPPORTED),
        ("qemu/unknown-type", DriveState.UNSUPPORTED),
        ("qemu/gone", DriveState.UNREADABLE),
        ("qemu/denied-open", DriveState.NO_PERMISSION),
        ("qemu/denied-command", DriveState.NO_PERMISSION),
    ],
)
def test_without_values(name: str, state: DriveState) -> None:
    for privileged in (True, False):
        drive = drive_of(name, privileged=privileged)
        assert drive.state == state
        assert said(drive).keys() <= {"state", "model"}


def test_sleep_of_which_an_unprivileged_user_is_told_is_a_right_that_is_missing() -> None:
    assert drive_of("qemu/denied-looks-asleep", privileged=False).state == DriveState.NO_PERMISSION
    assert drive_of("qemu/denied-looks-asleep", privileged=True).state == DriveState.ASLEEP


def test_text_that_is_no_utf_8_is_replaced() -> None:
    text = answer("made/hdd").replace(b"INVENTED HDD 4TB", b"\xff\xfe HDD \\u0000\\n4TB")
    assert read_answer(output(text), privileged=True).drive.model == "\ufffd\ufffd HDD 4TB"


@pytest.mark.parametrize("text", [b"", b"smartctl: not found", b"[]", b'"x"', b'{"a":', b"[" * 100_000, b" " * 2**21])
def test_what_is_no_answer_is_unreadable(text: bytes) -> None:
    assert read_answer(Output(0, text), privileged=True).drive.state == DriveState.UNREADABLE


def test_program_that_was_killed_is_unreadable() -> None:
    assert read_answer(Output(-9, answer("made/hdd")), privileged=True).drive.state == DriveState.UNREADABLE


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False), st.text(max_size=30)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=12), inner, max_size=4)),
    max_leaves=12,
)


def places(data: Any) -> list[tuple[Any, Any]]:
    """Return every place of a JSON value that something else may be put into."""
    keys = list(data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ())
    return [(data, key) for key, _ in keys] + [place for _, inner in keys for place in places(inner)]


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_nothing_that_a_drive_says_is_too_much(data: st.DataObject, read_message: Any) -> None:
    """Whatever stands in an answer, what becomes of it is a message."""
    name = data.draw(st.sampled_from(["made/nvme", "made/ssd", "made/hdd-failing", "made/sas", "made/asleep"]))
    changed = json.loads(answer(name))
    for _ in range(data.draw(st.integers(1, 5))):
        holder, key = data.draw(st.sampled_from(places(changed)))
        holder[key] = data.draw(JSON)
    code = data.draw(st.integers(-15, 255))
    text = json.dumps(changed).encode()
    machine = Machine(
        sys="/nowhere",
        run=lambda command, _: Output(0, scan({"sda": "sat"})) if "--scan-open" in command else Output(code, text),
        sleep=lambda _: None,
    )
    with contextlib.suppress(NoDataError):
        assert read_message(SmartCollector(machine, privileged=lambda: True))["drives"] <= 1


# --- all drives of a machine


def test_drives_are_called_by_their_serial_numbers(bare: Any) -> None:
    collector = collector_of(bare, {"sda": "sat", "sdb": "sat", "nvme0": "nvme"})
    bare.drives.answers |= {
        "/dev/sda": answer("made/hdd-failing"),
        "/dev/sdb": answer("made/ssd"),
        "/dev/nvme0": answer("made/nvme"),
    }
    assert collector.probe()
    fields = collector.read()
    assert {key: drive.device for key, drive in drives(fields).items()} == {
        "INVHDD0001": "sda",
        "INVSSD0001": "sdb",
        "INVNVME0001": "nvme0",
    }
    assert (fields.drives, fields.failing_drives) == (3, 1)
    bare.drives.answers |= {"/dev/sda": answer("made/ssd"), "/dev/sdb": answer("made/hdd-failing")}
    bare.write("sys/block/sda/size", "1\n")  # something was plugged in, and names have changed
    assert drives(collector.read())["INVHDD0001"].device == "sdb"


def test_every_drive_is_asked_with_its_type_and_none_is_woken(bare: Any) -> None:
    alone(bare, "made/hdd")
    assert bare.drives.calls[-1] == (
        "smartctl", "--json", "-a", "-d", "sat", "-n", "standby,3,5", "/dev/sda"
    )  # fmt: skip


def test_scan_is_done_once_and_when_a_drive_was_plugged_in(bare: Any) -> None:
    bare.write("sys/block/sda/size", "1\n")
    collector = collector_of(bare, {"sda": "sat"})
    bare.drives.answers["/dev/sda"] = answer("made/hdd")
    collector.probe()
    collector.read()
    collector.read()
    assert [command[2] for command in bare.drives.calls].count("--scan-open") == 1
    bare.write("sys/block/sdb/size", "1\n")
    bare.drives.answers |= {"scan": scan({"sda": "sat", "sdb": "sat"}), "/dev/sdb": answer("made/ssd")}
    assert collector.read().drives == 2
    assert [command[2] for command in bare.drives.calls].count("--scan-open") == 2


def test_drive_that_falls_asleep_is_as_it_was_but_for_its_temperature(bare: Any) -> None:
    collector = collector_of(bare, {"sda": "sat"})
    bare.drives.answers["/dev/sda"] = answer("made/hdd-failing")
    collector.probe()
    awake = said(drives(collector.read())["INVHDD0001"])
    bare.drives.answers["/dev/sda"] = answer("made/asleep")
    for _ in range(2):
        fields = collector.read()
        asleep = said(drives(fields)["INVHDD0001"])
        assert asleep == {name: value for name, value in awake.items() if name != "temperature_celsius"} | {
            "state": "asleep"
        }
        assert fields.failing_drives == 1


def test_nothing_is_kept_of_a_drive_that_does_not_answer(bare: Any) -> None:
    collector = collector_of(bare, {"sda": "sat"})
    for name in ("made/hdd-failing", "qemu/gone"):
        bare.drives.answers["/dev/sda"] = answer(name)
        fields = collector.read()
    assert said(drives(fields)["INVHDD0001"]) == {"device": "sda", "model": "INVENTED HDD 4TB", "state": "unreadable"}
    assert fields.failing_drives is UNSET
    bare.drives.answers["/dev/sda"] = answer("made/asleep")
    assert said(drives(collector.read())["INVHDD0001"]).keys() == {"device", "model", "state"}


def test_drive_that_sleeps_from_the_start_has_the_same_name(bare: Any) -> None:
    # as the kernel has it for this drive of QEMU: four bytes, and the number with spaces up to 20 characters
    bare.write("sys/block/sda/device/vpd_pg80", b"\0\x80\0\x14QHDD0001            ")
    bare.write("sys/block/sda/device/model", "INVENTED-HDD-4TB\n")
    collector = collector_of(bare, {"sda": "sat"})
    bare.drives.answers["/dev/sda"] = answer("made/asleep")
    assert collector.probe()
    asleep = drives(collector.read())
    assert {key: said(drive) for key, drive in asleep.items()} == {
        "QHDD0001": {"device": "sda", "model": "INVENTED-HDD-4TB", "state": "asleep"}
    }
    bare.drives.answers["/dev/sda"] = answer("qemu/hdd")
    assert drives(collector.read()).keys() == asleep.keys()


def test_nvme_that_cannot_be_read_has_the_name_that_the_kernel_knows(bare: Any) -> None:
    bare.write("sys/class/nvme/nvme0/serial", "QNVME0003           \n")
    bare.write("sys/class/nvme/nvme0/model", "QEMU NVMe Ctrl                          \n")
    unreadable = drives(alone(bare, "qemu/gone", device="nvme0", kind="nvme"))
    assert {key: drive.state for key, drive in unreadable.items()} == {"QNVME0003": "unreadable"}
    bare.drives.answers["/dev/nvme0"] = answer("qemu/nvme")
    assert drive_of("qemu/nvme").model == unreadable["QNVME0003"].model


def test_drive_that_nobody_knows_is_left_out(bare: Any) -> None:
    fields = alone(bare, "made/asleep")
    assert (fields.drives, drives(fields)) == (0, {})


def test_two_paths_to_a_drive_are_one_drive_and_careless_serial_numbers_are_two(bare: Any) -> None:
    collector = collector_of(bare, {"sda": "scsi", "sdb": "scsi", "sdc": "sat"})
    careless = json.loads(answer("made/hdd"))
    careless["serial_number"] = "INVSAS0001"
    bare.drives.answers |= {
        "/dev/sda": answer("made/sas"),
        "/dev/sdb": answer("made/sas"),
        "/dev/sdc": json.dumps(careless).encode(),
    }
    fields = collector.read()
    assert {key: drive.device for key, drive in drives(fields).items()} == {
        "INVSAS0001": "sda",
        "INVSAS0001 INVENTED HDD 4TB": "sdc",
    }


def test_drives_behind_one_controller_have_one_file(bare: Any) -> None:
    found = json.loads(scan({}))
    found["devices"] = [{"name": "/dev/bus/0", "type": f"megaraid,{number}"} for number in (0, 1)]
    answers = {"megaraid,0": answer("made/sas"), "megaraid,1": answer("made/hdd")}
    machine = replace(
        bare.machine,
        run=lambda command, _: output(
            json.dumps(found).encode() if "--scan-open" in command else answers[command[4]],
        ),
    )
    fields = SmartCollector(machine, privileged=lambda: True).read()
    assert {key: drive.device for key, drive in drives(fields).items()} == {
        "INVSAS0001": "bus/0 megaraid,0",
        "INVHDD0001": "bus/0 megaraid,1",
    }


def test_drive_that_does_not_answer_holds_up_no_other_and_is_left_alone_until_it_does(bare: Any) -> None:
    collector = collector_of(bare, {"sda": "sat", "sdb": "sat"})
    bare.drives.answers |= {"/dev/sda": answer("made/hdd"), "/dev/sdb": answer("made/ssd")}
    collector.probe()
    collector.read()
    gone: list[bool] = []
    bare.drives.answers["/dev/sda"] = ProgramHangsError("smartctl", 30, lambda: bool(gone))
    bare.drives.asked()
    assert {key: drive.state for key, drive in drives(collector.read()).items()} == {
        "INVHDD0001": "stalled",
        "INVSSD0001": "ok",
    }
    assert bare.drives.asked() == ["/dev/sda", "/dev/sdb"]
    assert drives(collector.read())["INVHDD0001"].state == "stalled"
    assert bare.drives.asked() == ["/dev/sdb"]
    gone.append(True)
    bare.drives.answers["/dev/sda"] = answer("made/hdd")
    assert drives(collector.read())["INVHDD0001"].state == "ok"


def test_scan_that_hangs_is_not_begun_again(bare: Any) -> None:
    collector = collector_of(bare, {})
    gone: list[bool] = []
    bare.drives.answers["scan"] = ProgramHangsError("smartctl", 60, lambda: bool(gone))
    for _ in range(3):
        with pytest.raises(ProgramHangsError, match="has not ended within 60 s"):
            collector.read()
    assert len(bare.drives.calls) == 1
    gone.append(True)
    bare.drives.answers |= {"scan": scan({"sda": "sat"}), "/dev/sda": answer("made/hdd")}
    assert collector.read().drives == 1


def test_two_hundred_drives_are_a_message(bare: Any, read_message: Callable[..., dict[str, Any]]) -> None:
    names = [f"sd{number}" for number in range(200)]
    for name in names:
        one = json.loads(answer("made/hdd-failing"))
        one["serial_number"] = f"SERIAL-{name}"
        bare.drives.answers[f"/dev/{name}"] = json.dumps(one).encode()
    bare.drives.answers["scan"] = scan(dict.fromkeys(names, "sat"))
    pauses: list[float] = []
    collector = SmartCollector(replace(bare.machine, sleep=pauses.append), privileged=lambda: True)
    message = read_message(collector)
    assert message["drives"] == message["failing_drives"] == 200
    assert len(message["drive"]) + message.get("omitted", {}).get("drive", 0) == 200
    assert len(pauses) == 199
    assert all(0 <= pause <= 2 for pause in pauses)
    assert len(set(pauses)) > 100
    assert collector.time_limit_seconds > 200 * 30


# --- rights, and machines without smartctl


def test_no_right_for_any_drive_is_said_and_is_nothing(bare: Any) -> None:
    collector = collector_of(bare, {})
    bare.drives.answers["scan"] = answer("qemu/scan-denied")
    with pytest.raises(MissingError, match="may not ask the drives"):
        collector.probe()
    assert not bare.drives.asked()
    with pytest.raises(MissingError, match="may not ask"):
        alone(bare, "qemu/denied-looks-asleep", privileged=False)


def test_no_right_for_any_drive_that_has_something_to_say(bare: Any) -> None:
    collector = collector_of(bare, {"sda": "sat", "sdc": "scsi"}, privileged=False)
    bare.drives.answers |= {
        "/dev/sda": answer("qemu/denied-looks-asleep"),
        "/dev/sdc": answer("qemu/sas-without-smart"),
    }
    with pytest.raises(MissingError, match="may not ask"):
        collector.read()


def test_right_for_some_drives_only(bare: Any) -> None:
    bare.write("sys/class/nvme/nvme0/serial", "QNVME0003\n")
    collector = collector_of(bare, {"sda": "sat", "nvme0": "nvme"})
    bare.drives.answers |= {"/dev/sda": answer("made/hdd"), "/dev/nvme0": answer("qemu/denied-command")}
    found = drives(collector.read())
    assert {key: drive.state for key, drive in found.items()} == {"INVHDD0001": "ok", "QNVME0003": "no_permission"}
    assert found["QNVME0003"].healthy is UNSET


def test_no_smartctl_is_said_where_there_are_drives(bare: Any) -> None:
    collector = SmartCollector(bare.machine)
    assert not collector.probe()
    bare.write("sys/block/vda/size", "1\n")
    assert not collector.probe()
    bare.write("sys/block/sda/size", "1\n")
    with pytest.raises(MissingError, match="install smartmontools"):
        collector.probe()


def test_no_drive_is_nothing(bare: Any) -> None:
    collector = collector_of(bare, {})
    assert not collector.probe()
    with pytest.raises(NoDataError, match="no drive"):
        collector.read()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give rights up")
def test_raw_commands_are_not_for_everybody() -> None:
    code = """
import os
from hostpulse.publisher.collectors.smart import may_send_raw_commands
before = may_send_raw_commands()
os.setresuid(65534, 65534, 65534)
print(before, may_send_raw_commands())
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    done = subprocess.run([sys.executable, "-P", "-c", code], env=environment, capture_output=True, check=True)
    before, after = done.stdout.split()
    if before == b"False":
        pytest.skip("this root has not the right either")
    assert (before, after) == (b"True", b"False")


# --- the real one


@pytest.fixture
def smartctl() -> None:
    if shutil.which("smartctl", path="/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin") is None:
        pytest.skip("smartctl is not installed; it is in smartmontools")


@pytest.mark.usefixtures("smartctl")
@pytest.mark.parametrize(
    ("name", "kind", "state"),
    [
        ("file", "sat", "unsupported"),  # its power mode cannot be known, and so it is not asked further
        ("file", "nvme", "unreadable"),
        ("file", "nonsense", "unsupported"),
        ("none", "sat", "unreadable"),
    ],
)
def test_real_smartctl_of_what_is_no_drive(tmp_path: Path, name: str, kind: str, state: str) -> None:
    (tmp_path / "file").write_bytes(bytes(4096))
    done = run_program(drive_command(Device(str(tmp_path / name), kind)), 60)
    assert json.loads(done.text)["smartctl"]["exit_status"] == done.code
    assert read_answer(done, privileged=True).drive.state == state


@pytest.mark.usefixtures("smartctl")
def test_real_smartctl_of_this_machine(read_message: Callable[..., dict[str, Any]]) -> None:
    """Whatever drives this machine has: a message, or one sentence of what is missing."""
    collector = SmartCollector(replace(Machine(), sleep=lambda _: None))
    try:
        message = read_message(collector)
    except NoDataError as error:
        pytest.skip(f"this machine has no drive to ask: {error}")
    assert message["drives"] == len(message["drive"])
    assert {drive["state"] for drive in message["drive"].values()} <= {*DriveState}


def test_every_answer_is_used() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    names = {f"{path.parent.name}/{path.stem}" for path in ANSWERS.glob("*/*.json")}
    used_elsewhere = {"qemu/scan"}  # by tests/drives.py
    assert [name for name in names - used_elsewhere if f'"{name}"' not in text] == []
