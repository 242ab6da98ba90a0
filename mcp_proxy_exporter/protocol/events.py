"""The facts that inspection and the data plane report: frozen records, no behaviour.

Knows what can be said about traffic; does not know who listens. Names in events (methods, tool
names, log levels) are as they came from the wire: untrusted, unbounded, possibly holding lone
surrogates. Whoever makes labels of them must guard them. Times are seconds of one monotonic clock
that the caller owns; sizes are bytes of the JSON text, after content decoding and without framing.

Records hold no cycles, so the garbage collector need not look at them (``gc=False``).
"""

from enum import StrEnum
from typing import TypeAlias

import msgspec

from mcp_proxy_exporter.protocol.outcome import Outcome


class Direction(StrEnum):
    """Which way a message travels."""

    TO_SERVER = "to_server"
    TO_CLIENT = "to_client"

    # Enum hashes by a method in Python; these are dictionary keys several times per call.
    __hash__ = str.__hash__


class MessageKind(StrEnum):
    """What a JSON-RPC message is, by its members (JSON-RPC 2.0, sections 4 and 5)."""

    REQUEST = "request"
    RESPONSE = "response"
    NOTIFICATION = "notification"

    __hash__ = str.__hash__  # as above


class Call(msgspec.Struct, eq=False, frozen=True, gc=False):
    """One JSON-RPC request of a client, from the moment its HTTP body was read whole.

    Compared by identity: `CallOpened` and `CallClosed` carry the same object.
    """

    method: str
    name: str | None
    """``params.name`` of ``tools/call`` and ``prompts/get``; None where absent or not a string."""
    opened_at: float


class CallOpened(msgspec.Struct, frozen=True, gc=False):
    """A request is on its way. Followed by exactly one `CallClosed` with the same call."""

    call: Call


class CallClosed(msgspec.Struct, frozen=True, gc=False):
    """A request ended."""

    call: Call
    outcome: Outcome
    at: float
    first_message_at: float | None = None
    """When the first JSON-RPC message of the response came; None when there was none."""
    result_size: int | None = None
    """Bytes of the JSON text of ``result``; None when there was none."""
    error_code: int | None = None
    """``error.code``; None where the answer was no error or its code no integer."""


class MessageSeen(msgspec.Struct, frozen=True, gc=False):
    """One JSON-RPC message of either direction passed (every message, matched or not)."""

    direction: Direction
    kind: MessageKind
    method: str | None
    """None for responses."""
    size: int
    level: str | None = None
    """``params.level`` of ``notifications/message``."""


class LateResponse(msgspec.Struct, frozen=True, gc=False):
    """A response for a request that had already ended."""

    method: str


class Tool(msgspec.Struct, frozen=True, gc=False):
    """One tool as ``tools/list`` advertises it. The hints are the server's unverified claims."""

    name: str
    read_only: bool | None = None
    destructive: bool | None = None
    idempotent: bool | None = None
    open_world: bool | None = None


class ToolsSeen(msgspec.Struct, frozen=True, gc=False):
    """One page of ``tools/list`` passed: these names are real."""

    tools: tuple[Tool, ...]


class ToolsListed(msgspec.Struct, frozen=True, gc=False):
    """A ``tools/list`` is complete, all its pages together: this is the inventory now."""

    tools: tuple[Tool, ...]


class InspectionStopped(msgspec.Struct, frozen=True, gc=False):
    """Bytes were forwarded that could not be judged."""

    reason: str
    """too_large, invalid_json, content_encoding, content_type, stream_broken, header_mismatch."""


class HttpExchangeClosed(msgspec.Struct, frozen=True, gc=False):
    """One HTTP request and its answer are over, whatever their content."""

    method: str
    """As received; any token (RFC 9110 section 9.1), so untrusted."""
    status: int
    """The status that was sent downstream; 0 when the exchange ended before any."""
    duration: float
    """Request head read to last byte of the answer handed to the client's socket."""
    long_lived: bool
    """An event stream that answers a GET: open for hours by design."""
    request_overhead: float
    """Seconds of work in the proxy on the request's bytes."""
    response_overhead: float
    """Seconds of work in the proxy on the response's bytes."""


class UpstreamConnected(msgspec.Struct, frozen=True, gc=False):
    """A connection to the upstream is open (TCP or unix, and TLS)."""

    duration: float


class UpstreamAnswered(msgspec.Struct, frozen=True, gc=False):
    """The upstream sent a final response head, of any status.

    Said again at most once a second while nothing fails: an event for each would tell no more.
    """


class UpstreamFailed(msgspec.Struct, frozen=True, gc=False):
    """The upstream could not be reached or broke an exchange."""

    reason: str
    """A closed list: `mcp_proxy_exporter.proxy.errors.UpstreamReason`."""


Event: TypeAlias = (
    CallOpened
    | CallClosed
    | MessageSeen
    | LateResponse
    | ToolsSeen
    | ToolsListed
    | InspectionStopped
    | HttpExchangeClosed
    | UpstreamConnected
    | UpstreamAnswered
    | UpstreamFailed
)
