"""`mcp-tool`: what callers of chosen tools get, why, and what the tools cost."""

from typing import Final

from grafana.boards import draw, promql
from grafana.boards.board import TOOL_UID, Board, Row
from grafana.boards.promql import RANGE, TOOL, ended, gained, increase, pick, rate, total

_CALLS: Final = "mcp_tool_calls_total"
_DURATION: Final = "mcp_tool_call_duration_seconds"
_RESULT: Final = "mcp_tool_result_size_bytes"
_FINISHED: Final = ended(*promql.FINISHED)
_BY_TOOL: Final = ("job", "server", "tool")


def _measure_part(part: str) -> str:
    listed = pick("mcp_tool_definition_size_bytes", TOOL, f'part="{part}"')
    return f"max by (job, server, tool) ({listed})"


_CALLERS: Final = (
    draw.figure(
        draw.Head(
            title="Availability",
            description="Share of the calls in the time range that got an answer, be it an error "
            "that the tool reports, as in the objectives of the alerts. What the client gave up "
            "counts on neither side.",
            empty="No calls",
            width=6,
            height=4,
        ),
        draw.Axis(unit=draw.SHARE, steps=((0.99, draw.ORANGE), (0.999, draw.GREEN)), base=draw.RED),
        f"1 - {promql.failed_share(TOOL, window=RANGE)}",
        history=False,
        decimals=2,
    ),
    draw.figure(
        draw.Head(
            title="Calls",
            description="Calls that ended, per second.",
            empty="No calls",
            width=6,
            height=4,
        ),
        draw.Axis(unit=draw.PER_SECOND),
        total(rate(pick(_CALLS, TOOL))),
        history=True,
    ),
    draw.figure(
        draw.Head(
            title="Tool errors",
            description="Share of the results in the time range that are errors which the tool "
            "reports, or that a configured rule calls one. The model sees it and may correct "
            "itself: no failure of the service, but wasted turns.",
            empty="No calls",
            width=6,
            height=4,
        ),
        draw.Axis(unit=draw.SHARE, steps=((1e-9, draw.ORANGE),), base=draw.GREEN),
        promql.tool_error_share(TOOL, window=RANGE),
        history=False,
    ),
    draw.figure(
        draw.Head(
            title="In flight",
            description="Calls that have not ended yet. What only climbs hangs: see the oldest "
            "request on the overview.",
            empty="No such tool",
            width=6,
            height=4,
        ),
        draw.Axis(unit=draw.COUNT),
        total(pick("mcp_tool_calls_in_flight", TOOL)),
        history=True,
        decimals=0,
    ),
    draw.lines(
        draw.Head(
            title="Calls by outcome",
            description="What became of the calls, each in exactly one outcome. success, "
            "tool_error, input_required and task_created are answers; cancelled, "
            "client_disconnected and rejected are up to the client; the others are failures.",
            empty="No calls",
            width=12,
        ),
        draw.Axis(unit=draw.PER_SECOND),
        draw.Line(expr=f"{total(rate(pick(_CALLS, TOOL)), 'outcome')} > 0", legend="{{outcome}}"),
        stacked=True,
        colors=draw.OUTCOMES,
    ),
    draw.lines(
        draw.Head(
            title="Latency of finished calls",
            description="How long the tools take, as their callers see it, without the time in "
            "which the client had a question to answer. Points are traced calls: their trace_id "
            "leads to the trace.",
            empty="No finished calls",
            width=12,
        ),
        draw.Axis(unit=draw.SECONDS),
        *(
            draw.Line(
                expr=promql.quantile(which, _DURATION, TOOL, _FINISHED),
                legend=f"p{which * 100:g}",
                color=color,
                exemplars=True,
            )
            for which, color in promql.QUANTILES
        ),
    ),
)

