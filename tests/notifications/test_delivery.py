"""From the journal to a real server: in order, together, once, and never lost."""

import logging
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from hostpulse.consumer.alerting.journal import Journal
from hostpulse.consumer.alerts import Kind
from hostpulse.consumer.notifications import Notifications, RouteOptions, RouteStatus
from hostpulse.consumer.notifications.cursor import READERS, Cursor
from hostpulse.consumer.notifications.notification import Notification
from hostpulse.consumer.notifications.senders import Target, open_targets
from hostpulse.consumer.notifications.webhook import Timeouts, WebhookSender

from ..servers import free_port
from .conftest import Start, resolved, route, tell, transition
from .sinks import PATIENCE, Answer, HttpSink, silent_server

DAMAGE = """
    CREATE TRIGGER damage AFTER INSERT ON entry
    BEGIN UPDATE entry SET transition = 'x' || transition WHERE number = new.number; END
"""


def settled(notifications: Notifications, journal: Journal, name: str = "ops") -> RouteStatus:
    """Return the status when the route is done with the whole journal, as the journal knows."""
    reader = READERS + name
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        [status] = [one for one in notifications.status() if one.name == name]
        if journal.position(reader) == journal.last() and not status.waiting:
            return status
        time.sleep(0.01)
    raise AssertionError(f"{journal.position(reader)} of {journal.last()}, {notifications.status()}")


