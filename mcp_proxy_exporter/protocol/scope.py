"""A scope: the space in which the JSON-RPC ids of one client are unique across HTTP exchanges.

It is a session of Streamable HTTP, an endpoint of HTTP+SSE (2024-11-05), or, where a server has no
sessions, one event stream that may be resumed. Knows which calls are open in it, on which exchange
or on none, and the questions that the server asked; does not know HTTP, nor when a scope begins
and ends (`scopes`).
"""

from collections.abc import Sequence
from enum import Enum, auto
from hashlib import sha256
from typing import Final, Protocol

import msgspec

from mcp_proxy_exporter.protocol.calls import CallSlots, OpenCall, Questions
from mcp_proxy_exporter.protocol.events import CallClosed, Client
from mcp_proxy_exporter.protocol.ids import IdKey, equal_number
from mcp_proxy_exporter.protocol.outcome import Outcome
from mcp_proxy_exporter.protocol.sse import MAX_IDS, NO_RETRY, Retry

# Calls of a scope that ended without an answer, questions without one, and questions that had one:
# whoever has more of them than this does not answer at all.
MAX_REMEMBERED: Final = 100

# Tool calls of one session that may come again: who runs in a circle makes it a small one.
MAX_RECENT: Final = 16
# Streams that ended, and which one that resumes them may name.
MAX_PAST: Final = 8

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

    def remember(self, key: IdKey, method: str) -> None:
        """Remember that a call was answered: a second response is late."""


class Suspended(msgspec.Struct, eq=False, gc=False):
    """A call whose exchange is over and whose answer may come on another one."""

    key: IdKey
    opened: OpenCall
    first_message_at: float | None
    deadline: float
    """When it is given up, unless a stream is open that may bring its answer."""
    event_ids: Sequence[bytes] = ()
    """Of its stream: what a client may resume from."""
    retry: Retry = NO_RETRY
    """How long the server last asked the client to wait before it resumes."""

    def go_on(self, stream: "Resumption") -> None:
        """Take the end of a stream that resumed it without an answer: it may be resumed again."""
        self.event_ids = [*self.event_ids, *stream.seen][-MAX_IDS:]
        self.retry = max(self.retry, stream.retry)


class Resumption(msgspec.Struct, eq=False, gc=False):
    """An open stream that goes on where another one ended."""

    origins: dict[bytes, None]
    """The events that it goes on from: the one its client named, then those of streams before, the
    first of all last."""
    seen: Sequence[bytes] = ()
    """The last ids of its own events."""
    retry: Retry = NO_RETRY
    """How long its client was asked to wait before it resumes."""
    ended_at: float = NEVER

    def resumes(self, held: Suspended) -> bool:
        """Tell whether it may bring the answer to a call, or might have brought it."""
        if self.ended_at < held.opened.call.opened_at:  # its ids were another stream's as well
            return False
        return not self.origins.keys().isdisjoint(held.event_ids)

    def follow(self, other: "Resumption") -> None:
        """Take over what another stream goes on from, if this one goes on from that."""
        key, *_ = self.origins
        older = [*other.origins]
        if key not in other.seen:
            if key not in other.origins:
                return
            older = older[older.index(key) :]
        known = [*dict.fromkeys((*self.origins, *older))]
        # Of a call that is polled for long, the last events and the first one can be named.
        self.origins = dict.fromkeys(known[: MAX_IDS - 1] + known[MAX_IDS - 1 :][-1:])


class Question(msgspec.Struct, eq=False, gc=False, frozen=True):
    """A request of the server that the client has not answered."""

    method: str
    asked_at: float
    questions: Questions | None
    """Of the call that it belongs to; None where none or several were open."""


class Found(msgspec.Struct, eq=False, gc=False, frozen=True):
    """An open call of a scope, and where it is held."""

    key: IdKey
    opened: OpenCall
    holder: Holder | None
    """The exchange that holds it; None where it is suspended."""
    first_message_at: float | None


class Kind(Enum):
    """What makes the ids of a scope unique."""

    SESSION = auto()
    ENDPOINT = auto()
    STREAM = auto()


