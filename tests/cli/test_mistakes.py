"""What goes wrong is one clear line on standard error, the right exit code, and never a traceback."""

import os
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from hostpulse.bus.mqtt import MqttOptions
from hostpulse.consumer.service import ConsumerOptions

from ..brokers import Broker
from .support import SECONDS, Hostpulse, eventually, sample

NOW = 1_780_000_000_000
NOBODY = 65534

USAGE = [
    (["--set", "intervall=5"], "--set intervall: there is no setting intervall; did you mean interval?"),
    (["--set", "interval=fast"], "--set interval: interval must be a number, not 'fast'"),
    (["--interval", "fast"], "--interval: interval must be a number, not 'fast'"),
    (["--set", "interval"], "--set interval: write KEY=VALUE, for example --set interval=5"),
    (["--set", "mqtt=x"], "--set mqtt: mqtt is a section; set one of its keys, such as mqtt.host"),
    (["--config", "/nowhere/at.toml"], "--config: /nowhere/at.toml cannot be read: No such file or directory"),
    (["--nonsense"], "there is no option '--nonsense'; see hostpulse {command} --help"),
]


def assert_line(done: subprocess.CompletedProcess[str], code: int, text: str) -> None:
    assert done.stderr.splitlines() == [f"hostpulse: {text}"]
    assert done.returncode == code
    assert done.stdout == ""


@pytest.mark.parametrize("command", ["up", "publish"])
@pytest.mark.parametrize(("arguments", "text"), USAGE)
def test_wrong_settings(hostpulse: Hostpulse, command: str, arguments: list[str], text: str) -> None:
    assert_line(hostpulse.run(command, *arguments), 2, text.format(command=command))
    assert not hostpulse.data.exists()


def test_every_wrong_setting_has_its_line(hostpulse: Hostpulse) -> None:
    done = hostpulse.run("config", "show", "--set", "a=1", "--interval", "0")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 2
    assert all(
        line.startswith(("hostpulse: --set a: ", "hostpulse: --interval: ")) for line in done.stderr.splitlines()
    )


def test_bad_toml(hostpulse: Hostpulse, tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text("interval = 2\nhost = \n")
    assert_line(hostpulse.run("up", "--config", file), 2, f"{file}, line 2: not valid TOML: invalid value")


def test_a_wrong_variable(hostpulse: Hostpulse) -> None:
    done = hostpulse.run("export", "cpu", environment={"HOSTPULSE_MQTT_HOST": "x"})
    assert_line(done, 2, "HOSTPULSE_MQTT_HOST: no setting has this name; did you mean HOSTPULSE_MQTT__HOST?")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "the following arguments are required: COMMAND; see hostpulse --help"),
        (["exprot"], "there is no command 'exprot'; did you mean export?"),
        (["\x1b[2J"], (r"there is no command '\x1b[2J'; there are up, publish, consume, history, export, import, "
         "alerts, rules, deadletter, check, config, influxdb, stack, simulate, schema, version")),
        (["export"], "the following arguments are required: TABLE; see hostpulse export --help"),
        (["export", "cpus"], "there is no table 'cpus'; did you mean cpu?"),
        (["export", "cpu", "--fields", "utilisation_percent"],
         "cpu has no field 'utilisation_percent'; did you mean utilization_percent?"),
        (["export", "sensors"], "sensors has no values of its own; export sensors_temperature or sensors_fan"),
        (["export", "cpu", "--since", "yesterday"], ("--since 'yesterday' is not a time; write an age (15m, 2h, 7d), a "
         "date or RFC 3339 (2026-03-14T09:26:53Z)")),
        (["export", "cpu", "--since", "1h", "--until", "2h"], "--since 1h is not before --until 2h"),
        (["history", "cpu"], None),
        (["history", "sensors"], ("sensors is no metric; write TABLE.FIELD: sensors_temperature.temperature_celsius, "
         "sensors_temperature.high_celsius, sensors_temperature.critical_celsius")),
        (["history", "cpu.utilisation_percent"],
         "cpu has no field 'utilisation_percent'; did you mean utilization_percent?"),
        (["history", "cup.load_average_1m"], "there is no table 'cup'; did you mean cpu?"),
        (["history", "system.kernel", "--format", "plot"], "system.kernel is text and has no plot; use --format table"),
        (["history", "event.value", "--format", "plot"],
         "event.value is of single events and has no plot; use --format table"),
        (["history", "event.told", "--every", "1m"],
         "event told is of single events and has no mean; ask for them as they are"),
        (["history", "system.kernel", "--every", "1m"],
         "system kernel is text and has no mean; ask for the values as they are"),
        (["history", "cpu.load_average_1m", "--every", "often"],
         "--every 'often' is not a duration; write for example 90s, 15m, 2h, 7d, or raw"),
        (["history", "cpu.load_average_1m", "--every", "1s", "--since", "1d", "--format", "plot"],
         "--every 1s makes a plot of 86400 columns, here are 65; leave it out, or take a shorter time"),
    ],
)  # fmt: skip
def test_wrong_use(hostpulse: Hostpulse, arguments: list[str], text: str | None) -> None:
    done = hostpulse.run(*arguments, environment={"COLUMNS": "80"})
    if text is None:
        (line,) = done.stderr.splitlines()
        assert line.startswith("hostpulse: cpu is no metric; write TABLE.FIELD: cpu.utilization_percent, cpu.user_")
        assert done.returncode == 2
    else:
        assert_line(done, 2, text)


