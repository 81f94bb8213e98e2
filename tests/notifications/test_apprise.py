"""Apprise at real servers: mail by SMTP, push services by HTTP."""

import logging
import subprocess
import sys
import threading
import time

import pytest

from hostpulse.bus.errors import UsageError
from hostpulse.consumer.alerting.journal import Journal
from hostpulse.consumer.notifications import RoutesError, Trial, check_routes, try_routes
from hostpulse.consumer.notifications.by_apprise import AppriseSender
from hostpulse.consumer.notifications.sender import DeliveryError

from .conftest import SECRET, Start, resolved, route, tell, transition
from .sinks import PATIENCE, Answer, HttpSink, MailSink, free_port, silent_server
from .test_delivery import settled
from .test_notification import at, notification


def sender(url: str) -> AppriseSender:
    made = AppriseSender(url)
    made.open()
    return made


def test_mail_has_title_and_text(journal: Journal, start: Start, mail: MailSink) -> None:
    notifications = start(route(apprise=(mail.url,), group_wait_seconds=0.3))
    tell(journal, notifications, transition())
    tell(journal, notifications, resolved(host="wéb-2", summary="/ of wéb-2 is fine"))  # of which nobody was told
    [one] = mail.wait_for(1)
    assert one["Subject"] == "[warning] / of web-1 is 91.5 % full, 8 GiB are left"
    assert (one["From"], one["To"]) == ("hostpulse@example.org", "owner@example.org")
    assert one.get_content_type() == "text/plain"
    assert (
        one.get_content()
        .strip()
        .endswith("[warning] / of web-1 is 91.5 % full, 8 GiB are left (web-1/disk_full/mount=/)")
    )
    tell(journal, notifications, resolved(), transition(host="wéb-2", summary="/ of wéb-2 is full"))
    two = mail.wait_for(2)[1]
    assert two["Subject"] == "2 alerts: 1 warning, 1 resolved"
    assert [line.split("] ")[0][-8:] for line in two.get_content().strip().splitlines()] == ["resolved", "[warning"]
    assert "/ of wéb-2 is full" in two.get_content()


