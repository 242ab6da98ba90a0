"""Input that a server asks for by the answer to a call, which the client then repeats.

Knows ``input_required`` (2026-07-28 basic/patterns/mrtr) and error -32042 (2025-11-25
client/elicitation). The legs of one conversation have nothing in common but the opaque
``requestState``, which may hold secrets: only its digest is kept.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import msgspec

from mcp_proxy_exporter.protocol.events import Delivery, Event, InputAnswered, InputRequested
from mcp_proxy_exporter.protocol.jsonrpc import Error, Message

# Requests of a server that need a human, a model or a client's knowledge.
INPUT_METHODS: Final = frozenset({"elicitation/create", "sampling/createMessage", "roots/list"})
# Of one answer. Nobody is asked a hundred questions at once.
MAX_REQUESTS: Final = 100
# Bytes of an answer beyond which it is not read: 20 ms for the dearest there is.
MAX_READ: Final = 256 * 1024
# Conversations that wait for their client, and for how long: as long as a human may be asked.
MAX_WAITING: Final = 1_000
WAITING_SECONDS: Final = 3600.0

_ELICITATION: Final = "elicitation/create"
_INPUT_REQUIRED: Final = Delivery.INPUT_REQUIRED


class _Request(msgspec.Struct, gc=False, frozen=True):
    method: str = ""


class _InputRequired(msgspec.Struct, gc=False, frozen=True):
    requests: dict[str, _Request] = msgspec.field(name="inputRequests", default={})
    state: str | None = msgspec.field(name="requestState", default=None)


class _Elicitations(msgspec.Struct, gc=False, frozen=True):
    elicitations: list[msgspec.Raw]


_decode_required = msgspec.json.Decoder(_InputRequired).decode
_decode_elicitations = msgspec.json.Decoder(_Elicitations).decode


class _Waiting(msgspec.Struct, gc=False, frozen=True):
    methods: Sequence[str]
    since: float


class Inputs:
    """The conversations of one server that wait for their client."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[bytes, _Waiting] = {}  # by digest of the state, oldest first

    def require(self, message: Message, now: float) -> Sequence[Event]:
        """Take an answer that asks for input."""
        if message.error is not None:
            methods: Sequence[str] = [_ELICITATION] * _count_elicitations(message.error)
        else:
            required = _read_required(message.result)
            asked = [*required.requests.values()][:MAX_REQUESTS]
            methods = [_name(request.method) for request in asked]
            if required.state is not None:
                self._remember(_digest(required.state), _Waiting(methods, now))
        return [InputRequested(method, _INPUT_REQUIRED) for method in methods]

    def resume(self, state: str, now: float) -> Sequence[Event]:
        """Take the state of a call that is repeated."""
        waiting = self._waiting.pop(_digest(state), None)
        if waiting is None:
            return ()
        return [InputAnswered(method, now - waiting.since) for method in waiting.methods]

    def sweep(self, now: float) -> None:
        """Forget who never came back."""
        overdue = now - WAITING_SECONDS
        for key in [key for key, waiting in self._waiting.items() if waiting.since <= overdue]:
            del self._waiting[key]

    def _remember(self, key: bytes, waiting: _Waiting) -> None:
        self._waiting.pop(key, None)
        self._waiting[key] = waiting
        if len(self._waiting) > MAX_WAITING:
            del self._waiting[next(iter(self._waiting))]


def _name(method: str) -> str:
    """Give a method that is known: the others have nothing in common but that nobody knows them."""
    return method if method in INPUT_METHODS else ""


def _digest(state: str) -> bytes:
    return sha256(state.encode()).digest()


def _read_required(result: msgspec.Raw) -> _InputRequired:
    if len(result) > MAX_READ:
        return _InputRequired()
    try:
        return _decode_required(result)
    except (ValueError, RecursionError):
        return _InputRequired()


def _count_elicitations(error: Error) -> int:
    """Count what the user has to open, at least one: the code says nothing else."""
    if len(error.data) > MAX_READ:
        return 1
    try:
        return min(max(len(_decode_elicitations(error.data).elicitations), 1), MAX_REQUESTS)
    except (ValueError, RecursionError):
        return 1
