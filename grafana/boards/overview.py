"""`mcp-overview`: can agents use the tools, what fails, and where to look next."""

from typing import Final

from grafana.boards import draw, promql
from grafana.boards.board import SERVER_URL, TOOL_URL, Board, Row
from grafana.boards.promql import RANGE, ended, gained, pick, rate, total

_CALLS: Final = "mcp_tool_calls_total"
_DURATION: Final = "mcp_tool_call_duration_seconds"
_FINISHED: Final = ended(*promql.FINISHED)
_BY_SERVER: Final = ("job", "server")
_BY_TOOL: Final = ("job", "server", "tool")
_FAILURES: Final = ((1e-9, draw.ORANGE), (0.01, draw.RED))

_STATE: Final = (
    draw.figure(
        draw.Head(
            title="Availability",
            description="Share of the tool calls in the time range that got an answer, as in the "
            "objectives of the alerts. An error that the tool reports is an answer. Calls that the "
            "client gave up, got wrong or made up count on neither side.",
            empty="No calls",
            width=6,
            height=4,
        ),
        draw.Axis(unit=draw.SHARE, steps=((0.99, draw.ORANGE), (0.999, draw.GREEN)), base=draw.RED),
        f"1 - {promql.failed_share(window=RANGE)}",
        history=False,
        decimals=2,
    ),
    draw.figure(
        draw.Head(
            title="Error budget left",
            description="What the objectives still allow of failed or slow calls, of the server "
            "and objective that have the least; below 0 the objective is missed. It is what "
            "prometheus/rules/slo.yml records, over its own 30 days, whatever the time range.",
            empty="No SLO rules loaded",
            width=6,
            height=4,
        ),
        draw.Axis(unit=draw.SHARE, steps=((0, draw.ORANGE), (0.25, draw.GREEN)), base=draw.RED),
        f"min({promql.pick_budget()})",
        history=True,
        decimals=1,
    ),
    draw.figure(
        draw.Head(
            title="Upstreams down",
            description="Servers that answered none of the exchanges of the last minute or so, as "
            "at least one exporter sees it; however many see it, a server counts once. A server "
            "that nobody used since the start of its exporter is in no figure yet.",
            empty="No upstream used yet",
            width=6,
            height=4,
        ),
        draw.Axis(unit=draw.COUNT, steps=draw.ANY_IS_BAD, base=draw.GREEN),
        # The gauge tells of one exchange each time: a single slow one makes no server down.
        f"sum(max by (job, server) (1 - max_over_time({pick('mcp_upstream_up')}[{promql.RATE}])))",
        history=True,
        decimals=0,
    ),
    draw.figure(
        draw.Head(
            title="Exporters down",
            description="Exporters that Prometheus scraped in the time range and does not reach "
            "now. While one is down, its servers' figures are missing from all boards, and its "
            "clients most likely reach nothing.",
            empty="No exporter",
            width=6,
            height=4,
        ),
        draw.Axis(unit=draw.COUNT, steps=draw.ANY_IS_BAD, base=draw.GREEN),
        f"sum(1 - ({promql.ours(promql.pick_process('up'), RANGE)}))",
        history=False,
        decimals=0,
    ),
    draw.table(
        draw.Head(
            title="Firing alerts",
            description="Alerts of the rules for MCP that fire at the end of the time range. They "
            "are Prometheus' own; who was told is in Alertmanager.",
            empty="No alert fires",
            width=24,
            height=5,
        ),
        draw.Column(expr=promql.pick_alerts(), title="Firing", unit=draw.COUNT),
        keys=("alertname", "severity", "server", "tool", "job", "instance"),
        sort="severity",
        hide=("__name__", "alertstate", "Firing"),
    ),
)

_OLDEST: Final = pick("mcp_oldest_request_start_timestamp_seconds")