@pytest.mark.parametrize("arguments", [["export", "cpu", "--format", "xml"], ["schema", "cup"], ["config", "edit"]])
def test_a_wrong_choice_names_the_right_ones(hostpulse: Hostpulse, arguments: list[str]) -> None:
    done = hostpulse.run(*arguments)
    (line,) = done.stderr.splitlines()
    assert line.startswith("hostpulse: argument ")
    assert "invalid choice" in line
    assert line.endswith(f"; see hostpulse {arguments[0]} --help")
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize("arguments", [["export", "cpu"], ["history", "cpu.load_average_1m"]])
def test_reading_before_there_is_a_history(hostpulse: Hostpulse, arguments: list[str]) -> None:
    text = f"there is no history in {hostpulse.history} yet; start hostpulse up or hostpulse consume, or set data_dir"
    assert_line(hostpulse.run(*arguments), 1, text)
    assert not hostpulse.data.exists()


def test_a_port_that_is_taken(hostpulse: Hostpulse) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", hostpulse.port))
        taken.listen()
        done = hostpulse.run("up")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"hostpulse: port {hostpulse.port} on 127.0.0.1 is taken by another program; set broker.port to a free one, or"
        " mqtt.host and mqtt.port to the broker that is there"
    )
    assert len([line for line in done.stderr.splitlines() if line.startswith("hostpulse: ")]) == 1


# The history

ARGUMENTS = {
    "up": ["up"],
    "consume": ["consume", "--broker", "127.0.0.1"],
    "export": ["export", "cpu"],
    "history": ["history", "cpu.load_average_1m"],
}


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the line that says what is wrong; `up` says before what it begins with."""
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert done.returncode == 1
    *before, line = done.stderr.splitlines()
    assert all(text.startswith(("hostpulse 0", "data ", "broker ", "     ")) for text in before), done.stderr
    return line.removeprefix("hostpulse: ").removeprefix("ERROR ")


@pytest.mark.parametrize("command", list(ARGUMENTS))
def test_a_damaged_history(hostpulse: Hostpulse, command: str) -> None:
    hostpulse.write([sample("cpu", NOW, load_average_1m=1.0)])
    size = hostpulse.history.stat().st_size
    hostpulse.history.write_bytes(b"nonsense" * (size // 8))
    line = last_line(hostpulse.run(*ARGUMENTS[command]))
    assert line.startswith(f"{hostpulse.history} cannot be used (file is not a database); it is damaged: move it away")


def test_a_history_that_is_damaged_behind_its_first_page(hostpulse: Hostpulse) -> None:
    hostpulse.write([sample("cpu", NOW + number, load_average_1m=1.0) for number in range(1000)])
    with hostpulse.history.open("r+b") as file:
        file.seek(4096)
        file.write(b"nonsense" * ((hostpulse.history.stat().st_size - 4096) // 8))
    line = last_line(hostpulse.run("export", "cpu", "--since", "2020-01-01"))
    assert line.startswith(f"{hostpulse.history} cannot be used (database disk image is malformed); it is damaged:")


@pytest.mark.parametrize("command", list(ARGUMENTS))
def test_the_history_of_another_program(hostpulse: Hostpulse, command: str) -> None:
    hostpulse.data.mkdir(parents=True)
    connection = sqlite3.connect(hostpulse.history)
    connection.execute("CREATE TABLE bookmarks (x)")
    connection.close()
    line = last_line(hostpulse.run(*ARGUMENTS[command]))
    assert line == f"{hostpulse.history} is a database of another program; set data_dir to another directory"


# What is imported before the rights go: Python itself may lie where nobody else can read it.
WITHOUT_RIGHTS = f"""
import io, os, sys
from hostpulse.cli import check, export, history, main, up
from hostpulse.consumer import __main__ as consumer
os.setgroups([]) if os.geteuid() == 0 else None
os.setgid({NOBODY}) if os.geteuid() == 0 else None
os.setuid({NOBODY}) if os.geteuid() == 0 else None
sys.exit(consumer.main() if sys.argv[1] == "consume" else main.main(sys.argv[1:]))
"""


@pytest.fixture
def open_home() -> Iterator[Path]:
    """A directory that other users can enter; pytest's own is closed to them."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory
        for path in (directory, *directory.rglob("*")):
            path.chmod(0o755)


