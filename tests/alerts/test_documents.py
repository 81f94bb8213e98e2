"""docs/alerts.md: its examples work, and it names every key and every default rule."""

import re
from pathlib import Path

from hostpulse.consumer.alerts import load_rules, parse_source
from hostpulse.consumer.alerts.cases import compare, load_cases, play
from hostpulse.consumer.alerts.cases.case import _CASE_KEYS
from hostpulse.consumer.alerts.levels import _LEVEL_KEYS
from hostpulse.consumer.alerts.load import _RULE_KEYS
from hostpulse.consumer.alerts.metrics import HOST_TABLE
from hostpulse.consumer.alerts.transition import Kind

from .support import defaults

PAGE = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text(encoding="utf-8")
RULES, CASES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


def test_the_example_of_rules_is_right() -> None:
    rules = load_rules([defaults(), parse_source("page", RULES)])
    assert {"uplink_busy", "disk_full"} <= {rule.name for rule in rules}
    assert "swap_storm" not in {rule.name for rule in rules}


def test_the_example_of_a_test_is_right() -> None:
    rules = load_rules([defaults()])
    for case in load_cases("page", CASES).cases:
        assert compare(case, *play(case, rules)) == []


def test_everything_has_its_place() -> None:
    names = {*_RULE_KEYS, *_LEVEL_KEYS, *_CASE_KEYS, *Kind, *defaults().rules}
    names |= {f"host.{field.name}" for field in HOST_TABLE.fields}
    assert [name for name in sorted(names) if not re.search(rf"`{name}[`\s]|^{name} = ", PAGE, re.MULTILINE)] == []