class Scope:
    """The open calls and questions of one id space."""

    __slots__ = (
        "_answered",
        "_questions",
        "_waiting",
        "client",
        "closed_as",
        "ended",
        "event_ids",
        "heard_at",
        "key",
        "kind",
        "live",
        "opened_at",
        "past",
        "recent",
        "resumptions",
        "streams",
        "suspended",
        "users",
    )

    def __init__(
        self,
        kind: Kind,
        key: bytes,
        client: Client,
        waiting: "dict[Suspended, Scope]",
        now: float,
    ) -> None:
        """Begin empty. `waiting` collects the calls of all scopes that are given up in time."""
        self.kind = kind
        self.key = key
        """What its registry knows it by."""
        self.client = client
        self.opened_at: float | None = None
        """Of a session; None until it is proved to exist."""
        self.heard_at = now
        self.users = 0
        """Exchanges that are going on in it."""
        self.streams = 0
        """Of an endpoint: the streams that bring its answers."""
        self.closed_as: Outcome | None = None
        """How calls end that find their scope closed; None while it is open."""
        self.event_ids: Sequence[bytes] = ()
        """By which its registry finds it, where its kind has no key."""
        self.live: dict[IdKey, Holder] = {}
        """The exchange that holds each open call."""
        self.suspended: dict[IdKey, Suspended] = {}
        self.resumptions: dict[Resumption, None] = {}
        """Streams that may bring answers to suspended calls."""
        self.past: list[Resumption] = []
        """Such streams that have ended, the newest last."""
        self._waiting = waiting
        self.ended: dict[IdKey, str] = {}
        """The methods of calls that ended without an answer; with HTTP+SSE, of all that ended."""
        self.recent: dict[int, tuple[int, float]] = {}
        """Tool calls, by the hash of tool and arguments: the hash of the result, and its time.

        The latest is last.
        """
        self._questions: dict[IdKey, Question] = {}
        self._answered: dict[IdKey, None] = {}  # questions

    def find(self, key: IdKey) -> Found | None:
        """Return the open call that an id names, wherever it is held; None if there is none."""
        other = equal_number(key)
        for candidate in (key,) if other is None else (key, other):
            held = self.suspended.get(candidate)
            if held is not None:
                return Found(candidate, held.opened, None, held.first_message_at)
            holder = self.live.get(candidate)
            opened = None if holder is None else holder.find(candidate)
            if holder is not None and opened is not None:
                return Found(candidate, opened, holder, holder.first_message_at)
        return None

    def remove(self, found: Found) -> None:
        """Hold a call no more, because it is over."""
        if found.holder is None:
            self.release(self.suspended[found.key])
        else:
            found.holder.remove(found.key, found.opened)

    def suspend(self, held: Suspended) -> None:
        """Hold a call whose exchange is over."""
        for stream in self.past:  # its client may have come and gone before that was seen
            if stream.resumes(held):
                held.deadline -= held.retry.seconds
                held.go_on(stream)
                held.deadline += held.retry.seconds
        self.suspended[held.key] = held
        if held.deadline != NEVER:
            self._waiting[held] = self

    def release(self, held: Suspended) -> None:
        """Hold a call no more."""
        del self.suspended[held.key]
        self._waiting.pop(held, None)

    def resume(self, stream: Resumption) -> None:
        """Begin a stream that goes on where another one ended."""
        # The client may come back before the end of the stream that it lost is seen here.
        for other in (*self.resumptions, *self.past):
            stream.follow(other)
        self.resumptions[stream] = None

    def end_resumption(self, stream: Resumption, patience: float, now: float) -> None:
        """Take the end of a stream: what it has not answered waits again, `patience` seconds."""
        self.resumptions.pop(stream, None)
        stream.ended_at = now
        self.past.append(stream)
        del self.past[:-MAX_PAST]
        for held in self.find_resumed(stream):
            held.go_on(stream)
            held.deadline = now + patience + held.retry.seconds

    def find_resumed(self, stream: Resumption) -> list[Suspended]:
        """Return the suspended calls to which a stream may bring the answers."""
        return [held for held in self.suspended.values() if stream.resumes(held)]

    def is_resumed(self, held: Suspended) -> bool:
        """Tell whether a stream is open that may bring the answer to a call."""
        return any(stream.resumes(held) for stream in self.resumptions)

    def give_up(
        self, held: Suspended, outcome: Outcome, now: float, slots: CallSlots
    ) -> CallClosed:
        """Close a call that no exchange holds."""
        self.release(held)
        self.remember(held.key, held.opened.call.method)
        slots.release(held.opened)
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
        method = self.ended.pop(key, None)
        other = equal_number(key)
        return self.ended.pop(other, None) if method is None and other is not None else method

    def knows_question(self, key: IdKey) -> bool:
        """Tell whether a question was asked before: a resumed stream sends what was sent."""
        return key in self._questions or key in self._answered

    def repeats(self, call: int, result: int, since: float, now: float) -> bool:
        """Take a tool call's end: tell whether the same ended in the same way since then."""
        recent = self.recent
        # Out and in again, so that the one that was not called for longest goes first.
        earlier = recent.pop(call, None)
        recent[call] = (result, now)
        if earlier is None:
            if len(recent) > MAX_RECENT:
                del recent[next(iter(recent))]
            return False
        return earlier[0] == result and earlier[1] >= since

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
        if question is None:
            return None
        if question.questions is not None:
            question.questions.end(now)
        self._answered[key] = None
        if len(self._answered) > MAX_REMEMBERED:
            del self._answered[next(iter(self._answered))]
        return question

    def find_only_call(self) -> OpenCall | None:
        """Return the open call if there is exactly one: a question can only belong to it."""
        if len(self.suspended) + len(self.live) != 1:
            return None
        for held in self.suspended.values():
            return held.opened
        [(key, holder)] = self.live.items()
        opened = holder.find(key)
        return None if opened is None or opened.next is not None else opened


def compact(key: bytes) -> bytes:
    """Return a session's or an event's id as it is remembered."""
    return key if len(key) <= _MAX_KEY else sha256(key).digest()
