"""The table of metric families: the product's public interface, every family declared once.

Knows names, types, units, labels, helps and how many series each family can have; does not know
who counts. `docs/metrics.md` is generated from here (`document`). Names, labels and outcomes are
never changed: dashboards, rules and users' own queries are built on them.
"""

from collections.abc import Mapping
from types import MappingProxyType

from mcp_proxy_exporter.observe.family import Family, Kind

# From the fastest in-memory tool to a build or a human that takes minutes.
DURATION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
# 256 B to 16 MiB, times 4: from a word to more than any model's context.
SIZE_BUCKETS = tuple(256 * 4**step for step in range(9))
# From a loopback connect to a TLS handshake across the world, and the connect timeout.
CONNECT_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
# 50 us, about one plain call's work, to half a second, which would be a fault of ours.
OVERHEAD_BUCKETS = (
    *(0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01),
    *(0.025, 0.05, 0.1, 0.25, 0.5),
)

_TOOL_CALLS = (
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
        help="Time from a tool call's request, read to its end, to the end of the call.",
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
        help="Size of a tool's result as JSON text: what it costs a model's context.",
    ),
    Family(
        name="mcp_unknown_tool_calls_total",
        kind=Kind.COUNTER,
        labels=("server",),
        bound="S",
        help="Calls of a name that no tools/list showed, counted once a list was seen to its end.",
    ),
)

_OPERATIONS = (
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
        "without subscriptions/listen, which is open for hours by design.",
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
        help="JSON-RPC messages and their size as JSON text, after content decoding.",
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
        name="mcp_late_responses_total",
        kind=Kind.COUNTER,
        labels=("server", "method"),
        bound="S*M",
        help="Responses to requests that had already ended.",
    ),
)

_INVENTORY = (
    Family(
        name="mcp_tools",
        kind=Kind.GAUGE,
        labels=("server",),
        bound="S",
        help="Tools in the last complete tools/list; absent before one was seen.",
    ),
    Family(
        name="mcp_tool_info",
        kind=Kind.GAUGE,
        labels=("server", "tool", "read_only", "destructive", "idempotent", "open_world"),
        bound="S*T",
        polled=True,
        help="1 for each tool of the last complete tools/list, with the server's own unverified "
        "hints: true, false or unset.",
    ),
)

_HTTP = (
    Family(
        name="mcp_http_requests_total",
        kind=Kind.COUNTER,
        labels=("server", "method", "code"),
        bound="S*H*X",
        help="HTTP exchanges that ended, by the status sent to the client; "
        "0 where the exchange ended before any.",
    ),
    Family(
        name="mcp_http_request_duration_seconds",
        kind=Kind.HISTOGRAM,
        unit="seconds",
        labels=("server", "method"),
        bound="S*H",
        buckets=DURATION_BUCKETS,
        configurable=True,
        help="Time from the head of an HTTP request to the end of its answer; "
        "without event streams that answer a GET.",
    ),
    Family(
        name="mcp_http_connections",
        kind=Kind.GAUGE,
        labels=("server", "side", "state"),
        bound="S*2*2",
        polled=True,
        help="Open connections of clients and to the upstream, busy with an exchange or idle.",
    ),
    Family(
        name="mcp_upstream_up",
        kind=Kind.GAUGE,
        labels=("server",),
        bound="S",
        help="1 if the upstream answered when last used, 0 if it did not; absent before.",
    ),
    Family(
        name="mcp_upstream_last_success_timestamp_seconds",
        kind=Kind.GAUGE,
        unit="seconds",
        labels=("server",),
        bound="S",
        help="Unix time of the upstream's last answer of any status, at most a second old while "
        "answers come; 0 before the first.",
    ),
    Family(
        name="mcp_upstream_failures_total",
        kind=Kind.COUNTER,
        labels=("server", "reason"),
        bound="S*F",
        help="Exchanges that the upstream did not answer, or broke.",
    ),
    Family(
        name="mcp_upstream_connect_duration_seconds",
        kind=Kind.HISTOGRAM,
        unit="seconds",
        labels=("server",),
        bound="S",
        buckets=CONNECT_BUCKETS,
        help="Time to open a connection to the upstream, TLS included.",
    ),
)

_EXPORTER = (
    Family(
        name="mcp_proxy_overhead_seconds",
        kind=Kind.HISTOGRAM,
        unit="seconds",
        labels=("server", "phase"),
        bound="S*2",
        buckets=OVERHEAD_BUCKETS,
        help="Time that the proxy held one exchange's request and response bytes, measured "
        "directly; inspection comes after they have passed on.",
    ),
    Family(
        name="mcp_proxy_uninspected_messages_total",
        kind=Kind.COUNTER,
        labels=("server", "reason"),
        bound="S*R",
        help="Messages or bodies that were forwarded but could not be judged.",
    ),
    Family(
        name="mcp_proxy_inspection_errors_total",
        kind=Kind.COUNTER,
        labels=("stage",),
        bound="E",
        help="Faults of the inspection itself. The bytes were forwarded all the same.",
    ),
    Family(
        name="mcp_proxy_label_overflow_total",
        kind=Kind.COUNTER,
        labels=("label",),
        bound="1",
        help="Values that were not admitted as label values and counted as _other.",
    ),
    Family(
        name="mcp_proxy_label_values",
        kind=Kind.GAUGE,
        labels=("label",),
        bound="1",
        polled=True,
        help="Values admitted as label values, all servers together.",
    ),
    Family(
        name="mcp_proxy_label_values_limit",
        kind=Kind.GAUGE,
        labels=("label",),
        bound="1",
        polled=True,
        help="Values that can be admitted as label values, all servers together.",
    ),
    Family(
        name="mcp_proxy_build_info",
        kind=Kind.GAUGE,
        labels=("version", "revision", "python"),
        bound="1",
        help="1, with the exporter's version, source revision and Python version.",
    ),
)

SECTIONS: Mapping[str, tuple[Family, ...]] = MappingProxyType(
    {
        "Tool calls": _TOOL_CALLS,
        "All operations": _OPERATIONS,
        "Inventory": _INVENTORY,
        "HTTP and the upstream": _HTTP,
        "The exporter itself": _EXPORTER,
    }
)

FAMILIES = tuple(family for families in SECTIONS.values() for family in families)
"""All families, in the order of the document and of a scrape."""
