import os
import signal
from collections import Counter
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from .brokers import broker, broker_kind, certificates, make_broker
from .faults.report import heading, line, results_of
from .influxdb import influx_container, influx_server, killable_influx_server
from .influxdb3 import influx3_server, make_influx3_server
from .workers import Scheduling, worker_count

__all__ = [  # fixtures for all folders
    "broker",
    "broker_kind",
    "certificates",
    "influx3_server",
    "influx_container",
    "influx_server",
    "killable_influx_server",
    "make_broker",
    "make_influx3_server",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the expected files instead of comparing")
    parser.addoption(
        "--outage-seconds", type=float, default=10.0, help="how long a database is away where a test takes it away"
    )
    parser.addoption("--fault-hosts", type=int, default=20, help="how many hosts the tests in tests/faults simulate")
    parser.addoption("--fault-seconds", type=float, default=10.0, help="how long these inject faults at random")
    parser.addoption(
        "--fault-away", type=float, default=4.0, help="how long these keep a broker or a database away, in seconds"
    )
    parser.addoption("--fault-seed", type=int, default=0, help="repeats what was left to chance; printed with each")


def pytest_configure() -> None:
    # A shell ignores Ctrl+C for what it starts in the background, nohup that the terminal goes away, and our own
    # programs would inherit that.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # Our programs are started a thousand times: compiling them each time would be a fourth of what that costs.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # How long an example takes says something of the machine, not of the code.
    settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("tests")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    return worker_count()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    return Scheduling(config, log)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None]:
    """Say below everything else what faults have done, and how many tests did not run, a line for each reason."""
    yield
    found = results_of(terminalreporter)
    if found:
        terminalreporter.section("faults")
        for text in (heading(), *map(line, found)):
            terminalreporter.write_line(text)
    reasons = Counter(_reason(report) for report in terminalreporter.getreports("skipped"))
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} {'test' if count == 1 else 'tests'} did not run: {reason}", yellow=True)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return why a test was skipped, as it said."""
    place = report.longrepr
    text = place[2] if isinstance(place, tuple) else str(place)
    return " ".join(text.removeprefix("Skipped: ").split())
