"""Which transitions are for a route."""

from typing import Any

import pytest

from hostpulse.consumer.alerts import Kind, Transition
from hostpulse.consumer.notifications.choice import Choice

from .conftest import resolved, route, transition

TAGS = {"disk_full": ("ops", "storage"), "cpu_hot": ("heat",)}


def taken(transitions: list[Transition], **options: Any) -> list[str]:
    """Return what a route takes, as kinds."""
    choice = Choice(route(**options), TAGS)
    told: set[str] = set()
    return [str(one.kind) for one in transitions if choice.takes(one, told)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 1),
        ({"level": "warning"}, 1),
        ({"level": "critical"}, 0),
        ({"hosts": ("web-*",)}, 1),
        ({"hosts": ("web-*", "!web-1")}, 0),
        ({"hosts": ("db-*",)}, 0),
        ({"rules": ("disk_*",)}, 1),
        ({"rules": ("!disk_*",)}, 0),
        ({"tags": ("ops",)}, 1),
        ({"tags": ("heat", "storage")}, 1),
        ({"tags": ("heat",)}, 0),
    ],
)
def test_by_level_host_rule_and_tag(options: dict[str, Any], expected: int) -> None:
    assert len(taken([transition()], **options)) == expected


def test_a_route_without_tags_takes_rules_with_and_without() -> None:
    assert len(taken([transition(), transition(rule="untagged")])) == 2
    assert taken([transition(rule="untagged")], tags=("ops",)) == []


def test_what_nobody_is_to_be_told_is_not_told() -> None:
    assert taken([transition(told=False, why="silenced")]) == []


def test_the_end_is_told_where_the_beginning_was() -> None:
    story = [transition(), resolved()]
    assert taken(story) == ["fired", "resolved"]
    assert taken(story, resolved=False) == ["fired"]
    assert taken(story, level="critical") == []
    assert taken([resolved()]) == []


def test_an_end_that_nobody_is_told_of_ends_it_here_too() -> None:
    assert taken([transition(), resolved(told=False, why="silenced"), resolved()]) == ["fired"]


def test_a_critical_route_is_told_of_the_end_of_what_was_critical_once() -> None:
    story = [
        transition(),
        transition(kind=Kind.ESCALATED, before="warning", level="critical"),
        transition(kind=Kind.EASED, before="critical", told=False, why="getting better"),
        transition(kind=Kind.REPEATED, before="warning"),
        resolved(),
        transition(),
        resolved(),
    ]
    assert taken(story, level="critical") == ["escalated", "resolved"]
    assert taken(story) == ["fired", "escalated", "repeated", "resolved", "fired", "resolved"]


def test_instances_are_told_apart() -> None:
    other = {"labels": {"mount": "/srv"}}
    story = [transition(level="critical"), transition(**other), resolved(**other), resolved()]
    assert taken(story, level="critical") == ["fired", "resolved"]
