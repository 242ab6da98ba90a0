"""The facts that inspection and the data plane report: frozen records, no behaviour.

Knows what can be said about traffic; does not know who listens. Names in events (methods, tool
names, log levels) are as they came from the wire: untrusted, unbounded, possibly holding lone
surrogates. Whoever makes labels of them must guard them. Times are seconds of one monotonic clock
that the caller owns; sizes are bytes of the JSON text, after content decoding and without framing.

Records hold no cycles, so the garbage collector need not look at them (``gc=False``).
"""

from enum import StrEnum
from typing import Final, TypeAlias

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


class StreamKind(StrEnum):
    """Which long-lived event stream it is."""

    GET = "get"
    """The answer to a GET (2025-03-26 to 2025-11-25, basic/transports)."""
    LISTEN = "listen"
    """The answer to ``subscriptions/listen`` (2026-07-28, basic/patterns/subscriptions)."""
    LEGACY_SSE = "legacy_sse"
    """The stream of HTTP+SSE, which begins with an ``endpoint`` event (2024-11-05)."""

    __hash__ = str.__hash__  # as above


class SessionEnd(StrEnum):
    """Why a session is over."""

    DELETED = "deleted"
    """The client's DELETE was answered with 2xx."""
    EXPIRED = "expired"
    """The server did not know it any more."""
    IDLE = "idle"
    """Nothing was heard of it for too long, or more sessions began than are remembered."""


class Delivery(StrEnum):
    """How a server asks a client for input."""

    SERVER_REQUEST = "server_request"
    """By a request of its own (up to 2025-11-25)."""
    INPUT_REQUIRED = "input_required"
    """By the answer to a call that the client then repeats (2026-07-28, or error -32042)."""


class TaskOutcome(StrEnum):
    """How a task ended, judged by what it brought, not by its status."""

    SUCCESS = "success"
    TOOL_ERROR = "tool_error"
    """Its result has ``isError: true``."""
    FAILED = "failed"
    """A JSON-RPC error, or the status ``failed`` before any payload was seen."""
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    """The server did not know it any more when its client asked."""
    UNOBSERVED = "unobserved"
    """Its time to live passed and nobody saw its end."""


