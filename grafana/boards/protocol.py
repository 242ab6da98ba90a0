"""`mcp-protocol`: who speaks which MCP, and whether the conversations go as they should."""

from typing import Final

from grafana.boards import draw, promql
from grafana.boards.board import Board, Row
from grafana.boards.promql import RANGE, ended, gained, increase, pick, rate, total

_REQUESTS: Final = "mcp_requests_total"
_NOTES: Final = "mcp_notifications_total"
_BY_METHOD: Final = ("method",)

# The methods are many; apart are those that behave apart.
METHODS: Final = (
    ("tools/call", "tools/call"),
    ("lists and reads", ".+/list|(resources|prompts)/(read|get)"),
    ("handshakes and pings", "initialize|server/discover|ping"),
    ("tasks", "tasks/(cancel|get|result|update)"),
)
NOTIFICATIONS: Final = (
    ("progress", "notifications/progress"),
    ("log messages", "notifications/message"),
    ("changed lists", "notifications/.+/(list_changed|updated)"),
    ("cancelled", "notifications/cancelled"),
)


def _groups(metric: str, groups: tuple[tuple[str, str], ...]) -> list[draw.Line]:
    """Draw methods in groups, and the rest as one more."""
    lines = [
        draw.Line(expr=total(rate(pick(metric, f'method=~"{pattern}"'))), legend=name)
        for name, pattern in groups
    ]
    known = "|".join(pattern for _, pattern in groups)
    rest = total(rate(pick(metric, f'method!~"{known}"')))
    return [*lines, draw.Line(expr=rest, legend="other", color=draw.GREY)]


def _share_of(*outcomes: str) -> str:
    """Give the share of the requests in the time range with some outcomes, by method."""
    return promql.share(
        total(gained(pick(_REQUESTS, ended(*outcomes))), *_BY_METHOD),
        total(gained(pick(_REQUESTS)), *_BY_METHOD),
    )


_TRAFFIC: Final = (
    draw.lines(
        draw.Head(
            title="Requests by method",
            description="JSON-RPC requests that ended, by what kind of method they call. Many "
            "lists or handshakes for each call say that clients do not keep what they were told.",
            empty="No requests",
            width=8,
        ),
        draw.Axis(unit=draw.PER_SECOND),
        *_groups(_REQUESTS, METHODS),
        stacked=True,
    ),
    draw.lines(
        draw.Head(
            title="JSON-RPC errors by code",
            description="-32601: no such method; -32602: wrong arguments, or no such tool or "
            "resource; -32603: the server failed; -32700 and -32600: no JSON-RPC; -32020 to "
            "-32022: header, capability or revision do not fit; -32042: a question, no failure.",
            empty="No JSON-RPC errors",
            width=8,
        ),
        draw.Axis(unit=draw.PER_SECOND),
        draw.Line(
            expr=f"{total(rate(pick('mcp_jsonrpc_errors_total')), 'code')} > 0", legend="{{code}}"
        ),
        stacked=True,
        bars=True,
    ),
    draw.lines(
        draw.Head(
            title="Misunderstandings",
            description="Calls of tools that no list showed, which models make up; answers that "
            "came after the end of their call; clients that fall back to an older revision, which "
            "is ordinary; and log messages of level error and above.",
            empty="No servers",
            width=8,
        ),
        draw.Axis(unit=draw.PER_SECOND),
        draw.Line(expr=total(rate(pick("mcp_unknown_tool_calls_total"))), legend="unknown tools"),
        draw.Line(expr=total(rate(pick("mcp_late_responses_total"))), legend="late answers"),
        draw.Line(expr=total(rate(pick("mcp_era_fallbacks_total"))), legend="era fallbacks"),
        draw.Line(
            expr=total(
                rate(pick("mcp_log_messages_total", 'level=~"error|critical|alert|emergency"'))
            ),
            legend="logged errors",
            color=draw.RED,
        ),
    ),
    draw.table(
        draw.Head(
            title="Methods",
            description="All methods in the time range. Failed: no answer came; refused: the "
            "answer was a JSON-RPC error. p95 includes both; subscriptions have none, as they last "
            "by design. That older servers refuse server/discover is how revisions are negotiated.",
            empty="No requests",
            width=24,
            height=7,
        ),
        draw.Column(
            expr=total(gained(pick(_REQUESTS)), *_BY_METHOD),
            title="Requests",
            unit=draw.WHOLE,
            decimals=0,
        ),
        draw.Column(
            expr=_share_of(*promql.FAULTS, promql.BROKEN),
            title="Failed",
            unit=draw.SHARE,
            steps=((1e-9, draw.ORANGE),),
        ),
        draw.Column(expr=_share_of(promql.REFUSED), title="Refused", unit=draw.SHARE),
        draw.Column(
            expr=promql.quantile(0.95, "mcp_request_duration_seconds", by=_BY_METHOD, window=RANGE),
            title="p95",
            unit=draw.SECONDS,
        ),
        draw.Column(
            expr=promql.quantile(
                0.95, "mcp_time_to_first_message_seconds", by=_BY_METHOD, window=RANGE
            ),
            title="p95 to first message",
            unit=draw.SECONDS,
        ),
        draw.Column(
            expr=total(pick("mcp_requests_in_flight"), *_BY_METHOD),
            title="In flight",
            unit=draw.COUNT,
        ),
        keys=_BY_METHOD,
        sort="Requests",
    ),
)

