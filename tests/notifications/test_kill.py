"""A process that is killed at any moment: everything arrives, in order, and by its key once."""

import random
import subprocess
import sys
import time
from pathlib import Path

from hostpulse.consumer.alerting.journal import Journal
from hostpulse.consumer.alerts import Kind, Transition
from hostpulse.consumer.notifications.cursor import READERS

from .conftest import resolved, tell, transition
from .sinks import PATIENCE, Answer, HttpSink, MailSink

ROUTES = """
import logging, sys, time
from pathlib import Path
from hostpulse.consumer.notifications import Notifications, RouteOptions
from hostpulse.consumer.notifications.route import Pace
logging.basicConfig(level="INFO")
path, kind, url = sys.argv[1:]
route = RouteOptions(
    name="ops", webhook=url if kind == "webhook" else None, apprise=(url,) if kind == "apprise" else (),
    group_wait_seconds=0.05, maximum_per_hour=10_000,
)
notifications = Notifications([route], Path(path), {}, pace=Pace(first=0.05, most=0.1))
notifications.start()
print("started", flush=True)
while True:
    notifications.wake()
    time.sleep(0.02)
"""


class Process:
    """Notifications in a process of their own."""

    def __init__(self, journal: Path, kind: str, url: str) -> None:
        command = [sys.executable, "-c", ROUTES, str(journal), kind, url]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "started\n"

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def story(number: int) -> list[Transition]:
    labels = {"mount": f"/{number}"}
    return [
        transition(labels=labels),
        transition(labels=labels, kind=Kind.ESCALATED, before="warning", level="critical"),
        resolved(labels=labels, before="critical"),
    ]


def wait_until_done(journal: Journal) -> None:
    deadline = time.monotonic() + PATIENCE
    while journal.position(READERS + "ops") != journal.last():
        assert time.monotonic() < deadline, (journal.position(READERS + "ops"), journal.last())
        time.sleep(0.02)


def test_webhooks_across_kills_and_an_outage(journal: Journal, http: HttpSink) -> None:
    chance = random.Random(20_261_121)  # noqa: S311 - to be repeated
    told: list[str] = []
    kills = 8
    for number in range(kills):
        if number % 2:
            http.answers.extend([Answer(503)] * 3)
        process = Process(journal.path, "webhook", http.url)
        for one in story(number):
            tell(journal, None, one)
            told.append(one.id)
            time.sleep(chance.uniform(0, 0.05))
        time.sleep(chance.uniform(0, 0.2))
        process.kill()
    process = Process(journal.path, "webhook", http.url)
    wait_until_done(journal)
    process.kill()
    by_key: dict[str, list[str]] = {}
    for request in http.requests:
        ids = by_key.setdefault(request.headers["Idempotency-Key"], request.ids)
        assert ids == request.ids  # what comes again under one key is the same
    assert [one for ids in by_key.values() for one in ids] == told


def test_a_kill_between_the_answer_and_our_note_repeats_under_the_same_key(journal: Journal, http: HttpSink) -> None:
    # The server takes it and hangs: whoever sent it cannot know.
    http.answers.append(Answer(hang=True))
    process = Process(journal.path, "webhook", http.url)
    first, second = story(0)[:2]
    tell(journal, None, first)
    http.wait_for(1)
    process.kill()
    tell(journal, None, second)
    process = Process(journal.path, "webhook", http.url)
    wait_until_done(journal)
    process.kill()
    requests = http.requests
    assert [request.ids for request in requests] == [[first.id], [first.id], [second.id]]
    assert requests[0].headers["Idempotency-Key"] == requests[1].headers["Idempotency-Key"]
    assert requests[0].body == requests[1].body


def test_mail_across_kills(journal: Journal, mail: MailSink) -> None:
    kills = 3
    stories = [story(number) for number in range(kills)]
    for transitions in stories:
        process = Process(journal.path, "apprise", mail.url)
        for one in transitions:
            tell(journal, None, one)
        mail.wait_for(1)
        process.kill()
    process = Process(journal.path, "apprise", mail.url)
    wait_until_done(journal)
    process.kill()
    text = "\n".join(str(one.get_content()) for one in mail.mails)
    for number, transitions in enumerate(stories):
        assert text.count(f"mount=/{number})") >= len(transitions)
    # Mail has no key: what was on its way at a kill may come twice, and nothing else.
    assert text.count("(web-1/") <= sum(map(len, stories)) + 3 * kills