@pytest.mark.parametrize("command", list(ARGUMENTS))
def test_a_data_directory_without_rights(open_home: Path, command: str) -> None:
    hostpulse = Hostpulse(open_home, 1)
    hostpulse.write([sample("cpu", NOW, load_average_1m=1.0)])
    hostpulse.data.chmod(0)
    options = ConsumerOptions(
        host="web-1",
        mqtt=MqttOptions(host="127.0.0.1", port=1, client_id="x"),
        data_dir=str(hostpulse.data),
        retention_seconds=1e6,
        rollup_retention_seconds=1e6,
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", WITHOUT_RIGHTS, *ARGUMENTS[command]],
        env=hostpulse.environment,
        input=msgspec.json.encode(options).decode() if command == "consume" else "",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    line = last_line(done)
    assert str(hostpulse.data) in line
    assert "Permission denied" in line or "unable to open" in line
    assert "data_dir" in line


# A full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB, where we may make one."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("command", ["up", "consume"])
def test_a_full_disk_at_the_start(hostpulse: Hostpulse, small_disk: Path, command: str) -> None:
    (small_disk / "filler").write_bytes(b"x" * (2 * 1024 * 1024 - 16384))
    line = last_line(hostpulse.run(*ARGUMENTS[command], "--data-dir", small_disk / "data"))
    assert "full" in line or "No space left" in line, line


def test_a_disk_that_fills_and_is_emptied(
    hostpulse: Hostpulse, small_disk: Path, make_broker: Callable[..., Broker]
) -> None:
    broker = make_broker("mosquitto")
    at = ("--broker", "127.0.0.1", "--set", f"mqtt.port={broker.port}")
    hostpulse.data = small_disk
    consumer = hostpulse.start("consume", *at, "--data-dir", small_disk)
    consumer.says("connected to broker")
    publisher = hostpulse.start("publish", "--interval", "0.5", *at)
    eventually(lambda: hostpulse.count() >= 2, what=lambda: consumer.output)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
    consumer.says("is full")
    before = hostpulse.count()
    eventually(lambda: hostpulse.count() >= before)
    filler.unlink()
    consumer.says("stored again")
    eventually(lambda: hostpulse.count() > before + 2, what=lambda: consumer.output)
    assert publisher.end() == 0
    eventually(lambda: consumer.end() == 0)
    assert len([line for line in consumer.output.splitlines() if "cannot be stored" in line]) == 1, consumer.output
    assert "Traceback" not in consumer.output
    hostpulse.assert_nothing_is_missing()


def test_a_limit_on_the_size_of_files(hostpulse: Hostpulse) -> None:
    """Where nothing may be mounted: SQLite cannot write its file."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (32_768, 32_768))  # the settings fit, in memory; a database does not

    line = last_line(hostpulse.run(*ARGUMENTS["consume"], preexec_fn=limit))
    assert str(hostpulse.history) in line


# Output


def test_a_full_standard_output(hostpulse: Hostpulse) -> None:
    hostpulse.write([sample("cpu", NOW + number, load_average_1m=1.0) for number in range(2000)])
    with Path("/dev/full").open("w") as full:
        done = hostpulse.run("export", "cpu", "--since", "2020-01-01", stdout=full, stderr=subprocess.PIPE,
                             capture_output=False)  # fmt: skip
    assert done.stderr.splitlines() == ["hostpulse: standard output: No space left on device"]
    assert done.returncode == 1


@pytest.mark.parametrize("arguments", [["export", "cpu", "--since", "2020-01-01"], ["schema"], ["export", "list"]])
def test_a_reader_that_has_enough(hostpulse: Hostpulse, arguments: list[str]) -> None:
    hostpulse.write([sample("cpu", NOW + number, load_average_1m=1.0) for number in range(20_000)])
    reading, writing = os.pipe()
    running = hostpulse.start(*arguments, stdout=writing)
    os.close(writing)
    first = os.read(reading, 1)
    os.close(reading)
    assert first
    assert running.process.wait(SECONDS) in {0, -signal.SIGPIPE}
    assert running.output == ""


def test_ctrl_c_in_export(hostpulse: Hostpulse, tmp_path: Path) -> None:
    hostpulse.write([sample("cpu", NOW + number, load_average_1m=1.0) for number in range(20_000)])
    reading, writing = os.pipe()  # full after 64 KiB, so it cannot end by itself
    running = hostpulse.start("export", "cpu", "--since", "2020-01-01", stdout=writing)
    os.close(writing)
    assert os.read(reading, 1)
    assert running.end(signal.SIGINT) == 130
    os.close(reading)
    assert running.output == ""
    # And into a file: nothing of it stays.
    os.mkfifo(tmp_path / "pipe")
    running = hostpulse.start("export", "cpu", "--since", "2020-01-01", "-o", tmp_path / "pipe")
    with (tmp_path / "pipe").open("rb") as file:
        assert file.read(1)
        assert running.end(signal.SIGINT) == 130


@pytest.mark.parametrize(
    ("place", "reason"),
    [("missing/file.csv", "No such file or directory"), (".", "it is a directory; name a file")],
)
def test_an_output_that_cannot_be_written(hostpulse: Hostpulse, tmp_path: Path, place: str, reason: str) -> None:
    hostpulse.write([sample("cpu", NOW, load_average_1m=1.0)])
    path = tmp_path / place
    assert_line(hostpulse.run("export", "cpu", "-o", path), 1, f"cannot write {path}: {reason}")
