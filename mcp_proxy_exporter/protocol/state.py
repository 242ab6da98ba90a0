"""What the HTTP exchanges of one server share, and what answers tell besides how their call ended.

Knows which answer goes to which of its parts: listings, sessions, tasks, input, negotiation. Does
not know HTTP, nor how calls are matched.
"""

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from mcp_proxy_exporter.protocol.calls import CallSlots, OpenCall, Text
from mcp_proxy_exporter.protocol.catalog import Catalog
from mcp_proxy_exporter.protocol.clients import Clients
from mcp_proxy_exporter.protocol.description import (
    read_discovery,
    read_initialize,
    read_version,
)
from mcp_proxy_exporter.protocol.events import (
    CallClosed,
    Client,
    Event,
)
from mcp_proxy_exporter.protocol.inputs import Inputs
from mcp_proxy_exporter.protocol.jsonrpc import Message
from mcp_proxy_exporter.protocol.limits import Budget, Limits
from mcp_proxy_exporter.protocol.negotiation import Negotiations
from mcp_proxy_exporter.protocol.outcome import Outcome
from mcp_proxy_exporter.protocol.scope import Kind, Scope
from mcp_proxy_exporter.protocol.scopes import Scopes
from mcp_proxy_exporter.protocol.tasks import Tasks
from mcp_proxy_exporter.protocol.verdict import judge

_SUCCESS: Final = Outcome.SUCCESS
_REFUSALS: Final = frozenset({Outcome.PROTOCOL_ERROR, Outcome.HTTP_ERROR})


Origin: TypeAlias = tuple[Scope | None, bytes | None]
"""Where an answer comes from: the scope of its call, and the session that its HTTP head names."""


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
        "slots",
        "tasks",
        "wants",
    )

    def __init__(self, limits: Limits, wants: Callable[[str | None], bool] | None = None) -> None:
        self.limits = limits
        self.wants = wants
        """Whether the texts of a tool's calls are to be reported; None where none are."""
        self.buffers = Budget(limits.max_buffered_bytes)
        """Bytes of unfinished messages."""
        self.calls = Budget(limits.max_open_calls)
        """Calls in flight, suspended ones included."""
        self.catalog = Catalog()
        self.clients = Clients()
        self.slots = CallSlots(self.calls, limits)
        self.scopes = Scopes(limits, self.slots, self.clients)
        self.tasks = Tasks(limits)
        self.inputs = Inputs()
        self.negotiations = Negotiations()

    def judge(
        self,
        opened: OpenCall,
        message: Message,
        text: Text,
        status: int,
        first_message_at: float | None,
        scope: Scope | None,
        now: float,
    ) -> CallClosed:
        """Say how an answer ends its call."""
        outcome, size, code, content = judge(
            message,
            status,
            asked_for_task=opened.asked_for_task,
            about_task=opened.about_task,
        )
        transcript = None
        if opened.kept is not None:
            transcript = self.slots.complete(opened.kept, text)
        call = opened.call
        repeated = False
        if scope is not None and opened.fingerprint is not None:
            error = message.error
            result = bytes(message.result) if error is None else f"{error.code} {error.message}"
            since = now - self.limits.repeat_seconds
            repeated = scope.repeats(opened.fingerprint, hash(result), since, now)
        waited = 0.0 if opened.questions is None else opened.questions.total(now)
        first = first_message_at
        return CallClosed(
            call, outcome, now, first, size, code, content, transcript, repeated, waited
        )

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
        if outcome is _SUCCESS:
            return self._learn_of_server(opened, message, origin, now)
        self.note_refusal(opened, outcome, now)
        return ()

    def _learn_of_server(
        self, opened: OpenCall, message: Message, origin: Origin, now: float
    ) -> Sequence[Event]:
        """Read an answer that may say what the server is and has."""
        method = opened.call.method
        if method == "tools/list":
            scope = origin[0]
            whose = b"" if scope is None else scope.key
            return self.catalog.add(opened.place, message.result, whose)
        if method == "initialize":
            return self._begin(opened, message, origin, now)
        if method == "server/discover":
            return read_discovery(message.result, opened.call.client.protocol_version)
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
        """Take the answer to ``initialize``: who the server and the client are, and the session."""
        asked = opened.call.client
        version = read_version(message.result) or asked.protocol_version
        described = read_initialize(message.result, version)
        client = self.clients.share(Client(asked.name, version))
        return *described, *self._enter(client, origin, now)

    def _enter(self, client: Client, origin: Origin, now: float) -> Sequence[Event]:
        """Take note of who is in a session from now on."""
        scope, session_id = origin
        if session_id is not None:
            return self.scopes.open_session(session_id, client, now)
        if scope is None or scope.kind is Kind.STREAM:
            return ()
        scope.client = client
        return self.scopes.confirm(scope, now)
