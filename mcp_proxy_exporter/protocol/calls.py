"""A call that is open: what of its request decides how its end is read, and the time it waits.

Knows one call; does not know ids, exchanges or who else is open.
"""

from typing import Final

import msgspec

from mcp_proxy_exporter.protocol.catalog import place_of
from mcp_proxy_exporter.protocol.events import Call, CallClosed, Client
from mcp_proxy_exporter.protocol.ids import MAX_METHOD, MAX_TEXT
from mcp_proxy_exporter.protocol.outcome import Outcome
from mcp_proxy_exporter.protocol.params import ClientInfo, Params
from mcp_proxy_exporter.protocol.routing import is_modern

# The methods whose ``params.name`` names what is called.
_NAMED: Final = frozenset({"tools/call", "prompts/get"})
# The requests whose answers tell more than how they ended.
_INSTRUCTIVE: Final = frozenset(
    {
        "initialize",
        "server/discover",
        "tasks/cancel",
        "tasks/get",
        "tasks/list",
        "tasks/result",
        "tasks/update",
        "tools/list",
    }
)


class Questions(msgspec.Struct, eq=False, gc=False):
    """The questions that a server asked during one call, as the time they took together."""

    open: int = 0
    since: float = 0.0
    """When the first of those that are open was asked."""
    waited: float = 0.0
    """Seconds in which at least one was open, up to `since`."""

    def ask(self, now: float) -> None:
        """Take a question."""
        if not self.open:
            self.since = now
        self.open += 1

    def end(self, now: float) -> None:
        """Take the answer to a question, or its withdrawal."""
        self.open -= 1
        if not self.open:
            self.waited += now - self.since

    def total(self, now: float) -> float:
        """Return the seconds waited by now."""
        return self.waited + (now - self.since if self.open else 0.0)


class OpenCall(msgspec.Struct, eq=False, gc=False):
    """A call, and what of its request decides how its end is read."""

    call: Call
    asked_for_task: bool = False
    """It carried ``params.task`` (2025-11-25)."""
    modern: bool = False
    """Its ``params._meta`` declares 2026-07-28 or later."""
    instructive: bool = False
    """Its answer tells more than how it ended: see `state.ServerState.learn`."""
    place: bytes | None = None
    """Of a ``tools/list``: `catalog.place_of` its cursor."""
    about_task: bool = False
    """It is one of ``tasks/…``."""
    task_id: str | None = None
    """The task that it is about."""
    questions: Questions | None = None
    """Asked by the server while it was open."""
    next: "OpenCall | None" = None
    """The next one with the same id, which only a broken client sends."""

    def close(
        self, outcome: Outcome, now: float, first_message_at: float | None = None
    ) -> CallClosed:
        """Say that it ended without an answer of its own."""
        waited = 0.0 if self.questions is None else self.questions.total(now)
        return CallClosed(self.call, outcome, now, first_message_at, waited=waited)


def open_call(method: str, params: Params | None, client: Client, now: float) -> OpenCall:
    """Begin a call. `client` is who sends it, unless the request says so itself."""
    if params is None:
        call = Call(method[:MAX_METHOD], None, now, client)
        return OpenCall(call, instructive=method in _INSTRUCTIVE)
    meta = params.meta
    modern = False
    if meta is not None and meta.protocol_version is not None:
        modern = is_modern(meta.protocol_version)
        client = _identify(meta.client_info, meta.protocol_version)
    if method not in _INSTRUCTIVE:
        name = params.name if method in _NAMED else None
        call = Call(method[:MAX_METHOD], None if name is None else name[:MAX_TEXT], now, client)
        return OpenCall(call, params.task is not None, modern)
    if method == "initialize":
        client = _identify(params.client_info, params.protocol_version)
    task_id = params.task_id
    return OpenCall(
        Call(method, None, now, client),
        modern=modern,
        instructive=True,
        place=place_of(params.cursor) if method == "tools/list" else None,
        about_task=method.startswith("tasks/"),
        task_id=None if task_id is None else task_id[:MAX_TEXT],
    )


def _identify(info: ClientInfo | None, version: str | None) -> Client:
    """Describe a client by what it says of itself."""
    name = None if info is None else info.name
    return Client(
        None if name is None else name[:MAX_TEXT], None if version is None else version[:MAX_TEXT]
    )
