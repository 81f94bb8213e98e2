"""`hostpulse alerts list`, `ack`, `silence`, `lift` and `forget` beside a consumer that runs, and without one."""

import json
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostpulse.bus.messages import DiskMount
from hostpulse.consumer.alerting.journal import JOURNAL_FILE, Journal, NoJournalError
from hostpulse.consumer.alerts import Transition

from ..alerting.support import message
from ..brokers import Broker
from ..bus.clients import Feeder
from .heat import Sinks
from .support import Hostpulse, Running, eventually

NOBODY = 65534
RULES = """
[rule.disk_full]
for = "0s"
recover = "0s"
repeat = "1s"
inhibited_by = []
summary = "{mount} of {host} is {value} full"
[rule.host_silent]
enabled = false
[rule.clock_skew]
enabled = false
"""
ROOT_FULL = "web-1/disk_full/mount=/"
DATA_FULL = "web-1/disk_full/mount=/data"


class Watched:
    """A consumer with every role, and hosts that say how full their disks are.

    Args:
        hostpulse: the command.
        broker: that runs.
    """

    def __init__(self, hostpulse: Hostpulse, broker: Broker) -> None:
        self.hostpulse = hostpulse
        self._broker = broker
        self._rules = hostpulse.home / "rules.toml"
        self._rules.write_text(RULES)
        self._feeder = Feeder(broker.options("hosts"))
        self._start = round(time.time(), 3)
        self._sequence = 0
        self.consumer = self.consume()
        # Until the alerts have a session at the broker, what is said is lost.
        first = "first/disk_full/mount=/"
        eventually(lambda: self.says(root=95, host="first") or self._has(first), what=lambda: self.consumer.output)
        self.says(root=50, host="first")
        eventually(lambda: self.kinds(first)[-1:] == ["resolved"], what=lambda: self.consumer.output)

    def consume(self) -> Running:
        at = ("--broker", "127.0.0.1", "--set", f"mqtt.port={self._broker.port}")
        self.consumer = self.hostpulse.start("consume", "--set", f"alerts.rules={self._rules}", *at)
        return self.consumer

    def says(self, *, host: str = "web-1", **percent: float) -> None:
        """Have a host say how full some disks are: `root=95` is `/`, `data=95` is `/data`."""
        mounts = {"/" if name == "root" else f"/{name}": value for name, value in percent.items()}
        self.says_of(mounts, host=host)

    def says_of(self, mounts: dict[str, float], *, host: str = "web-1") -> None:
        self._sequence += 1
        topic, payload = message(
            "disk",
            time.time() - self._start,
            host=host,
            start=self._start,
            sequence=self._sequence,
            interval=600.0,
            mount={mount: DiskMount(used_percent=value) for mount, value in mounts.items()},
        )
        self._feeder.send([payload], topic=topic)

    def _has(self, instance: str) -> bool:
        time.sleep(0.2)
        try:
            return bool(self.happened(instance))
        except NoJournalError:
            return False

    def happened(self, instance: str = ROOT_FULL) -> list[Transition]:
        """Return what happened to an alert, oldest first."""
        with Journal(self.hostpulse.data / JOURNAL_FILE).open() as journal:
            found = [entry.transition for entry in journal.entries(0, 10_000)]
        return [transition for transition in found if transition.instance == instance]

    def kinds(self, instance: str = ROOT_FULL) -> list[str]:
        """Return what happened to an alert, `repeated` several times in a row once."""
        kinds = [str(transition.kind) for transition in self.happened(instance)]
        return [kind for kind, before in zip(kinds, ["", *kinds], strict=False) if (kind, before) != ("repeated",) * 2]

    def wait_for(self, *kinds: str, instance: str = ROOT_FULL) -> None:
        eventually(lambda: self.kinds(instance) == [*kinds], what=lambda: (self.kinds(instance), self.consumer.output))

    def wait_for_repeats(self, instance: str, count: int) -> None:
        """Wait until an alert was told that often more."""
        before = len(self.happened(instance))
        eventually(lambda: len(self.happened(instance)) >= before + count, what=lambda: self.consumer.output)

    def alerts(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = self.hostpulse.run("alerts", *arguments)
        assert done.returncode == code, (done.stdout, done.stderr, self.consumer.output)
        return done

    def listed(self) -> list[str]:
        """Return the lines of `list`, without when."""
        return [
            " ".join([words[0], *words[3:]]) if words[0] != "silence" else line
            for line in self.alerts("list").stdout.splitlines()
            for words in [line.split()]
        ]

    def close(self) -> None:
        self._feeder.close()


@pytest.fixture
def broker_kind() -> str:
    """The commands never see the broker: one kind is enough."""
    return "mosquitto"


@pytest.fixture
def watched(hostpulse: Hostpulse, broker: Broker) -> Iterator[Watched]:
    made = Watched(hostpulse, broker)
    yield made
    made.close()


def test_list(watched: Watched) -> None:
    assert watched.alerts("list").stderr == "hostpulse: no alert is not ok\n"
    watched.says(root=95, data=98)
    watched.wait_for("fired", "repeated")
    done = watched.alerts("list")
    assert done.stderr == "hostpulse: 2 alerts are not ok\n"
    assert [line.split(maxsplit=4)[::4] for line in done.stdout.splitlines()] == [
        ["warning", "/ of web-1 is 95 % full"],
        ["critical", "/data of web-1 is 98 % full"],
    ]
    alerts = [json.loads(line) for line in watched.alerts("list", "--json").stdout.splitlines()]
    assert [(alert["labels"], alert["level"], alert["value"]) for alert in alerts] == [
        ({"mount": "/"}, "warning", 95.0),
        ({"mount": "/data"}, "critical", 98.0),
    ]


def test_who_acknowledges_hears_no_more_until_it_gets_worse(watched: Watched) -> None:
    watched.says(root=95, data=95)
    watched.wait_for("fired", "repeated")
    done = watched.alerts("ack", ROOT_FULL, "--comment", "I\x1b clean up")
    assert done.stdout == f"{ROOT_FULL}\n"
    assert done.stderr == "hostpulse: 1 alert is acknowledged: no repeats until it gets worse or ends\n"
    watched.wait_for("fired", "repeated", "acknowledged")
    assert watched.happened()[-1].why.endswith(": I\x1b clean up")
    watched.wait_for_repeats(DATA_FULL, 3)
    assert watched.kinds() == ["fired", "repeated", "acknowledged"]
    assert "warning web-1/disk_full/mount=/ / of web-1 is 95 % full (acknowledged)" in watched.listed()
    watched.says(root=98)
    watched.wait_for("fired", "repeated", "acknowledged", "escalated", "repeated")
    # A pattern is about all that it fits.
    assert watched.alerts("ack", "web-1/*").stdout.splitlines() == [ROOT_FULL, DATA_FULL]
    watched.says(root=50, data=50)
    watched.wait_for("fired", "repeated", "acknowledged", "escalated", "repeated", "acknowledged", "resolved")
    assert watched.alerts("list").stdout == ""


def test_what_a_silence_has_kept_quiet_is_told_at_its_end(watched: Watched) -> None:
    done = watched.alerts("silence", "--for", "15s", "--host", "web-*", "--rule", "disk_*", "--comment", "cleaning up")
    silence = done.stdout.strip()
    assert done.stderr == f"hostpulse: quiet for 15s; `hostpulse alerts lift {silence}` ends it before\n"
    watched.says(root=95, data=95)
    watched.says(data=50)
    watched.wait_for("fired", "resolved", instance=DATA_FULL)
    assert not any(transition.told for transition in watched.happened(DATA_FULL))
    eventually(lambda: "announced" in watched.kinds(), what=lambda: watched.consumer.output)
    quiet, told = watched.happened()[:2]
    assert (quiet.told, quiet.why.startswith("silenced: "), quiet.why.endswith("cleaning up")) == (False, True, True)
    assert (str(told.kind), told.told) == ("announced", True)
    assert watched.kinds(DATA_FULL) == ["fired", "resolved"]
    assert not any(line.startswith("silence") for line in watched.listed())


def test_a_silence_that_is_lifted(watched: Watched) -> None:
    silence = watched.alerts("silence", "--for", "1h", "--label", "mount=/", "--comment", "why\x1bnot").stdout.strip()
    watched.says(root=95, data=95)
    watched.wait_for("fired")
    watched.wait_for_repeats(DATA_FULL, 2)
    assert watched.kinds() == ["fired"]
    lines = watched.listed()
    assert any(line.startswith(f"warning {ROOT_FULL} ") and "(silenced: " in line for line in lines)
    (line,) = (line for line in lines if line.startswith("silence"))
    assert line.startswith(f"silence {silence} until 20")
    assert ": mount /" in line
    assert line.endswith(": why�not)")
    done = watched.alerts("lift", silence)
    assert done.stderr == f"hostpulse: the silence {silence} has ended; what fires and was not told is told now\n"
    eventually(lambda: "announced" in watched.kinds(), what=lambda: watched.consumer.output)
    done = watched.alerts("lift", silence, code=1)
    assert done.stderr == (
        f"hostpulse: there is no silence '{silence}'; `hostpulse alerts list` shows those there are\n"
    )


def test_a_host_that_is_forgotten(watched: Watched) -> None:
    watched.says(root=95)
    watched.says(root=95, host="db-1")
    watched.wait_for("fired", "repeated")
    watched.wait_for("fired", "repeated", instance="db-1/disk_full/mount=/")
    done = watched.alerts("forget", "db-1")
    assert (done.stdout, done.stderr) == (
        "",
        "hostpulse: db-1 is forgotten; should it send again, it is a new host\n",
    )
    assert [line.split()[1] for line in watched.listed()] == [ROOT_FULL]
    assert "resolved" not in watched.kinds("db-1/disk_full/mount=/")
    assert watched.alerts("forget", "db-1", code=1).stderr == "hostpulse: no host 'db-1' is known\n"


def test_what_is_not_there(watched: Watched) -> None:
    watched.says(root=95, data=95)
    watched.wait_for("fired", "repeated")
    for arguments, text in (
        (("ack", "web-1/disk_ful"), f"no alert that is firing is 'web-1/disk_ful'; did you mean {ROOT_FULL}?"),
        (("ack", ROOT_FULL, "db-*"), "no alert that is firing is 'db-*'; there are"),
        (("lift", "1234"), "there is no silence '1234'; `hostpulse alerts list` shows those there are"),
        (("silence", "--for", "1h", "--rule", "disk_ful"), "no rule is 'disk_ful'; did you mean disk_full?"),
        (("silence", "--for", "1h", "--label", "mnt=/"), "no alert has a label 'mnt'; did you mean mount?"),
    ):  # fmt: skip
        (line,) = watched.alerts(*arguments, code=1).stderr.splitlines()
        assert line.startswith(f"hostpulse: {text}")
    assert "acknowledged" not in watched.kinds()  # all or nothing
    assert not any(line.startswith("silence") for line in watched.listed())


def test_names_from_the_bus_cannot_steer_a_terminal(watched: Watched) -> None:
    watched.says_of({"/\x1b[2J\u202e": 95.0}, host="web\x1b]0;-2\x07")
    eventually(watched.listed, what=lambda: watched.consumer.output)
    done = watched.alerts("list")
    assert done.stdout.replace("\n", "").isprintable()
    assert "web�]0;-2�/disk_full/mount=/�[2J�" in done.stdout
    done = watched.alerts("ack", "web?]0;-2?/*")  # what cannot be typed
    assert done.stdout == "web�]0;-2�/disk_full/mount=/�[2J�\n"
    done = watched.alerts("ack", "web\x1b", code=1)
    assert done.stderr.replace("\n", "").isprintable()
    assert "\x1b]0" not in watched.consumer.output


def test_a_consumer_without_a_broker_answers(watched: Watched, broker: Broker) -> None:
    watched.says(root=95)
    watched.wait_for("fired", "repeated")
    broker.kill()
    watched.alerts("ack", ROOT_FULL)
    watched.wait_for("fired", "repeated", "acknowledged")


def test_a_silence_outlives_a_kill(watched: Watched) -> None:
    silence = watched.alerts("silence", "--for", "1h", "--all").stdout.strip()
    watched.consumer.end(signal.SIGKILL)
    watched.consume()
    watched.says(root=95)
    watched.wait_for("fired")
    assert watched.happened()[0].why.startswith("silenced")
    assert any(line.startswith(f"silence {silence} ") and ": everything (" in line for line in watched.listed())


def test_without_a_consumer(watched: Watched) -> None:
    watched.says(root=95)
    watched.wait_for("fired", "repeated")
    watched.consumer.end()
    nobody = (
        f"no consumer evaluates the alerts of {watched.hostpulse.data} now; start `hostpulse up` or "
        "`hostpulse consume`, or name the data_dir of one that runs"
    )
    done = watched.alerts("list")
    assert f"{ROOT_FULL}  / of web-1 is 95 % full" in done.stdout
    first, second = done.stderr.splitlines()
    assert first.startswith("hostpulse: 1 alert is not ok, as of ")
    assert second == f"hostpulse: warning: {nobody}"
    for arguments in (("ack", ROOT_FULL), ("silence", "--for", "1h", "--all"), ("lift", "x"), ("forget", "web-1")):
        done = watched.alerts(*arguments, code=1)
        assert (done.stdout, done.stderr) == ("", f"hostpulse: {nobody}\n")
    watched.consume()
    watched.wait_for_repeats(ROOT_FULL, 1)
    assert "acknowledged" not in watched.kinds()  # nothing that was refused is done later


def test_beside_up(hostpulse: Hostpulse) -> None:
    rules = hostpulse.home / "rules.toml"
    rules.write_text('[rule.busy]\nmetric = "memory.used_percent"\nwarning = { above = 0 }\nsummary = "in use"\n')
    running = hostpulse.start("up", "--set", f"alerts.rules={rules}")
    running.says("in use")
    eventually(lambda: "web-1/busy" in hostpulse.run("alerts", "list").stdout, what=lambda: running.output)
    assert hostpulse.run("alerts", "ack", "web-1/busy").stdout == "web-1/busy\n"
    eventually(lambda: "acknowledged" in hostpulse.run("alerts", "history", "--all").stdout)


def test_a_test_goes_through_every_route(hostpulse: Hostpulse) -> None:
    sinks = Sinks()
    settings = hostpulse.home / "settings.toml"
    settings.touch(mode=0o600)
    settings.write_text(
        f'[alerts.notify.hook]\nwebhook = "{sinks.url}"\nlevel = "critical"\n'
        f'[alerts.notify.mail]\napprise = ["{sinks.mail_url}"]\nrules = ["disk_full"]\n'
    )
    try:
        done = hostpulse.run("alerts", "test", "--config", settings)
        assert (done.returncode, done.stdout, done.stderr) == (0, "ok   hook\nok   mail\n", "")
        (mail,), (request,) = sinks.mails, sinks.taken
        assert "a test of the route mail, sent by somebody on web-1; nothing is wrong" in str(mail["subject"])
        assert request.document["alerts"][0]["rule"] == "notification_test"
        with sinks.away():
            done = hostpulse.run("alerts", "test", "mail", "--config", settings)
        assert (done.returncode, done.stderr) == (1, "")
        assert done.stdout.startswith("FAIL mail: ")
        done = hostpulse.run("alerts", "test", "mial", "--config", settings)
        assert (done.returncode, done.stderr) == (2, "hostpulse: there is no route 'mial'; did you mean mail?\n")
    finally:
        sinks.close()


REQUESTS = (
    ["list"],
    ["ack", "web-1/disk_full"],
    ["silence", "--for", "1h", "--all"],
    ["lift", "x"],
    ["forget", "web-1"],
)


@pytest.mark.parametrize("arguments", REQUESTS, ids=" ".join)
def test_without_a_journal(hostpulse: Hostpulse, arguments: list[str]) -> None:
    done = hostpulse.run("alerts", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"hostpulse: there is no {hostpulse.data / JOURNAL_FILE}: no consumer has evaluated alerts with this data_dir; "
        "start one with `hostpulse up` or `hostpulse consume`\n"
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["ack"], "the following arguments are required: INSTANCE; see hostpulse alerts ack --help"),
        (["silence", "--all"], "the following arguments are required: --for; see hostpulse alerts silence --help"),
        (["silence", "--for", "1h"], "what is to be quiet? give --host, --rule or --label, or --all for everything"),
        (["silence", "--for", "1h", "--all", "--rule", "x"],
         "--all is for everything; leave it out beside --host, --rule or --label"),
        (["silence", "--for", "long", "--all"],
         "--for 'long' is not a duration; write for example 90s, 15m, 2h, 7d"),
        (["silence", "--for", "0s", "--all"], "--for 0s is no time at all; write for example 30m, 2h, 7d"),
        (["silence", "--for", "1h", "--label", "/srv"],
         "--label /srv: write NAME=VALUE, for example --label mount=/srv"),
        (["silence", "--for", "1h", *(["--host", "x"] * 65)],
         "--host may be given 64 times; use patterns with *, or several silences"),
        (["lift"], "the following arguments are required: ID; see hostpulse alerts lift --help"),
        (["forget"], "the following arguments are required: HOST; see hostpulse alerts forget --help"),
        (["list", "--jason"], "there is no option '--jason'; see hostpulse alerts --help"),
    ],
)  # fmt: skip
def test_wrong_use(hostpulse: Hostpulse, arguments: list[str], text: str) -> None:
    done = hostpulse.run("alerts", *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"hostpulse: {text}\n")


