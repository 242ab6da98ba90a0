"""A scope: the space in which the JSON-RPC ids of one client are unique across HTTP exchanges.

It is a session of Streamable HTTP, an endpoint of HTTP+SSE (2024-11-05), or, where a server has no
sessions, one event stream that may be resumed. Knows which calls are open in it, on which exchange
or on none, and the questions that the server asked; does not know HTTP, nor when a scope begins
and ends (`scopes`).
"""

from collections.abc import Iterable, Sequence
from enum import Enum, auto
from hashlib import sha256
from typing import Final, Protocol

import msgspec

from mcp_proxy_exporter.protocol.calls import OpenCall, Questions
from mcp_proxy_exporter.protocol.events import CallClosed, Client
from mcp_proxy_exporter.protocol.ids import IdKey, equal_number
from mcp_proxy_exporter.protocol.limits import Budget
from mcp_proxy_exporter.protocol.outcome import Outcome

# Calls of a scope that ended without an answer, and questions without one: whoever has more of
# them than this does not answer at all.
MAX_REMEMBERED: Final = 100
# Event ids of one stream that a client may resume from: the last ones, because what it did not
# receive any more is little.
MAX_EVENT_IDS: Final = 8

NEVER: Final = float("inf")

# Session ids and event ids are UUIDs, counters or two of them; longer ones are held as a digest.
_MAX_KEY: Final = 128


class Holder(Protocol):
    """An exchange that holds open calls."""

    @property
    def first_message_at(self) -> float | None:
        """When the first message of its response came."""

    def find(self, key: IdKey) -> OpenCall | None:
        """Return the open call that an id names."""

    def remove(self, key: IdKey, opened: OpenCall) -> None:
        """Hold an open call no more."""

    def list_open(self) -> Iterable[OpenCall]:
        """Iterate over the open calls."""


class Suspended(msgspec.Struct, eq=False, gc=False):
    """A call whose exchange is over and whose answer may come on another one."""

    key: IdKey
    opened: OpenCall
    first_message_at: float | None
    deadline: float
    """When it is given up; `NEVER` while a stream is open that may bring its answer."""
    event_ids: Sequence[bytes] = ()
    """Of its stream: what a client may resume from."""


class Found(msgspec.Struct, eq=False, gc=False, frozen=True):
    """An open call of a scope, and where it is held."""

    key: IdKey
    opened: OpenCall
    holder: Holder | None
    """The exchange that holds it; None where it is suspended."""
    first_message_at: float | None


class Question(msgspec.Struct, eq=False, gc=False, frozen=True):
    """A request of the server that the client has not answered."""

    method: str
    asked_at: float
    questions: Questions | None
    """Of the call that it belongs to; None where none or several were open."""


class Kind(Enum):
    """What makes the ids of a scope unique."""

    SESSION = auto()
    ENDPOINT = auto()
    STREAM = auto()


