"""What a scope remembers of what is over, and of questions that may never be answered.

Knows ids, methods and times; does not know calls. It decides what comes twice and what comes late,
nothing else, so that all scopes of a server together remember a bounded number: beyond, the scope
that has added nothing for the longest forgets all.
"""

from typing import Final

import msgspec

from mcp_proxy_exporter.protocol.calls import OpenCall, Questions
from mcp_proxy_exporter.protocol.ids import IdKey, equal_number, shorten

# Calls of a scope that ended without an answer, questions without one, and questions that had one:
# whoever has more of them than this does not answer at all.
MAX_REMEMBERED: Final = 100
# Of all scopes of a server together, 200 bytes at most each.
MAX_TOGETHER: Final = 50_000

# The requests of all MCP revisions; the methods that people invent are remembered as one.
METHODS: Final = frozenset(
    {
        "completion/complete",
        "elicitation/create",
        "initialize",
        "logging/setLevel",
        "ping",
        "prompts/get",
        "prompts/list",
        "resources/list",
        "resources/read",
        "resources/subscribe",
        "resources/templates/list",
        "resources/unsubscribe",
        "roots/list",
        "sampling/createMessage",
        "server/discover",
        "subscriptions/listen",
        "tasks/cancel",
        "tasks/get",
        "tasks/list",
        "tasks/result",
        "tasks/update",
        "tools/call",
        "tools/list",
    }
)
_SHARED: Final = {method: method for method in METHODS}


class Question(msgspec.Struct, eq=False, gc=False, frozen=True):
    """A request of the server that the client has not answered."""

    method: str
    asked_at: float
    questions: Questions | None
    """Of the call that it belongs to; None where none or several were open."""


class Ledger:
    """How much the scopes of one server remember together."""

    __slots__ = ("_owners", "used")

    def __init__(self) -> None:
        # Who remembers anything; who added something last is last.
        self._owners: dict[Remembered, None] = {}
        self.used = 0

    def add(self, owner: "Remembered", now: float) -> None:
        """Take one more that a scope remembers."""
        owners = self._owners
        owners.pop(owner, None)
        owners[owner] = None
        self.used += 1
        if self.used > MAX_TOGETHER:
            next(iter(owners)).forget_all(now)

    def remove(self, owner: "Remembered", number: int) -> None:
        """Take the end of a scope that remembered so much."""
        self.used -= number
        self._owners.pop(owner, None)


class Remembered:
    """The memory of one scope."""

    __slots__ = ("_answered", "_ledger", "_questions", "ended")

    def __init__(self, ledger: Ledger) -> None:
        """Begin empty."""
        self._ledger = ledger
        self.ended: dict[int, str] = {}
        """The methods of calls that ended without an answer; with HTTP+SSE, of all that ended."""
        self._questions: dict[int, Question] = {}
        self._answered: dict[int, None] = {}  # questions

    def add_ended(self, key: IdKey, method: str, now: float) -> None:
        """Remember that a call has ended, so that its response is known to be late."""
        ended, short = self.ended, shorten(key)
        known = len(ended)
        ended[short] = _SHARED.get(method, "")
        if len(ended) > MAX_REMEMBERED:
            del ended[next(iter(ended))]
        elif len(ended) > known:
            self._ledger.add(self, now)

    def forget_ended(self, key: IdKey) -> None:
        """Forget a call that had ended: its id is used again."""
        if self.ended.pop(shorten(key), None) is not None:
            self._ledger.used -= 1

    def take_ended(self, key: IdKey) -> str | None:
        """Give the method of a call that has ended, and to which a response comes now."""
        method = self.ended.pop(shorten(key), None)
        if method is None:
            other = equal_number(key)
            method = None if other is None else self.ended.pop(shorten(other), None)
        if method is not None:
            self._ledger.used -= 1
        return method

    def knows_question(self, key: IdKey) -> bool:
        """Tell whether a question was asked before: a resumed stream sends what was sent."""
        short = shorten(key)
        return short in self._questions or short in self._answered

    def ask(self, key: IdKey, method: str, now: float, opened: OpenCall | None) -> None:
        """Take a question of the server."""
        questions = None
        if opened is not None:
            if opened.questions is None:
                opened.questions = Questions()
            questions = opened.questions
            questions.ask(now)
        self.withdraw(key, now)
        self._questions[shorten(key)] = Question(_SHARED.get(method, ""), now, questions)
        self._ledger.add(self, now)
        if len(self._questions) > MAX_REMEMBERED:
            self._end_question(next(iter(self._questions)), now)

    def withdraw(self, key: IdKey, now: float) -> Question | None:
        """Take the end of a question; None if it was never asked."""
        question = self._end_question(shorten(key), now)
        if question is None:
            other = equal_number(key)
            question = None if other is None else self._end_question(shorten(other), now)
        return question

    def forget_all(self, now: float | None = None) -> None:
        """Forget everything; `now` ends the questions, unless their calls are over."""
        if now is not None:
            for question in self._questions.values():
                if question.questions is not None:
                    question.questions.end(now)
        number = len(self.ended) + len(self._questions) + len(self._answered)
        self._ledger.remove(self, number)
        self.ended = {}
        self._questions = {}
        self._answered = {}

    def _end_question(self, short: int, now: float) -> Question | None:
        """Let a question be one that was answered."""
        question = self._questions.pop(short, None)
        if question is None:
            return None
        if question.questions is not None:
            question.questions.end(now)
        answered = self._answered
        if short in answered:
            self._ledger.used -= 1
        answered[short] = None
        if len(answered) > MAX_REMEMBERED:
            del answered[next(iter(answered))]
            self._ledger.used -= 1
        return question