class Client(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """Who sends requests, as it says itself: unverified, for display only."""

    name: str | None = None
    """``clientInfo.name``: of the session's ``initialize``, or of the request's ``_meta``."""
    protocol_version: str | None = None
    """Negotiated for the session, or declared by the request.

    Of ``initialize`` the revision that it asks for.
    """


class Call(msgspec.Struct, eq=False, frozen=True, gc=False):
    """One JSON-RPC request of a client, from the moment its HTTP body was read whole.

    Compared by identity: `CallOpened` and `CallClosed` carry the same object.
    """

    method: str
    name: str | None
    """``params.name`` of ``tools/call`` and ``prompts/get``; None where absent or not a string."""
    opened_at: float
    client: Client = Client()
    trace_id: str | None = None
    """Of its W3C trace, if that is recorded: 32 lower-case hexadecimal digits."""


class CallOpened(msgspec.Struct, frozen=True, gc=False):
    """A request is on its way. Followed by exactly one `CallClosed` with the same call."""

    call: Call


class Content(msgspec.Struct, frozen=True, gc=False):
    """What a tool's result brings to a model's context."""

    types: tuple[str, ...]
    """The types of its blocks, in their order."""
    structured: bool = False
    """It has ``structuredContent``."""
    duplicated: int = 0
    """Bytes of text that repeat ``structuredContent``."""


class Transcript(msgspec.Struct, frozen=True, gc=False):
    """The JSON texts of a call and of its answer, for those who asked for them.

    Who asked must be able to tell a text that says nothing from one that is not at hand: there is a
    word for why it is not, one of `LOST`.
    """

    request: bytes
    """Empty where it is lost."""
    response: bytes
    """Empty where there was none, or where it is lost."""
    request_lost: str | None = None
    response_lost: str | None = None


LOST: Final = ("too_large", "no_room", "uninspected")
"""Over `limits.Limits.max_rule_bytes`; no room for the text, or for the call; an answer that could
not be read."""


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
    content: Content | None = None
    """What the result of a tool call holds; None where there was none."""
    transcript: Transcript | None = None
    """Of a call that somebody wants to read, see `inspector.Inspector`."""
    repeated: bool = False
    """A tool was called again with the same arguments and had the same result.

    In the same session, and not long after: so does an agent that runs in a circle.
    """
    waited: float = 0.0
    """Seconds of the call in which the client had a question of the server to answer."""


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
    """Of the request; may be empty where no revision of MCP has it."""


class Tool(msgspec.Struct, frozen=True, gc=False):
    """One tool as ``tools/list`` advertises it. The hints are the server's unverified claims."""

    name: str
    read_only: bool | None = None
    destructive: bool | None = None
    idempotent: bool | None = None
    open_world: bool | None = None
    description_size: int = 0
    """Bytes of the JSON text of the member, as the next two."""
    input_schema_size: int = 0
    output_schema_size: int = 0
    other_size: int = 0
    """What is left of the whole definition: its name, annotations, braces and blanks."""
    digest: bytes = b""
    """Of the whole definition, whatever the order of its members."""


class ToolsSeen(msgspec.Struct, frozen=True, gc=False):
    """One page of ``tools/list`` passed: these names are real."""

    tools: tuple[Tool, ...]
    more: int = 0
    """Tools that it names besides, of which nothing is kept: see `catalog.MAX_TOOLS`."""


class ToolsListed(msgspec.Struct, frozen=True, gc=False):
    """A ``tools/list`` is complete, all its pages together: this is the inventory now."""

    tools: tuple[Tool, ...]
    size: int = 0
    """Bytes of the JSON texts of all its results."""
    more: int = 0
    """Tools that it names besides, of which nothing is kept."""


class ToolsChanged(msgspec.Struct, frozen=True, gc=False):
    """The server announced other tools (``notifications/tools/list_changed``).

    What was listed before is not the whole truth any more. Several clients may be told of one
    change.
    """


class ServerDescribed(msgspec.Struct, frozen=True, gc=False):
    """A server said what it is, in its answer to ``initialize`` or to ``server/discover``."""

    name: str | None
    """``serverInfo.name``: unverified, as all that follows."""
    version: str | None
    protocol_version: str | None
    """The revision that the answer settles; that of the request where answers settle none."""
    instructions_size: int = 0
    """Bytes of the JSON text of ``instructions``; 0 where there are none."""


class SessionOpened(msgspec.Struct, frozen=True, gc=False):
    """A session began: ``initialize`` was answered with an ``Mcp-Session-Id``.

    Or one that began before the proxy did was used with success. Followed by one `SessionClosed`.
    """


class SessionClosed(msgspec.Struct, frozen=True, gc=False):
    """A session ended."""

    reason: SessionEnd
    duration: float
    """Seconds from its beginning to its end; to when it was last heard of where it was idle."""


class StreamOpened(msgspec.Struct, frozen=True, gc=False):
    """A long-lived event stream began. Followed by one `StreamClosed` of its kind."""

    kind: StreamKind
    instead_of: StreamKind | None = None
    """Said again of an open stream, when its first event shows that it is of another kind."""


class StreamEvents(msgspec.Struct, frozen=True, gc=False):
    """Events passed on a long-lived stream, whether they hold messages or not."""

    kind: StreamKind
    count: int


class StreamClosed(msgspec.Struct, frozen=True, gc=False):
    """A long-lived event stream ended, whoever ended it."""

    kind: StreamKind
    duration: float


class TaskOpened(msgspec.Struct, frozen=True, gc=False):
    """A call was answered by a task. Followed by one `TaskClosed` with the same call."""

    call: Call


class TaskClosed(msgspec.Struct, frozen=True, gc=False):
    """The first sign of a task's end passed, or it was given up."""

    call: Call
    outcome: TaskOutcome
    duration: float
    """Seconds from the call's opening: an upper bound, by as much as the client polls too late."""


class InputRequested(msgspec.Struct, frozen=True, gc=False):
    """A server asked a client for input: sampling, elicitation, roots."""

    method: str
    delivery: Delivery


class InputAnswered(msgspec.Struct, frozen=True, gc=False):
    """A client answered: the time is its own, or that of the human or model behind it."""

    method: str
    duration: float


class EraFellBack(msgspec.Struct, frozen=True, gc=False):
    """A client's ``server/discover`` was refused, and it turned to ``initialize`` instead."""


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


class LimitHit(msgspec.Struct, frozen=True, gc=False):
    """Something was refused or ended because a limit of the configuration was reached."""

    limit: str
    """The setting's name in ``limits`` or ``timeouts``."""


Event: TypeAlias = (
    CallOpened
    | CallClosed
    | MessageSeen
    | LateResponse
    | ToolsSeen
    | ToolsListed
    | ToolsChanged
    | ServerDescribed
    | SessionOpened
    | SessionClosed
    | StreamOpened
    | StreamEvents
    | StreamClosed
    | TaskOpened
    | TaskClosed
    | InputRequested
    | InputAnswered
    | EraFellBack
    | InspectionStopped
    | HttpExchangeClosed
    | UpstreamConnected
    | UpstreamAnswered
    | UpstreamFailed
    | LimitHit
)
