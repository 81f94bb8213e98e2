"""`hostpulse rules`: check, list, test and replay."""

import uuid
from pathlib import Path

import pytest

from hostpulse.bus.codec import Sample
from hostpulse.bus.messages import DiskMount
from hostpulse.consumer.storage.influxdb import open_writer

from ..influxdb import InfluxServer
from .support import Hostpulse, sample

BEGIN = 1_780_000_200_000  # 2026-05-28T20:30:00Z
RANGE = ("--since", "2026-05-28T20:00:00Z", "--until", "2026-05-28T22:00:00Z")
SHIPPED = sorted((Path(__file__).parent.parent / "alerts").glob("*.toml"))


def test_check_of_the_default_rules(hostpulse: Hostpulse) -> None:
    done = hostpulse.run("rules", "check")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "hostpulse: 27 rules are right, the default rules alone\n"


def test_check_names_every_mistake(hostpulse: Hostpulse, tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('[rule.disk_full]\nwarnign = 5\n[rule.own]\nmetric = "cpu.x"\n')
    setting = ["--set", f"alerts.rules={mine}"]
    for arguments in (["check", mine], ["check", *setting], ["list", *setting]):
        done = hostpulse.run("rules", *arguments)
        assert done.returncode == 2
        assert done.stderr.splitlines() == [
            f"hostpulse: {mine}: rule.disk_full has no key 'warnign'; did you mean warning?",
            f"hostpulse: {mine}: rule.own.metric names 'cpu.x', which does not exist",
        ]


def test_a_file_that_cannot_be_read(hostpulse: Hostpulse, tmp_path: Path) -> None:
    done = hostpulse.run("rules", "list", "--set", "alerts.rules=/nowhere/rules.toml")
    assert done.returncode == 2
    assert done.stderr == "hostpulse: alerts.rules: /nowhere/rules.toml cannot be read: No such file or directory\n"
    (tmp_path / "latin.toml").write_bytes(b"# a\n# \xe4\n")
    done = hostpulse.run("rules", "check", tmp_path / "latin.toml")
    assert (done.returncode, done.stderr) == (2, f"hostpulse: {tmp_path}/latin.toml, line 2: not UTF-8 text\n")


def test_check_of_everything_looks_at_the_rules(hostpulse: Hostpulse, tmp_path: Path) -> None:
    assert "ok   rules      27 in effect, the default ones\n" in hostpulse.run("check").stdout
    mine = tmp_path / "mine.toml"
    mine.write_text("[rule.disk_full]\nwindow = '5m'\n")
    done = hostpulse.run("check", "--set", f"alerts.rules={mine}")
    text = f"{mine}: rule.disk_full.window has no effect on the last value; set reduce, to mean for example"
    assert f"FAIL rules      {text}\n" in done.stdout
    assert done.returncode == 1


def test_list_shows_what_is_in_effect(hostpulse: Hostpulse, tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text("[rule.disk_full.warning]\nabove = 93\n")
    done = hostpulse.run("rules", "list", "--set", f"alerts.rules={mine}")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("disk_full ")]
    assert line.split("  ")[-1].strip() == f"config/alerts.toml and {mine}"
    assert "above 93 for 5m" in line


def test_the_shipped_tests(hostpulse: Hostpulse) -> None:
    done = hostpulse.run("rules", "test", *SHIPPED)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("ok   ") == len(done.stdout.splitlines()) > 30
    assert done.stderr.endswith("tests are right\n")


def test_a_test_that_fails_and_rules_beside_it(hostpulse: Hostpulse, tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text("[rule.cpu_hot.warning]\nabove = 70\nclear = 60\n")
    case = tmp_path / "test.toml"
    case.write_text(
        """
        rules = "rules.toml"
        [[test]]
        name = "warmer"
        series."h1 cpu.temperature_celsius" = "75x40"
        expect = "6m h1 cpu_hot warning fired told"
        """
    )
    done = hostpulse.run("rules", "test", case)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"FAIL {case}: warmer",
        "     - 6m h1 cpu_hot warning fired told",
        "     + 5m h1 cpu_hot warning fired told",
    ]
    case.write_text(case.read_text().replace("6m", "5m"))
    assert hostpulse.run("rules", "test", case).returncode == 0
    (tmp_path / "rules.toml").unlink()
    done = hostpulse.run("rules", "test", case)
    assert done.returncode == 2
    assert done.stderr == f"hostpulse: {case}: {tmp_path}/rules.toml cannot be read: No such file or directory\n"


def history() -> list[Sample]:
    """Half an hour in which a file system is full for ten minutes; then the host falls silent."""
    samples = [
        sample("cpu", BEGIN + second * 1000, sequence=second + 1, load_average_1m=1.0) for second in range(0, 1800, 2)
    ]
    for second in range(0, 1800, 30):
        used = 92.0 if 600 <= second < 1200 else 70.0
        mount = DiskMount(used_percent=used, state="ok", available_bytes=1 << 30)
        samples.append(sample("disk", BEGIN + second * 1000, sequence=second + 1, mount={"/": mount}))
    return samples


EXPECTED = [
    "2026-05-28 20:45:00  warning   fired         web-1/disk_full/mount=/  / of web-1 is 92 % full, 1.0 GiB are left",
    "2026-05-28 20:51:00  ok        resolved      web-1/disk_full/mount=/  / of web-1 is 70 % full, 1.0 GiB are left",
    "2026-05-28 21:02:00  critical  fired         web-1/host_silent  web-1 has said nothing for 2m 2s",
]


def test_replay_of_the_embedded_store(hostpulse: Hostpulse) -> None:
    hostpulse.write(history())
    done = hostpulse.run("rules", "replay", *RANGE)
    assert (done.returncode, done.stdout.splitlines()) == (0, EXPECTED)
    assert done.stderr == "hostpulse: 3 would have been told since 2026-05-28T20:00:00Z: 2 disk_full, 1 host_silent\n"
    done = hostpulse.run("rules", "replay", *RANGE, "--rule", "host_silent", "--all")
    assert done.stdout.splitlines() == EXPECTED[2:]


def test_replay_of_influxdb(hostpulse: Hostpulse, influx_server: InfluxServer) -> None:
    options = influx_server.options(f"rules-{uuid.uuid4()}")
    try:
        with open_writer(options, retention=None, rollup_retention=None) as writer:
            writer.write(history())
        hostpulse.environment |= {
            "HOSTPULSE_STORE__KIND": "influxdb",
            "HOSTPULSE_INFLUXDB__URL": options.url,
            "HOSTPULSE_INFLUXDB__TOKEN": options.token,
            "HOSTPULSE_INFLUXDB__ORG": options.org,
            "HOSTPULSE_INFLUXDB__BUCKET": options.bucket,
        }
        done = hostpulse.run("rules", "replay", *RANGE)
        assert (done.returncode, done.stdout.splitlines()) == (0, EXPECTED), done.stderr
    finally:
        influx_server.forget(options)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["replay", "--rule", "disk_ful"], 2, "--rule disk_ful: there is no such rule; did you mean disk_full?"),
        (["replay", "--since", "soon"], 2, ("--since 'soon' is not a time; write an age (15m, 2h, 7d), a date or "
         "RFC 3339 (2026-03-14T09:26:53Z)")),
        (["test"], 2, "the following arguments are required: FILE; see hostpulse rules test --help"),
    ],
)  # fmt: skip
def test_wrong_use(hostpulse: Hostpulse, arguments: list[str], code: int, text: str) -> None:
    done = hostpulse.run("rules", *arguments)
    assert (done.returncode, done.stderr) == (code, f"hostpulse: {text}\n")
