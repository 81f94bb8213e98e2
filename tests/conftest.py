import pytest

from .brokers import broker, broker_kind, certificates, make_broker

__all__ = ["broker", "broker_kind", "certificates", "make_broker"]  # fixtures for all folders


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the expected files instead of comparing")
