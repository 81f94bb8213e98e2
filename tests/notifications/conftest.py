"""What the tests of notifications share."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hostpulse.consumer.alerting.journal import JOURNAL_FILE, Journal
from hostpulse.consumer.alerts import Kind, Transition
from hostpulse.consumer.notifications import Notifications, RouteOptions
from hostpulse.consumer.notifications.route import Pace

from ..alerting.conftest import transition as any_transition
from .sinks import HttpSink, MailSink

QUICK = Pace(first=0.02, most=0.05)
SECRET = "hunter2-hunter2"


@pytest.fixture
def http() -> Iterator[HttpSink]:
    sink = HttpSink()
    yield sink
    sink.close()


@pytest.fixture
def mail() -> Iterator[MailSink]:
    sink = MailSink()
    yield sink
    sink.close()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / JOURNAL_FILE).create(time.time()) as journal:
        yield journal


Start = Callable[..., Notifications]


@pytest.fixture
def start(journal: Journal) -> Iterator[Start]:
    """Return what starts notifications; what still runs at the end is stopped."""
    running: list[Notifications] = []

    def begin(*routes: RouteOptions, **more: Any) -> Notifications:
        options: dict[str, Any] = {"tags": {}, "pace": QUICK} | more
        notifications = Notifications(routes, journal.path, **options)
        notifications.start()
        running.append(notifications)
        return notifications

    yield begin
    for notifications in running:
        notifications.stop()


def route(**options: Any) -> RouteOptions:
    """Return a route that waits for nothing."""
    return RouteOptions(**{"name": "ops", "group_wait_seconds": 0.0, "maximum_per_hour": 10_000} | options)


def transition(**changes: Any) -> Transition:
    """Return one as the engine gives it, of now."""
    now = time.time()
    return any_transition(**({"moment": now, "since": now} | changes))


def resolved(**changes: Any) -> Transition:
    return transition(**{"kind": Kind.RESOLVED, "before": "warning", "level": "ok"} | changes)


def tell(journal: Journal, notifications: Notifications | None, *transitions: Transition) -> None:
    """Have the journal get transitions, as the role does."""
    journal.commit(b"", transitions, [], time.time())
    if notifications is not None:
        notifications.wake()