# Everything is imported before, for the account cannot read our checkout.
AS_NOBODY = f"""
import os, sys
import hostpulse.cli.main, hostpulse.cli.alerts
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(*3 * ({NOBODY},))
    os.setresuid(*3 * ({NOBODY},))
sys.exit(hostpulse.cli.main.main(sys.argv[1:]))
"""


@pytest.fixture
def others_journal() -> Iterator[Path]:
    """A data_dir of another account, in a place that everybody can reach."""
    with tempfile.TemporaryDirectory(prefix="hostpulse-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        Journal(directory / JOURNAL_FILE).create(time.time()).close()
        yield directory
        directory.chmod(0o755)


@pytest.mark.parametrize("mode", [0o000, 0o555], ids=["which others cannot enter", "which others can read"])
@pytest.mark.parametrize("arguments", [REQUESTS[0], REQUESTS[2]], ids=" ".join)
def test_the_journal_of_another_account(
    hostpulse: Hostpulse, others_journal: Path, mode: int, arguments: list[str]
) -> None:
    others_journal.chmod(mode)
    for file in others_journal.iterdir() if mode else ():
        file.chmod(stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH)
    done = subprocess.run(
        [sys.executable, "-P", "-c", AS_NOBODY, "alerts", *arguments],
        env=hostpulse.environment | {"HOSTPULSE_DATA_DIR": str(others_journal), "HOME": "/"},
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"hostpulse: {others_journal / JOURNAL_FILE} cannot be read or written (")
    assert f"give this user read and write access to {others_journal}" in line