_CAUSES: Final = (
    draw.heatmap(
        draw.Head(
            title="Latency of all calls",
            description="How many calls took how long, failed ones included: two bands are two "
            "kinds of calls, which a percentile would hide; a band at the top is a timeout.",
            empty="No calls",
            width=10,
        ),
        draw.SECONDS,
        total(increase(pick(f"{_DURATION}_bucket", TOOL)), "le"),
    ),
    draw.lines(
        draw.Head(
            title="Soft errors and repeated calls",
            description="Results that look like success and that a configured rule calls a "
            "failure, by reason; and calls with the same arguments and result as another one of "
            "their session within minutes, which agents make that run in a circle.",
            empty="None",
            width=7,
        ),
        draw.Axis(unit=draw.PER_SECOND),
        draw.Line(
            expr=f"{total(rate(pick('mcp_tool_soft_errors_total', TOOL)), 'reason')} > 0",
            legend="soft error: {{reason}}",
        ),
        draw.Line(
            expr=total(rate(pick("mcp_tool_repeated_calls_total", TOOL))),
            legend="repeated",
            color=draw.PURPLE,
        ),
    ),
    draw.lines(
        draw.Head(
            title="Result size",
            description="Size of results as JSON text: what each call adds to the model's context. "
            "Four bytes are about one token.",
            empty="No results",
            width=7,
        ),
        draw.Axis(unit=draw.BYTES),
        draw.Line(expr=promql.quantile(0.5, _RESULT, TOOL), legend="p50", color=draw.GREEN),
        draw.Line(expr=promql.mean(_RESULT, TOOL), legend="mean", color=draw.BLUE),
        draw.Line(expr=promql.quantile(0.95, _RESULT, TOOL), legend="p95", color=draw.YELLOW),
    ),
    draw.table(
        draw.Head(
            title="Definition",
            description="What the definitions cost in each conversation, called or not, what that "
            "is spent on, and how often they changed in the time range. Tokens are a rough "
            "estimate by size.",
            empty="The server does not list it",
            width=24,
        ),
        draw.Column(
            expr=promql.definition_tokens(*_BY_TOOL, tool=TOOL), title="Tokens", unit=draw.COUNT
        ),
        *(
            draw.Column(expr=_measure_part(part), title=title, unit=draw.BYTES)
            for part, title in (
                ("description", "Description"),
                ("input_schema", "Input schema"),
                ("output_schema", "Output schema"),
                ("other", "Rest"),
            )
        ),
        draw.Column(
            expr=total(gained(pick("mcp_tool_definition_changes_total", TOOL)), *_BY_TOOL),
            title="Changes",
            unit=draw.COUNT,
            steps=((1e-9, draw.ORANGE),),
            decimals=0,
        ),
        draw.Column(
            expr="max by (job, server, tool, read_only, destructive, idempotent, open_world) "
            f"({pick('mcp_tool_info', TOOL)})",
            title="Listed",
            unit=draw.COUNT,
        ),
        keys=(*_BY_TOOL, "read_only", "destructive", "idempotent", "open_world"),
        sort="Tokens",
        hide=("Listed", "job"),
        last=("read_only", "destructive", "idempotent", "open_world"),
    ),
)

_OWN: Final = (
    draw.lines(
        draw.Head(
            title="Custom counters",
            description="What the configuration's own metrics count, per second: counters, and how "
            "often histograms and summaries observed something.",
            empty="No custom counters for this tool",
            width=12,
        ),
        draw.Axis(unit=draw.EVENTS_PER_SECOND),
        draw.Line(expr=promql.custom_rates("total|count"), legend="{{metric}} {{tool}}"),
    ),
    draw.lines(
        draw.Head(
            title="Custom values",
            description="What the configuration's own metrics measure: gauges as they are, "
            "histograms and summaries by their mean. Units are the configuration's.",
            empty="No custom values for this tool",
            width=12,
        ),
        draw.Axis(unit=draw.COUNT),
        draw.Line(expr=promql.custom_gauges(), legend="{{metric}} {{tool}}"),
        draw.Line(
            expr=f"{promql.custom_rates('sum')} / ({promql.custom_rates('count')} > 0)",
            legend="mean of {{metric}} {{tool}}",
        ),
    ),
)

TOOL_DETAIL: Final = Board(
    uid=TOOL_UID,
    title="MCP tool detail",
    description="What callers of the chosen tools get, why, and what the tools cost.",
    rows=(
        Row(title="What do callers get?", panels=_CALLERS),
        Row(title="Why, and at what price?", panels=_CAUSES),
        Row(title="What does it mean to the business?", panels=_OWN),
    ),
    by_tool=True,
)
