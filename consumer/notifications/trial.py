"""A real notification that says that it is a test, to see whether it comes."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from hostpulse.bus.errors import UsageError

from ..alerting.journal import Entry
from ..alerts import Kind, Transition
from .notification import notification_of
from .options import RouteOptions
from .sender import DeliveryError
from .senders import Target, targets_of

__all__ = ["Trial", "try_routes"]


class Trial(NamedTuple):
    """What became of a test.

    Attributes:
        name: of the route; with `#2` behind it for its second URL.
        problem: why it failed, without secrets; None where it was taken.
    """

    name: str
    problem: str | None


def try_routes(routes: Sequence[RouteOptions], host: str, *, wall: Callable[[], float] = time.time) -> Iterator[Trial]:
    """Send a test through each route, past its filters.

    Args:
        routes: those to be tried.
        host: name of this machine.
        wall: seconds since the epoch.
    """
    for route in routes:
        try:
            targets = targets_of(route)
        except UsageError as error:
            yield Trial(route.name, str(error))
            continue
        for target in targets:
            yield Trial(target.name, _problem(target, host, wall()))


def _problem(target: Target, host: str, now: float) -> str | None:
    try:
        target.sender.open()
        target.sender.send(notification_of(target.name, now, [_entry(host, target.name, now)]), now)
    except (UsageError, DeliveryError) as error:
        return str(error)
    return None


def _entry(host: str, name: str, now: float) -> Entry:
    transition = Transition(
        host=host,
        rule="notification_test",
        labels={},
        kind=Kind.FIRED,
        before="ok",
        level="warning",
        metric="",
        unit="",
        value=None,
        limit=None,
        summary=f"a test of the route {name}, sent by somebody on {host}; nothing is wrong",
        moment=now,
        since=now,
        flapping=False,
        told=True,
    )
    return Entry(number=0, sequence=0, timestamp=now, transition=transition)
