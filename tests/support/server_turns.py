"""What servers may do next, and what time and the network do.

Knows which behaviour of servers the semantics decide; what they leave open (to answer a request of
a session that has ended, or one call on two streams) is not done here.
"""

from collections.abc import Callable, Sequence

from mcp_proxy_exporter.protocol import Abort, Direction, Outcome, SessionEnd, StreamKind
from tests.support.chatter import (
    QUESTIONS,
    Answer,
    Json,
    encode,
    notification,
    refuse,
    response,
)
from tests.support.client_turns import UNKNOWN, ClientTurns
from tests.support.inspection import EVENTS, JSON
from tests.support.naive_facts import FINAL_ABORTS, RESUMABLE_ABORTS, Call, Exchange, Id
from tests.support.wanderer import Dialogue

PAUSES = (0.5, 5.0, 25.0, 45.0, 70.0)
LONG = 4000.0
NECESSARY = 6
RETRIES = (None, None, 0.0, 0.1, 30.0)
HTML = {b"content-type": b"text/html"}
REFUSALS = (
    (400, -32000, "Bad Request: No valid session ID provided", True),
    (404, -32001, "SESSION NOT FOUND", True),
    (404, -32000, "Not Found", True),
    (400, -32601, "No such method in this session", False),
    (400, -32602, "Invalid session parameters", False),
    (400, -32603, "The session broke", False),
    (400, -32000, "Bad Request", False),
    (500, -32000, "No session", False),
    (503, -32000, "Later", False),
)
"""Status, code and text of an error, and whether the session is over."""
ON_STREAMS = (
    Abort.CLIENT_GONE,
    Abort.CLIENT_GONE,
    Abort.UPSTREAM_CLOSED,
    Abort.UPSTREAM_TIMEOUT,
    Abort.SHUTDOWN,
    Abort.FAULT,
)


