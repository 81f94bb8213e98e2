"""The files of Grafana are right in themselves: what they name exists, and nothing lies on something else."""

import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from hostpulse.bus.messages import TABLES
from hostpulse.config.grafana.flux import latest, over_time, tag_values
from hostpulse.config.grafana.panels import Line, graph
from hostpulse.config.grafana.render import dashboard_files
from hostpulse.consumer.storage.influxdb.schema import ENVELOPE, HOST_MEASUREMENT, ONLINE

from .grafana import DASHBOARDS, FOLDER, panels_of, targets_of

REPOSITORY = Path(__file__).resolve().parents[2]
# Of Grafana 12; those that it has given up (graph, singlestat, table-old, …) are not among them.
TYPES = {"bargauge", "row", "stat", "status-history", "table", "timeseries"}
UNITS = {
    *("short", "percent", "bytes", "Bps", "bps", "celsius", "hertz", "watt", "joule", "volt", "s", "rotrpm"),
    *("suffix:/s", "dateTimeFromNow", "dateTimeAsLocal"),
}
QUERIES = {f"{name}: {what}": query for name, dashboard in DASHBOARDS.items() for what, query in targets_of(dashboard)}
EACH = pytest.mark.parametrize("name", list(DASHBOARDS))
UIDS = {dashboard["uid"]: dashboard for dashboard in DASHBOARDS.values()}


def every_panel(name: str) -> list[dict[str, Any]]:
    """Return the panels, rows and what is folded in them."""
    return [inner for panel in DASHBOARDS[name]["panels"] for inner in (panel, *panel.get("panels", ()))]


def settings(panel: dict[str, Any], wanted: str) -> list[Any]:
    """Return every value that a setting of fields has in a panel."""
    config = panel["fieldConfig"]
    found = [one["value"] for override in config["overrides"] for one in override["properties"] if one["id"] == wanted]
    return [*found, config["defaults"][wanted]] if wanted in config["defaults"] else found


def unknown_fields(query: str) -> list[str]:
    """Return what a query asks for and the contract does not have."""
    known = {table.name: {field.name for field in table.fields} for table in TABLES.values()}
    known[HOST_MEASUREMENT] = {ONLINE}
    unknown = []
    for condition in re.findall(r"filter\(fn: \(r\) => (.*)\)\n", query):
        measurements = re.findall(r'r\._measurement == "([^"]*)"', condition)
        fields = re.findall(r'r\._field == "([^"]*)"', condition)
        if not measurements:  # of every subsystem
            unknown += [name for name in fields if name not in ENVELOPE]
        for measurement in measurements:
            unknown += [f"{measurement}.{name}" for name in fields if name not in known.get(measurement, set())]
            if measurement not in known:
                unknown.append(measurement)
    unknown += [name for name in re.findall(r'predicate: .*r\._measurement == "([^"]*)"', query) if name not in known]
    return unknown


def test_the_dashboards_are_what_is_made() -> None:
    files = dashboard_files()
    assert {f"config/grafana/dashboards/{name}.json" for name in DASHBOARDS} == set(files)
    for name, text in files.items():
        assert (REPOSITORY / name).read_text(encoding="utf-8") == text, f"{name} is old; run `make docs`"


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_a_query_asks_for_what_the_contract_has(query: str) -> None:
    assert unknown_fields(query) == []
    assert "aggregateWindow" not in query or "createEmpty: false" in query
    # Of a `from` that several filters share InfluxDB reads everything: a table took 90 s instead of some ms.
    assert not re.search(r"^\s*\w+ = from\(", query, re.MULTILINE)


def test_what_the_contract_does_not_have_is_seen() -> None:
    right = over_time("cpu", "utilization_percent")
    assert unknown_fields(right) == []
    assert unknown_fields(right.replace("utilization_percent", "utilisation")) == ["cpu.utilisation"]
    assert unknown_fields(right.replace('"cpu"', '"cpus"')) == ["cpus.utilization_percent", "cpus"]
    assert unknown_fields(tag_values("gpu", "gpu_device").replace("gpu_device", "gpus")) == ["gpus"]


