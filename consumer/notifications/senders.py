"""The senders of a route, and whether they can work."""

from collections.abc import Iterable
from typing import NamedTuple

from hostpulse.bus.errors import MistakesError, UsageError

from .options import RouteOptions
from .sender import Sender

__all__ = ["RoutesError", "Target", "check_routes", "open_targets", "targets_of"]


class RoutesError(MistakesError):
    """Routes that cannot work."""


class Target(NamedTuple):
    """One address of a route. Each is delivered to on its own: the outage of one does not delay another.

    Attributes:
        name: of the route; from its second URL on with `#2` behind it. The place in the journal goes by it.
        options: of the route.
        sender: takes notifications there.
    """

    name: str
    options: RouteOptions
    sender: Sender


def targets_of(options: RouteOptions) -> list[Target]:
    """Return the addresses of a route.

    What sends is imported where a route uses it: Apprise is large.

    Raises:
        UsageError: Apprise is missing; the text continues a line that begins with the route's name.
    """
    if options.webhook is not None:
        from .webhook import WebhookSender

        return [Target(options.name, options, WebhookSender(options))]
    try:
        from .by_apprise import AppriseSender
    except ModuleNotFoundError as error:
        if error.name != "apprise":
            raise
        raise UsageError("needs Apprise, which is not installed; pip install 'hostpulse[notify]'") from None
    names = [options.name, *(f"{options.name}#{number}" for number in range(2, len(options.apprise) + 1))]
    return [Target(name, options, AppriseSender(url)) for name, url in zip(names, options.apprise, strict=True)]


def open_targets(routes: Iterable[RouteOptions]) -> list[Target]:
    """Return all addresses, ready to send.

    Raises:
        RoutesError: with a line for each that cannot work.
    """
    targets: list[Target] = []
    problems: list[str] = []
    for route in routes:
        try:
            found = targets_of(route)
        except UsageError as error:
            problems.append(f"alerts.notify.{route.name} {error}")
            continue
        for target in found:
            try:
                target.sender.open()
            except UsageError as error:
                problems.append(f"alerts.notify.{target.name} {error}")
        targets += found
    if problems:
        raise RoutesError(*problems)
    return targets


def check_routes(routes: Iterable[RouteOptions]) -> None:
    """Find out whether every route can work, as far as that shows without sending.

    Raises:
        RoutesError: with a line for each that cannot.
    """
    open_targets(routes)
