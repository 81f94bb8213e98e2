"""Rules from TOML: merging, and every mistake named with its file, rule, key and the nearest right name."""

import pytest

from hostpulse.bus.messages import TABLES
from hostpulse.consumer.alerts import Level, RulesError, load_rules, parse_source

from .support import defaults, rules

CPU = '[rule.a]\nmetric = "cpu.temperature_celsius"\n'
DISK = '[rule.a]\nmetric = "disk_mount.used_percent"\n'
STATE = '[rule.a]\nmetric = "disk_mount.state"\n'
LEVEL = "warning = { above = 90 }\n"

MISTAKES = [
    ("[rule.a]\nwarning = { above = 1 }", "rule.a.metric is missing; name a metric such as cpu.utilization_percent"),
    ('[rule.a]\nmetric = "cpu.temperatur_celsius"',
     "rule.a.metric names 'cpu.temperatur_celsius', which does not exist; did you mean cpu.temperature_celsius?"),
    ('[rule.a]\nmetric = "disk.used_percent"',
     "rule.a.metric names 'disk.used_percent', which does not exist; did you mean disk_mount.used_percent?"),
    ('[rule.a]\nmetric = "event.value"', "rule.a.metric names 'event.value', which does not exist"),
    (CPU, "rule.a has neither a level (warning, critical) nor absent; add one"),
    (CPU + LEVEL + "wraning = 5", "rule.a has no key 'wraning'; did you mean warning?"),
    (CPU + "warning = { abvoe = 5 }", "rule.a.warning has no key 'abvoe'; did you mean above?"),
    (CPU + "warning = { for = '1m' }", "rule.a.warning.above is missing, and so is below; give one of them"),
    (CPU + "warning = { above = 5, below = 1 }", "rule.a.warning.below cannot stand beside above; give one of them"),
    (CPU + "warning = 5", "rule.a.warning must be a table, not 5"),
    (CPU + "warning = { above = '5' }", "rule.a.warning.above must be a number, not '5'"),
    (CPU + "warning = { above = true }", "rule.a.warning.above must be a number, not true"),
    (CPU + "warning = { above = nan }", "rule.a.warning.above must be a number, not nan"),
    (CPU + f"warning = {{ above = 1{'0' * 400} }}", "rule.a.warning.above must be a number, not a huge number"),
    (CPU + LEVEL + f"hosts = {['x'] * 1001}",
     "rule.a.hosts has 1001 texts, more than 1000; patterns such as 'web-*' may do"),
    (CPU + "warning = { above = 90, clear = 95 }",
     "rule.a.warning.clear = 95 is on the wrong side of above = 90; it must be at most that"),
    (CPU + "warning = { below = 10, clear = 5 }",
     "rule.a.warning.clear = 5 is on the wrong side of below = 10; it must be at least that"),
    (CPU + "warning = { above = 90 }\ncritical = { above = 80 }",
     "rule.a.critical is reached at 80, before warning at 90; it must be the worse one"),
    (CPU + "warning = { above = 90 }\ncritical = { below = 80 }",
     "rule.a.critical is below and warning is above a limit; both must have one side"),
    (CPU + LEVEL + "for = '5x'", "rule.a.for must be a duration such as 30s, 5m or 2h, not '5x'"),
    (CPU + LEVEL + "for = 5", "rule.a.for must be a duration such as 30s, 5m or 2h, not 5"),
    (CPU + LEVEL + "reduce = 'avg'",
     "rule.a.reduce must be one of last, mean, min, max, rate, increase, eta, not 'avg'"),
    (CPU + LEVEL + "reduce = 'mean'", "rule.a.reduce = mean needs a window, such as 5m"),
    (CPU + LEVEL + "window = '5m'", "rule.a.window has no effect on the last value; set reduce, to mean for example"),
    (CPU + LEVEL + "reduce = 'rate'\nwindow = '5m'",
     "rule.a.reduce = rate needs a counter, and temperature_celsius is a gauge; mean may be meant"),
    (CPU + LEVEL + "where = { core = '1' }", "rule.a.where has nothing to choose: a host has one cpu only"),
    (DISK + LEVEL + "where = { muont = '/' }", "rule.a.where has no key 'muont'; did you mean mount?"),
    (DISK + LEVEL + "hosts = 5", "rule.a.hosts must be text or a list of texts, not 5"),
    (DISK + LEVEL + "inhibited_by = 'b'", "rule.a.inhibited_by names 'b', which is no rule; there are a"),
    (DISK + LEVEL + "inhibited_by = 'a'",
     "rule.a.inhibited_by leads back to the rule itself; alerts would keep each other quiet for ever"),
    (DISK + LEVEL + "only_if = { field = 'used_precent', above = 1 }",
     "rule.a.only_if.field names 'used_precent', which disk_mount does not have; did you mean used_percent?"),
    (DISK + LEVEL + "only_if = { field = 'state', above = 1 }",
     "rule.a.only_if.field = state is no number; give equals, and neither above nor below"),
    (DISK + LEVEL + "only_if = { field = 'used_percent' }",
     "rule.a.only_if.field = used_percent is a number; give above or below, and nothing else"),
    (DISK + "warning = { above = { add = 5 } }", "rule.a.warning.above.field is missing; name a field of disk_mount"),
    (DISK + "warning = { above = { field = 'state' } }", "rule.a.warning.above.field names state, which is no number"),
    (DISK + "warning = { equals = 'x' }",
     "rule.a.warning.equals is for text and flags, and used_percent is a number; use above or below"),
    (STATE + "warning = { above = 5 }", "rule.a.warning.above is for numbers, and state is text; use equals"),
    (STATE + "warning = { for = '1m' }", "rule.a.warning.equals is missing; give the values of state that are bad"),
    (STATE + "warning = { equals = 5 }", "rule.a.warning.equals must be text or a list of texts, not 5"),
    (DISK + LEVEL + "summary = '{mont}'", "rule.a.summary has '{mont}', which means nothing; did you mean mount?"),
    (DISK + LEVEL + "no_data = 'fire'", "rule.a.no_data must be one of keep, ok, warning, critical, not 'fire'"),
    (DISK + LEVEL + "enabled = 1", "rule.a.enabled must be true or false, not 1"),
    ("[rule.'a/b']\nmetric = 'x'", "rule 'a/b' needs a name of letters, digits and underscores"),
    ("[rule]\na = 5", "rule.a must be a table, not 5; write [rule.a]"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "problem"), MISTAKES)
