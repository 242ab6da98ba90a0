"""JSON-RPC calls of one HTTP exchange: opened by its request, ended by its responses.

Knows ids, and that every call that is opened is closed exactly once; does not know HTTP, nor how
a message was read or a result is judged (`verdict`). Only the client's calls are here: the ids of
the server's requests are a space of their own.
"""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from mcp_proxy_exporter.protocol.catalog import Catalog, place_of
from mcp_proxy_exporter.protocol.events import (
    Call,
    CallClosed,
    CallOpened,
    Direction,
    Event,
    InspectionStopped,
    LateResponse,
    MessageKind,
    MessageSeen,
)
from mcp_proxy_exporter.protocol.jsonrpc import (
    MAX_TEXT,
    TOO_LARGE,
    IdKey,
    Message,
    Params,
    equal_number,
    id_key,
)
from mcp_proxy_exporter.protocol.limits import Budget
from mcp_proxy_exporter.protocol.outcome import Outcome
from mcp_proxy_exporter.protocol.routing import is_modern
from mcp_proxy_exporter.protocol.verdict import judge

# Members of an Enum as globals: looking one up costs 0.2 us on Python 3.11, a global 0.03.
_TO_SERVER: Final = Direction.TO_SERVER
_TO_CLIENT: Final = Direction.TO_CLIENT
_REQUEST: Final = MessageKind.REQUEST
_RESPONSE: Final = MessageKind.RESPONSE
_NOTIFICATION: Final = MessageKind.NOTIFICATION
_SUCCESS: Final = Outcome.SUCCESS
_UNSET: Final = msgspec.UNSET

# The methods whose ``params.name`` names what is called.
_NAMED: Final = frozenset({"tools/call", "prompts/get"})


class OpenCall(msgspec.Struct, eq=False, gc=False):
    """A call, and what of its request decides how its end is read."""

    call: Call
    asked_for_task: bool = False
    """It carried ``params.task`` (2025-11-25)."""
    modern: bool = False
    """Its ``params._meta`` declares 2026-07-28 or later."""
    place: bytes | None = None
    """Of a ``tools/list``: `catalog.place_of` its cursor."""
    next: "OpenCall | None" = None
    """The next one with the same id, which only a broken client sends."""


class ExchangeTracker(msgspec.Struct, eq=False, gc=False):
    """The calls of one exchange by the id that answers them."""

    catalog: Catalog
    slots: Budget
    """One for each open call of all exchanges."""
    open_calls: dict[IdKey, OpenCall] = {}
    answered: dict[IdKey, str] | None = None
    """The methods of the calls that had their answer."""
    first_message_at: float | None = None

    def client_message(self, message: Message, size: int, now: float) -> Sequence[Event]:
        """Take a message to the server: a request opens a call."""
        method = message.method
        if method is None:
            return (MessageSeen(_TO_SERVER, _RESPONSE, None, size),)
        if message.id is _UNSET:
            return (MessageSeen(_TO_SERVER, _NOTIFICATION, method, size, _level(message)),)
        seen = MessageSeen(_TO_SERVER, _REQUEST, method, size)
        opened = _describe(method, message.params, now)
        if not self.slots.take(1):
            return seen, *_refuse(opened.call)
        key = message.id if type(message.id) is int else id_key(message.id)
        if key in self.open_calls:
            self._queue(key, opened)
        else:
            self.open_calls[key] = opened
        return seen, CallOpened(opened.call)

    def server_message(
        self, message: Message, size: int, status: int, now: float
    ) -> Sequence[Event]:
        """Take a message to the client: a response closes the call it answers."""
        if self.first_message_at is None:
            self.first_message_at = now
        method = message.method
        if method is not None:
            kind = _NOTIFICATION if message.id is _UNSET else _REQUEST
            return (MessageSeen(_TO_CLIENT, kind, method, size, _level(message)),)
        seen = MessageSeen(_TO_CLIENT, _RESPONSE, None, size)
        key = message.id if type(message.id) is int else id_key(message.id)
        if key not in self.open_calls:
            other = equal_number(key)
            if other is None or other not in self.open_calls:
                return (seen, *self._late(key, other))
            key = other
        opened = self.open_calls[key]
        outcome, result_size, code = judge(message, status, asked_for_task=opened.asked_for_task)
        call = opened.call
        closed = CallClosed(call, outcome, now, self.first_message_at, result_size, code)
        if call.method == "tools/list" and outcome is _SUCCESS:
            listed = self.catalog.add(opened.place, message.result)
            self._remove(key, opened)
            return seen, closed, *listed
        self._remove(key, opened)
        return seen, closed

    def close(self, outcome_of: Callable[[OpenCall], Outcome], now: float) -> Sequence[Event]:
        """Close whatever is still open."""
        if not self.open_calls:
            return ()
        events = []
        for first in self.open_calls.values():
            opened: OpenCall | None = first
            while opened is not None:
                self.slots.give(1)
                outcome = outcome_of(opened)
                events.append(CallClosed(opened.call, outcome, now, self.first_message_at))
                opened = opened.next
        self.open_calls.clear()
        return events

    def _queue(self, key: IdKey, opened: OpenCall) -> None:
        last = self.open_calls[key]
        while last.next is not None:
            last = last.next
        last.next = opened

    def _remove(self, key: IdKey, opened: OpenCall) -> None:
        """Remove a call that was answered; the next one with its id moves up."""
        if opened.next is None:
            del self.open_calls[key]
        else:
            self.open_calls[key] = opened.next
        if self.answered is None:
            self.answered = {}
        self.answered[key] = opened.call.method
        self.slots.give(1)

    def _late(self, key: IdKey, other: IdKey) -> Sequence[LateResponse]:
        """Recognise a second response to a call."""
        answered = self.answered or {}
        method = answered.get(key, None if other is None else answered.get(other))
        return () if method is None else (LateResponse(method),)


def _level(notification: Message) -> str | None:
    """Give the severity of a log message."""
    if notification.method != "notifications/message" or notification.params is None:
        return None
    return notification.params.level


def _describe(method: str, params: Params | None, now: float) -> OpenCall:
    if params is None:
        return OpenCall(Call(method[:MAX_TEXT], None, now))
    name = params.name if method in _NAMED else None
    meta = params.meta
    return OpenCall(
        Call(method[:MAX_TEXT], None if name is None else name[:MAX_TEXT], now),
        params.task is not None,
        meta is not None and is_modern(meta.protocol_version),
        place_of(params.cursor) if method == "tools/list" else None,
    )


def _refuse(call: Call) -> Sequence[Event]:
    """Count a call that there is no room to wait for."""
    return (
        InspectionStopped(TOO_LARGE.reason),
        CallOpened(call),
        CallClosed(call, Outcome.UNINSPECTED, call.opened_at),
    )
