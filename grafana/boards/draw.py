"""One look for each kind of figure: lines, bars, a single figure, a table, a heatmap.

Knows the SDK's builders, units and colours; does not know metrics. Every panel takes the data
source of the variable, has a unit, and says what it means when it is empty.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import heatmap as heat
from grafana_foundation_sdk.builders import table as grid
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

GREEN: Final = "green"
YELLOW: Final = "yellow"
ORANGE: Final = "orange"
RED: Final = "red"
BLUE: Final = "blue"
PURPLE: Final = "purple"
GREY: Final = "#8e8e8e"

OUTCOMES: Final[Mapping[str, str]] = {
    "success": GREEN,
    "tool_error": ORANGE,
    "input_required": BLUE,
    "task_created": "dark-blue",
    "cancelled": GREY,
    "client_disconnected": "#b8b8b8",
    "rejected": "#d9b38c",
    "uninspected": "#5a5a5a",
    "protocol_error": "#e35db0",
    "http_error": RED,
    "invalid_response": "light-red",
    "abandoned": "dark-purple",
    "proxy_shutdown": "light-purple",
    "upstream_closed": PURPLE,
    "upstream_timeout": "super-light-red",
    "upstream_unreachable": "dark-red",
}
"""One colour for each outcome, wherever it is drawn: red, pink and purple are failures."""

SHARE: Final = "percentunit"
PER_SECOND: Final = "reqps"
EVENTS_PER_SECOND: Final = "cps"
"""Of what is no request."""
SECONDS: Final = "s"
BYTES: Final = "bytes"
COUNT: Final = "short"
WHOLE: Final = "locale"
"""A count in a table, where 7,958 and 8,412 must not both be 8 K."""
MOMENT: Final = "dateTimeFromNow"
"""Milliseconds since 1970, shown as how long ago."""
TEXT: Final = "string"

DATASOURCE: Final = model.DataSourceRef(type_val="prometheus", uid="${datasource}")

Steps = Sequence[tuple[float, str]]
"""From which value on which colour."""
ANY_IS_BAD: Final[Steps] = ((1e-9, RED),)
"""Red for whatever is more than 0."""
PLAIN: Final = "text"
"""The colour of a text: neither good nor bad."""

_PanelBuilder = TypeVar("_PanelBuilder", timeseries.Panel, stat.Panel, grid.Panel, heat.Panel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A query over time, and how its series are called: `{{label}}` stands for a label's value."""

    expr: str
    legend: str
    color: str | None = None
    unit: str | None = None
    """Where it differs from the panel's: drawn against an axis of its own, at the right."""
    exemplars: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A query at the end of the time range whose value is a column of a table."""

    expr: str
    title: str
    unit: str
    steps: Steps = ()
    decimals: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a reader is told besides the figures."""

    title: str
    description: str
    empty: str
    """What it means when there is nothing to show."""
    width: int
    height: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """How values are to be read."""

    unit: str
    steps: Steps = ()
    """Of lines: drawn as dashed lines of their own."""
    base: str = PLAIN
    """The colour below the first step."""


def lines(
    head: Head,
    axis: Axis,
    *queries: Line,
    stacked: bool = False,
    bars: bool = False,
    colors: Mapping[str, str] | None = None,
    by_minute: bool = False,
) -> Builder[model.Panel]:
    """Draw values over time; ``colors`` are those of series by their legends.

    ``by_minute`` is for events that are counted one by one: steps are a minute or longer, and so
    windows hardly overlap. Else each event would count in several steps.
    """
    panel = _begin(timeseries.Panel(), head).unit(axis.unit).min(0)
    panel.legend(
        common.VizLegendOptions()
        .display_mode(options.LegendDisplayMode.LIST)
        .placement(options.LegendPlacement.BOTTOM)
        .show_legend(show_legend=True)
    ).tooltip(
        common.VizTooltipOptions()
        .mode(options.TooltipDisplayMode.MULTI)
        .sort(options.SortOrder.DESCENDING)
    ).color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC))
    panel.draw_style(options.GraphDrawStyle.BARS if bars else options.GraphDrawStyle.LINE)
    # One scrape after a restart is a point, not a line: it must be visible.
    panel.show_points(options.VisibilityMode.AUTO).line_width(1)
    panel.fill_opacity(100 if bars else 25 if stacked else 8)
    if stacked:
        panel.stacking(common.StackingConfig().mode(options.StackingMode.NORMAL).group("A"))
    if axis.steps:
        panel.thresholds(_thresholds(axis)).thresholds_style(
            common.GraphThresholdsStyleConfig().mode(options.GraphThresholdsStyleMode.DASHED)
        )
    if by_minute:
        panel.interval("1m")
    for ref, line in zip(_REFS, queries, strict=False):
        query = _query(ref, line.expr).range().legend_format(line.legend)
        if line.exemplars:
            query.exemplar(exemplar=True)
        panel.with_target(query)
        properties = []
        if line.color is not None:
            properties.append(_fix_color(line.color))
        if line.unit is not None:
            properties.append(model.DynamicConfigValue("unit", line.unit))
            properties.append(model.DynamicConfigValue("custom.axisPlacement", "right"))
        if properties:
            panel.override_by_query(ref, properties)
    for legend, color in (colors or {}).items():
        panel.override_by_name(legend, [_fix_color(color)])
    return panel


