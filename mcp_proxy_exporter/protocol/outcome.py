"""The closed list of ways a JSON-RPC request can end.

Knows the words; does not know how they are decided (`verdict`, `exchange`) or counted (`observe`).
"""

from enum import StrEnum


class Outcome(StrEnum):
    """What happened to one JSON-RPC request, as its sender saw it: exactly one per request.

    The value is the metric label. The first terminal event decides; what comes later is a
    late response and changes nothing.
    """

    SUCCESS = "success"
    """A ``result`` without ``isError: true``, complete, no task handle."""
    TOOL_ERROR = "tool_error"
    """``result.isError`` is true."""
    PROTOCOL_ERROR = "protocol_error"
    """A JSON-RPC ``error`` with this request's id, on any HTTP status."""
    INPUT_REQUIRED = "input_required"
    """``resultType: input_required`` (2026-07-28) or error -32042 (2025-11-25)."""
    TASK_CREATED = "task_created"
    """``resultType: task``, or ``result.task.taskId`` after ``params.task``."""
    HTTP_ERROR = "http_error"
    """HTTP status >= 400 and no JSON-RPC error with this request's id."""
    INVALID_RESPONSE = "invalid_response"
    """HTTP 2xx or 3xx without a usable answer."""
    CANCELLED = "cancelled"
    """The client's ``notifications/cancelled``, or error -32800 or (0, "Request cancelled")."""
    CLIENT_DISCONNECTED = "client_disconnected"
    """The client closed before the response."""
    UPSTREAM_UNREACHABLE = "upstream_unreachable"
    """No connection: refused, DNS, TLS, connect timeout; answered 502 by the proxy."""
    UPSTREAM_TIMEOUT = "upstream_timeout"
    """A configured limit ran out; answered 504, or the stream was ended."""
    UPSTREAM_CLOSED = "upstream_closed"
    """Reset or EOF before the head, a truncated body, a stream that ended without the response."""
    ABANDONED = "abandoned"
    """Suspended (the event stream ended after event ids) and not resumed in time."""
    REJECTED = "rejected"
    """Refused by the proxy before it reached the upstream."""
    PROXY_SHUTDOWN = "proxy_shutdown"
    """The proxy stopped while it ran."""
    UNINSPECTED = "uninspected"
    """Forwarded but not judged: over the inspection limit, or an unknown encoding."""

    # Enum hashes by a method in Python; these are dictionary keys several times per call.
    __hash__ = str.__hash__


class Abort(StrEnum):
    """Why an HTTP exchange ended before its response was complete: whose fault, in one word."""

    CLIENT_GONE = "client_gone"
    UPSTREAM_UNREACHABLE = "upstream_unreachable"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    UPSTREAM_CLOSED = "upstream_closed"
    REJECTED = "rejected"
    SHUTDOWN = "shutdown"
    FAULT = "fault"
    """A bug in the inspection itself: what is open ends as ``uninspected``, never as a leak."""
