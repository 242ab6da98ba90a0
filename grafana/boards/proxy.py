"""`mcp-proxy`: whether the exporter itself is well, sees everything and stays within its limits."""

from typing import Final

from grafana.boards import draw, promql
from grafana.boards.board import PROXY_UID, Board, Row
from grafana.boards.promql import RANGE, gained, ours, pick, pick_process, rate, total

_HTTP: Final = "mcp_http_requests_total"
_HTTP_DURATION: Final = "mcp_http_request_duration_seconds"
_CONNECT: Final = "mcp_upstream_connect_duration_seconds"
_OVERHEAD: Final = "mcp_proxy_overhead_seconds"
_PROCESS: Final = ("job", "instance")
_REFUSALS: Final = 'limit=~"connections|requests|head_.+|client_head|client_body|client_write"'
"""Not the idle ones, which are everyday, nor the upstream's, which are failures already."""


def _of_process(expr: str) -> str:
    """Drop all labels but a row's: with names among them, rows of several queries do not merge."""
    return f"max by ({', '.join(_PROCESS)}) ({expr})"


_TRAFFIC: Final = (
    draw.lines(
        draw.Head(
            title="HTTP exchanges by status",
            description="HTTP exchanges that ended, by the status that the client was sent. MCP "
            "errors mostly come with 200: this tells of the transport only. No status: the client "
            "left before there was one.",
            empty="No exchanges",
            width=8,
        ),
        draw.Axis(unit=draw.PER_SECOND),
        *(
            draw.Line(expr=total(rate(pick(_HTTP, f'code=~"{pattern}"'))), legend=name, color=color)
            for name, pattern, color in (
                ("2xx", "2..", draw.GREEN),
                ("4xx", "4..", draw.ORANGE),
                ("5xx", "5..", draw.RED),
                ("1xx and 3xx", "[13]..", draw.BLUE),
                ("no status", "0|_other", draw.GREY),
            )
        ),
        stacked=True,
    ),
    draw.lines(
        draw.Head(
            title="HTTP duration",
            description="Head of the request to end of the answer, without the streams that answer "
            "a GET. A call that is answered by a stream takes as long as the call.",
            empty="No exchanges",
            width=8,
        ),
        draw.Axis(unit=draw.SECONDS),
        *(
            draw.Line(
                expr=promql.quantile(which, _HTTP_DURATION),
                legend=f"p{which * 100:g}",
                color=color,
            )
            for which, color in promql.QUANTILES
        ),
    ),
    draw.lines(
        draw.Head(
            title="Upstream failures and limits",
            description="Exchanges that the upstream did not answer, or broke. dns, tls and "
            "connect_*: it is not there or not reachable; closed_before_head and bad_response: it "
            "is ill; *_timeout: a configured limit ran out. limit: what clients were refused or "
            "cut for; connections and requests: there was no room.",
            empty="No failures",
            width=8,
        ),
        draw.Axis(unit=draw.PER_SECOND),
        draw.Line(
            expr=f"{total(rate(pick('mcp_upstream_failures_total')), 'reason')} > 0",
            legend="{{reason}}",
        ),
        draw.Line(
            expr=total(rate(pick("mcp_proxy_limit_hits_total", _REFUSALS)), "limit") + " > 0",
            legend="limit: {{limit}}",
        ),
        stacked=True,
        bars=True,
    ),
    draw.lines(
        draw.Head(
            title="Connections",
            description="Open connections of clients and to upstreams, busy or idle. Busy ones "
            "that climb while the traffic does not are exchanges that hang.",
            empty="No servers",
            width=12,
        ),
        draw.Axis(unit=draw.COUNT),
        draw.Line(
            expr=total(pick("mcp_http_connections"), "side", "state"), legend="{{side}} {{state}}"
        ),
    ),
    draw.lines(
        draw.Head(
            title="Time to connect to upstreams",
            description="Opening a connection, TLS included. It climbs before a full backlog or a "
            "lossy network lets connections fail.",
            empty="No new connections",
            width=12,
        ),
        draw.Axis(unit=draw.SECONDS),
        draw.Line(expr=promql.quantile(0.5, _CONNECT), legend="p50", color=draw.GREEN),
        draw.Line(expr=promql.quantile(0.99, _CONNECT), legend="p99", color=draw.RED),
    ),
    draw.table(
        draw.Head(
            title="HTTP status by server",
            description="HTTP exchanges in the time range, by server and exact status. 401, 403: "
            "tokens ran out or are wrong; 404: sessions or paths that are gone; 429: the server "
            "defends itself; 502 and 504 are mostly the proxy's own. 0: no status was sent.",
            empty="No exchanges",
            width=24,
            height=7,
        ),
        draw.Column(
            expr=total(gained(pick(_HTTP)), "job", "server", "code"),
            title="Exchanges",
            unit=draw.WHOLE,
            decimals=0,
        ),
        keys=("job", "server", "code"),
        sort="Exchanges",
    ),
)