def figure(
    head: Head, axis: Axis, expr: str, *, history: bool, decimals: int | None = None
) -> Builder[model.Panel]:
    """Draw one figure: with its history, or as it stands at the end of the time range."""
    query = _query("A", expr).legend_format(head.title)
    panel = (
        _begin(stat.Panel(), head)
        .unit(axis.unit)
        .with_target(query.range() if history else query.instant())
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .color_mode(options.BigValueColorMode.VALUE)
        .text_mode(options.BigValueTextMode.VALUE)
        .graph_mode(options.BigValueGraphMode.AREA if history else options.BigValueGraphMode.NONE)
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
        .thresholds(_thresholds(axis))
    )
    return panel if decimals is None else panel.decimals(decimals)


def table(
    head: Head,
    *columns: Column,
    keys: Sequence[str],
    sort: str,
    links: Mapping[str, str] | None = None,
    hide: Sequence[str] = (),
    last: Sequence[str] = ("job",),
) -> Builder[model.Panel]:
    """Draw a table: a row for each set of the labels ``keys``, a column for each query.

    ``links`` leads from the values of a key to an address; ``hide`` keeps columns and labels away;
    ``last`` are those of the keys that stand behind the figures.
    """
    panel = _begin(grid.Panel(), head).unit(COUNT).min_width(_LABEL_WIDTH)
    panel.cell_height(options.TableCellHeight.SM)
    # What the panel says when it is empty would else stand in each empty cell.
    panel.override_by_regexp(".*", [model.DynamicConfigValue("noValue", "-")])
    for key in keys:
        properties = [
            # With a number's unit, version 3.1 would be shown as 3.10.
            model.DynamicConfigValue("unit", TEXT),
            # The tables' own filters help with hundreds of tools.
            model.DynamicConfigValue("custom.filterable", value=True),
        ]
        panel.override_by_name(key, properties)
    names: dict[str, str] = {}
    for ref, column in zip(_REFS, columns, strict=False):
        panel.with_target(_query(ref, column.expr).instant().format(PromQueryFormat.TABLE))
        # Grafana calls the value of a sole query "Value".
        names["Value" if len(columns) == 1 else f"Value #{ref}"] = column.title
        panel.override_by_name(column.title, _describe(column))
    for key, url in (links or {}).items():
        link = {"title": "Open ${__value.text}", "url": url, "targetBlank": False}
        panel.override_by_name(key, [model.DynamicConfigValue("links", [link])])
    first = [key for key in keys if key not in last]
    order = {
        name: index for index, name in enumerate((*first, *names, *last)) if name in (*keys, *names)
    }
    originals = {title: name for name, title in names.items()}
    hidden = {originals.get(name, name): True for name in ("Time", *hide)}
    arrangement = {"excludeByName": hidden, "indexByName": order, "renameByName": names}
    return (
        panel.with_transformation(model.DataTransformerConfig("merge", options={}))
        .with_transformation(model.DataTransformerConfig("organize", options=arrangement))
        # Figures from the largest one on, labels by the alphabet: critical comes before warning.
        .sort_by([common.TableSortByFieldState().display_name(sort).desc(desc=sort not in keys)])
    )


def heatmap(head: Head, unit: str, expr: str) -> Builder[model.Panel]:
    """Draw how a histogram's observations spread over its buckets, over time."""
    query = _query("A", expr).range().legend_format("{{le}}").format(PromQueryFormat.HEATMAP)
    return (
        _begin(heat.Panel(), head)
        .unit(COUNT)
        .with_target(query)
        .calculate(calculate=False)
        .color(heat.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges"))
        .y_axis(heat.YAxisConfig().unit(unit).axis_placement(options.AxisPlacement.LEFT))
        # Empty buckets stay empty instead of being a pale colour.
        .filter_values(heat.FilterValueRange().le(1e-9))
        .show_y_histogram()
    )


_LABEL_WIDTH: Final = 90
"""Pixels; columns of labels share what the figures leave."""
_REFS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _begin(panel: _PanelBuilder, head: Head) -> _PanelBuilder:
    panel.title(head.title).description(head.description).no_value(head.empty)
    panel.datasource(DATASOURCE).span(head.width).height(head.height)
    return panel


def _query(ref: str, expr: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().ref_id(ref).datasource(DATASOURCE).expr(expr)


def _thresholds(axis: Axis) -> dashboard.ThresholdsConfig:
    levels = [model.Threshold(value=None, color=axis.base)]
    levels += [model.Threshold(value=value, color=color) for value, color in axis.steps]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(levels)


def _fix_color(color: str) -> model.DynamicConfigValue:
    return model.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": color})


def _measure_column(column: Column) -> int:
    """Estimate the pixels of a column by its title, with room for the arrow of a sorted one."""
    return max(150 if column.unit == MOMENT else 90, 40 + 8 * len(column.title))


def _describe(column: Column) -> list[model.DynamicConfigValue]:
    properties = [
        model.DynamicConfigValue("unit", column.unit),
        # As wide as it must be: Grafana's 150 pixels for each push columns out of sight.
        model.DynamicConfigValue("custom.width", _measure_column(column)),
    ]
    if column.decimals is not None:
        properties.append(model.DynamicConfigValue("decimals", column.decimals))
    if column.steps:
        levels: list[dict[str, object]] = [{"value": None, "color": PLAIN}]
        levels += [{"value": value, "color": color} for value, color in column.steps]
        thresholds = {"mode": "absolute", "steps": levels}
        properties.append(model.DynamicConfigValue("thresholds", thresholds))
        properties.append(model.DynamicConfigValue("color", {"mode": "thresholds"}))
        cell = {"type": "color-text"}
        properties.append(model.DynamicConfigValue("custom.cellOptions", cell))
    return properties
