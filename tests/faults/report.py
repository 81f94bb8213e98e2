"""What the scenarios have found: a line for each when it is over, and a table at the end.

The figures travel with the report of their test, for under pytest-xdist the table is made in another process.
"""

from typing import NamedTuple

import pytest

__all__ = ["Result", "heading", "keep", "line", "results_of"]


class Result(NamedTuple):
    """What came of one scenario.

    Attributes:
        scenario: its name with what it ran on.
        seed: of what was left to chance.
        faults: how many were injected.
        messages: that the publishers made.
        missing: of these neither stored nor in an outbox.
        waiting: not stored yet, in an outbox.
        duplicates: that the consumer has taken and the store has kept once.
        asked: that publishers were asked for, each as often as it was.
        recovery_seconds: from the end of the last fault until all was stored.
    """

    scenario: str
    seed: int
    faults: int
    messages: int
    missing: int
    waiting: int
    duplicates: int
    asked: int
    recovery_seconds: float


_PROPERTY = "faults"
_COLUMNS = ("faults", "messages", "missing", "waiting", "duplicates", "asked for", "recovery s", "seed")
_NAME_WIDTH = 58


def keep(result: Result, node: pytest.Item) -> None:
    """Note what a test has found, for `results_of`."""
    node.user_properties.append((_PROPERTY, tuple(result)))


def results_of(reporter: pytest.TerminalReporter) -> list[Result]:
    """Return what all tests have noted, in the order in which they ended."""
    return [
        Result(*values)
        for reports in reporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for name, values in report.user_properties
        if name == _PROPERTY and isinstance(values, tuple)
    ]


def heading() -> str:
    return f"{'scenario':{_NAME_WIDTH}}" + "".join(f"{column:>11}" for column in _COLUMNS)


def line(result: Result) -> str:
    values = [result.faults, result.messages, result.missing, result.waiting, result.duplicates, result.asked]
    numbers = "".join(f"{value:11}" for value in values)
    return f"{result.scenario:{_NAME_WIDTH}}{numbers}{result.recovery_seconds:11.1f}{result.seed:11}"