_EXPORTER: Final = (
    draw.lines(
        draw.Head(
            title="Overhead",
            description="Time that the proxy held an exchange's bytes, measured directly: what "
            "clients pay for being watched. Inspection comes after the bytes have passed on.",
            empty="No exchanges",
            width=8,
        ),
        draw.Axis(unit=draw.SECONDS, steps=((0.01, draw.ORANGE),)),
        *(
            draw.Line(
                expr=promql.quantile(which, _OVERHEAD, by=("phase",)),
                legend=f"p{which * 100:g} {{{{phase}}}}",
            )
            for which in (0.5, 0.99)
        ),
    ),
    draw.lines(
        draw.Head(
            title="Blind spots",
            description="Messages that passed but could not be judged, by reason, and faults of "
            "the inspection itself: while there are any, the other figures are too low.",
            empty="Everything was inspected",
            width=8,
        ),
        draw.Axis(unit=draw.EVENTS_PER_SECOND),
        draw.Line(
            expr=f"{total(rate(pick('mcp_proxy_uninspected_messages_total')), 'reason')} > 0",
            legend="{{reason}}",
        ),
        draw.Line(
            expr=f"{total(rate(pick_process('mcp_proxy_inspection_errors_total')), 'stage')} > 0",
            legend="fault: {{stage}}",
            color=draw.RED,
        ),
        stacked=True,
        bars=True,
    ),
    draw.lines(
        draw.Head(
            title="Label values against their limits",
            description="How full the caps on names from outside are, each server's own. At 100 % "
            "further names count as _other: raise the limit, or find who invents names.",
            empty="No limits",
            width=8,
        ),
        draw.Axis(unit=draw.SHARE, steps=((0.8, draw.ORANGE), (1, draw.RED))),
        draw.Line(
            expr=f"max by (server, label) ({pick('mcp_proxy_label_values')} / "
            f"({pick('mcp_proxy_label_values_limit')} > 0))",
            legend="{{server}}: {{label}}",
        ),
    ),
    draw.lines(
        draw.Head(
            title="Values that were not counted",
            description="Names that were not admitted as labels and counted as _other, and calls "
            "that a custom metric cannot read: its expression does not fit the tool.",
            empty="None",
            width=12,
        ),
        draw.Axis(unit=draw.EVENTS_PER_SECOND),
        draw.Line(
            expr=total(rate(pick("mcp_proxy_label_overflow_total")), "server", "label") + " > 0",
            legend="{{server}}: label {{label}}",
        ),
        draw.Line(
            expr=total(
                rate(pick_process("mcp_proxy_custom_metric_skips_total")), "metric", "reason"
            )
            + " > 0",
            legend="{{metric}}: {{reason}}",
        ),
    ),
    draw.lines(
        draw.Head(
            title="CPU and memory",
            description="Left: cores that each process uses. An exporter is one thread: near 1 it "
            "is full, and everything takes longer. Right: its resident memory, which follows the "
            "number of open calls and of label values, both limited: what climbs for days is a "
            "leak.",
            empty="No process figures on this system",
            width=12,
        ),
        draw.Axis(unit=draw.COUNT, steps=((0.8, draw.ORANGE), (1, draw.RED))),
        draw.Line(
            expr=ours(rate(pick_process("process_cpu_seconds_total"))),
            legend="CPU {{instance}}",
        ),
        draw.Line(
            expr=ours(pick_process("process_resident_memory_bytes")),
            legend="memory {{instance}}",
            unit=draw.BYTES,
        ),
    ),
    draw.table(
        draw.Head(
            title="Exporters",
            description="Each process that was scraped in the time range: whether it still is, "
            "what runs there since when, how near it is to its limit of files, and what a scrape "
            "costs.",
            empty="No exporter",
            width=24,
            height=6,
        ),
        draw.Column(
            expr=_of_process(ours(pick_process("up"), RANGE)),
            title="Up",
            unit="bool_yes_no",
            steps=((0, draw.RED), (1, draw.GREEN)),
        ),
        draw.Column(
            expr=f"max by (job, instance, version, revision, python) "
            f"({pick_process('mcp_proxy_build_info')})",
            title="Built",
            unit=draw.COUNT,
        ),
        draw.Column(
            expr=_of_process(f"({ours(pick_process('process_start_time_seconds'))}) * 1000"),
            title="Started",
            unit=draw.MOMENT,
        ),
        draw.Column(
            expr=_of_process(
                ours(f"{pick_process('process_open_fds')} / {pick_process('process_max_fds')}")
            ),
            title="Open files",
            unit=draw.SHARE,
            steps=((0.8, draw.RED),),
        ),
        draw.Column(
            expr=_of_process(ours(pick_process("scrape_duration_seconds"))),
            title="Scrape takes",
            unit=draw.SECONDS,
        ),
        draw.Column(
            expr=_of_process(ours(pick_process("scrape_samples_scraped"))),
            title="Samples",
            unit=draw.COUNT,
        ),
        keys=(*_PROCESS, "version", "revision", "python"),
        sort="instance",
        hide=("Built",),
    ),
)

PROXY: Final = Board(
    uid=PROXY_UID,
    title="MCP proxy and HTTP",
    description="Whether the exporter itself is well, sees everything and stays within its limits.",
    rows=(
        Row(title="Is HTTP well?", panels=_TRAFFIC),
        Row(title="Is the exporter well, and can its figures be trusted?", panels=_EXPORTER),
    ),
)
