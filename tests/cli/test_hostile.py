"""What strangers put into the history and the dead letters, shown: no command fails of it, and no terminal obeys it."""

import re
import sys

import pytest
from rich.console import Console

from hostpulse.bus.errors import MalformedError
from hostpulse.bus.fields import MAXIMUM_ENTRIES
from hostpulse.bus.messages import (
    Battery,
    Consumer,
    ConsumerMember,
    Disk,
    DiskMount,
    Sensors,
    SensorsTemperature,
    System,
)
from hostpulse.cli.chart import chart
from hostpulse.cli.lines import LatestFields, line_of
from hostpulse.cli.view import View
from hostpulse.consumer.dead_letter import DEAD_LETTER_FILE, DeadLetter, DeadLetterFile

from .support import Hostpulse, sample
from .test_export import ALL, NOW, on_terminal

EVIL = "=1\x1b]0;owned\x07\x1b[2J\x9b2J\u202e\u2028\x00\r\n{0}[red]x"
STEERS = re.compile("\x1b\\]|\x1b\\[2J|\x9b|\x07|\u202e|\u2028|\x00")
HUGE = 1.7e308


@pytest.fixture
def evil(hostpulse: Hostpulse) -> Hostpulse:
    """A history of nothing but hostile names and numbers, and dead letters of such topics."""
    hostpulse.write(
        [
            sample("disk", NOW, host=EVIL, mount={EVIL: DiskMount(used_percent=HUGE, file_system=EVIL)}),
            sample("disk", NOW + 1000, host=EVIL, mount={EVIL: DiskMount(used_percent=-HUGE, file_system=EVIL)}),
            sample("disk", NOW + 1001, host=EVIL, mount={EVIL: DiskMount(used_percent=HUGE, file_system="")}),
            sample("disk", NOW + 1002, host=EVIL, mount={EVIL: DiskMount(used_percent=HUGE)}),
            sample("system", NOW, host=EVIL, uptime_seconds=HUGE, platform=EVIL, processes=2**63 - 1),
            sample("event", NOW, host=EVIL, rule=EVIL, labels=EVIL, level=EVIL, kind=EVIL, summary=EVIL, told=True),
            sample("event", NOW + 1, host=EVIL, why=EVIL, value=HUGE),
        ]
    )
    letters = DeadLetterFile(hostpulse.data / DEAD_LETTER_FILE)
    letters.keep([DeadLetter(f"hostpulse/{EVIL}/cpu".encode(), EVIL.encode(), MalformedError(EVIL), EVIL.encode())])
    return hostpulse


UNTIL = ("--since", "2026-05-28T20:26:00Z", "--until", "2026-05-28T20:28:00Z")
USED = "disk_mount.used_percent"
SHOWN = [
    *(("history", USED, "--format", form, *UNTIL) for form in ("table", "plot")),
    *(("history", USED, "--every", every, "--format", "plot", *UNTIL) for every in ("raw", "5s", "1m")),
    *(("history", f"system.{name}", "--every", "raw", *UNTIL) for name in ("platform", "uptime_seconds", "processes")),
    ("alerts", "history", "--all", *UNTIL),
    ("history", "event.summary", "--format", "table", *UNTIL),
    ("export", "event", *ALL),
    ("export", "disk_mount", *ALL),
    ("export", "system", *ALL, "--format", "jsonl"),
    ("deadletter", "list"),
    ("deadletter", "list", "--json"),
]


@pytest.mark.parametrize("command", SHOWN, ids=lambda command: " ".join(command[:5]))
def test_no_command_fails_of_it_and_no_terminal_obeys_it(evil: Hostpulse, command: tuple[str, ...]) -> None:
    shown, _ = on_terminal(evil, ["stdout", "stderr"], *command)
    assert "Traceback" not in shown
    assert not STEERS.search(shown), shown
    assert shown.strip()
    done = evil.run(*command)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


def test_what_is_not_there_is_named_harmlessly(evil: Hostpulse) -> None:
    done = evil.run("history", "cpu.user_percent", "--host", "\x1b[2J", *UNTIL)
    assert not STEERS.search(done.stderr), done.stderr


@pytest.mark.parametrize(
    ("subsystem", "fields"),
    [
        ("disk", Disk(mount={"/media/{x}{0}{": DiskMount(used_percent=1.0)})),
        ("sensors", Sensors(temperature={"{}": SensorsTemperature(temperature_celsius=HUGE)})),
        ("battery", Battery(remaining_seconds=2**63 - 1)),
        ("system", System(uptime_seconds=HUGE, platform=EVIL)),
        ("consumer", Consumer(member={EVIL: ConsumerMember(stored_rows=2**63 - 1, firing_alerts=1)})),
    ],
)
def test_a_line_of_up_says_any_name_and_any_number(subsystem: str, fields: Disk) -> None:
    latest = LatestFields()
    latest.add(fields)
    line = line_of(subsystem, latest.values)
    assert line
    assert not STEERS.search(line)
    assert "\n" not in line


def test_up_says_once_what_happens_to_an_alert(capsys: pytest.CaptureFixture[str]) -> None:
    view = View(console=Console(file=sys.stdout, width=200))
    view.report(f"consumer: INFO alerts: critical fired: / is full {EVIL}")
    view.show(sample("event", NOW, kind="fired", level="critical", summary=f"/ is full {EVIL}", told=True))
    view.refresh()
    shown = capsys.readouterr().out
    assert shown.startswith("alerts     critical fired: / is full =1")
    assert shown.count("\n") == 1
    assert not STEERS.search(shown)


def test_a_name_with_braces_is_shown_as_it_is() -> None:
    latest = LatestFields()
    latest.add(Disk(mount={"/media/{x}": DiskMount(used_percent=7.25)}))
    assert line_of("disk", latest.values) == "/media/{x} 7.2 % used"


def test_what_up_remembers_of_a_map_is_bounded() -> None:
    latest = LatestFields()
    for number in range(3):
        latest.add(Disk(mount={f"/{number}-{each}": DiskMount(used_percent=1.0) for each in range(MAXIMUM_ENTRIES)}))
    assert len(latest.values["mount"]) <= MAXIMUM_ENTRIES


def test_a_chart_of_the_largest_numbers() -> None:
    rows = chart([-HUGE, 0, HUGE, float("inf"), float("nan")], height=2, lowest=-HUGE, highest=float("inf"))
    assert rows == ["  ██ ", "▁███ "]


@pytest.mark.parametrize("kind", ["too_old", "too_many_hosts", "too_many_entries", "unstorable"])
def test_every_kind_of_dead_letter_can_be_chosen(evil: Hostpulse, kind: str) -> None:
    done = evil.run("deadletter", "list", "--kind", kind)
    assert done.returncode == 0, done.stderr


def test_the_line_of_a_consumer_has_all_its_roles() -> None:
    latest = LatestFields()
    latest.add(Consumer(missing_messages=3, member={"store": ConsumerMember(memory_bytes=34 << 20, stored_rows=120)}))
    assert line_of("consumer", latest.values) == "34.0 MiB · 120 rows stored · 3 missing"
    latest.add(Consumer(missing_messages=0, member={"alerts": ConsumerMember(memory_bytes=34 << 20, firing_alerts=1)}))
    assert line_of("consumer", latest.values) == "34.0 MiB · 120 rows stored · 1 alert fires"