class Turns(ClientTurns):
    """A walk whose next step can be chosen."""

    def turns(self) -> Sequence[Callable[[], None]]:
        """List the turns, the necessary ones first; without an occasion they do nothing."""
        return [
            self.call, self.begin_stream, self.answer, self.speak, self.end, self.pause,
            self.initialize, self.listen, self.get, self.resume, self.open_legacy_stream,
            self.cancel, self.reply, self.delete, self.refuse, self.abort, self.long_pause,
        ]  # fmt: skip

    def choose_style(self) -> None:
        """Decide what this walk is mostly about: those that are about everything meet nothing."""
        rng = self.rng
        ways = [self.in_session, self.in_session, self.at_endpoint, self.alone, self.modern]
        self.ways = rng.sample(ways, rng.randint(1, 3))
        self.pauses = rng.sample(PAUSES, rng.randint(1, 3))
        self.wordy = rng.choice([0.1, 0.5, 0.9])
        turns = self.turns()
        least = [1] * NECESSARY + [0] * (len(turns) - NECESSARY)
        self.weights = [max(rng.choice([0, 1, 2, 4]), weight) for weight in least]

    def take_turn(self) -> None:
        """Let something happen."""
        self.rng.choices(self.turns(), self.weights)[0]()

    # Answers.

    def begin_stream(self) -> None:
        """Answer a POST with an event stream."""
        dialogue = self.some(lambda d: not d.streaming)
        if dialogue is None or dialogue.exchange.endpoint is not None:
            return
        exchange = dialogue.exchange
        now = self.tick()
        self.world.accept(exchange)
        dialogue.streaming = True
        if any(call.method == "subscriptions/listen" for call in exchange.calls):
            self.world.stream(exchange, StreamKind.LISTEN)
        fields = EVENTS
        if exchange.mints is not None:
            fields = {**EVENTS, b"mcp-session-id": exchange.mints.encode()}
            exchange.named = bool(exchange.calls)
        self.check(dialogue.tap.response_head(200, fields, now))
        if self.rng.random() < 0.6:  # as revision 2025-11-25 does
            self.event(dialogue, event_id=self.event_id(exchange), retry=self.rng.choice(RETRIES))

    def answer(self) -> None:
        """Answer a POST with JSON, or with 202."""
        dialogue = self.some(lambda d: not d.streaming)
        if dialogue is None:
            return
        exchange = dialogue.exchange
        now = self.tick()
        self.world.accept(exchange)
        if exchange.endpoint is not None and self.rng.random() < 0.9:
            self.world.leave_pending(exchange)
            self.check(dialogue.tap.response(202, {}, b"Accepted", now))
            self.done(dialogue)
            return
        calls = [call for call in self.answerable(dialogue) if self.rng.random() < 0.9]
        answers = [self.answer_to(dialogue, call) for call in calls]
        body = encode(answers if len(answers) != 1 else answers[0])
        if exchange.endpoint is None:
            self.world.finish(exchange, Outcome.INVALID_RESPONSE)
        else:
            self.world.leave_pending(exchange)
        fields = {**JSON, **({} if exchange.mints is None else self.minted(exchange.mints))}
        self.check(dialogue.tap.response(200, fields, body, now))
        self.done(dialogue)

    def minted(self, session_id: str) -> dict[bytes, bytes]:
        """Give the field that names a new session."""
        return {b"mcp-session-id": session_id.encode()}

    def refuse(self) -> None:
        """Answer a POST with an error of HTTP, or send it elsewhere."""
        dialogue = self.some(lambda d: not d.streaming)
        if dialogue is None:
            return
        exchange = dialogue.exchange
        self.tick()
        fields, body, lost = JSON, b"", False
        kind = self.rng.choice(["refused", "refused", "html", "matched", "moved"])
        status = self.rng.choice([400, 404, 500, 503])
        if kind == "html":
            fields, body, lost = HTML, b"<p>no session", status == 404
        elif kind == "matched":
            status = 400
            body = b"".join(
                encode(self.answer_to(dialogue, call, refuse(self.wishes[call.number])))
                for call in self.answerable(dialogue)[:1]
            )
        elif kind == "moved":
            fields, status = {}, 307
        else:
            status, code, text, lost = self.rng.choice(REFUSALS)
            message = response(None, {"error": {"code": code, "message": text}})
            self.seen(Direction.TO_CLIENT, message)
            body = encode(message)
        if self.rng.random() < 0.5:
            said = [
                *dialogue.tap.response_head(status, fields, self.now),
                *dialogue.tap.response_data(body, self.now),
            ]
            said += dialogue.tap.response_end(self.now if kind == "matched" else self.tick())
        else:
            said = [*dialogue.tap.response(status, fields, body, self.now)]
        self.world.finish(
            exchange, Outcome.INVALID_RESPONSE if kind == "moved" else Outcome.HTTP_ERROR
        )
        session = self.world.session(exchange)
        if lost and session is not None:
            self.world.end_session(session, SessionEnd.EXPIRED)
        self.check(said)
        self.done(dialogue)

    def answer_to(self, on: Dialogue, call: Call, answer: Answer | None = None) -> Json:
        """Make up the response to a call and tell the model."""
        members, outcome, then = answer or self.memory.answer(self.wishes[call.number])
        message = response(call.id, members)
        self.seen(Direction.TO_CLIENT, message)
        ended = self.world.answer(on.exchange, call.id, outcome)
        if ended is not None and then is not None:
            then(self.world, ended)
        return message

    # What comes on streams.

    def speak(self) -> None:
        """Send an event."""
        dialogue = self.some(lambda d: d.streaming)
        if dialogue is None:
            return
        self.tick()
        answering = self.rng.random() < self.wordy
        others = [self.nothing, self.notify, self.ask]
        message = self.respond(dialogue) if answering else self.rng.choice(others)(dialogue)
        numbered = self.rng.random() < 0.8
        event_id = self.event_id(dialogue.exchange) if numbered else None
        self.event(dialogue, message, event_id=event_id, retry=self.rng.choice(RETRIES))

    def nothing(self, dialogue: Dialogue) -> object:  # noqa: ARG002
        """Send what is no message."""
        return self.rng.choice([None, {}])

    def notify(self, dialogue: Dialogue) -> object:  # noqa: ARG002
        """Send a notification."""
        message = notification("notifications/progress", progressToken=1, progress=1)
        if self.rng.random() < 0.3:
            message = notification("notifications/tools/list_changed")
            self.world.said["tools changed",] += 1
        elif self.memory.tasks and self.rng.random() < 0.5:
            task_id, modern = self.rng.choice(self.memory.tasks[-6:])
            state, outcome = self.memory.status(task_id, modern=modern)
            method = "notifications/tasks" if modern else "notifications/tasks/status"
            message = notification(method, **state)
            self.world.see_task(task_id, outcome)
        self.seen(Direction.TO_CLIENT, message)
        return message

    def ask(self, dialogue: Dialogue) -> object:
        """Ask the client something, with an id that calls have as well."""
        if dialogue.exchange.modern:
            return None
        method = self.rng.choice([*QUESTIONS, "ping"])
        scope = dialogue.exchange.scope
        taken = [question.id for question in self.world.questions if question.scope == scope]
        question_id: Id = next(number for number in range(100) if number not in taken)
        if taken and dialogue.exchange.resumes is not None and self.rng.random() < 0.5:
            question_id = self.rng.choice(taken)  # a replay
        message: Json = {"jsonrpc": "2.0", "id": question_id, "method": method, "params": {}}
        self.seen(Direction.TO_CLIENT, message)
        if method != "ping":
            self.world.ask(dialogue.exchange, question_id, method)
        return message

    def respond(self, dialogue: Dialogue) -> object:
        """Answer one or two calls, or again, or too late, or one that never was."""
        calls = self.answerable(dialogue)
        if not calls or self.rng.random() < 0.05:
            message = response(UNKNOWN, {"result": {}})
            self.seen(Direction.TO_CLIENT, message)
            return message
        waiting = [call for call in calls if not call.answered_on]
        if waiting and self.rng.random() < 0.8:
            calls = waiting
        chosen = self.rng.sample(calls, min(len(calls), self.rng.choice([1, 1, 1, 2])))
        answers = [self.answer_to(dialogue, call) for call in chosen]
        return answers if len(answers) > 1 else answers[0]

    def answerable(self, dialogue: Dialogue) -> list[Call]:
        """List the calls that a response on this stream may name."""
        exchange, world = dialogue.exchange, self.world
        if not exchange.get:
            return [call for call in exchange.calls if call.open or self.is_newest(call)]
        if not self.is_in_use(exchange):
            return []
        calls = [world.known(exchange, call_id) for call_id in self.ids_of(exchange)]
        if exchange.scope is None:  # before the end of their streams is seen, it is not linked
            calls += [call for call in world.calls if call.open and world.links(exchange, call)]
        # No server of HTTP+SSE answers on both.
        both = exchange.endpoint is not None
        return [call for call in calls if call and not (both and call.answered_by_post)]

    def is_newest(self, call: Call) -> bool:
        """Tell whether no later call has the same id: of two, it cannot be told which is meant."""
        scope = call.exchange.scope
        return scope is None or self.world.known(call.exchange, call.id) is call

    def ids_of(self, exchange: Exchange) -> list[Id]:
        """List the ids that calls had, each once and always in the same order."""
        calls = [call for call in self.world.calls if call.exchange.scope == exchange.scope]
        return list(dict.fromkeys(call.id for call in calls))

    def event_id(self, exchange: Exchange) -> str:
        """Number an event: within its session, so that those of two sessions collide."""
        home = exchange.mints or exchange.session or exchange.endpoint
        others = self.world.exchanges
        known = [
            len(each.ids)
            for each in others
            if home == (each.mints or each.session or each.endpoint)
        ]
        return f"{sum(known) + 1}"

    # Ends.

    def end(self) -> None:
        """End an event stream as HTTP wants it."""
        dialogue = self.some(lambda d: d.streaming)
        if dialogue is not None:
            now = self.tick()
            self.world.finish(
                dialogue.exchange, Outcome.UPSTREAM_CLOSED, resumable=True, clean=True
            )
            self.check(dialogue.tap.response_end(now))
            self.done(dialogue)

    def abort(self) -> None:
        """Cut an exchange."""
        dialogue = self.some(lambda _: True)
        if dialogue is not None:
            causes = ON_STREAMS if dialogue.streaming else list(Abort)
            self.cut_off(dialogue, self.rng.choice(causes))

    def cut_off(self, dialogue: Dialogue, cause: Abort) -> None:
        """Cut this exchange."""
        now = self.tick()
        resumable = cause in RESUMABLE_ABORTS
        outcome = {**FINAL_ABORTS, **RESUMABLE_ABORTS}[cause]
        exchange = dialogue.exchange
        pending = exchange.endpoint is not None and not exchange.get and self.is_in_use(exchange)
        if pending and cause is Abort.CLIENT_GONE:
            self.world.leave_pending(exchange)
        else:
            self.world.finish(exchange, outcome, resumable=resumable)
        self.check(dialogue.tap.aborted(cause, now))
        self.done(dialogue)

    def pause(self) -> None:
        """Let a while pass."""
        self.sweep(self.rng.choice(self.pauses))

    def long_pause(self) -> None:
        """Let a long while pass, now and then."""
        if self.rng.random() < 0.1:
            self.sweep(LONG)

    def end_all(self) -> None:
        """End everything, one way or the other, and prove that nothing stays."""
        stopping = self.rng.random() < 0.3
        while self.going_on:
            if stopping:
                self.cut_off(self.going_on[-1], Abort.SHUTDOWN)
            else:
                self.rng.choice([self.end, self.abort])()
        if stopping:
            self.world.shut_down()
            self.check(self.inspector.close(self.now))
        self.finish()
