"""The families of the two ends: who comes in with sessions and streams, what the server offers.

Knows the rows about clients, the inventory and the upstream; does not know what became of single
requests (`calls`).
"""

from mcp_proxy_exporter.config.models import DURATION_BUCKETS
from mcp_proxy_exporter.observe.catalogue.buckets import (
    CONNECT_BUCKETS,
    LIFETIME_BUCKETS,
)
from mcp_proxy_exporter.observe.family import Family, Kind

SESSIONS = (
    Family(
        name="mcp_sessions_active",
        kind=Kind.GAUGE,
        labels=("server",),
        bound="S",
        help="Sessions that have not ended yet; only revisions before 2026-07-28 have any.",
    ),
    Family(
        name="mcp_sessions_opened_total",
        kind=Kind.COUNTER,
        labels=("server",),
        bound="S",
        help="Sessions that began, or were first seen when already in use.",
    ),
    Family(
        name="mcp_sessions_closed_total",
        kind=Kind.COUNTER,
        labels=("server", "reason"),
        bound="S*B",
        help="Sessions that ended, by why.",
    ),
    Family(
        name="mcp_session_duration_seconds",
        kind=Kind.HISTOGRAM,
        unit="seconds",
        labels=("server",),
        bound="S",
        buckets=LIFETIME_BUCKETS,
        help="Time from a session's beginning to its end; "
        "to when it was last heard of where it was given up as idle.",
    ),
    Family(
        name="mcp_streams_open",
        kind=Kind.GAUGE,
        labels=("server", "kind"),
        bound="S*G",
        help="Long-lived event streams that have not ended yet. "
        "One that carries no more than a call's answer is part of that call.",
    ),
    Family(
        name="mcp_stream_duration_seconds",
        kind=Kind.HISTOGRAM,
        unit="seconds",
        labels=("server", "kind"),
        bound="S*G",
        buckets=LIFETIME_BUCKETS,
        help="Time from the beginning to the end of a long-lived event stream.",
    ),
    Family(
        name="mcp_stream_events_total",
        kind=Kind.COUNTER,
        labels=("server", "kind"),
        bound="S*G",
        help="Events that passed on long-lived event streams, whether they held messages or not.",
    ),
    Family(
        name="mcp_client_requests_total",
        kind=Kind.COUNTER,
        labels=("server", "client", "protocol_version"),
        bound="S*K*P",
        help="JSON-RPC requests when they begin, by the name that the client gives itself and by "
        "the revision of MCP that it speaks; both unverified.",
    ),
)

INVENTORY = (
    Family(
        name="mcp_tools",
        kind=Kind.GAUGE,
        labels=("server",),
        bound="S",
        help="Tools in the last complete tools/list, those beyond the first 2000 included; absent "
        "before one was seen.",
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
    Family(
        name="mcp_tool_definition_size_bytes",
        kind=Kind.GAUGE,
        unit="bytes",
        labels=("server", "tool", "part"),
        bound="S*T*4",
        polled=True,
        help="Size of a tool's definition in the last complete tools/list, as JSON text, by what "
        "it is spent on.",
    ),
    Family(
        name="mcp_tool_definition_estimated_tokens",
        kind=Kind.GAUGE,
        labels=("server", "tool"),
        bound="S*T",
        polled=True,
        help="Rough cost of a tool's definition to a model's context: its size, all parts "
        "together, divided by a fixed number of bytes per token.",
    ),
    Family(
        name="mcp_tools_list_size_bytes",
        kind=Kind.GAUGE,
        unit="bytes",
        labels=("server",),
        bound="S",
        help="Size of the last complete tools/list as JSON text, all pages together; "
        "absent before one was seen.",
    ),
    Family(
        name="mcp_server_instructions_size_bytes",
        kind=Kind.GAUGE,
        unit="bytes",
        labels=("server",),
        bound="S",
        help="Size of the instructions that the server last gave a client, as JSON text; "
        "0 for none, absent before it described itself.",
    ),
    Family(
        name="mcp_tool_definition_changes_total",
        kind=Kind.COUNTER,
        labels=("server", "tool"),
        bound="S*T",
        help="Complete lists that showed another definition of a tool than the last one that had "
        "it; the order of members and blanks between them do not matter.",
    ),
    Family(
        name="mcp_tools_added_total",
        kind=Kind.COUNTER,
        labels=("server",),
        bound="S",
        help="Tools that a complete tools/list showed and the one before it did not. "
        "The first list adds none.",
    ),
    Family(
        name="mcp_tools_removed_total",
        kind=Kind.COUNTER,
        labels=("server",),
        bound="S",
        help="Tools that a complete tools/list did not show any more.",
    ),
    Family(
        name="mcp_tools_list_last_success_timestamp_seconds",
        kind=Kind.GAUGE,
        unit="seconds",
        labels=("server",),
        bound="S",
        help="Unix time when a tools/list was last seen to its end; 0 before the first.",
    ),
    Family(
        name="mcp_server_info",
        kind=Kind.GAUGE,
        labels=("server", "name", "version", "protocol_version"),
        bound="S*P",
        polled=True,
        help="1 for each revision of MCP in which the server described itself, with the name and "
        "version that it last gave itself there; unverified.",
    ),
)

HTTP = (
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
