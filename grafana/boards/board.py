"""What every board has: variables, annotations, links to the others, behaviour.

Knows the frame; does not know panels. `build_board` gives the JSON that Grafana reads.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from grafana.boards.draw import BLUE, DATASOURCE, PURPLE, RED
from grafana.boards.promql import increase, ours, pick, pick_process, pick_starts_of_alerts

TAG: Final = "mcp"
"""What the links between the boards go by."""
REFRESH: Final = "30s"

TOOL_UID: Final = "mcp-tool"
PROXY_UID: Final = "mcp-proxy"
_SERVER_OF_ROW: Final = (
    "var-server=${__data.fields.server:percentencode}"
    "&${job:queryparam}&${instance:queryparam}&${datasource:queryparam}&${__url_time_range}"
)
# What a peer calls a tool may hold any character.
TOOL_URL: Final = f"/d/{TOOL_UID}?var-tool=${{__data.fields.tool:percentencode}}&{_SERVER_OF_ROW}"
"""From a row of a table, which has the fields `server` and `tool`, to the tool's own board."""
SERVER_URL: Final = f"/d/{PROXY_UID}?{_SERVER_OF_ROW}"
"""From a row of a table, which has the field `server`, to its HTTP and its upstream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Panels that answer one question together."""

    title: str
    panels: Sequence[Builder[model.Panel]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A board before it is JSON."""

    uid: str
    title: str
    description: str
    rows: Sequence[Row]
    by_tool: bool = False
    """It has the variable `tool`."""


def build_board(board: Board) -> dict[str, Any]:
    """Give a board as Grafana's classic JSON."""
    builder = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags([TAG])
        .readonly()
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .refresh(REFRESH)
        .timezone("browser")
        .link(_link_others())
    )
    for variable in _make_variables(by_tool=board.by_tool):
        builder.with_variable(variable)
    for row in board.rows:
        builder.with_row(dashboard.Row(row.title))
        for panel in row.panels:
            builder.with_panel(panel)
    built = builder.build()
    built.annotations = model.AnnotationContainer(list_val=_make_annotations())
    for number, panel_or_row in enumerate(built.panels or [], 1):
        panel_or_row.id_val = number
    # The SDK leaves out what is None, and a file without `id` would take over another board's.
    return {"id": None, **json.loads(json.dumps(built, cls=JSONEncoder))}


def _link_others() -> dashboard.DashboardLink:
    return (
        dashboard.DashboardLink("MCP")
        .type(model.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .icon("external link")
        .as_dropdown(as_dropdown=False)
        .include_vars(include_vars=True)
        .keep_time(keep_time=True)
        .target_blank(target_blank=False)
    )


def _make_variables(*, by_tool: bool) -> list[Builder[model.VariableModel]]:
    variables: list[Builder[model.VariableModel]] = [
        dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"),
        _make_variable("job", "Job", "mcp_proxy_build_info"),
        _make_variable("instance", "Instance", 'mcp_proxy_build_info{job=~"$job"}'),
        _make_variable(
            "server",
            "Server",
            # Every configured server has it, from the start and with the inspection off.
            'mcp_upstream_last_success_timestamp_seconds{job=~"$job", instance=~"$instance"}',
        ),
    ]
    if by_tool:
        variables.append(_make_variable("tool", "Tool", pick("mcp_tool_calls_total")))
    return variables


def _make_variable(name: str, label: str, series: str) -> dashboard.QueryVariable:
    query = f"label_values({series}, {name})"
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(DATASOURCE)
        .query({"qryType": 1, "query": query, "refId": f"Variable-{name}"})
        # Several values also where one is enough: only then does Grafana escape what a regular
        # expression would read, such as the dots of "files.read".
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".+")
        .current(model.VariableOption(selected=True, text=["All"], value=["$__all"]))
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
    )


class _Annotation(model.AnnotationQuery):
    """Adds what the data source reads and the SDK does not know."""

    def __init__(self, name: str, expr: str, color: str, **options: object) -> None:
        super().__init__(
            name=name, datasource=DATASOURCE, icon_color=color, hide=False, built_in=None
        )
        self._query = {"expr": expr, "refId": "Anno"}
        self._options = options

    def to_json(self) -> dict[str, object]:
        return {
            **super().to_json(),
            "expr": self._query["expr"],
            "target": self._query,
            **self._options,
        }


def _make_annotations() -> list[model.AnnotationQuery]:
    # Grafana marks the moments at which a series is above 0; near ones become one mark.
    return [
        _Annotation(
            "Firing alerts",
            # Their starts: alerts that last would colour all of every graph.
            pick_starts_of_alerts(),
            RED,
            titleFormat="{{alertname}}",
            textFormat="{{severity}} {{server}} {{tool}}",
            tagKeys="alertname,severity",
            useValueForTime=True,
        ),
        _Annotation(
            "Restarts of the exporter",
            f"({ours(pick_process('process_start_time_seconds'))}) * 1000",
            BLUE,
            titleFormat="Exporter started",
            textFormat="{{job}} {{instance}}",
            tagKeys="instance",
            # The value is the moment, so it is exact, and no query can step over it.
            useValueForTime=True,
        ),
        _Annotation(
            "Changed tool definitions",
            f"group by (server, tool) ({increase(pick('mcp_tool_definition_changes_total'))} > 0)",
            PURPLE,
            titleFormat="Definition changed",
            textFormat="{{server}} {{tool}}",
            tagKeys="server,tool",
        ),
    ]