def test_mail_survives_an_outage(journal: Journal, start: Start, caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    url = f"mailto://127.0.0.1:{port}?from=hostpulse@example.org&to=owner@example.org&format=text"
    with caplog.at_level(logging.INFO, "hostpulse"):
        notifications = start(route(apprise=(url,)))
        tell(journal, notifications, transition())
        deadline = time.monotonic() + PATIENCE
        while not notifications.status()[0].failed:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        reason = notifications.status()[0].reason
        assert reason == 'Connection error while submitting email to "127.0.0.1"; Connection refused'
        sink = MailSink(port)
        try:
            sink.refusals.append("451 try later")
            settled(notifications, journal)
            assert len(sink.mails) == 1
        finally:
            sink.close()
    ours = [record for record in caplog.records if record.name.startswith("hostpulse")]
    assert [record.levelname for record in ours] == ["WARNING", "INFO"]
    assert ours[0].getMessage() == f"notifications on ops: {reason} (it is tried again)"


def test_a_mail_server_that_hangs_does_not_keep_us(journal: Journal, start: Start) -> None:
    with silent_server() as port:
        url = f"mailto://127.0.0.1:{port}?from=a@example.org&to=b@example.org"
        notifications = start(route(apprise=(url,)))
        tell(journal, notifications, transition())
        deadline = time.monotonic() + PATIENCE
        while journal.memory("notify/ops") in {b"", b"{}"}:  # it has begun to send
            assert time.monotonic() < deadline
            time.sleep(0.01)
        stopper = threading.Thread(target=notifications.stop)
        stopper.start()
        stopper.join(5)
        assert not stopper.is_alive()
        assert journal.position("notify/ops") == 0


def test_push_services_get_the_same(journal: Journal, start: Start, http: HttpSink) -> None:
    url = f"127.0.0.1:{http.port}/topic"
    notifications = start(route(apprise=(f"ntfy://{url}", f"json://{url}")))
    tell(journal, notifications, transition(level="critical"))
    settled(notifications, journal, "ops")
    settled(notifications, journal, "ops#2")
    found = {request.path: request.document for request in http.requests}
    ntfy, plain = found["/"], found["/topic"]
    assert ntfy["title"] == plain["title"] == "[critical] / of web-1 is 91.5 % full, 8 GiB are left"
    assert plain["type"] == "failure"
    assert ntfy["message"] == plain["message"]


@pytest.mark.parametrize(
    ("status", "is_lasting"),
    [(401, True), (404, True), (429, False), (500, False)],
)
def test_refusals(http: HttpSink, status: int, is_lasting: bool) -> None:  # noqa: FBT001 - a parameter of the test
    http.answers.append(Answer(status))
    with pytest.raises(DeliveryError) as caught:
        sender(f"json://anna:{SECRET}@127.0.0.1:{http.port}/{SECRET}").send(notification(at()), time.time())
    assert caught.value.is_lasting is is_lasting
    assert f"error={status}" in caught.value.reason
    assert SECRET not in str(caught.value)
    assert len(http.requests) == 1  # no retries and no threads of its own


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"nosuch://h/{SECRET}", r"^has a URL that Apprise cannot use \(Unparseable URL nosuch://"),
        (f"tgram://bad/{SECRET}", r"^has a URL that Apprise cannot use \("),
        ("mailto://", r"^has a URL that Apprise cannot use \("),
        (
            f"mailto://anna:{SECRET}@example.org?to=nobody",
            r"^has a URL that Apprise does not understand as a whole \(Dropped invalid To email \(\*\*\*\) specified",
        ),
    ],
)
def test_urls_that_cannot_work(url: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        sender(url)
    assert SECRET not in str(caught.value)


def test_every_mistake_is_told_with_its_route() -> None:
    routes = [
        route(name="good", apprise=("json://127.0.0.1/x",)),
        route(name="mail", apprise=("json://127.0.0.1/x", "nosuch://", "tgram://x")),
        route(name="hook", webhook="https://127.0.0.1/", ca_file="/nowhere"),
    ]
    check_routes(routes[:1])
    with pytest.raises(RoutesError) as caught:
        check_routes(routes)
    assert [line.split()[0] for line in caught.value.problems] == [
        "alerts.notify.mail#2",
        "alerts.notify.mail#3",
        "alerts.notify.hook",
    ]


def test_routes_that_cannot_work_start_nothing(journal: Journal, start: Start) -> None:
    with pytest.raises(RoutesError):
        start(route(apprise=("json://127.0.0.1/x",)), route(name="bad", apprise=("nosuch://x",)))
    assert journal.position("notify/ops") is None


SEND = """
import logging, sys, time
from hostpulse.consumer.notifications import RouteOptions, try_routes
logging.basicConfig(level="DEBUG")
apprise, webhook = sys.argv[1:]
routes = [RouteOptions(name="a", apprise=(apprise,)), RouteOptions(name="w", webhook=webhook, secret=apprise)]
print([trial.problem for trial in try_routes(routes, "web-1")])
"""


def test_nothing_of_what_is_sent_is_logged(http: HttpSink) -> None:
    address = f"anna:{SECRET}@127.0.0.1:{http.port}/{SECRET}?x={SECRET}"
    done = subprocess.run(
        [sys.executable, "-c", SEND, f"json://{address}", f"http://{address}"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "[None, None]\n"
    assert len(http.requests) == 2
    assert SECRET not in done.stderr
    assert "anna" not in done.stderr


def test_what_has_no_room_in_a_service_is_counted(http: HttpSink) -> None:
    story = [at(host=f"web-{number}", summary="x" * 200) for number in range(100)]
    sender(f"ntfy://127.0.0.1:{http.port}/topic").send(notification(*story), time.time())
    [request] = http.requests
    message = request.document["message"]
    assert len(message) <= 7800
    assert message.splitlines()[-1].endswith(" more: hostpulse alerts history")


def test_a_test_goes_through_every_route(http: HttpSink, mail: MailSink) -> None:
    http.answers.append(Answer(404))
    routes = [
        route(webhook=http.url, level="critical", hosts=("nobody",)),
        route(name="mail", apprise=(mail.url, "nosuch://x")),
    ]
    trials = list(try_routes(routes, "web-1"))
    assert trials[0] == Trial("ops", "127.0.0.1 answered 404")
    assert trials[1] == Trial("mail", None)
    assert trials[2].name == "mail#2"
    assert "cannot use" in str(trials[2].problem)
    [one] = mail.mails
    assert one["Subject"] == "[warning] a test of the route mail, sent by somebody on web-1; nothing is wrong"
