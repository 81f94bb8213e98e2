"""The shipped tests of rules, and that they notice what is wrong."""

from pathlib import Path

import pytest

from hostpulse.consumer.alerts.cases import Case, CasesError, compare, load_cases, play
from hostpulse.consumer.alerts.model import Rule

from .support import CASE_FILES, case_file, defaults

CASES = [
    pytest.param(case, rules, id=f"{path.stem}: {case.name}")
    for path in CASE_FILES
    for file, rules in [case_file(path)]
    for case in file.cases
]


@pytest.mark.parametrize(("case", "rules"), CASES)
def test_the_transcript_is_as_expected(case: Case, rules: tuple[Rule, ...]) -> None:
    assert compare(case, *play(case, rules)) == []


@pytest.mark.parametrize(("case", "rules"), CASES)
def test_a_restart_after_every_step_changes_nothing(case: Case, rules: tuple[Rule, ...]) -> None:
    assert play(case, rules, restart_always=True) == play(case, rules)


@pytest.mark.parametrize(("case", "rules"), CASES)
def test_doubled_samples_change_nothing(case: Case, rules: tuple[Rule, ...]) -> None:
    assert play(case, rules, copies=2) == play(case, rules)


def test_every_default_rule_fires_in_its_tests() -> None:
    fired = {
        line.split()[2]
        for path in CASE_FILES
        if path.stem == "default_rules"
        for case in case_file(path)[0].cases
        for line in case.expect
    }
    assert fired == set(defaults().rules)


def test_a_difference_is_readable() -> None:
    file, rules = case_file(Path(__file__).parent / "engine.toml")
    text = (
        'defaults = false\n[[test]]\nname = "x"\nseries."h1 cpu.temperature_celsius" = "86x14"\nexpect = "3m h1 a b"\n'
    )
    case = load_cases("x.toml", text).cases[0]
    assert compare(case, *play(case, rules)) == ["- 3m h1 a b", "+ 2m h1 cpu_hot warning fired told"]
    assert len(file.cases) > 10


def test_an_acknowledgement_of_nothing_is_a_failure() -> None:
    _, rules = case_file(Path(__file__).parent / "engine.toml")
    text = '[[test]]\nname = "x"\nack = "1m h1 cpu_hot"\nseries."h1 cpu.temperature_celsius" = "70x14"\nexpect = ""\n'
    case = load_cases("x.toml", text).cases[0]
    assert compare(case, *play(case, rules)) == ["! h1/cpu_hot is not an alert that is firing"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "x.toml: there is no test; write [[test]] and its keys below it"),
        ("[[tset]]", "x.toml: there is no key 'tset'; did you mean test?"),
        ("a = ", "x.toml: not valid TOML: invalid value (at end of document)"),
        ("step = 5", "x.toml: test 'x'.step must be a duration such as 30s, 5m or 2h, not 5"),
        ("stpe = '5s'", "x.toml: test 'x' has no key 'stpe'; did you mean step?"),
        ("ack = '5m h1'", "x.toml: test 'x'.ack must be like '2m web-1 disk_full mount=/', not '5m h1'"),
        ('series."h1 cpu.temperature" = "1"',
         ("x.toml: test 'x'.series names 'cpu.temperature', which does not exist; "
          "did you mean cpu.temperature_celsius?")),
        ('series."h1 disk_mount.used_percent" = "1"',
         "x.toml: test 'x'.series 'h1 disk_mount.used_percent' lacks its mount; write mount=NAME"),
        ('series."h1 cpu.temperature_celsius" = "1y3"',
         ("x.toml: test 'x'.series 'h1 cpu.temperature_celsius': '1y3' is no value; "
          "write for example 70x6 90+0.5x10 _x3 'ok'x5 true")),
        ('series."h1 battery.mains" = "1"',
         "x.toml: test 'x'.series 'h1 battery.mains': mains is true or false, not 1"),
        ('series."h1 cpu.temperature_celsius" = "1e999"',
         ("x.toml: test 'x'.series 'h1 cpu.temperature_celsius': '1e999' is no value; "
          "write for example 70x6 90+0.5x10 _x3 'ok'x5 true")),
        ('series."h1 publisher.dropped_messages" = "1-1x3"',
         ("x.toml: test 'x'.series 'h1 publisher.dropped_messages': -1 cannot be: "
          "expected `int` >= 0")),
        ('series."h1 host.clock_skew_seconds" = "1e10"',
         "x.toml: test 'x'.series 'h1 host.clock_skew_seconds': no clock is wrong by 10000000000 seconds"),
        ('series."h1 cpu.temperature_celsius" = "1x999999 1x2"',
         ("x.toml: test 'x'.series 'h1 cpu.temperature_celsius': there are more than 300000 values "
          "left for this file; part it")),
        ("until = '1y'\nstep = '1s'",
         "x.toml: test 'x'.until makes the tests of this file longer than 300000 steps; part it"),
    ],
)  # fmt: skip
def test_mistakes_in_a_file_of_tests(text: str, problem: str) -> None:
    if text and not text.startswith(("[[", "a =")):
        series = "" if "series" in text else 'series."h1 cpu.temperature_celsius" = "1"\n'
        text = f'[[test]]\nname = "x"\nexpect = ""\n{series}{text}\n'
    with pytest.raises(CasesError) as caught:
        load_cases("x.toml", text)
    assert problem in str(caught.value).splitlines()