_SYMPTOMS: Final = (
    draw.lines(
        draw.Head(
            title="Calls by result",
            description="How much is called, and what comes of it. Failed: the caller got no "
            "answer. Given up: the client cancelled or left. Otherwise: a question or a task as a "
            "step on the way, a mistake of the caller, or passed uninspected.",
            empty="No calls",
            width=8,
        ),
        draw.Axis(unit=draw.PER_SECOND),
        draw.Line(
            expr=total(rate(pick(_CALLS, ended("success")))), legend="success", color=draw.GREEN
        ),
        draw.Line(
            expr=total(rate(pick(_CALLS, ended(promql.TOOL_ERROR)))),
            legend="tool error",
            color=draw.ORANGE,
        ),
        draw.Line(expr=total(promql.failed()), legend="failed", color=draw.RED),
        draw.Line(
            expr=total(rate(pick(_CALLS, ended(*promql.GIVEN_UP)))),
            legend="given up",
            color=draw.GREY,
        ),
        draw.Line(expr=total(promql.otherwise()), legend="otherwise", color=draw.BLUE),
        stacked=True,
    ),
    draw.lines(
        draw.Head(
            title="Failed share by outcome",
            description="Share of the calls that failed, by why. upstream_*: the server was not "
            "reached, too slow or went away. protocol_error, http_error, invalid_response: it "
            "answered, but not with a result; abandoned: its stream broke and was not resumed.",
            empty="No failures",
            width=8,
        ),
        draw.Axis(unit=draw.SHARE, steps=((0.01, draw.RED),)),
        draw.Line(
            expr=f"{total(promql.failed(), 'outcome')} / ignoring (outcome) group_left () "
            f"({total(promql.judged())} > 0) > 0",
            legend="{{outcome}}",
        ),
        stacked=True,
        colors=draw.OUTCOMES,
        bars=True,
    ),
    draw.lines(
        draw.Head(
            title="Tool error share by server",
            description="Share of the results that are errors which the tool reports. The "
            "model sees it and may correct itself: a rise says that models call wrongly, or that "
            "what is behind the tool is ill.",
            empty="No calls",
            width=8,
        ),
        draw.Axis(unit=draw.SHARE),
        draw.Line(expr=promql.tool_error_share(by=("server",)), legend="{{server}}"),
    ),
    draw.lines(
        draw.Head(
            title="Latency of finished calls",
            description="How long tools take, as their callers see it, without the time in which "
            "the client had a question to answer. Failed calls are left out. Points are traced "
            "calls.",
            empty="No finished calls",
            width=12,
        ),
        draw.Axis(unit=draw.SECONDS),
        *(
            draw.Line(
                expr=promql.quantile(which, _DURATION, _FINISHED),
                legend=f"p{which * 100:g}",
                color=color,
                exemplars=True,
            )
            for which, color in promql.QUANTILES
        ),
    ),
    draw.lines(
        draw.Head(
            title="Oldest request in flight",
            description="Age of the oldest request that has no answer yet, by server. A line that "
            "climbs without end is a call that hangs; durations cannot show it before it ends.",
            empty="Nothing in flight",
            width=12,
        ),
        draw.Axis(unit=draw.SECONDS, steps=((300, draw.RED),)),
        draw.Line(
            # Of the scrape's moment: by now, what ended long ago may be a whole interval older.
            expr=f"max by (server) (timestamp({_OLDEST}) - ({_OLDEST} > 0))",
            legend="{{server}}",
        ),
    ),
)

_PLACES: Final = (
    draw.table(
        draw.Head(
            title="Servers",
            description="All servers in the time range, the busiest first: which one has the "
            "failures, and which one fills the models' context. A click on one leads to its HTTP.",
            empty="No servers",
            width=24,
            height=7,
        ),
        draw.Column(
            expr=f"min by (job, server) ({pick('mcp_upstream_up')})",
            title="Up",
            unit="bool_yes_no",
            steps=((0, draw.RED), (1, draw.GREEN)),
        ),
        draw.Column(
            expr=f"min by (job, server) ({promql.pick_budget()})",
            title="Budget left",
            unit=draw.SHARE,
            steps=((-1e9, draw.RED), (0, draw.ORANGE), (0.25, draw.GREEN)),
        ),
        draw.Column(
            expr=total(gained(pick(_CALLS)), *_BY_SERVER),
            title="Calls",
            unit=draw.WHOLE,
            decimals=0,
        ),
        draw.Column(
            expr=promql.failed_share(by=_BY_SERVER, window=RANGE),
            title="Failed",
            unit=draw.SHARE,
            steps=_FAILURES,
        ),
        draw.Column(
            expr=promql.tool_error_share(by=_BY_SERVER, window=RANGE),
            title="Tool errors",
            unit=draw.SHARE,
        ),
        draw.Column(
            expr=promql.quantile(0.95, _DURATION, _FINISHED, by=_BY_SERVER, window=RANGE),
            title="p95",
            unit=draw.SECONDS,
        ),
        draw.Column(
            expr=f"max by (job, server) ({pick('mcp_tools')})", title="Tools", unit=draw.COUNT
        ),
        draw.Column(
            expr=promql.definition_tokens(*_BY_SERVER),
            title="Definition tokens",
            unit=draw.COUNT,
        ),
        keys=_BY_SERVER,
        sort="Calls",
        links={"server": SERVER_URL},
    ),
    draw.table(
        draw.Head(
            title="Tools",
            description="All tools in the time range, the busiest first; a click on one opens its "
            "own board. _other holds the calls of names that the server never listed.",
            empty="No tools",
            width=24,
            height=12,
        ),
        draw.Column(
            expr=total(gained(pick(_CALLS)), *_BY_TOOL),
            title="Calls",
            unit=draw.WHOLE,
            decimals=0,
        ),
        draw.Column(
            expr=promql.failed_share(by=_BY_TOOL, window=RANGE),
            title="Failed",
            unit=draw.SHARE,
            steps=_FAILURES,
        ),
        draw.Column(
            expr=promql.tool_error_share(by=_BY_TOOL, window=RANGE),
            title="Tool errors",
            unit=draw.SHARE,
        ),
        draw.Column(
            expr=promql.quantile(0.95, _DURATION, _FINISHED, by=_BY_TOOL, window=RANGE),
            title="p95",
            unit=draw.SECONDS,
        ),
        draw.Column(
            expr=total(pick("mcp_tool_calls_in_flight"), *_BY_TOOL),
            title="In flight",
            unit=draw.COUNT,
        ),
        draw.Column(
            expr=promql.mean("mcp_tool_result_size_bytes", by=_BY_TOOL, window=RANGE),
            title="Mean result",
            unit=draw.BYTES,
        ),
        keys=_BY_TOOL,
        sort="Calls",
        links={"tool": TOOL_URL},
    ),
)

OVERVIEW: Final = Board(
    uid="mcp-overview",
    title="MCP overview",
    description="Whether agents can use the tools of all servers, what fails, and where.",
    rows=(
        Row(title="Can agents use the tools?", panels=_STATE),
        Row(title="What do callers see?", panels=_SYMPTOMS),
        Row(title="Where is it?", panels=_PLACES),
    ),
)
