"""A call that is open: what of its request decides how its end is read, and the time it waits.

Knows one call; does not know ids, exchanges or who else is open.
"""

from typing import Final, TypeAlias

import msgspec

from mcp_proxy_exporter.protocol.catalog import place_of
from mcp_proxy_exporter.protocol.events import LOST, Call, CallClosed, Client, Transcript
from mcp_proxy_exporter.protocol.ids import MAX_METHOD, MAX_TEXT
from mcp_proxy_exporter.protocol.limits import Budget, Limits
from mcp_proxy_exporter.protocol.outcome import Outcome
from mcp_proxy_exporter.protocol.params import ClientInfo, Params
from mcp_proxy_exporter.protocol.routing import is_modern
from mcp_proxy_exporter.protocol.trace import read_trace_id

Text: TypeAlias = bytes | bytearray | msgspec.Raw
"""The JSON text of one message."""

TOOL_CALL: Final = "tools/call"

TOO_LARGE, NO_ROOM, UNINSPECTED = LOST
_TOO_LARGE: Final = Transcript(b"", b"", TOO_LARGE)
_NO_ROOM: Final = Transcript(b"", b"", NO_ROOM)

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
    fingerprint: int | None = None
    """Of a tool and its arguments: the same for the same JSON text, and only in this process."""
    kept: Transcript | None = None
    """Its JSON text, where somebody wants to read it, or why it is lost."""
    questions: Questions | None = None
    """Asked by the server while it was open."""
    next: "OpenCall | None" = None
    """The next one with the same id, which only a broken client sends."""

    def close(
        self, outcome: Outcome, now: float, first_message_at: float | None = None
    ) -> CallClosed:
        """Say that it ended without an answer of its own."""
        waited = 0.0 if self.questions is None else self.questions.total(now)
        transcript = self.kept
        if transcript is not None and outcome is Outcome.UNINSPECTED:
            transcript = Transcript(transcript.request, b"", transcript.request_lost, UNINSPECTED)
        return CallClosed(
            self.call, outcome, now, first_message_at, transcript=transcript, waited=waited
        )


class CallSlots:
    """What open calls take: a place each, and bytes for those that are kept whole."""

    __slots__ = ("_calls", "_max_text", "kept")

    def __init__(self, calls: Budget, limits: Limits) -> None:
        self._calls = calls
        self.kept = Budget(limits.max_kept_bytes)
        """Bytes of calls' texts."""
        self._max_text = limits.max_rule_bytes

    @property
    def in_use(self) -> bool:
        """Tell whether a call is open."""
        return self._calls.used > 0

    def keep(self, opened: OpenCall, text: Text) -> None:
        """Keep a call's JSON text until it is over, or why it cannot be kept."""
        if len(text) > self._max_text:
            opened.kept = _TOO_LARGE
        elif self.kept.take(len(text)):
            opened.kept = Transcript(bytes(text), b"")
        else:
            opened.kept = _NO_ROOM

    def complete(self, kept: Transcript, answer: Text) -> Transcript:
        """Add the JSON text of its answer to what was kept of a call."""
        if len(answer) > self._max_text:
            return Transcript(kept.request, b"", kept.request_lost, TOO_LARGE)
        return Transcript(kept.request, bytes(answer), kept.request_lost)

    def refuse(self, text: Text) -> Transcript:
        """Give the text of a call that there is no place for: its answer will not be known."""
        if len(text) > self._max_text:
            return Transcript(b"", b"", TOO_LARGE, NO_ROOM)
        return Transcript(bytes(text), b"", None, NO_ROOM)

    def release(self, opened: OpenCall) -> None:
        """Give up what a call took."""
        self._calls.give(1)
        if opened.kept is not None:
            self.kept.give(len(opened.kept.request))


def open_call(
    method: str, params: Params | None, client: Client, traceparent: bytes | None, now: float
) -> OpenCall:
    """Begin a call.

    `client` is who sends it and `traceparent` what the head says of its trace, unless the request
    says so itself.
    """
    trace_id = None if traceparent is None else read_trace_id(traceparent.decode("latin-1"))
    if params is None:
        call = Call(method[:MAX_METHOD], None, now, client, trace_id)
        return OpenCall(call, instructive=method in _INSTRUCTIVE)
    meta = params.meta
    modern = False
    if meta is not None:
        if meta.protocol_version is not None:
            modern = is_modern(meta.protocol_version)
            client = _identify(meta.client_info, meta.protocol_version)
        if meta.traceparent is not None:
            trace_id = read_trace_id(meta.traceparent) or trace_id
    if method not in _INSTRUCTIVE:
        name = params.name if method in _NAMED else None
        name = None if name is None else name[:MAX_TEXT]
        call = Call(method[:MAX_METHOD], name, now, client, trace_id)
        opened = OpenCall(call, params.task is not None, modern)
        if method == TOOL_CALL:
            # Python's hash of bytes is keyed anew by each process (SipHash): nobody outside can
            # make two texts collide.
            opened.fingerprint = hash((name, bytes(params.arguments)))
        return opened
    if method == "initialize":
        client = _identify(params.client_info, params.protocol_version)
    task_id = params.task_id
    return OpenCall(
        Call(method, None, now, client, trace_id),
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