_PEERS: Final = (
    draw.lines(
        draw.Head(
            title="Requests by revision",
            description="Which revisions of MCP are spoken, and when the last client of an old one "
            "is gone. From 2026-07-28 on there are no sessions.",
            empty="No requests",
            width=7,
        ),
        draw.Axis(unit=draw.PER_SECOND),
        draw.Line(
            expr=total(rate(pick("mcp_client_requests_total")), "protocol_version") + " > 0",
            legend="{{protocol_version}}",
        ),
        stacked=True,
    ),
    draw.table(
        draw.Head(
            title="Clients",
            description="Who calls, by the name that clients give themselves, unverified, and the "
            "revision that they speak. _other is every name beyond the configured number.",
            empty="No requests",
            width=7,
        ),
        draw.Column(
            expr=total(gained(pick("mcp_client_requests_total")), "client", "protocol_version"),
            title="Requests",
            unit=draw.WHOLE,
            decimals=0,
        ),
        keys=("client", "protocol_version"),
        sort="Requests",
    ),
    draw.table(
        draw.Head(
            title="Servers",
            description="What servers say that they are, in each revision in which they were "
            "asked, unverified. Two versions of one server: replicas differ.",
            empty="No server described itself",
            width=10,
        ),
        draw.Column(
            expr=f"count by (server, name, version, protocol_version) ({pick('mcp_server_info')})",
            title="Exporters",
            unit=draw.COUNT,
        ),
        keys=("server", "name", "version", "protocol_version"),
        sort="server",
    ),
)

_CONVERSATIONS: Final = (
    draw.lines(
        draw.Head(
            title="Sessions",
            description="Sessions that are open, and how many ended in each minute or longer step, "
            "and why. idle: most clients never say good-bye; expired: the server forgot a session "
            "that its client still used, as after a restart.",
            empty="No sessions",
            width=8,
        ),
        draw.Axis(unit=draw.COUNT),
        draw.Line(expr=total(pick("mcp_sessions_active")), legend="open", color=draw.BLUE),
        draw.Line(
            expr=f"{total(increase(pick('mcp_sessions_closed_total')), 'reason')} > 0",
            legend="ended: {{reason}}",
        ),
        by_minute=True,
    ),
    draw.lines(
        draw.Head(
            title="Long streams",
            description="Event streams that stay open. get: a session's channel for the server's "
            "own messages; listen: subscriptions; legacy_sse: HTTP+SSE of 2024-11-05, one for each "
            "client.",
            empty="No streams yet",
            width=8,
        ),
        draw.Axis(unit=draw.COUNT),
        draw.Line(expr=total(pick("mcp_streams_open"), "kind"), legend="{{kind}}"),
    ),
    draw.lines(
        draw.Head(
            title="Notifications",
            description="Messages that nobody answers, both ways. Progress that stops tells of a "
            "stalled server; changed lists make every client list again.",
            empty="No notifications",
            width=8,
        ),
        draw.Axis(unit=draw.EVENTS_PER_SECOND),
        *_groups(_NOTES, NOTIFICATIONS),
        stacked=True,
    ),
    draw.lines(
        draw.Head(
            title="Questions to clients",
            description="What servers ask of clients in the middle of a call: sampling, "
            "elicitation, roots; and, against the right axis, how long people and models take to "
            "answer. That time is in no tool's latency.",
            empty="No questions",
            width=12,
        ),
        draw.Axis(unit=draw.PER_SECOND),
        draw.Line(
            expr=total(rate(pick("mcp_input_requests_total")), "method"), legend="{{method}}"
        ),
        draw.Line(
            expr=promql.quantile(0.95, "mcp_input_request_duration_seconds"),
            legend="p95 until answered",
            color=draw.GREY,
            unit=draw.SECONDS,
        ),
    ),
    draw.lines(
        draw.Head(
            title="Tasks",
            description="Calls that were answered by a task: how many are still pending, and how "
            "many ended in each minute or longer step, and how. unobserved: nobody asked for their "
            "end in time.",
            empty="No tasks",
            width=12,
        ),
        draw.Axis(unit=draw.COUNT),
        draw.Line(expr=total(pick("mcp_tasks_pending")), legend="pending", color=draw.BLUE),
        draw.Line(
            expr=f"{total(increase(pick('mcp_tasks_total')), 'outcome')} > 0",
            legend="ended: {{outcome}}",
        ),
        by_minute=True,
    ),
)

PROTOCOL: Final = Board(
    uid="mcp-protocol",
    title="MCP protocol and clients",
    description="Who speaks which MCP, and whether the conversations go as they should.",
    rows=(
        Row(title="What is asked, and what is refused?", panels=_TRAFFIC),
        Row(title="Who speaks?", panels=_PEERS),
        Row(title="How do the conversations go?", panels=_CONVERSATIONS),
    ),
)
