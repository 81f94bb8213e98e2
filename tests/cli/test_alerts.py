"""`hostpulse alerts`: what happened to alerts, from either store."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from hostpulse.bus.codec import Sample
from hostpulse.consumer.storage.influxdb import open_writer

from .support import Hostpulse, sample

BEGIN = 1_780_000_200_000  # 2026-05-28T20:30:00Z
RANGE = ("--since", "2026-05-28T20:00:00Z", "--until", "2026-05-28T22:00:00Z")


def event(second: int, host: str = "web-1", **fields: Any) -> Sample:
    """Return a transition of a full file system, unless it is said to be another one."""
    usual = {"rule": "disk_full", "labels": "mount=/", "kind": "fired", "level": "warning", "told": True}
    return sample("event", BEGIN + second * 1000, host=host, sequence=second + 1, **{**usual, **fields})


EVENTS = [
    event(0, summary="/ of web-1 is 92 % full"),
    event(60, kind="escalated", level="critical", summary="/ of web-1 is 98 % full"),
    event(120, kind="eased", told=False, why="better, and not over", summary="/ of web-1 is 93 % full"),
    event(180, kind="resolved", level="ok", summary="/ of web-1 is 70 % full"),
    event(180, "db-1", rule="host_silent", labels="", level="critical", summary="db-1 has said nothing for 1m"),
]
TOLD = [
    "2026-05-28 20:30:00  warning   fired         web-1/disk_full/mount=/  / of web-1 is 92 % full",
    "2026-05-28 20:31:00  critical  escalated     web-1/disk_full/mount=/  / of web-1 is 98 % full",
    "2026-05-28 20:33:00  critical  fired         db-1/host_silent  db-1 has said nothing for 1m",
    "2026-05-28 20:33:00  ok        resolved      web-1/disk_full/mount=/  / of web-1 is 70 % full",
]
EASED = (
    "2026-05-28 20:32:00  warning   eased         web-1/disk_full/mount=/  / of web-1 is 93 % full "
    "(better, and not over)"
)


@pytest.fixture(params=["embedded", "influxdb"])
def filled(request: pytest.FixtureRequest, hostpulse: Hostpulse) -> Iterator[Hostpulse]:
    if request.param == "embedded":
        hostpulse.write(EVENTS)
        yield hostpulse
        return
    server = request.getfixturevalue("influx_server")
    options = server.options(f"alerts-{uuid.uuid4()}")
    try:
        with open_writer(options, retention=None, rollup_retention=None) as writer:
            writer.write(EVENTS)
        hostpulse.environment |= {
            "HOSTPULSE_STORE__KIND": "influxdb",
            "HOSTPULSE_INFLUXDB__URL": options.url,
            "HOSTPULSE_INFLUXDB__TOKEN": options.token,
            "HOSTPULSE_INFLUXDB__ORG": options.org,
            "HOSTPULSE_INFLUXDB__BUCKET": options.bucket,
        }
        yield hostpulse
    finally:
        server.forget(options)


def lines(hostpulse: Hostpulse, *arguments: str) -> list[str]:
    """Return the lines, those of one moment in the order of their text."""
    done = hostpulse.run("alerts", "history", *RANGE, *arguments)
    assert done.returncode == 0, done.stderr
    found = done.stdout.splitlines()
    assert [line[:19] for line in found] == sorted(line[:19] for line in found)
    return sorted(found)


def test_history(filled: Hostpulse) -> None:
    assert lines(filled) == TOLD
    assert lines(filled, "--all") == sorted([*TOLD, EASED])
    assert lines(filled, "--host", "db-1") == [TOLD[2]]
    assert lines(filled, "--rule", "disk_full", "--level", "critical", "--level", "ok") == [TOLD[1], TOLD[3]]
    assert lines(filled, "--host", "web-1", "--rule", "disk_full", "--level", "warning", "--all") == [TOLD[0], EASED]
    done = filled.run("alerts", "history", *RANGE)
    assert done.stderr == "hostpulse: 4 told since 2026-05-28T20:00:00Z: 3 disk_full, 1 host_silent\n"
    done = filled.run("alerts", "history", "--since", RANGE[1], "--until", "2026-05-28T20:30:30Z")
    assert done.stdout.splitlines() == TOLD[:1]


def test_nothing_is_good_news_unless_it_is_a_mistake(filled: Hostpulse) -> None:
    done = filled.run("alerts", "history")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "hostpulse: 0 told since 7d\n")
    done = filled.run("alerts", "history", *RANGE, "--host", "db-1", "--rule", "host_silent", "--level", "ok")
    assert (done.returncode, done.stderr) == (0, "hostpulse: 0 told since 2026-05-28T20:00:00Z\n")
    done = filled.run("alerts", "history", *RANGE, "--host", "db")
    assert (done.returncode, done.stderr) == (1, "hostpulse: no host 'db' in the history; there are db-1, web-1\n")
    done = filled.run("alerts", "history", *RANGE, "--rule", "disk_ful")
    assert done.returncode == 1
    assert done.stderr == ("hostpulse: no alert of rule disk_ful since 2026-05-28T20:00:00Z; did you mean disk_full?\n")


def test_what_comes_from_the_bus_cannot_steer_a_terminal(hostpulse: Hostpulse) -> None:
    nothing = Sample(event(2).envelope, event(2).fields.__class__())
    hostpulse.write([event(0, rule="a\x1b[2J", summary="\x1b]0;gone\x07\nnext"), nothing])
    done = hostpulse.run("alerts", "history", *RANGE, "--all")
    assert done.stdout.replace("\n", "").isprintable()
    assert [line.split()[2:] for line in done.stdout.splitlines()] == [
        ["warning", "fired", "web-1/a�[2J/mount=/", "�]0;gone��next"],
        ["web-1", "(not", "told)"],
    ]
    assert done.stderr == "hostpulse: 1 told since 2026-05-28T20:00:00Z: 1 a�[2J\n"


def test_no_history(hostpulse: Hostpulse) -> None:
    done = hostpulse.run("alerts", "history")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("hostpulse: there is no history in ")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "the following arguments are required: ACTION; see hostpulse alerts --help"),
        (["history", "--since", "soon"], ("--since 'soon' is not a time; write an age (15m, 2h, 7d), a date or "
         "RFC 3339 (2026-03-14T09:26:53Z)")),
        (["history", "--since", "1h", "--until", "2h"], "--since 1h is not before --until 2h"),
        (["history", "--level", "bad"], ("argument --level: invalid choice: 'bad' (choose from 'ok', 'warning', "
         "'critical'); see hostpulse alerts history --help")),
    ],
)  # fmt: skip
def test_wrong_use(hostpulse: Hostpulse, arguments: list[str], text: str) -> None:
    done = hostpulse.run("alerts", *arguments)
    assert (done.returncode, done.stderr) == (2, f"hostpulse: {text}\n")
