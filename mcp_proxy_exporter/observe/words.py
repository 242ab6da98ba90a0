"""The closed lists of label values: what a label may say when its text comes from the wire.

Knows the words of MCP, JSON-RPC, syslog and HTTP; does not know families, tools or caps. Whatever
is not on a list is `OTHER`, so no peer can add a series of its own invention.
"""

from collections.abc import Mapping
from types import MappingProxyType

from mcp_proxy_exporter.protocol.outcome import Outcome

OTHER = "_other"
"""Stands for every value that is not on its list, or beyond its cap."""

UNKNOWN = "_unknown"
"""Stands for a value that was never told."""

# Requests of all revisions, 2024-11-05 to 2026-07-28, both directions. Tasks: core of 2025-11-25
# (tasks/result, tasks/list) and the extension of 2026-07-28 (tasks/update).
REQUEST_METHODS = frozenset(
    {
        "completion/complete",
        "elicitation/create",
        "initialize",
        "logging/setLevel",
        "ping",
        "prompts/get",
        "prompts/list",
        "resources/list",
        "resources/read",
        "resources/subscribe",
        "resources/templates/list",
        "resources/unsubscribe",
        "roots/list",
        "sampling/createMessage",
        "server/discover",
        "subscriptions/listen",
        "tasks/cancel",
        "tasks/get",
        "tasks/list",
        "tasks/result",
        "tasks/update",
        "tools/call",
        "tools/list",
    }
)

TOOL_CALL = "tools/call"
PROMPT_CALL = "prompts/get"

# Open for hours by design (MCP 2026-07-28, basic/patterns/subscriptions): their duration says
# nothing about how fast a server answers.
LONG_LIVED_METHODS = frozenset({"subscriptions/listen"})

NOTIFICATION_METHODS = frozenset(
    {
        "notifications/cancelled",
        "notifications/elicitation/complete",
        "notifications/initialized",
        "notifications/message",
        "notifications/progress",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
        "notifications/resources/updated",
        "notifications/roots/list_changed",
        "notifications/subscriptions/acknowledged",
        "notifications/tasks",
        "notifications/tasks/status",
        "notifications/tools/list_changed",
    }
)

PROTOCOL_VERSIONS = frozenset(
    {"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"}
)

# The blocks of a tool's result (MCP 2025-11-25, schema, ContentBlock; the same in 2026-07-28).
TEXT_BLOCK = "text"
BLOCK_TYPES = frozenset({TEXT_BLOCK, "image", "audio", "resource", "resource_link"})
STRUCTURED = "structured"
"""Stands for ``structuredContent``, which is no block and has no type."""

LOG_NOTIFICATION = "notifications/message"

# Severities of RFC 5424 section 6.2.1, as MCP spells them (2025-11-25, server/utilities/logging).
LOG_LEVELS = frozenset(
    {"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"}
)

JSONRPC_CODES: Mapping[int, str] = MappingProxyType(
    {
        code: str(code)
        for code in (
            -32700,  # parse error (JSON-RPC 2.0 section 5.1, as the next four)
            -32600,  # invalid request
            -32601,  # method not found
            -32602,  # invalid params; MCP also: unknown tool
            -32603,  # internal error
            -32002,  # resource not found, up to 2025-11-25
            -32042,  # URL elicitation required, 2025-11-25
            -32020,  # header mismatch, 2026-07-28
            -32021,  # missing required client capability, 2026-07-28
            -32022,  # unsupported protocol version, 2026-07-28
            -32000,  # no fixed meaning; SDKs: bad request, connection closed
            -32001,  # no fixed meaning; SDKs: session not found, request timeout
            -32800,  # request cancelled (as in LSP)
            0,  # Python SDK 1.x: request cancelled, unhandled exception
        )
    }
)

# RFC 9110 section 9.3 and RFC 5789. Methods are case-sensitive: "get" is another one.
HTTP_METHODS = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}
)

# RFC 9110 section 15: three digits, 100 to 599. 0: the exchange ended before any status was sent.
HTTP_STATUSES: Mapping[int, str] = MappingProxyType(
    {status: str(status) for status in (0, *range(100, 600))}
)

UNINSPECTED_REASONS = frozenset(
    {
        "content_encoding",
        "content_type",
        "header_mismatch",
        "invalid_json",
        "stream_broken",
        "too_large",
    }
)

# What each failure says about the upstream itself: True where it is down for a user. A truncated
# answer or one that outlived its limit came from a server that does answer.
UPSTREAM_FAILURES: Mapping[str, bool] = MappingProxyType(
    {
        "bad_response": True,
        "closed_before_head": True,
        "connect_failed": True,
        "connect_refused": True,
        "connect_timeout": True,
        "dns": True,
        "response_timeout": True,
        "tls": True,
        "total_timeout": False,
        "truncated": False,
    }
)

# Settings of `limits` and `timeouts` that something can run into, under their own names. Those of
# `inspection` count in mcp_proxy_uninspected_messages_total: what they stop passes all the same.
LIMITS = frozenset(
    {
        "client_body",
        "client_head",
        "client_idle",
        "client_write",
        "connect",
        "connections",
        "head_bytes",
        "head_fields",
        "requests",
        "response_head",
        "total",
        "upstream_idle",
    }
)

CUSTOM_LABEL = "custom"
"""Stands for the labels of all custom metrics together, whatever each is called."""
GUARDED_LABELS = ("tool", "client", "prompt", CUSTOM_LABEL)
"""The labels whose values are names from the wire, admitted up to a cap."""

# Words of OpenTelemetry's conventions for MCP (semantic-conventions-genai, model/mcp/common.yaml,
# 2026-08-20) instead of those above: the fallback of `error.type` is spelled in capitals there.
SEMCONV_OTHER = "_OTHER"

# What the caller did wrong is no failure of the server, whose operations then carry the code alone.
SEMCONV_CALLER_ERRORS = frozenset({-32700, -32600, -32601, -32602, -32002})

# `error.type` of what ended without a JSON-RPC error code: empty for what did not fail, None for
# what nobody can say. The conventions fix `tool_error` and, in general, `timeout`; the rest are the
# outcomes' own words.
SEMCONV_ERROR_TYPES: Mapping[Outcome, str | None] = MappingProxyType(
    {
        **{outcome: outcome.value for outcome in Outcome},
        Outcome.SUCCESS: "",
        Outcome.INPUT_REQUIRED: "",
        Outcome.TASK_CREATED: "",
        Outcome.PROTOCOL_ERROR: SEMCONV_OTHER,
        Outcome.UPSTREAM_TIMEOUT: "timeout",
        Outcome.UNINSPECTED: None,
    }
)

# Why a call gave a custom metric nothing to count.
SKIP_REASONS: Mapping[str, str] = MappingProxyType(
    {
        "missing": "the value is not there, or null",
        "not_a_number": "the value is something else, such as a text or true",
        "not_finite": "the value is no finite number, or its series' sum would be none",
        "negative": "the value is below 0, and no gauge is meant",
        "expression_failed": "JMESPath raised an error, such as a function on the wrong type, or "
        "took too long",
        "too_large": "a text of the call that is needed is over `inspection.max_rule_bytes`",
        "no_room": "a text of the call was not kept, because too many calls were open",
        "uninspected": "the answer passed, but could not be read",
        "unreadable": "the JSON of the call could not be read",
    }
)

SOFT_ERROR_MATCHED = "matched"
"""The reason of a soft error whose rule names none."""
MAX_SOFT_ERROR_REASONS = 20
"""Different reasons per server besides that one; further ones are `OTHER`."""
