"""The families of JSON-RPC requests: tool calls, all operations, tasks.

Knows the rows that tell what became of a request; does not know who sends requests (`peers`).
"""

from mcp_proxy_exporter.config.models import DURATION_BUCKETS
from mcp_proxy_exporter.observe.catalogue.buckets import (
    INPUT_BUCKETS,
    SIZE_BUCKETS,
    TASK_BUCKETS,
)
from mcp_proxy_exporter.observe.family import Family, Kind
from mcp_proxy_exporter.protocol.limits import Limits
from mcp_proxy_exporter.protocol.scope import MAX_RECENT

TOOL_CALLS = (
    Family(
        name="mcp_tool_calls_total",
        kind=Kind.COUNTER,
        labels=("server", "tool", "outcome"),
        bound="S*T*O",
        help="Tool calls that ended, by what became of them. "
        "The success series of a listed tool exists at 0 before its first call.",
    ),
    Family(
        name="mcp_tool_call_duration_seconds",
        kind=Kind.HISTOGRAM,
        unit="seconds",
        labels=("server", "tool", "outcome"),
        bound="S*T*O",
        buckets=DURATION_BUCKETS,
        configurable=True,
        help="Time from a tool call's request, read to its end, to the end of the call; "
        "without the time in which the client had a question of the server to answer.",
    ),
    Family(
        name="mcp_tool_calls_in_flight",
        kind=Kind.GAUGE,
        labels=("server", "tool"),
        bound="S*T",
        help="Tool calls that have not ended yet.",
    ),
    Family(
        name="mcp_tool_last_call_timestamp_seconds",
        kind=Kind.GAUGE,
        unit="seconds",
        labels=("server", "tool"),
        bound="S*T",
        help="Unix time when the last call of a tool ended; 0 for a listed tool never called.",
    ),
    Family(
        name="mcp_tool_result_size_bytes",
        kind=Kind.HISTOGRAM,
        unit="bytes",
        labels=("server", "tool"),
        bound="S*T",
        buckets=SIZE_BUCKETS,
        help="Size of a tool's result as JSON text: what it costs a model's context. Of outcomes "
        "success and tool_error; nobody reads the others'.",
    ),
    Family(
        name="mcp_tool_result_content_blocks_total",
        kind=Kind.COUNTER,
        labels=("server", "tool", "type"),
        bound="S*T*Y",
        help="Content blocks in the results of tool calls, by type; "
        "a result's structuredContent counts as one.",
    ),
    Family(
        name="mcp_tool_result_duplicated_bytes_total",
        kind=Kind.COUNTER,
        unit="bytes",
        labels=("server", "tool"),
        bound="S*T",
        help="Text in the content of tools' results that only says again what their "
        "structuredContent says.",
    ),
    Family(
        name="mcp_tool_soft_errors_total",
        kind=Kind.COUNTER,
        labels=("server", "tool", "reason"),
        bound="S*T*Z",
        help="Tool calls that ended like a success and that a rule of the configuration calls a "
        "failure, by the reason that the rule gives. Their outcome is tool_error everywhere.",
    ),
    Family(
        name="mcp_unknown_tool_calls_total",
        kind=Kind.COUNTER,
        labels=("server",),
        bound="S",
        help="Calls of a name that no tools/list showed, counted once a list was seen to its end.",
    ),
    Family(
        name="mcp_tool_repeated_calls_total",
        kind=Kind.COUNTER,
        labels=("server", "tool"),
        bound="S*T",
        help=f"Tool calls with the same arguments as one of the last {MAX_RECENT} different calls "
        "of their session and the result that it had last, as the JSON texts were sent, within "
        f"{Limits().repeat_seconds:.0f} seconds (a setting): so calls an agent that runs in a "
        "circle. Only where there are sessions.",
    ),
)

