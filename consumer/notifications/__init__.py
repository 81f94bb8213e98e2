"""Notifications: what happened to alerts, told to people by e-mail, push services and webhooks.

    notifications = Notifications(routes, data_dir / JOURNAL_FILE, tags)
    notifications.start()       refuses routes that cannot work; a route that is new begins now
    notifications.wake()        after each commit of the journal
    notifications.status()      for each delivery: waiting, sent, failed, and since when and why
    notifications.stop()        within two seconds, even while a server hangs

Each route reads the journal in a thread of its own, from its position there, and moves that when its notification was
taken. So a crash loses nothing and an outage of one service delays no other one.
"""

from .notifications import Notifications
from .options import RouteOptions
from .senders import RoutesError, check_routes
from .status import RouteStatus
from .tags import unknown_tags
from .trial import Trial, try_routes

__all__ = [
    "Notifications",
    "RouteOptions",
    "RouteStatus",
    "RoutesError",
    "Trial",
    "check_routes",
    "try_routes",
    "unknown_tags",
]
