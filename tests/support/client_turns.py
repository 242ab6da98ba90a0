"""What clients may do next: each turn is one thing that happens, to the product and to the model.

Knows which behaviour of clients the semantics decide; what they leave open (a session that is used
again after its end, two calls in flight with one id) is not done here.
"""

from collections.abc import Callable, Sequence
from math import inf

from mcp_proxy_exporter.protocol import (
    Direction,
    MessageKind,
    Outcome,
    SessionEnd,
    StreamKind,
)
from tests.support.chatter import (
    MODERN,
    Json,
    Wish,
    name_of,
    notification,
    response,
)
from tests.support.inspection import EVENTS
from tests.support.naive_facts import MAX_IDS, Call, Exchange, Id, Session, streams_of
from tests.support.wanderer import Dialogue, Wanderer

IDS: Sequence[Id] = (0, 1, 2, 3, "1", "a")
UNKNOWN: Id = 999
MAX_GOING_ON = 8
MAX_SESSIONS = 2
MAX_ENDPOINTS = 2


class ClientTurns(Wanderer):
    """A walk whose next step can be a client's."""

    ways: Sequence[Callable[[], Exchange | None]]
    """How clients talk to servers in this walk."""

    # Requests.

    def initialize(self) -> None:
        """Ask for a session; a few are enough."""
        if len(self.open_sessions()) >= MAX_SESSIONS:
            return
        exchange = Exchange(mints=self.memory.fresh("session"))
        self.request(exchange, [self.wish_to_begin()])

    def call(self) -> None:
        """Ask for something in some way."""
        exchange = self.rng.choice(self.ways)()
        if exchange is not None:
            many = 1 if exchange.modern or self.rng.random() < 0.8 else self.rng.randint(2, 3)
            wishes = [self.memory.wish(modern=exchange.modern) for _ in range(many)]
            if exchange.endpoint is not None and self.rng.random() < 0.2:
                wishes.append(self.wish_to_begin())
            self.request(exchange, wishes)

    def wish_to_begin(self) -> Wish:
        """Introduce a client."""
        return Wish(method="initialize", modern=False, name=self.memory.fresh("client"))

    def listen(self) -> None:
        """Subscribe, as 2026-07-28 does."""
        self.request(Exchange(modern=True), [Wish(method="subscriptions/listen", modern=True)])

    def open_sessions(self) -> list[Session]:
        """List the sessions that were proved and are not over."""
        sessions = self.world.sessions
        return [each for each in sessions if each.open and each.opened_at is not None]

    def in_session(self) -> Exchange | None:
        """Choose a session; sometimes one that began before the proxy did."""
        sessions = [session.id for session in self.open_sessions()]
        if self.rng.random() < 0.1:
            sessions.append(self.memory.fresh("stray"))
        if self.rng.random() < 0.1:  # as if it had not ended
            going_on = [dialogue.exchange.session for dialogue in self.going_on]
            known = [*sessions, *going_on]
            sessions += [session.id for session in self.world.sessions if session.id not in known]
        return Exchange(session=self.rng.choice(sessions)) if sessions else None

    def at_endpoint(self) -> Exchange | None:
        """Choose an open stream of HTTP+SSE."""
        streams = [d for d in self.going_on if d.exchange.kind is StreamKind.LEGACY_SSE]
        return Exchange(endpoint=self.rng.choice(streams).exchange.endpoint) if streams else None

    def alone(self) -> Exchange:
        """Use a legacy server that keeps no sessions."""
        return Exchange()

    def modern(self) -> Exchange:
        """Use 2026-07-28; whoever names a session is in none."""
        known = self.open_sessions()
        in_vain = self.rng.choice(known).id if known and self.rng.random() < 0.3 else None
        return Exchange(modern=True, in_vain=in_vain)

    def request(self, exchange: Exchange, wishes: Sequence[Wish]) -> None:
        """Send requests in one body, as far as there are ids for them."""
        if len(self.going_on) >= MAX_GOING_ON:
            return
        free = list(IDS)
        exchange.life = self.world.life_of(exchange.session)
        if exchange.scope is not None:
            taken = [
                call.id
                for call in self.world.calls
                if call.open
                and not call.suspended
                and (call.exchange.scope == exchange.scope or is_named(call.exchange, exchange))
            ]
            free = [call_id for call_id in IDS if call_id not in taken]
        wishes = wishes[: len(free)]
        if not wishes:
            return
        self.tick()
        self.world.begin(exchange)
        texts: list[Json] = []
        for wish in wishes:
            call_id = free.pop(self.rng.randrange(len(free)))
            texts.append(wish.text(call_id))
            self.seen(Direction.TO_SERVER, texts[-1])
            call = self.world.call(exchange, call_id, wish.method, wish.client)
            self.wishes[call.number] = wish
            if wish.answers is not None and not call.refused:
                seconds = round(self.now - wish.answers.since, 3)
                for question in wish.answers.questions:
                    self.world.said["replied", name_of(question), seconds] += 1
        self.begin(exchange, texts if len(texts) > 1 else texts[0])

    def cancel(self) -> None:
        """Give a call up: one in flight, one that has ended, one that never was."""
        calls = [call for call in self.world.calls if self.is_in_use(call.exchange)][-20:]
        if not calls:
            return
        running = [call for call in calls if call.open]
        call = self.rng.choice(running if running and self.rng.random() < 0.7 else calls)
        call_id = UNKNOWN if self.rng.random() < 0.1 else call.id
        exchange = Exchange(session=call.exchange.session, endpoint=call.exchange.endpoint)
        message = notification("notifications/cancelled", requestId=call_id, reason="enough")
        self.tell(exchange, message, lambda: self.world.cancel(exchange, call_id))

    def reply(self) -> None:
        """Answer a question of the server."""
        asked = [
            (exchange, question.id)
            for exchange in self.world.exchanges
            for question in self.world.questions
            if question.answered_at == inf
            and exchange.scope == question.scope
            and self.is_in_use(exchange)
        ]
        if not asked:
            return
        of, question_id = self.rng.choice(asked)
        exchange = Exchange(session=of.session, endpoint=of.endpoint)
        members: Json = self.rng.choice([{"result": {"action": "no"}}, {"error": {"code": -1}}])
        message = response(question_id, members)
        self.tell(exchange, message, lambda: self.world.reply(exchange, question_id))

    def tell(self, exchange: Exchange, message: Json, happen: Callable[[], None]) -> None:
        """Send what needs no answer, and have it accepted."""
        now = self.tick()
        self.world.begin(exchange)
        self.seen(Direction.TO_SERVER, message)
        happen()
        dialogue = self.begin(exchange, message)
        self.world.accept(exchange)
        self.world.finish(exchange, Outcome.INVALID_RESPONSE)
        self.check(dialogue.tap.response(202, {}, b"", now))
        self.done(dialogue)

    # Other methods than POST.

    def get(self, resumes: str | None = None, session: str | None = None) -> None:
        """Open the event stream of a session, which the server may not grant."""
        if session is None and resumes is None:
            sessions = self.open_sessions()
            if not sessions:
                return
            session = self.rng.choice(sessions).id
        if len(self.going_on) >= MAX_GOING_ON:
            return
        dialogue = self.open_get(Exchange(get=True, session=session, resumes=resumes))
        if self.rng.random() < 0.9:
            self.begin_get(dialogue)
            return
        self.world.finish(dialogue.exchange, Outcome.HTTP_ERROR)
        status = self.rng.choice([307, 400, 404, 405])
        self.check(dialogue.tap.response(status, {}, b"", self.now))
        self.done(dialogue)

    def resume(self) -> None:
        """Go on with an event stream, most often one that ended too early.

        The client may know that before the proxy does, may do so twice at once, and may lose the
        stream on which it went on, too.
        """
        calls = [call for call in self.world.calls[-60:] if self.may_resume(call)]
        if self.rng.random() < 0.9:  # otherwise a replay
            calls = [call for call in calls if call.open]
        if self.rng.random() < 0.6:
            calls = [call for call in calls if call.suspended] or calls
        if not calls:
            return
        call = self.rng.choice(calls)
        streams = streams_of(call, self.world.resuming)
        ids = [event_id for stream in streams for event_id in stream.ids][-MAX_IDS:]
        last = ids[-1] if self.rng.random() < 0.7 else self.rng.choice(ids)
        self.get(last, call.exchange.session or call.exchange.mints)

    def may_resume(self, call: Call) -> bool:
        """Tell whether a client may come back for the answer to a call."""
        exchange = call.exchange
        if exchange.modern or exchange.endpoint is not None or not exchange.ids:
            return False
        return self.is_in_use(exchange)

    def open_legacy_stream(self) -> None:
        """Begin HTTP+SSE."""
        streams = [d for d in self.going_on if d.exchange.kind is StreamKind.LEGACY_SSE]
        if len(self.going_on) >= MAX_GOING_ON or len(streams) >= MAX_ENDPOINTS:
            return
        dialogue = self.open_get(Exchange(get=True))
        self.begin_get(dialogue)
        name = self.memory.fresh("messages?session_id=")
        self.tick()
        dialogue.exchange.endpoint = f"/{name}"
        self.world.stream(dialogue.exchange, StreamKind.LEGACY_SSE)
        written = self.rng.choice([f"/{name}", name, f"http://127.0.0.1:9000/{name}"])
        self.event(dialogue, written, kind="endpoint")

    def open_get(self, exchange: Exchange) -> Dialogue:
        """Send a GET."""
        self.tick()
        self.world.begin(exchange)
        return self.begin(exchange, None)

    def begin_get(self, dialogue: Dialogue) -> None:
        """Answer it with an event stream."""
        self.world.accept(dialogue.exchange)
        self.world.stream(dialogue.exchange, StreamKind.GET)
        dialogue.streaming = True
        self.check(dialogue.tap.response_head(200, EVENTS, self.now))

    def delete(self) -> None:
        """Ask for the end of a session, which the server may not grant or not know."""
        sessions = self.open_sessions()
        if not sessions or self.rng.random() < 0.3:
            return
        session = self.rng.choice(sessions)
        now = self.tick()
        fields = {b"mcp-session-id": session.id.encode()}
        status = self.rng.choice([200, 204, 307, 405, 404])
        if self.rng.random() < 0.1:
            fields[b"mcp-protocol-version"] = MODERN.encode()
            status = 405
        else:
            session.heard_at = now
        tap = self.inspector.open(b"DELETE", b"/mcp", fields)
        assert tap is not None
        if status < 300:
            self.world.end_session(session, SessionEnd.DELETED)
        elif status == 404:
            self.world.end_session(session, SessionEnd.EXPIRED)
        self.check([*tap.request(b"", now), *tap.response(status, {}, b"", now)])

    # What both sides need.

    def some(self, fits: Callable[[Dialogue], bool]) -> Dialogue | None:
        """Choose an exchange that goes on."""
        fitting = [dialogue for dialogue in self.going_on if fits(dialogue)]
        return self.rng.choice(fitting) if fitting else None

    def seen(self, direction: Direction, message: Json) -> None:
        """Expect a message to be noticed."""
        method = message.get("method")
        kind = MessageKind.RESPONSE
        if method is not None:
            kind = MessageKind.REQUEST if "id" in message else MessageKind.NOTIFICATION
        self.world.said["seen", direction, kind, method] += 1

    def is_in_use(self, exchange: Exchange) -> bool:
        """Tell whether others may still refer to the ids of an exchange."""
        if exchange.session is not None:
            return self.world.session(exchange) is not None
        if exchange.endpoint is None:
            return True
        return any(
            other.exchange.get and other.exchange.endpoint == exchange.endpoint
            for other in self.going_on
        )


def is_named(by: Exchange, exchange: Exchange) -> bool:
    """Tell whether the answer of one exchange names the session of another one."""
    return by.mints is not None and by.mints == exchange.session