def test_a_panel_of_what_the_contract_does_not_have_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="cpu has no field 'utilisation'"):
        graph("CPU", Line("cpu", "utilisation", "{host}"))
    with pytest.raises(ValueError, match="there is no table 'cpus'"):
        latest("cpus", "utilization_percent")
    with pytest.raises(ValueError, match="several units: bytes, percent"):
        graph("Memory", Line("memory", "used_percent", "a"), Line("memory", "used_bytes", "b"))


def test_every_table_is_shown_somewhere() -> None:
    shown = {table for query in QUERIES.values() for table in TABLES if f'"{table}"' in query}
    with_fields = {name for name, table in TABLES.items() if table.fields}
    assert with_fields == shown


@EACH
def test_a_dashboard_is_complete(name: str) -> None:
    dashboard = DASHBOARDS[name]
    assert "id" not in dashboard, "Grafana gives it"
    assert dashboard["uid"] == f"hostpulse-{name}"
    assert dashboard["schemaVersion"] == 42
    assert dashboard["tags"] == ["hostpulse"]
    assert dashboard["time"]["from"].startswith("now-")
    assert dashboard["refresh"] in dashboard["timepicker"]["refresh_intervals"]
    assert dashboard["description"]
    assert len(UIDS) == len(DASHBOARDS)


@EACH
def test_panels_have_their_own_numbers_and_places(name: str) -> None:
    panels = every_panel(name)
    numbers = [panel["id"] for panel in panels]
    assert len(set(numbers)) == len(numbers)
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] >= 0
        assert place["w"] > 0
        assert place["h"] > 0
        assert place["x"] + place["w"] <= 24
    for one, other in itertools.combinations((panel["gridPos"] for panel in panels), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below


@EACH
def test_a_panel_says_what_it_shows(name: str) -> None:
    titles = [panel["title"] for panel in every_panel(name)]
    assert all(titles)
    for panel in every_panel(name):
        assert panel["type"] in TYPES
    for panel in panels_of(DASHBOARDS[name]):
        assert panel["description"].endswith(".")
        units = settings(panel, "unit")
        assert set(units) <= UNITS, panel["title"]
        if panel["type"] != "table":
            assert units, panel["title"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references) > 0
        for thresholds in settings(panel, "thresholds"):
            values = [step["value"] for step in thresholds["steps"]]
            assert values[0] is None
            assert values[1:] == sorted(values[1:])


@EACH
def test_every_source_is_the_one_that_is_provisioned(name: str) -> None:
    text = (FOLDER / "provisioning" / "datasources" / "hostpulse.yaml").read_text(encoding="utf-8")
    (uid,) = re.findall(r"^    uid: (\S+)$", text, re.MULTILINE)
    wanted = {"type": "influxdb", "uid": uid}
    for panel in panels_of(DASHBOARDS[name]):
        assert panel["datasource"] == wanted
        assert all(target["datasource"] == wanted for target in panel["targets"])
    assert all(variable["datasource"] == wanted for variable in DASHBOARDS[name]["templating"]["list"])


@EACH
def test_links_lead_to_dashboards_that_are_there(name: str) -> None:
    links = [link["url"] for panel in panels_of(DASHBOARDS[name]) for some in settings(panel, "links") for link in some]
    for url in links:
        match = re.fullmatch(r"/d/([\w-]+)\?var-(\w+)=\$\{__value\.raw:percentencode\}&\$\{__url_time_range\}", url)
        assert match is not None, url
        assert match[2] in {variable["name"] for variable in UIDS[match[1]]["templating"]["list"]}
    assert links or name in {"host", "gpus"}


@EACH
def test_variables_stand_in_regular_expressions_only_and_exist(name: str) -> None:
    variables = [variable["name"] for variable in DASHBOARDS[name]["templating"]["list"]]
    assert len(set(variables)) == len(variables)
    used: set[str] = set()
    for _, query in targets_of(DASHBOARDS[name]):
        found = re.findall(r"=~ /\^\$\{(\w+):regex\}\$/", query)
        assert query.count("$") == 2 * len(found), "a variable that is not escaped"
        used |= set(found)
    assert used == set(variables)


def test_nobody_is_told_a_secret() -> None:
    text = (FOLDER / "provisioning" / "datasources" / "hostpulse.yaml").read_text(encoding="utf-8")
    assert re.findall(r"token: (.*)", text) == ["$__file{/run/hostpulse/influxdb-reader-token}"]