def test_a_mistake_is_one_line(text: str, problem: str) -> None:
    with pytest.raises(RulesError) as caught:
        rules(text)
    assert str(caught.value) == f"test.toml: {problem}"


def test_a_level_of_a_rule_that_does_not_exist_may_be_of_one_that_does() -> None:
    with pytest.raises(RulesError, match=r"rule\.disk_ful\.metric is missing; .*; did you mean rule\.disk_full\?$"):
        load_rules([defaults(), parse_source("test.toml", "[rule.disk_ful.warning]\nabove = 93")])


def test_every_mistake_has_its_line() -> None:
    with pytest.raises(RulesError) as caught:
        rules(CPU + "warning = { abov = 1 }\nrecover = 5\n[rule.b]\nmetric = 'x'")
    assert len(caught.value.problems) == 3


def test_a_line_may_have_many_names_of_hosts() -> None:
    (rule,) = rules(f"{CPU}{LEVEL}hosts = {[f'web-{number}.rack.example.org' for number in range(300)]}")
    assert rule.hosts.match("web-299.rack.example.org")


def test_of_hundreds_of_mistakes_the_first_are_shown() -> None:
    with pytest.raises(RulesError) as caught:
        rules(CPU + "".join(f"k{number} = 1\n" for number in range(1000)))
    assert len(caught.value.problems) == 51
    assert caught.value.problems[-1] == "test.toml: there may be more mistakes; mend these first"


def test_there_is_a_limit_to_rules() -> None:
    with pytest.raises(RulesError, match=r"^test.toml: has too many rules: with the others they are more than 500$"):
        rules(
            "".join(f"[rule.r{number}]\nmetric = 'cpu.temperature_celsius'\nabsent = '1s'\n" for number in range(501))
        )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"rule{'.a' * 101} = 1", "test.toml: line 1 has more than 100 dots outside of quotes; part it"),
        ("#" * (1 << 20) + "\n", "test.toml: has more than 1048576 characters; part it"),
        ("[rules.a]", "test.toml: there is no 'rules' in a file of rules; rules stand in [rule.NAME]"),
        ("a = ", "test.toml: not valid TOML: invalid value (at end of document)"),
        ("rule = 5", "test.toml: rule must be a table, not 5; write [rule.NAME]"),
    ],
)
def test_what_is_no_file_of_rules(text: str, problem: str) -> None:
    with pytest.raises(RulesError) as caught:
        parse_source("test.toml", text)
    assert str(caught.value) == problem


def test_a_user_changes_single_keys() -> None:
    mine = parse_source(
        "mine.toml",
        """
        [rule.disk_full.warning]
        above = 93
        [rule.disk_full.critical]
        clear = 96
        [rule.cpu_hot]
        critical = false
        [rule.host_silent]
        only_if = false
        [rule.swap_storm]
        enabled = false
        """,
    )
    before = {rule.name: rule for rule in load_rules([defaults()])}
    after = {rule.name: rule for rule in load_rules([defaults(), mine])}
    assert set(before) - set(after) == {"swap_storm"}
    warning, critical = after["disk_full"].bounds[Level.WARNING], after["disk_full"].bounds[Level.CRITICAL]
    assert (warning.limit.number, warning.clear.number, warning.hold) == (93, 85, 300)
    assert (critical.limit.number, critical.clear.number) == (97, 96)
    assert set(after["cpu_hot"].bounds) == {Level.WARNING}
    assert after["host_silent"].only_if is None
    changed = {"swap_storm", "disk_full", "cpu_hot", "host_silent"}
    assert {name: before[name] for name in set(before) - changed} == {
        name: after[name] for name in set(after) - changed
    }


def test_a_mistake_that_two_files_make_together_is_of_the_later_one() -> None:
    mine = parse_source("mine.toml", "[rule.disk_full.warning]\nabove = 80\n")
    with pytest.raises(RulesError) as caught:
        load_rules([defaults(), mine])
    assert str(caught.value) == (
        "mine.toml: rule.disk_full.warning.clear = 85 is on the wrong side of above = 80; it must be at most that"
    )


def test_text_from_a_file_cannot_steer_a_terminal() -> None:
    with pytest.raises(RulesError) as caught:
        rules(CPU + LEVEL + '"\\u001b[2J" = 1')
    assert str(caught.value).isprintable()


def test_the_default_rules_name_what_the_contract_has() -> None:
    for rule in load_rules([defaults()]):
        assert rule.table.name == "host" or TABLES[rule.table.name].field(rule.field.name) == rule.field
        assert rule.summary
