"""Panels and dashboards, as Grafana reads them.

A panel is a dictionary in the form that Grafana saves; `dashboard` gives ids and places.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hostpulse.bus.fields import Unit

from .flux import field_of, latest_of, over_time

__all__ = [
    "DATASOURCE",
    "Column",
    "Line",
    "Panel",
    "Row",
    "Word",
    "bars",
    "dashboard",
    "graph",
    "heat",
    "reading",
    "steps",
    "table",
    "variable",
]

Panel = dict[str, Any]

DATASOURCE = {"type": "influxdb", "uid": "hostpulse-influxdb"}
_SCHEMA_VERSION = 42
_COLUMNS = 24

_UNITS: Mapping[Unit, str] = {
    Unit.NONE: "short",
    Unit.PERCENT: "percent",
    Unit.BYTES: "bytes",
    Unit.BYTES_PER_SECOND: "Bps",
    Unit.BITS_PER_SECOND: "bps",
    Unit.PER_SECOND: "suffix:/s",
    Unit.CELSIUS: "celsius",
    Unit.HERTZ: "hertz",
    Unit.WATTS: "watt",
    Unit.JOULES: "joule",
    Unit.VOLTS: "volt",
    Unit.SECONDS: "s",
    Unit.RPM: "rotrpm",
}

Limits = tuple[float | None, float | None]
"""From where a value is a warning, and from where it is critical; None for never."""

_NO_LIMITS: Limits = (None, None)


@dataclass(frozen=True, slots=True)
class Line:
    """A field over time.

    Attributes:
        table: of the contract.
        field: of that table.
        legend: what the line is called; `{mount}` stands for a tag.
        down: whether it is drawn downwards, as what is sent is below what is received.
        function: `mean`, `max` or `min` of what falls into one point.
    """

    table: str
    field: str
    legend: str
    down: bool = False
    function: str = "mean"


@dataclass(frozen=True, slots=True)
class Word:
    """How a value that is a word looks.

    Attributes:
        color: of Grafana.
        text: what is shown instead; the word itself if empty.
    """

    color: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """How a column of a table looks.

    Attributes:
        name: in the answer to the query.
        title: what stands above it.
        unit: of Grafana.
        limits: where its colour changes.
        words: how its words look.
        link: where a click leads.
        width: in pixels.
        bar: whether a bar shows the value, of 0 to 100.
    """

    name: str
    title: str
    unit: str = ""
    limits: Limits = _NO_LIMITS
    words: Mapping[str, Word] | None = None
    link: str = ""
    width: int = 0
    bar: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """Panels below a heading that folds.

    Attributes:
        title: the heading; empty for none.
        panels: in the order of reading.
        collapsed: whether it is folded at first.
    """

    title: str
    panels: Sequence[Panel]
    collapsed: bool = False


def _thresholds(limits: Limits, *, falling: bool = False) -> dict[str, Any]:
    """Return green, orange and red; falling if small values are the bad ones."""
    warning, critical = limits
    steps: list[tuple[float | None, str]]
    if falling:
        steps = [(None, "red"), (critical, "orange"), (warning, "green")]
    else:
        steps = [(None, "green"), (warning, "orange"), (critical, "red")]
    first, *others = steps
    known = [first, *(step for step in others if step[0] is not None)]
    return {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in known]}


def _words(words: Mapping[str, Word]) -> list[dict[str, Any]]:
    options = {
        value: {"text": word.text or value, "color": word.color, "index": index}
        for index, (value, word) in enumerate(words.items())
    }
    return [{"type": "value", "options": options}]


def _legend(text: str) -> str:
    return re.sub(r"\{(\w+)\}", r"${__field.labels.\1}", text)


def _targets(queries: Iterable[str]) -> list[dict[str, Any]]:
    return [
        {"refId": chr(ord("A") + index), "datasource": DATASOURCE, "query": query}
        for index, query in enumerate(queries)
    ]


def _of_query(index: int, properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the override for what a query of the panel brings."""
    return {
        "matcher": {"id": "byFrameRefID", "options": chr(ord("A") + index)},
        "properties": [{"id": name, "value": value} for name, value in properties.items()],
    }