class Scope:
    """The open calls and questions of one id space."""

    __slots__ = (
        "_questions",
        "_waiting",
        "client",
        "closed_as",
        "ended",
        "event_ids",
        "heard_at",
        "holders",
        "key",
        "kind",
        "opened_at",
        "streams",
        "suspended",
    )

    def __init__(
        self,
        kind: Kind,
        key: bytes,
        client: Client,
        waiting: "dict[Suspended, Scope]",
        now: float,
    ) -> None:
        """Begin empty. `waiting` collects the suspended calls of all scopes, for one sweep."""
        self.kind = kind
        self.key = key
        """What its registry knows it by."""
        self.client = client
        self.opened_at: float | None = None
        """Of a session; None until it is proved to exist."""
        self.heard_at = now
        self.streams = 0
        """Event streams that are open in it and answer a GET."""
        self.closed_as: Outcome | None = None
        """How calls end that find their scope closed; None while it is open."""
        self.event_ids: Sequence[bytes] = ()
        """By which its registry finds it, where its kind has no key."""
        self.holders: dict[Holder, None] = {}
        """Exchanges that hold open calls."""
        self.suspended: dict[IdKey, Suspended] = {}
        self._waiting = waiting
        self.ended: dict[IdKey, str] = {}
        """The methods of calls that ended without an answer; with HTTP+SSE, of all that ended."""
        self._questions: dict[IdKey, Question] = {}

    def find(self, key: IdKey) -> Found | None:
        """Return the open call that an id names, wherever it is held; None if there is none."""
        other = equal_number(key)
        for candidate in (key,) if other is None else (key, other):
            held = self.suspended.get(candidate)
            if held is not None:
                return Found(candidate, held.opened, None, held.first_message_at)
            for holder in self.holders:
                opened = holder.find(candidate)
                if opened is not None:
                    return Found(candidate, opened, holder, holder.first_message_at)
        return None

    def remove(self, found: Found) -> None:
        """Hold a call no more, because it is over."""
        if found.holder is None:
            self.release(self.suspended[found.key])
        else:
            found.holder.remove(found.key, found.opened)

    def suspend(self, suspended: Suspended) -> None:
        """Hold a call whose exchange is over."""
        self.suspended[suspended.key] = suspended
        self._waiting[suspended] = self

    def release(self, suspended: Suspended) -> None:
        """Hold a call no more."""
        del self.suspended[suspended.key]
        del self._waiting[suspended]

    def attach(self, event_id: bytes) -> list[Suspended]:
        """Find the calls that a client resumes from this event: they are waited for."""
        key = compact(event_id)
        found = [held for held in self.suspended.values() if key in held.event_ids]
        for held in found:
            held.deadline = NEVER
        return found

    def detach(
        self, attached: Iterable[Suspended], event_ids: Sequence[bytes], deadline: float
    ) -> None:
        """Take the end of the stream that resumed these calls: what is left waits again."""
        for held in attached:
            if self.suspended.get(held.key) is held:
                held.deadline = deadline
                held.event_ids = [*held.event_ids, *event_ids][-MAX_EVENT_IDS:]

    def close_suspended(self, outcome: Outcome, now: float, slots: Budget) -> Sequence[CallClosed]:
        """Close whatever no exchange holds."""
        return [self.give_up(held, outcome, now, slots) for held in [*self.suspended.values()]]

    def give_up(self, held: Suspended, outcome: Outcome, now: float, slots: Budget) -> CallClosed:
        """Close one call that no exchange holds."""
        self.release(held)
        self.remember(held.key, held.opened.call.method)
        slots.give(1)
        return held.opened.close(outcome, now, held.first_message_at)

    def remember(self, key: IdKey, method: str) -> None:
        """Remember that a call has ended, so that its response is known to be late."""
        self.ended[key] = method
        if len(self.ended) > MAX_REMEMBERED:
            del self.ended[next(iter(self.ended))]

    def forget(self, key: IdKey) -> None:
        """Forget a call that had ended: its id is used again, or its response has come."""
        self.ended.pop(key, None)

    def find_ended(self, key: IdKey) -> str | None:
        """Give the method of a call that has ended, and to which a response comes now."""
        other = equal_number(key)
        if self.kind is Kind.ENDPOINT:
            return self.ended.get(key) or (None if other is None else self.ended.get(other))
        return self.ended.pop(key, None) or (None if other is None else self.ended.pop(other, None))

    def ask(self, key: IdKey, method: str, now: float, opened: OpenCall | None) -> None:
        """Take a question of the server."""
        questions = None
        if opened is not None:
            if opened.questions is None:
                opened.questions = Questions()
            questions = opened.questions
            questions.ask(now)
        self.withdraw(key, now)
        self._questions[key] = Question(method, now, questions)
        if len(self._questions) > MAX_REMEMBERED:
            self.withdraw(next(iter(self._questions)), now)

    def withdraw(self, key: IdKey, now: float) -> Question | None:
        """Take the end of a question; None if it was never asked."""
        question = self._questions.pop(key, None)
        if question is None:
            other = equal_number(key)
            question = None if other is None else self._questions.pop(other, None)
        if question is not None and question.questions is not None:
            question.questions.end(now)
        return question

    def find_only_call(self) -> OpenCall | None:
        """Return the open call if there is exactly one: a question can only belong to it."""
        if len(self.suspended) + len(self.holders) > 1:
            return None
        for held in self.suspended.values():
            return held.opened
        for holder in self.holders:
            calls = [*holder.list_open()]
            return calls[0] if len(calls) == 1 else None
        return None


def compact(key: bytes) -> bytes:
    """Return a session's or an event's id as it is remembered."""
    return key if len(key) <= _MAX_KEY else sha256(key).digest()