OPERATIONS = (
    Family(
        name="mcp_requests_total",
        kind=Kind.COUNTER,
        labels=("server", "method", "outcome"),
        bound="S*M*O",
        help="JSON-RPC requests of clients that ended, by what became of them.",
    ),
    Family(
        name="mcp_request_duration_seconds",
        kind=Kind.HISTOGRAM,
        unit="seconds",
        labels=("server", "method"),
        bound="S*M",
        buckets=DURATION_BUCKETS,
        configurable=True,
        help="Time from a JSON-RPC request, read to its end, to its end; "
        "without the time in which the client had a question of the server to answer, "
        "and without subscriptions/listen, which is open for hours by design.",
    ),
    Family(
        name="mcp_requests_in_flight",
        kind=Kind.GAUGE,
        labels=("server", "method"),
        bound="S*M",
        help="JSON-RPC requests that have not ended yet.",
    ),
    Family(
        name="mcp_oldest_request_start_timestamp_seconds",
        kind=Kind.GAUGE,
        unit="seconds",
        labels=("server",),
        bound="S",
        polled=True,
        help="Unix time when the oldest JSON-RPC request in flight began, without "
        "subscriptions/listen; 0 when there is none.",
    ),
    Family(
        name="mcp_jsonrpc_errors_total",
        kind=Kind.COUNTER,
        labels=("server", "method", "code"),
        bound="S*M*C",
        help="JSON-RPC errors that answered requests, by code.",
    ),
    Family(
        name="mcp_time_to_first_message_seconds",
        kind=Kind.HISTOGRAM,
        unit="seconds",
        labels=("server", "method"),
        bound="S*M",
        buckets=DURATION_BUCKETS,
        configurable=True,
        help="Time from a JSON-RPC request, read to its end, to the first message of its answer.",
    ),
    Family(
        name="mcp_message_size_bytes",
        kind=Kind.SUMMARY,
        unit="bytes",
        labels=("server", "direction", "kind"),
        bound="S*2*3",
        help="JSON-RPC messages and their size as JSON text, after content decoding: those in "
        "POSTs, their answers and event streams.",
    ),
    Family(
        name="mcp_notifications_total",
        kind=Kind.COUNTER,
        labels=("server", "direction", "method"),
        bound="S*2*N",
        help="JSON-RPC notifications.",
    ),
    Family(
        name="mcp_log_messages_total",
        kind=Kind.COUNTER,
        labels=("server", "level"),
        bound="S*L",
        help="Log messages that servers sent to clients (notifications/message).",
    ),
    Family(
        name="mcp_input_requests_total",
        kind=Kind.COUNTER,
        labels=("server", "method", "delivery"),
        bound="S*I*D",
        help="Questions of servers to clients (sampling, elicitation, roots), "
        "by how they were asked.",
    ),
    Family(
        name="mcp_input_request_duration_seconds",
        kind=Kind.HISTOGRAM,
        unit="seconds",
        labels=("server", "method"),
        bound="S*I",
        buckets=INPUT_BUCKETS,
        help="Time from a server's question to the client's answer: that of a human or a model, "
        "kept out of the durations of calls.",
    ),
    Family(
        name="mcp_late_responses_total",
        kind=Kind.COUNTER,
        labels=("server", "method"),
        bound="S*M",
        help="Responses to requests that had already ended.",
    ),
    Family(
        name="mcp_era_fallbacks_total",
        kind=Kind.COUNTER,
        labels=("server",),
        bound="S",
        help="Clients that turned to initialize because their server/discover was refused: "
        "negotiation of an older revision, no error.",
    ),
)

TASKS = (
    Family(
        name="mcp_tasks_total",
        kind=Kind.COUNTER,
        labels=("server", "tool", "outcome"),
        bound="S*T*A",
        help="Tasks that ended, once each, by what they brought. "
        "All outcomes of a tool exist at 0 once it was answered by a task.",
    ),
    Family(
        name="mcp_task_duration_seconds",
        kind=Kind.HISTOGRAM,
        unit="seconds",
        labels=("server", "tool"),
        bound="S*T",
        buckets=TASK_BUCKETS,
        help="Time from the call that a task answered to the first sign of the task's end, "
        "which is late by as much as its client asks late; without tasks whose end nobody saw.",
    ),
    Family(
        name="mcp_tasks_pending",
        kind=Kind.GAUGE,
        labels=("server",),
        bound="S",
        help="Tasks of which no end was seen yet and that were not given up.",
    ),
)