def _unit(lines: Sequence[Line]) -> str:
    units = {_UNITS[field_of(line.table, line.field).unit] for line in lines}
    if len(units) > 1:
        raise ValueError(f"one panel, several units: {', '.join(sorted(units))}")
    return units.pop()


def _meanings(lines: Sequence[Line]) -> str:
    """Return what the lines mean, in the words of the contract."""
    meanings = [field_of(line.table, line.field).meaning for line in lines]
    if len(lines) == 1:
        return meanings[0]
    names = [re.sub(r" *\{\w+\} *", " ", line.legend).strip() for line in lines]
    return "\n".join(f"- {name}: {meaning}" for name, meaning in zip(names, meanings, strict=True))


def _panel(kind: str, title: str, size: tuple[int, int], description: str, queries: Sequence[str]) -> Panel:
    width, height = size
    return {
        "type": kind,
        "title": title,
        "description": description,
        "gridPos": {"w": width, "h": height},
        "datasource": DATASOURCE,
        "targets": _targets(queries),
        "fieldConfig": {"defaults": {}, "overrides": []},
        "options": {},
    }


def graph(
    title: str,
    *lines: Line,
    size: tuple[int, int] = (12, 8),
    variables: Collection[str] = ("host",),
    unit: str = "",
    description: str = "",
    limits: Limits = _NO_LIMITS,
    highest: float | None = None,
    stacked: bool = False,
) -> Panel:
    """Return lines over time.

    Args:
        title: of the panel.
        lines: what is drawn.
        size: width of 24 and height.
        variables: tags that variables of the dashboard narrow down.
        unit: of Grafana; that of the fields unless it is given.
        description: what the fields mean unless it is given.
        limits: lines that are drawn across.
        highest: end of the axis; what is there unless it is given.
        stacked: whether the values add up.
    """
    queries = [over_time(line.table, line.field, variables=variables, function=line.function) for line in lines]
    panel = _panel("timeseries", title, size, description or _meanings(lines), queries)
    defaults: dict[str, Any] = {
        "unit": unit or _unit(lines),
        "color": {"mode": "palette-classic"},
        "thresholds": _thresholds(limits),
        "custom": {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 40 if stacked else 8,
            "showPoints": "auto",
            "pointSize": 3,
            "spanNulls": False,
            "axisBorderShow": False,
            "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "off" if limits == _NO_LIMITS else "dashed"},
        },
    }
    if not any(line.down for line in lines):
        defaults["min"] = 0
    if highest is not None:
        defaults["max"] = highest
    overrides = []
    for index, line in enumerate(lines):
        properties: dict[str, Any] = {"displayName": _legend(line.legend)}
        if line.down:
            properties["custom.transform"] = "negative-Y"
        overrides.append(_of_query(index, properties))
    panel["fieldConfig"] = {"defaults": defaults, "overrides": overrides}
    panel["options"] = {
        "legend": {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return panel


def steps(title: str, query: str, *, legend: str, description: str, size: tuple[int, int] = (12, 8)) -> Panel:
    """Return a count that steps up and down.

    Args:
        title: of the panel.
        query: brings a series for each line.
        legend: what a line is called; `{host}` stands for a tag.
        description: what is counted.
        size: width of 24 and height.
    """
    panel = _panel("timeseries", title, size, description, [query])
    panel["fieldConfig"] = {
        "defaults": {
            "unit": "short",
            "decimals": 0,
            "min": 0,
            "color": {"mode": "palette-classic"},
            "displayName": _legend(legend),
            "custom": {"drawStyle": "line", "lineInterpolation": "stepAfter", "lineWidth": 1, "fillOpacity": 8},
        },
        "overrides": [],
    }
    panel["options"] = {
        "legend": {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return panel


def heat(title: str, line: Line, *, size: tuple[int, int] = (12, 8), variables: Collection[str] = ("host",)) -> Panel:
    """Return a strip for each device, the warmer the higher the percentage."""
    query = over_time(line.table, line.field, variables=variables, function=line.function)
    panel = _panel("status-history", title, size, _meanings([line]), [query])
    panel["maxDataPoints"] = 100
    panel["fieldConfig"] = {
        "defaults": {
            "unit": _unit([line]),
            "decimals": 0,
            "min": 0,
            "max": 100,
            "color": {"mode": "continuous-GrYlRd"},
            "custom": {"lineWidth": 0, "fillOpacity": 80},
        },
        "overrides": [_of_query(0, {"displayName": _legend(line.legend)})],
    }
    panel["options"] = {
        "showValue": "never",
        "rowHeight": 0.9,
        "colWidth": 1,
        "legend": {"showLegend": False, "displayMode": "list", "placement": "bottom"},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    return panel


def _values(panel: Panel, line: Line, limits: Limits, *, falling: bool) -> None:
    defaults: dict[str, Any] = {
        "unit": _unit([line]),
        "color": {"mode": "thresholds"},
        "thresholds": _thresholds(limits, falling=falling),
        "displayName": _legend(line.legend),
        "noValue": "-",
    }
    if defaults["unit"] == "percent":
        defaults |= {"min": 0, "max": 100, "decimals": 0}
    panel["fieldConfig"] = {"defaults": defaults, "overrides": []}


def reading(
    title: str,
    table: str,
    field: str,
    *,
    limits: Limits = _NO_LIMITS,
    falling: bool = False,
    size: tuple[int, int] = (3, 4),
) -> Panel:
    """Return the last value of a field, large. `falling` if small values are the bad ones."""
    line = Line(table, field, title)
    panel = _panel("stat", title, size, _meanings([line]), [latest_of(table, field)])
    _values(panel, line, limits, falling=falling)
    panel["options"] = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "none" if limits == _NO_LIMITS else "value",
        "graphMode": "none",
        "textMode": "value",
        "justifyMode": "auto",
        "orientation": "auto",
    }
    return panel


def bars(
    title: str,
    line: Line,
    *,
    limits: Limits,
    size: tuple[int, int] = (12, 8),
    variables: Collection[str] = ("host",),
    most: int = 0,
) -> Panel:
    """Return a bar for the last value of each device; for the highest ones only if `most` is given."""
    query = latest_of(line.table, line.field, variables=variables)
    if most:
        query += f'    |> group()\n    |> top(n: {most}, columns: ["_value"])\n'
        query += f"    |> group(columns: [{', '.join(_tags(line))}])\n"
    panel = _panel("bargauge", title, size, _meanings([line]), [query])
    _values(panel, line, limits, falling=False)
    panel["options"] = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "displayMode": "basic",
        "orientation": "horizontal",
        "showUnfilled": True,
        "valueMode": "color",
        "namePlacement": "auto",
    }
    return panel


def _tags(line: Line) -> list[str]:
    return [f'"{name}"' for name in re.findall(r"\{(\w+)\}", line.legend)]


def table(
    title: str,
    columns: Sequence[Column],
    *queries: str,
    description: str,
    size: tuple[int, int] = (12, 8),
    sort: str = "",
) -> Panel:
    """Return rows.

    Args:
        title: of the panel.
        columns: in their order; what else the queries bring is not shown.
        queries: each brings one table; rows that agree in what the tables share become one.
        description: what the rows are.
        size: width of 24 and height.
        sort: title of the column whose largest value comes first.
    """
    panel = _panel("table", title, size, description, queries)
    panel["fieldConfig"] = {
        "defaults": {
            "color": {"mode": "thresholds"},
            "thresholds": _thresholds(_NO_LIMITS),
            "custom": {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": False},
            "noValue": "-",
        },
        "overrides": [_column(column) for column in columns],
    }
    panel["options"] = {
        "showHeader": True,
        "cellHeight": "sm",
        "sortBy": [{"displayName": sort, "desc": True}] if sort else [],
    }
    panel["transformations"] = [{"id": "merge", "options": {}}] if len(queries) > 1 else []
    panel["transformations"].append(
        {"id": "filterFieldsByName", "options": {"include": {"names": [column.name for column in columns]}}}
    )
    panel["transformations"].append(
        {
            "id": "organize",
            "options": {
                "excludeByName": {},
                "indexByName": {column.name: index for index, column in enumerate(columns)},
                "renameByName": {column.name: column.title for column in columns if column.title != column.name},
            },
        }
    )
    return panel


def _column(column: Column) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    if column.unit:
        properties["unit"] = column.unit
    if column.unit == "percent":
        properties["decimals"] = 1
    if column.limits != _NO_LIMITS:
        properties["thresholds"] = _thresholds(column.limits)
        properties["custom.cellOptions"] = {"type": "color-text"}
    if column.bar:
        properties |= {"min": 0, "max": 100}
        properties["custom.cellOptions"] = {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}
    if column.words:
        properties["mappings"] = _words(column.words)
        properties["custom.cellOptions"] = {"type": "color-text"}
    if column.link:
        properties["links"] = [{"title": "", "url": column.link, "targetBlank": False}]
    if column.width:
        properties["custom.width"] = column.width
    # Its title is what the column is called when overrides look for it.
    return {
        "matcher": {"id": "byName", "options": column.title},
        "properties": [{"id": name, "value": value} for name, value in properties.items()],
    }


def variable(name: str, label: str, query: str, *, several: bool = True) -> dict[str, Any]:
    """Return a variable of a dashboard whose choices come from a query.

    Args:
        name: of the tag that it narrows down.
        label: what stands before it.
        query: brings the choices.
        several: whether more than one, and all, can be chosen.
    """
    found: dict[str, Any] = {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": name, "maxDataPoints": 1000},
        "definition": query,
        "refresh": 2,  # whenever the range of time changes
        "sort": 7,  # as people sort: sda2 before sda10
        "regex": "",
        "hide": 0,
        "multi": several,
        "includeAll": several,
        "skipUrlSync": False,
        "options": [],
    }
    if several:
        found |= {"allValue": ".*", "current": {"text": ["All"], "value": ["$__all"]}}
    else:
        found["current"] = {}
    return found


def dashboard(
    uid: str,
    title: str,
    rows: Sequence[Row],
    *,
    variables: Sequence[dict[str, Any]],
    description: str,
    range_start: str = "now-3h",
) -> dict[str, Any]:
    """Return a dashboard: panels have their places from left to right, and rows one below the other."""
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["hostpulse"],
        "schemaVersion": _SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "time": {"from": range_start, "to": "now"},
        "timepicker": {"refresh_intervals": ["5s", "10s", "30s", "1m", "5m", "15m"]},
        "timezone": "browser",
        "refresh": "30s",
        "fiscalYearStartMonth": 0,
        "annotations": {"list": []},
        "links": [
            {
                "title": "hostpulse",
                "type": "dashboards",
                "tags": ["hostpulse"],
                "asDropdown": False,
                "icon": "external link",
                "includeVars": True,
                "keepTime": True,
                "targetBlank": False,
                "tooltip": "",
                "url": "",
            }
        ],
        "templating": {"list": list(variables)},
        "panels": _placed(rows),
    }


def _placed(rows: Sequence[Row]) -> list[Panel]:
    placed: list[Panel] = []
    top, number = 0, 0
    for row in rows:
        heading: Panel | None = None
        if row.title:
            number += 1
            heading = {
                "type": "row",
                "id": number,
                "title": row.title,
                "collapsed": row.collapsed,
                "gridPos": {"x": 0, "y": top, "w": _COLUMNS, "h": 1},
                "panels": [],
            }
            placed.append(heading)
            top += 1
        left, height = 0, 0
        for panel in row.panels:
            size = panel["gridPos"]
            if left + size["w"] > _COLUMNS:
                top, left, height = top + height, 0, 0
            number += 1
            complete = {"id": number, **panel, "gridPos": {"x": left, "y": top, **size}}
            (heading["panels"] if heading and row.collapsed else placed).append(complete)
            left, height = left + size["w"], max(height, size["h"])
        top += height
    return placed