def failing(notifications: Notifications, attempts: int = 1) -> RouteStatus:
    """Return the status when so many attempts have failed."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        [status] = notifications.status()
        if status.failed >= attempts:
            return status
        time.sleep(0.01)
    raise AssertionError(str(notifications.status()))


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, "hostpulse.consumer.notifications"):
        yield caplog


def ids_of(sink: HttpSink) -> list[str]:
    return [one for request in sink.requests for one in request.ids]


# What arrives


def test_everything_arrives_once_and_in_order(journal: Journal, start: Start, http: HttpSink) -> None:
    notifications = start(route(webhook=http.url))
    told: list[str] = []
    for number in range(20):
        one = transition(labels={"mount": f"/{number}"})
        tell(journal, notifications, one)
        told.append(one.id)
    status = settled(notifications, journal)
    assert ids_of(http) == told
    assert status.sent == len(http.requests)
    assert (status.failed, status.failing_since, status.reason) == (0, None, "")


def test_what_happens_together_is_told_together(journal: Journal, start: Start, http: HttpSink) -> None:
    notifications = start(route(webhook=http.url, group_wait_seconds=0.5))
    story = [transition(), transition(kind=Kind.ESCALATED, before="warning", level="critical"), resolved()]
    for one in story:
        tell(journal, notifications, one)
    [request] = http.wait_for(1)
    assert request.ids == [one.id for one in story]
    assert request.document["title"] == "3 alerts: 1 critical, 1 warning, 1 resolved"
    assert settled(notifications, journal).sent == 1


def test_a_route_that_is_new_does_not_tell_the_past(journal: Journal, start: Start, http: HttpSink) -> None:
    tell(journal, None, transition(labels={"mount": "/old"}))
    notifications = start(route(webhook=http.url))
    now = transition()
    # The end of what was told before there was the route is not told either.
    tell(journal, notifications, resolved(labels={"mount": "/old"}), now)
    settled(notifications, journal)
    assert ids_of(http) == [now.id]


def test_a_route_that_comes_again_does_not_tell_what_was_meanwhile(
    journal: Journal, start: Start, http: HttpSink
) -> None:
    start(route(webhook=http.url)).stop()
    start(route(name="other", webhook=http.url)).stop()
    tell(journal, None, transition())
    notifications = start(route(webhook=http.url))
    one = transition()
    tell(journal, notifications, one)
    settled(notifications, journal)
    assert ids_of(http) == [one.id]


def test_a_route_that_ends_and_begins_goes_on_where_it_was(journal: Journal, start: Start, http: HttpSink) -> None:
    first = start(route(webhook=http.url))
    before, away, after = transition(), resolved(), transition(labels={"mount": "/srv"})
    tell(journal, first, before)
    settled(first, journal)
    first.stop()
    tell(journal, None, away)
    second = start(route(webhook=http.url))
    tell(journal, second, after)
    settled(second, journal)
    assert ids_of(http) == [before.id, away.id, after.id]  # the end was told: it knows that the beginning was


def test_each_route_gets_what_is_for_it(journal: Journal, start: Start, http: HttpSink) -> None:
    notifications = start(
        route(name="all", webhook=http.url + "/all"),
        route(name="critical", webhook=http.url + "/critical", level="critical"),
        route(name="ops", webhook=http.url + "/ops", tags=("ops",)),
        tags={"cpu_hot": ("ops",)},
    )
    disk, cpu = transition(level="critical"), transition(rule="cpu_hot", labels={})
    tell(journal, notifications, disk, cpu)
    for name in ("all", "critical", "ops"):
        settled(notifications, journal, name)
    found = {request.path: request.ids for request in http.requests}
    assert found == {"/hook/all": [disk.id, cpu.id], "/hook/critical": [disk.id], "/hook/ops": [cpu.id]}


def test_many_at_once_go_out_in_pieces(journal: Journal, start: Start, http: HttpSink) -> None:
    notifications = start(route(webhook=http.url))
    story = [transition(labels={"mount": f"/{number}"}) for number in range(450)]
    tell(journal, notifications, *story)
    settled(notifications, journal)
    assert [len(request.ids) for request in http.requests] == [200, 200, 50]
    assert ids_of(http) == [one.id for one in story]


def test_what_is_not_for_a_route_is_not_written_down_one_by_one(journal: Journal) -> None:
    now = [0.0]
    journal.move(READERS + "ops", 0)
    cursor = Cursor(journal.path, "ops", clock=lambda: now[0])
    cursor.open()
    tell(journal, None, *[transition() for _ in range(250)])

    def skipped_to(number: int) -> int | None:
        cursor.skip(number, frozenset())
        return journal.position(READERS + "ops")

    assert [skipped_to(number) for number in (0, 1, 99, 100, 101, 150)] == [0, 0, 0, 100, 100, 100]
    now[0] += 1000
    assert skipped_to(150) == 150
    assert skipped_to(160) == 150
    assert [entry.number for entry in cursor.ahead()] == list(range(161, 251))
    cursor.close()
    assert journal.position(READERS + "ops") == 160


# What does not


@pytest.mark.parametrize("status", [500, 404, 301])
def test_what_is_refused_is_sent_again_as_the_same(
    journal: Journal, start: Start, http: HttpSink, said: pytest.LogCaptureFixture, status: int
) -> None:
    http.answers.extend([Answer(status)] * 3)
    notifications = start(route(webhook=http.url))
    first, second = transition(), resolved()
    tell(journal, notifications, first)
    http.wait_for(1)
    tell(journal, notifications, second)
    done = settled(notifications, journal)
    assert (done.sent, done.failed, done.failing_since) == (2, 3, None)
    requests = http.requests
    assert [request.ids for request in requests] == [[first.id]] * 4 + [[second.id]]
    assert len({request.headers["Idempotency-Key"] for request in requests[:4]}) == 1
    assert requests[4].headers["Idempotency-Key"] != requests[0].headers["Idempotency-Key"]
    warnings = [record.getMessage() for record in said.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert str(status) in warnings[0]
    assert ("until you mend that" in warnings[0]) is (status != 500)
    [told] = [record.getMessage() for record in said.records if record.levelno == logging.INFO]
    assert told.startswith("notifications on ops are taken again: 1 told, ")


def test_an_outage_loses_nothing_and_is_said_twice(
    journal: Journal, start: Start, said: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    notifications = start(route(webhook=f"http://127.0.0.1:{port}/hook"))
    story = [transition(labels={"mount": f"/{number}"}) for number in range(5)]
    for one in story:
        tell(journal, notifications, one)
        failing(notifications)
    status = failing(notifications, attempts=4)
    assert status.failing_since is not None
    assert status.reason == "127.0.0.1: cannot be reached (Connection refused)"
    sink = HttpSink(port)
    try:
        settled(notifications, journal)
        assert ids_of(sink) == [one.id for one in story]
        assert len(sink.requests) <= 2  # the one that was tried, and all others together
    finally:
        sink.close()
    assert [record.levelname for record in said.records] == ["WARNING", "INFO"]


def test_one_service_that_is_away_does_not_delay_another(journal: Journal, start: Start, http: HttpSink) -> None:
    away = route(name="away", webhook=f"http://127.0.0.1:{free_port()}/")
    notifications = start(away, route(webhook=http.url))
    tell(journal, notifications, transition())
    settled(notifications, journal)
    assert [status.sent for status in notifications.status()] == [0, 1]


def test_a_server_that_asks_to_wait_is_waited_for(journal: Journal, start: Start, http: HttpSink) -> None:
    http.answers.append(Answer(429, {"Retry-After": "1"}, "slow down"))
    notifications = start(route(webhook=http.url))
    began = time.monotonic()
    tell(journal, notifications, transition())
    assert failing(notifications).reason == "127.0.0.1 answered 429: slow down"
    http.wait_for(2)
    assert time.monotonic() - began >= 1


def impatient(routes: Any) -> list[Target]:
    """Return targets that do not wait long for an answer."""
    targets = [Target(one.name, one, WebhookSender(one, timeouts=Timeouts(connect=0.3, answer=0.3))) for one in routes]
    for target in targets:
        target.sender.open()
    return targets


def test_a_server_that_hangs_is_given_up_and_tried_again(journal: Journal, start: Start, http: HttpSink) -> None:
    http.answers.append(Answer(hang=True))
    notifications = start(route(webhook=http.url), open_targets=impatient)
    tell(journal, notifications, transition())
    assert failing(notifications).reason == "127.0.0.1: did not answer within 0.3 s"
    settled(notifications, journal)
    first, second = http.requests
    # It may have been taken the first time: who goes by the key takes it once.
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    assert first.body == second.body


def test_stop_does_not_wait_for_a_server_that_hangs(journal: Journal, start: Start) -> None:
    with silent_server() as port:
        notifications = start(route(webhook=f"http://127.0.0.1:{port}/"))
        one = transition()
        tell(journal, notifications, one)
        deadline = time.monotonic() + PATIENCE
        while journal.memory(READERS + "ops") in {b"", b"{}"}:  # it has begun to send
            assert time.monotonic() < deadline
            time.sleep(0.01)
        stopped = threading.Thread(target=notifications.stop)
        stopped.start()
        stopped.join(5)
        assert not stopped.is_alive()
        assert journal.position(READERS + "ops") == 0  # so that it is told at the next start


def test_what_is_over_the_rate_is_told_with_the_next_one(journal: Journal, start: Start, http: HttpSink) -> None:
    hour = [0.0]
    notifications = start(route(webhook=http.url, maximum_per_hour=3600), clock=lambda: time.monotonic() + hour[0])
    rate = next(iter(notifications._routes))._rate  # half an hour's notifications would take long
    rate._left = 1.0
    first, *more = [transition(labels={"mount": f"/{number}"}) for number in range(6)]
    tell(journal, notifications, first)
    http.wait_for(1)
    for one in more:
        tell(journal, notifications, one)
    settled(notifications, journal)
    assert [request.ids for request in http.requests] == [[first.id], [one.id for one in more]]


def test_entries_that_were_deleted_before_they_were_told_are_counted(
    journal: Journal, start: Start, http: HttpSink, said: pytest.LogCaptureFixture
) -> None:
    start(route(webhook=http.url)).stop()
    tell(journal, None, *[transition() for _ in range(7)])
    one = transition()
    tell(journal, None, one)
    assert journal.prune(before=0, keep=1) == 7
    notifications = start(route(webhook=http.url))
    settled(notifications, journal)
    assert ids_of(http) == [one.id]
    [line] = [record.getMessage() for record in said.records]
    assert line == (
        "notifications on ops: 7 entries of the journal grew old and were deleted before they were looked at"
    )
    notifications.stop()
    tell(journal, None, transition())
    journal.prune(before=time.time() + 1000, keep=10)
    again = start(route(webhook=http.url))
    settled(again, journal)
    assert "1 entries of the journal" in said.records[-1].getMessage()


def test_a_journal_that_cannot_be_read_is_waited_for(
    journal: Journal, start: Start, http: HttpSink, said: pytest.LogCaptureFixture
) -> None:
    notifications = start(route(webhook=http.url))
    connection = journal._open()
    connection.execute(DAMAGE)
    tell(journal, notifications, transition())
    assert "alerts.db cannot be read" in failing(notifications, attempts=2).reason
    connection.execute("UPDATE entry SET transition = substr(transition, 2)")
    assert settled(notifications, journal).failing_since is None
    assert [record.levelname for record in said.records] == ["WARNING", "INFO"]
    assert len(http.requests) == 1


def test_a_journal_that_can_be_read_again_is_no_trouble_though_there_is_nothing_to_tell(
    journal: Journal, start: Start, said: pytest.LogCaptureFixture
) -> None:
    notifications = start(route(webhook="http://127.0.0.1:1/", level="critical"))
    connection = journal._open()
    connection.execute(DAMAGE)
    tell(journal, notifications, transition())
    failing(notifications)
    connection.execute("UPDATE entry SET transition = substr(transition, 2)")
    deadline = time.monotonic() + PATIENCE
    while notifications.status()[0].failing_since is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert said.records[-1].getMessage() == "notifications on ops go on"


def test_what_was_on_its_way_and_is_for_the_route_no_more_stops_nothing(
    journal: Journal, start: Start, http: HttpSink
) -> None:
    http.answers.extend([Answer(503)] * 1000)
    first = start(route(webhook=http.url))
    tell(journal, first, transition())
    failing(first)
    first.stop()
    http.answers.clear()
    http.requests.clear()
    one = transition(host="db-1")
    tell(journal, None, transition(), one)
    second = start(route(webhook=http.url, hosts=("db-*",)))
    settled(second, journal)
    assert ids_of(http) == [one.id]


def test_a_place_that_cannot_be_kept_is_no_reason_to_tell_again(
    journal: Journal, start: Start, http: HttpSink, said: pytest.LogCaptureFixture
) -> None:
    notifications = start(route(webhook=http.url))
    connection = journal._open()
    connection.execute("CREATE TRIGGER full BEFORE UPDATE ON position BEGIN SELECT RAISE(ABORT, 'disk is full'); END")
    first, second = transition(), resolved()
    tell(journal, notifications, first)
    http.wait_for(1)
    tell(journal, notifications, second)
    http.wait_for(2)
    connection.execute("DROP TRIGGER full")
    third = transition()
    tell(journal, notifications, third)
    settled(notifications, journal)
    assert ids_of(http) == [first.id, second.id, third.id]
    [line] = [record.getMessage() for record in said.records]
    assert "disk is full" in line
    assert line.endswith("; a restart now would tell some again")


def test_no_routes_are_no_threads(journal: Journal, start: Start) -> None:
    before = threading.active_count()
    notifications = start()
    tell(journal, notifications, transition())
    assert notifications.status() == []
    assert threading.active_count() == before


def test_routes_of_the_service_are_opened_by_default() -> None:
    with socket.create_server(("127.0.0.1", 0)):
        [target] = open_targets([RouteOptions(name="ops", webhook="http://127.0.0.1:1/")])
    assert target.name == "ops"


class Faulty(WebhookSender):
    """Has a mistake at its first two attempts, with the address in the text of it."""

    def __init__(self, options: RouteOptions) -> None:
        super().__init__(options)
        self._left = 2
        self._address = options.webhook

    def send(self, notification: Notification, now: float) -> None:
        if self._left:
            self._left -= 1
            raise ValueError(f"cannot cope with {self._address}")
        super().send(notification, now)


def test_a_mistake_in_a_plugin_does_not_end_the_telling(
    start: Start, journal: Journal, http: HttpSink, said: pytest.LogCaptureFixture
) -> None:
    def faulty(routes: Sequence[RouteOptions]) -> list[Target]:
        [options] = routes
        target = Target(options.name, options, Faulty(options))
        target.sender.open()
        return [target]

    notifications = start(route(webhook=http.url), open_targets=faulty)
    tell(journal, notifications, transition())
    status = settled(notifications, journal)
    assert (status.sent, status.failed) == (1, 2)
    assert len(ids_of(http)) == 1
    [warning] = [record.getMessage() for record in said.records if record.levelname == "WARNING"]
    assert "ValueError in test_delivery.py, line " in warning
    assert http.url not in said.text
