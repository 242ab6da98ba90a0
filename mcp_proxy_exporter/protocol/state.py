"""What the HTTP exchanges of one server share, and what answers tell besides how their call ended.

Knows which answer goes to which of its parts: listings, sessions, tasks, input, negotiation. Does
not know HTTP, nor how calls are matched.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

from mcp_proxy_exporter.protocol.calls import OpenCall
from mcp_proxy_exporter.protocol.catalog import Catalog
from mcp_proxy_exporter.protocol.clients import Clients
from mcp_proxy_exporter.protocol.events import Client, Event
from mcp_proxy_exporter.protocol.ids import MAX_TEXT
from mcp_proxy_exporter.protocol.inputs import Inputs
from mcp_proxy_exporter.protocol.jsonrpc import Message
from mcp_proxy_exporter.protocol.limits import Budget, Limits
from mcp_proxy_exporter.protocol.negotiation import Negotiations
from mcp_proxy_exporter.protocol.outcome import Outcome
from mcp_proxy_exporter.protocol.scope import Kind, Scope
from mcp_proxy_exporter.protocol.scopes import Scopes
from mcp_proxy_exporter.protocol.tasks import Tasks

_REFUSALS: Final = frozenset({Outcome.PROTOCOL_ERROR, Outcome.HTTP_ERROR})


Origin: TypeAlias = tuple[Scope | None, bytes | None]
"""Where an answer comes from: the scope of its call, and the session that its HTTP head names."""


class _InitializeResult(msgspec.Struct, gc=False, frozen=True):
    version: str | None = msgspec.field(name="protocolVersion", default=None)


_decode_initialize = msgspec.json.Decoder(_InitializeResult).decode


class ServerState:
    """The memory of one server's inspection. All of it is bounded, and `sweep` ends it."""

    __slots__ = (
        "buffers",
        "calls",
        "catalog",
        "clients",
        "inputs",
        "limits",
        "negotiations",
        "scopes",
        "tasks",
    )

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.buffers = Budget(limits.max_buffered_bytes)
        """Bytes of unfinished messages."""
        self.calls = Budget(limits.max_open_calls)
        """Calls in flight, suspended ones included."""
        self.catalog = Catalog()
        self.clients = Clients()
        self.scopes = Scopes(limits, self.calls, self.clients)
        self.tasks = Tasks(limits)
        self.inputs = Inputs()
        self.negotiations = Negotiations()

    def learn(
        self, opened: OpenCall, message: Message, outcome: Outcome, origin: Origin, now: float
    ) -> Sequence[Event]:
        """Read an answer that says more than how its call ended."""
        method = opened.call.method
        if method.startswith("tasks/"):
            return self.tasks.read_answer(opened, message, outcome, now)
        if outcome is Outcome.TASK_CREATED:
            return self.tasks.create(opened.call, message.result, now)
        if outcome is Outcome.INPUT_REQUIRED:
            return self.inputs.require(message, now)
        if outcome is not Outcome.SUCCESS:
            self.note_refusal(opened, outcome, now)
        elif method == "tools/list":
            return self.catalog.add(opened.place, message.result)
        elif method == "initialize":
            return self._begin(opened, message, origin, now)
        return ()

    def note_refusal(self, opened: OpenCall, outcome: Outcome, now: float) -> None:
        """Take note of a ``server/discover`` that was refused."""
        if opened.call.method == "server/discover" and outcome in _REFUSALS:
            self.negotiations.refuse(opened.call.client.name, now)

    def sweep(self, now: float) -> Sequence[Event]:
        """End what is overdue."""
        self.inputs.sweep(now)
        self.negotiations.sweep(now)
        return [*self.scopes.sweep(now), *self.tasks.sweep(now)]

    def _begin(
        self, opened: OpenCall, message: Message, origin: Origin, now: float
    ) -> Sequence[Event]:
        """Take the answer to ``initialize``: who the client is, and the session."""
        asked = opened.call.client
        version = _read_version(message.result) or asked.protocol_version
        client = self.clients.share(Client(asked.name, version))
        scope, session_id = origin
        if session_id is not None:
            return self.scopes.open_session(session_id, client, now)
        if scope is None or scope.kind is Kind.STREAM:
            return ()
        scope.client = client
        return self.scopes.confirm(scope, now)


def _read_version(result: msgspec.Raw) -> str | None:
    try:
        version = _decode_initialize(result).version
    except (ValueError, RecursionError):
        return None
    return None if version is None else version[:MAX_TEXT]
