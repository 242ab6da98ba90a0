"""The pure core: what the bytes of HTTP exchanges say about MCP, as frozen events.

It knows MCP and JSON-RPC and nothing else: no event loop, clock, logger, metric or configuration.
The caller passes bytes and the time; nothing that comes from the wire makes it raise.

Glossary, in reading order:

* An **exchange** is one HTTP request and its answer: a POST (`exchange.ExchangeInspector`), or a
  GET that is answered by an event stream (`stream.StreamInspector`). `inspector.Inspector` opens
  them.
* A **body** (`body`) is read as one JSON text or as an **event stream** (`sse`), after its
  content coding (`encoding`) was taken off a copy.
* A **message** (`jsonrpc.Message`) is one JSON-RPC request, response or notification, alone or an
  element of a batch.
* A **call** (`events.Call`, while open `calls.OpenCall`) is one request of the client. It is opened
  when the body that holds it was read whole, and closed once, with one **outcome**
  (`outcome.Outcome`): by the response that carries its id (`tracker`, `verdict`), by a
  cancellation, or by the end of everything that could have answered it.
* A **scope** (`scope`, `scopes`) is where ids mean something beyond one exchange: a session, an
  endpoint of HTTP+SSE, a stream that can be resumed. A call that waits there is **suspended**;
  event ids link it to who comes back for it (`resumption`), and time ends it (`waiting`). What is
  over is `remembered`.
* The **era** of a call is legacy (up to 2025-11-25) or modern (2026-07-28 and later), decided for
  each request by itself (`routing`).
* A **question** is a request of the server within a call (`calls.Questions`); **input** is what it
  asks for by answering `input_required` (`inputs`).
* A **task** (`tasks`) is work that goes on after its call was answered.
* The **catalog** (`catalog`) links the pages of ``tools/list`` to the inventory of a server; what
  the server says of itself (`description`) belongs to the inventory too.
* The **state** (`state.ServerState`) is all that the exchanges of one server share.
* An **event** (`events.Event`) is a fact about all this, for sinks to count.

`limits` bounds what is held. What goes over a limit is still forwarded, and said to be uninspected.
"""

from mcp_proxy_exporter.protocol.events import (
    Call,
    CallClosed,
    CallOpened,
    Client,
    Content,
    Delivery,
    Direction,
    EraFellBack,
    Event,
    HttpExchangeClosed,
    InputAnswered,
    InputRequested,
    InspectionStopped,
    LateResponse,
    MessageKind,
    MessageSeen,
    ServerDescribed,
    SessionClosed,
    SessionEnd,
    SessionOpened,
    StreamClosed,
    StreamEvents,
    StreamKind,
    StreamOpened,
    TaskClosed,
    TaskOpened,
    TaskOutcome,
    Tool,
    ToolsChanged,
    ToolsListed,
    ToolsSeen,
    Transcript,
    UpstreamAnswered,
    UpstreamConnected,
    UpstreamFailed,
)
from mcp_proxy_exporter.protocol.exchange import ExchangeInspector
from mcp_proxy_exporter.protocol.inspector import Inspector
from mcp_proxy_exporter.protocol.limits import Limits
from mcp_proxy_exporter.protocol.outcome import Abort, Outcome

__all__ = [
    "Abort",
    "Call",
    "CallClosed",
    "CallOpened",
    "Client",
    "Content",
    "Delivery",
    "Direction",
    "EraFellBack",
    "Event",
    "ExchangeInspector",
    "HttpExchangeClosed",
    "InputAnswered",
    "InputRequested",
    "InspectionStopped",
    "Inspector",
    "LateResponse",
    "Limits",
    "MessageKind",
    "MessageSeen",
    "Outcome",
    "ServerDescribed",
    "SessionClosed",
    "SessionEnd",
    "SessionOpened",
    "StreamClosed",
    "StreamEvents",
    "StreamKind",
    "StreamOpened",
    "TaskClosed",
    "TaskOpened",
    "TaskOutcome",
    "Tool",
    "ToolsChanged",
    "ToolsListed",
    "ToolsSeen",
    "Transcript",
    "UpstreamAnswered",
    "UpstreamConnected",
    "UpstreamFailed",
]
