"""Every query of every dashboard runs on a real InfluxDB, with the least of rights, and finds what its panel shows."""

import itertools
import re
from collections.abc import Mapping
from typing import Any

import pytest

from .conftest import DAY, HOUR, History
from .grafana import ALL, DASHBOARDS, Frame, Grafana, panels_of
from .simulation import KEYS, TROUBLED, WELL


def panels(*types: str) -> list[Any]:
    return [
        pytest.param(dashboard, panel, id=f"{name}: {panel['title']}")
        for name, dashboard in DASHBOARDS.items()
        for panel in panels_of(dashboard)
        if not types or panel["type"] in types
    ]


PANELS = panels()
# Single events have no minutes, so what is made of them is read from themselves however long the range is.
OVER_TIME = [one for one in panels("timeseries", "status-history") if "Number of alerts" not in str(one.id)]
ALERTS = [one for one in PANELS if str(one.id).startswith("alerts: ")]
VARIABLES = [
    pytest.param(dashboard, variable, id=f"{name}: {variable['name']}")
    for name, dashboard in DASHBOARDS.items()
    for variable in dashboard["templating"]["list"]
]
KEYS_OF = {"mount": "disk_mount", "device": "disk_device", "interface": "network_interface", "gpu": "gpu_device"}

# One of each, several of each (the odd names among them), and all. The troubled host has something for every panel.
ONE = {"host": TROUBLED, **{name: KEYS[table][-1] for name, table in KEYS_OF.items()}}
SEVERAL = {"host": [WELL, TROUBLED], **{name: KEYS[table] for name, table in KEYS_OF.items()}}
EVERY = dict.fromkeys(ONE, ALL)


def ask(grafana: Grafana, dashboard: Any, panel: Any, choices: Mapping[str, Any]) -> dict[str, list[Frame]]:
    variables = dashboard["templating"]["list"]
    if not variables[0]["multi"] and choices["host"] != TROUBLED:
        choices = {**choices, "host": TROUBLED}
    return {target["refId"]: grafana.ask(target["query"], choices, variables) for target in panel["targets"]}


def legends(panel: Any, reference: str) -> list[str]:
    """Return the texts that name what a query brings."""
    config = panel["fieldConfig"]
    texts = [config["defaults"].get("displayName", "")]
    for override in config["overrides"]:
        if override["matcher"] == {"id": "byFrameRefID", "options": reference}:
            texts += [one["value"] for one in override["properties"] if one["id"] == "displayName"]
    return [text for text in texts if text]


def check_series(panel: Any, answers: dict[str, list[Frame]]) -> None:
    for reference, frames in answers.items():
        assert frames, f"query {reference} finds nothing"
        (legend,) = legends(panel, reference)
        labels = re.findall(r"\$\{__field\.labels\.(\w+)\}", legend)
        for frame in frames:
            assert frame.is_series
            assert frame.length
            assert set(labels) <= set(frame.labels)
            times = frame.columns["Time"]
            assert times == sorted(times)
            assert len(set(times)) == len(times)
        names = [tuple(frame.labels[name] for name in labels) for frame in frames]
        assert len(set(names)) == len(names), "two lines of one name"


def check_rows(panel: Any, answers: dict[str, list[Frame]]) -> None:
    found: set[str] = set()
    for reference, frames in answers.items():
        assert len(frames) == 1, f"query {reference} brings {len(frames)} tables"
        assert not frames[0].is_series
        assert frames[0].length
        found |= set(frames[0].columns)
    transformations = {one["id"]: one["options"] for one in panel["transformations"]}
    wanted = transformations["filterFieldsByName"]["include"]["names"]
    assert set(wanted) <= found
    assert set(transformations["organize"]["indexByName"]) == set(wanted)
    titles = {transformations["organize"]["renameByName"].get(name, name) for name in wanted}
    assert {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]} == titles
    assert {one["displayName"] for one in panel["options"]["sortBy"]} <= titles
    if len(answers) > 1:
        assert "merge" in transformations


@pytest.mark.parametrize("choices", [ONE, SEVERAL, EVERY], ids=["one", "several", "all"])
@pytest.mark.parametrize(("dashboard", "panel"), PANELS)
def test_a_panel_finds_what_it_shows(dashboard: Any, panel: Any, choices: dict[str, Any], history: History) -> None:
    answers = ask(history.grafana(3 * HOUR), dashboard, panel, choices)
    check = check_rows if panel["type"] == "table" else check_series
    check(panel, answers)


@pytest.mark.parametrize(("dashboard", "panel"), OVER_TIME)
def test_a_long_range_is_minutes_and_then_samples(dashboard: Any, panel: Any, history: History) -> None:
    answers = ask(history.grafana(7 * DAY), dashboard, panel, EVERY)
    check_series(panel, answers)
    for frames in answers.values():
        for frame in frames:
            ages = [history.now - moment.timestamp() for moment in frame.columns["Time"]]
            assert max(ages) > 4 * DAY
            assert min(ages) < HOUR


