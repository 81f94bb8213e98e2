import signal

import pytest

from .brokers import broker, broker_kind, certificates, make_broker

__all__ = ["broker", "broker_kind", "certificates", "make_broker"]  # fixtures for all folders


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the expected files instead of comparing")


def pytest_configure() -> None:
    # A shell ignores Ctrl+C for what it starts in the background, and our own programs would inherit that.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
