"""Notifications in the commands: the routes of the settings, and a test that goes through them."""

import argparse
import sys

from hostpulse.bus.errors import UsageError
from hostpulse.config.routes import Route
from hostpulse.config.settings import Settings
from hostpulse.consumer.alerts.metrics import hint
from hostpulse.consumer.notifications import RouteOptions, try_routes

from .arguments import add_action
from .terminal import clean

__all__ = ["add_test_action", "route_options", "run_test"]

_TEST = "Send a test notification through the routes, past their filters; exit code 1 if one is not taken."


def route_options(settings: Settings) -> tuple[RouteOptions, ...]:
    """Return what the routes of notifications are told."""
    return tuple(_options(name, route) for name, route in settings.alerts.notify.items())


def _options(name: str, route: Route) -> RouteOptions:
    return RouteOptions(
        name=name,
        apprise=tuple(url.get_secret_value() for url in route.apprise),
        webhook=None if route.webhook is None else route.webhook.get_secret_value(),
        secret=None if route.secret is None else route.secret.get_secret_value(),
        ca_file=None if route.ca_file is None else str(route.ca_file),
        level=route.level,
        hosts=route.hosts,
        rules=route.rules,
        tags=route.tags,
        resolved=route.resolved,
        group_wait_seconds=route.group_wait_seconds,
        maximum_per_hour=route.maximum_per_hour,
    )


def add_test_action(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `test`.

    Args:
        actions: of `hostpulse alerts`.
    """
    action = add_action(actions, "test", _TEST)
    action.add_argument("routes", nargs="*", metavar="ROUTE", help="only this one (default: all)")


def run_test(arguments: argparse.Namespace, settings: Settings) -> int:
    """Send the tests and print a line for each address; return 1 if one was not taken.

    Args:
        arguments: what `add_test_action` took.
        settings: the settings.

    Raises:
        UsageError: there are no routes, or not the one that is named.
    """
    routes = {route.name: route for route in route_options(settings)}
    if not routes:
        raise UsageError("there are no routes, so nobody is told; set alerts.notify.NAME.apprise or .webhook of one")
    for name in arguments.routes:
        if name not in routes:
            raise UsageError(f"there is no route {name!r}{hint(name, routes)}")
    failed = False
    for trial in try_routes([routes[name] for name in arguments.routes or routes], settings.host):
        failed = failed or trial.problem is not None
        print(clean(f"{'ok  ' if trial.problem is None else 'FAIL'} {trial.name}{_why(trial.problem)}"))
        sys.stdout.flush()  # the next one may take its time
    return 1 if failed else 0


def _why(problem: str | None) -> str:
    return "" if problem is None else f": {problem}"