@pytest.mark.parametrize(("dashboard", "panel"), OVER_TIME)
def test_a_long_range_that_is_past_is_minutes(dashboard: Any, panel: Any, history: History) -> None:
    check_series(panel, ask(history.grafana(9 * DAY, 3 * DAY), dashboard, panel, EVERY))


@pytest.mark.parametrize(("dashboard", "panel"), ALERTS)
def test_of_a_host_that_is_well_there_is_no_alert(dashboard: Any, panel: Any, history: History) -> None:
    for target in panel["targets"]:
        assert history.grafana(3 * HOUR).ask(target["query"], {"host": WELL}) == []
    assert dashboard["uid"] == "hostpulse-alerts"


def test_a_host_that_is_silent_for_longer_than_the_range_is_not_forgotten(history: History) -> None:
    silent = {"overview": "Hosts that went silent", "alerts": "Silent hosts"}
    for name, title in silent.items():
        (panel,) = (one for one in panels_of(DASHBOARDS[name]) if one["title"] == title)
        (frame,) = history.grafana(HOUR / 12).ask(panel["targets"][0]["query"], {"host": [WELL, TROUBLED]})
        assert frame.columns["host"] == [TROUBLED]
        assert frame.columns["silent_seconds"] == [pytest.approx(600, abs=31)]


def alerts_panel(title: str) -> str:
    (panel,) = (one for one in panels_of(DASHBOARDS["alerts"]) if one["title"] == title)
    return str(panel["targets"][0]["query"])


def test_what_was_told_and_what_fires(history: History) -> None:
    """The troubled host fires and resolves by turns every ten minutes, from four hours to twenty minutes ago."""
    choices = {"host": [WELL, TROUBLED]}
    (told,) = history.grafana(3 * HOUR).ask(alerts_panel("What was told"), choices)
    assert told.columns["kind"][:4] == ["fired", "resolved", "fired", "fired"]
    assert told.columns["time"] == sorted(told.columns["time"], reverse=True)
    assert set(told.columns["host"]) == {TROUBLED}
    for age, expected in ((3 * HOUR, ["critical"]), (HOUR / 12, ["critical"])):
        (fires,) = history.grafana(age).ask(alerts_panel("Alerts that fire"), choices)
        assert (fires.columns["host"], fires.columns["level"]) == ([TROUBLED], expected)
    assert history.grafana(3 * HOUR, 1500).ask(alerts_panel("Alerts that fire"), choices) == []


def test_how_many_alerts_fire(history: History) -> None:
    query, choices = alerts_panel("Number of alerts that fire"), {"host": [WELL, TROUBLED]}
    (counts,) = history.grafana(3 * HOUR - 60).ask(query, choices)
    values = counts.columns["_value"]
    assert set(values) == {0, 1}
    assert sum(one != other for one, other in itertools.pairwise(values)) == 16
    # Nothing happened in the last five minutes: what fired before goes on, from the begin of the range to its end.
    (counts,) = history.grafana(HOUR / 12).ask(query, choices)
    assert counts.columns["_value"] == [1, 1]
    first, last = counts.columns["Time"]
    assert (last - first).total_seconds() == pytest.approx(300, abs=2)


@pytest.mark.parametrize("choices", [{**ONE, "host": WELL}, EVERY], ids=["one", "all"])
@pytest.mark.parametrize(("dashboard", "panel"), PANELS)
def test_what_a_host_cannot_tell_is_no_error(
    dashboard: Any, panel: Any, choices: dict[str, Any], bare_history: History
) -> None:
    variables = dashboard["templating"]["list"]
    if not variables[0]["multi"]:
        choices = {**choices, "host": WELL}
    for age in (3 * HOUR, 7 * DAY):
        grafana = bare_history.grafana(age)
        found = [grafana.ask(target["query"], choices, variables) for target in panel["targets"]]
        if panel["title"] == "Hosts":
            assert found[0][0].columns["host"] == [WELL]
        if panel["title"] in {"Hot sensors", "Hot GPUs"}:
            assert found[0][0].columns["limit_celsius"] == [90.0]


@pytest.mark.parametrize(("dashboard", "variable"), VARIABLES)
def test_a_variable_offers_what_there_is(dashboard: Any, variable: Any, history: History) -> None:
    variables = dashboard["templating"]["list"]
    offered = history.grafana(3 * HOUR).choices(variable, EVERY if variables[0]["multi"] else ONE, variables)
    table = KEYS_OF.get(variable["name"])
    assert sorted(offered) == sorted(KEYS[table] if table else [WELL, TROUBLED])
