import signal

import pytest

from .brokers import broker, broker_kind, certificates, make_broker
from .influxdb import influx_server, killable_influx_server

__all__ = [  # fixtures for all folders
    "broker",
    "broker_kind",
    "certificates",
    "influx_server",
    "killable_influx_server",
    "make_broker",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the expected files instead of comparing")


def pytest_configure() -> None:
    # A shell ignores Ctrl+C for what it starts in the background, and our own programs would inherit that.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
