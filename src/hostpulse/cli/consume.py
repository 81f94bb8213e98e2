"""Store what publishers send, and evaluate the rules of the alerts.

The broker keeps what comes while this is away, for the session of each role.
"""

import argparse

from hostpulse.config.settings import Settings
from hostpulse.consumer.roles import RolesOptions
from hostpulse.stack.broker import Endpoint

from .arguments import add_setting_options, consumer_options, load_settings, mqtt_options, warn
from .launch import become
from .rules import alert_options

__all__ = ["roles_options"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the choice of a role."""
    parser.add_argument(
        "--role",
        choices=["store", "alerts"],
        help="only this one; store: write history; alerts: evaluate rules and tell people (default: all of them)",
    )
    add_setting_options(parser, broker=True)


def run(arguments: argparse.Namespace) -> int:
    """Become the consumer."""
    settings = warn(load_settings(arguments))
    roles = roles_options(settings)
    if arguments.role == "store":
        return become(roles.store)
    return become(roles.alerts if arguments.role == "alerts" else roles)


def roles_options(settings: Settings, endpoint: Endpoint | None = None) -> RolesOptions:
    """Return what a consumer with every role is told.

    Args:
        settings: the settings.
        endpoint: the embedded broker, where it is known; else it is looked for.

    Raises:
        BrokerError: no broker is set, and none is running here.
        UsageError: something that the settings name cannot be used.
    """
    return RolesOptions(
        store=consumer_options(settings, mqtt_options(settings, "store", endpoint)),
        alerts=alert_options(settings, mqtt_options(settings, "alerts", endpoint)),
        log_level=settings.log_level,
    )
