"""What calls, sessions, streams, tasks and questions should come to: said as plainly as possible.

A second opinion on `mcp_proxy_exporter.protocol`, written from the specifications and the decided
semantics. Knows what happened, in words; does not know bytes, nor how the product finds out. It
keeps everything for ever and searches lists.

What happens adds to `World.said`, which events must follow now.
"""

from collections import Counter
from math import inf
from typing import TypeAlias

from mcp_proxy_exporter.protocol import (
    Delivery,
    Limits,
    Outcome,
    SessionEnd,
    StreamKind,
    TaskOutcome,
)
from tests.support.naive_facts import (
    GRACE,
    NEGOTIATED,
    NOBODY,
    Call,
    Client,
    Exchange,
    Id,
    Question,
    Scope,
    Session,
    Task,
    newest,
    retry_of,
    streams_of,
)

Saying: TypeAlias = tuple[object, ...]
"""The name of an event and what matters of it; calls by their number, seconds rounded."""


class World:
    """Everything that happened."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.now = 1000.0
        self.exchanges: list[Exchange] = []
        self.going_on: list[Exchange] = []
        self.resuming: list[Exchange] = []
        """GETs that go on where another stream ended, over or not."""
        self.calls: list[Call] = []
        self.sessions: list[Session] = []
        self.tasks: list[Task] = []
        self.questions: list[Question] = []
        self.clients: dict[Scope, Client] = {}
        self.ended_endpoints: dict[str, Outcome] = {}
        """What the end of their stream means to a call that was accepted."""
        self.said: Counter[Saying] = Counter()

    # What can be asked.

    def session(self, exchange: Exchange) -> Session | None:
        """Find the session of an exchange, if it is not over."""
        session = self.find_session(exchange.session)
        return session if session is not None and session.life == exchange.life else None

    def find_session(self, session_id: str | None) -> Session | None:
        """Find a session that is not over."""
        return next((each for each in self.sessions if each.open and each.id == session_id), None)

    def life_of(self, session_id: str | None) -> int:
        """Count how often a session has ended."""
        return sum(not session.open and session.id == session_id for session in self.sessions)

    def known(self, exchange: Exchange, call_id: Id) -> Call | None:
        """Find the newest call that a response on a GET, or a cancellation, can mean."""
        if exchange.scope is None:  # only what it resumes, once that is known to have ended
            calls = [call for call in self.calls if call.suspended and self.links(exchange, call)]
        else:
            calls = [call for call in self.calls if call.exchange.scope == exchange.scope]
        return newest(calls, lambda call: call.id == call_id and not call.refused)

    def links(self, get: Exchange, call: Call) -> bool:
        """Tell whether a GET continues the event stream on which a call was to be answered."""
        return get.resumes is not None and get in streams_of(call, self.resuming)

    def is_busy(self, session: Session) -> bool:
        """Tell whether an exchange is going on in a session."""
        return any(self.session(each) is session for each in self.going_on)

    def holds_calls(self, session: Session) -> bool:
        """Tell whether calls of a session wait for a GET."""
        scope = "session", session.id, session.life
        return any(call.suspended and call.exchange.scope == scope for call in self.calls)

    # What happens to exchanges.

    def begin(self, exchange: Exchange) -> None:
        """A request is read."""
        self.exchanges.append(exchange)
        self.going_on.append(exchange)
        self._enter(exchange)

    def hear(self, exchange: Exchange) -> None:
        """A session is in use."""
        session = self.session(exchange)
        if session is not None:
            session.heard_at = self.now

    def accept(self, exchange: Exchange) -> None:
        """A response with a status below 300 begins."""
        session = self.session(exchange)
        if session is not None:
            self._prove(session)

    def stream(self, exchange: Exchange, kind: StreamKind) -> None:
        """A long-lived event stream begins."""
        self.said["stream opened", kind, exchange.kind] += 1
        if exchange.kind is None:
            exchange.stream_since = self.now
            if exchange.resumes is not None:
                self.resuming.append(exchange)
                self._hold()
        exchange.kind = kind

    def finish(
        self,
        exchange: Exchange,
        outcome: Outcome,
        *,
        resumable: bool = False,
        clean: bool = False,
    ) -> None:
        """An exchange is over; `outcome` is what that means to a call that cannot be resumed."""
        if exchange.named and exchange.session is None and any(c.open for c in exchange.calls):
            exchange.session = exchange.mints  # where its answer is to be looked for
            self._enter(exchange)
        self.hear(exchange)
        self._end(exchange)
        gone = exchange.session is not None and self.session(exchange) is None
        for call in exchange.calls:
            if call.open and not (resumable and exchange.ids and not exchange.modern):
                self.close(call, outcome)
            elif call.open and gone:  # there is no coming back
                self.close(call, Outcome.ABANDONED if clean else outcome)
            elif call.open:
                self._suspend(call)
        if exchange.kind is not None:
            duration = self.now - exchange.stream_since
            self.said["stream closed", exchange.kind, round(duration, 3)] += 1
        if exchange.get:
            self._finish_get(exchange, outcome)
        self._forget()

    def _finish_get(self, get: Exchange, outcome: Outcome) -> None:
        if get.endpoint is not None:
            self.ended_endpoints[get.endpoint] = outcome
            for call in self.calls:
                if call.exchange.scope == get.scope and call.exchange.ended:
                    self.close(call, outcome)
        self._hold()

    def leave_pending(self, exchange: Exchange) -> None:
        """A POST of HTTP+SSE was accepted: what answers it comes on the GET."""
        self._end(exchange)
        outcome = self.ended_endpoints.get(exchange.endpoint or "")
        if outcome is not None:
            for call in exchange.calls:
                self.close(call, outcome)

    # What happens to calls.

    def call(self, exchange: Exchange, call_id: Id, method: str, client: Client | None) -> Call:
        """A client asks, and may say who it is."""
        refused = not self._has_room()
        before = None if refused or exchange.scope is None else self.known(exchange, call_id)
        if before is not None and before.suspended:
            self.close(before, Outcome.ABANDONED)
        if client is None:
            client = NOBODY if exchange.scope is None else self.clients.get(exchange.scope, NOBODY)
        call = Call(
            number=len(self.calls),
            id=call_id,
            method=method,
            exchange=exchange,
            opened_at=self.now,
            client=client,
            refused=refused,
        )
        self.calls.append(call)
        self.said["call opened", call.number, *client] += 1
        if refused:
            self.close(call, Outcome.UNINSPECTED)
        else:
            exchange.calls.append(call)
        return call

    def _has_room(self) -> bool:
        """Make room for a call; who waits for a client gives way to one that is there."""
        if sum(call.open for call in self.calls) < self.limits.max_open_calls:
            return True
        waiting = [call for call in self.calls if call.suspended and call.deadline < inf]
        if waiting:
            self.close(min(waiting, key=lambda call: call.suspended_at), Outcome.ABANDONED)
            self._forget()
        return bool(waiting)

    def close(self, call: Call, outcome: Outcome) -> None:
        """A call ends, if it has not yet."""
        if call.open:
            call.open = call.suspended = False
            waited = round(call.waited(self.now), 3)
            self.said["call closed", call.number, outcome, waited] += 1

    def cancel(self, exchange: Exchange, call_id: Id) -> None:
        """A client gives up."""
        if exchange.scope is None:
            return
        call = self.known(exchange, call_id)
        if call is not None and call.method != "initialize":
            self.close(call, Outcome.CANCELLED)

    def answer(self, exchange: Exchange, call_id: Id, outcome: Outcome) -> Call | None:
        """A response passes; give the call that it ends."""
        if exchange.get:
            call = self.known(exchange, call_id)
        else:
            call = newest(exchange.calls, lambda call: call.id == call_id)
        if call is None:
            return None
        call.answered_by_post |= not exchange.get
        if call.open:
            self.close(call, outcome)
            call.answered_on = exchange
            if call.method == "initialize" and outcome is Outcome.SUCCESS:
                self._begin_session(call)
            return call
        replayed = call.answered_on is not None and exchange.get and exchange.endpoint is None
        if not (call.late or replayed):
            call.late = True
            self.said["late", call.method] += 1
        return None

    # What happens to sessions, tasks and questions.

    def end_session(self, session: Session, reason: SessionEnd) -> None:
        """A session is over, and with it what waited for its next GET."""
        session.open = False
        if session.opened_at is not None:
            end = session.heard_at if reason is SessionEnd.IDLE else self.now
            self.said["session closed", reason, round(end - session.opened_at, 3)] += 1
        scope = "session", session.id, session.life
        for call in self.calls:
            if call.suspended and call.exchange.scope == scope:
                self.close(call, Outcome.ABANDONED)

    def begin_task(self, call: Call, task_id: str, ttl: float | None) -> None:
        """A call was answered by a task."""
        seconds = self.limits.task_seconds if ttl is None else ttl + GRACE
        deadline = self.now + seconds
        self.tasks.append(Task(id=task_id, call=call, patience=seconds, deadline=deadline))
        self.said["task opened", call.number] += 1

    def see_task(self, task_id: str, outcome: TaskOutcome | None) -> None:
        """A sign of a task passes: of its end, or, where that is None, that it goes on."""
        for task in self.tasks:
            if not task.open or task.id != task_id:
                continue
            task.deadline = self.now + task.patience
            if outcome is not None:
                task.open = False
                duration = round(self.now - task.call.opened_at, 3)
                self.said["task closed", task.call.number, outcome, duration] += 1

    def ask(self, exchange: Exchange, question_id: Id, method: str) -> None:
        """A server asks."""
        scope = exchange.scope
        asked = [each for each in self.questions if (each.scope, each.id) == (scope, question_id)]
        if asked and exchange.resumes is not None:  # what the client has seen before
            return
        self.said["asked", method, Delivery.SERVER_REQUEST] += 1
        if scope is None:
            return
        question = Question(scope=scope, id=question_id, method=method, asked_at=self.now)
        self.questions.append(question)
        concerned = [call for call in exchange.calls if call.open]
        if exchange.endpoint is not None:
            concerned = [c for c in self.calls if c.open and c.exchange.scope == scope]
        elif exchange.get:
            concerned = [c for c in self.calls if c.suspended and self.links(exchange, c)]
        if len(concerned) == 1:  # it can only be about that
            concerned[0].questions.append(question)

    def reply(self, exchange: Exchange, question_id: Id) -> None:
        """A client answers."""
        for question in self.questions:
            asked = question.answered_at == inf and question.scope == exchange.scope
            if asked and question.id == question_id:
                question.answered_at = self.now
                self.said["replied", question.method, round(self.now - question.asked_at, 3)] += 1

    # What time does.

    def sweep(self) -> None:
        """Look at the time."""
        for call in self.calls:
            if call.suspended and call.deadline <= self.now:
                self.close(call, Outcome.ABANDONED)
        for task in self.tasks:
            if task.deadline <= self.now:
                self.see_task(task.id, TaskOutcome.UNOBSERVED)
        for session in self.sessions:
            idle = self.now - session.heard_at >= self.limits.session_idle_seconds
            if session.open and idle and not self.is_busy(session):
                self.end_session(session, SessionEnd.IDLE)
        self._forget()

    def shut_down(self) -> None:
        """Stop: what is suspended ends."""
        for call in self.calls:
            if call.suspended:
                self.close(call, Outcome.PROXY_SHUTDOWN)

    def _begin_session(self, initialize: Call) -> None:
        """An ``initialize`` has succeeded, on its own exchange or in the session that it named."""
        exchange = initialize.exchange
        scope = exchange.scope
        if exchange.mints is not None:
            session = self._join(exchange.mints)
            self._prove(session)
            scope = "session", session.id, session.life
        if scope is not None:
            self.clients[scope] = (initialize.client[0], NEGOTIATED)

    def _end(self, exchange: Exchange) -> None:
        exchange.ended = True
        self.going_on.remove(exchange)

    def _enter(self, exchange: Exchange) -> None:
        if exchange.session is not None:
            session = self._join(exchange.session)
            exchange.life = session.life
            session.heard_at = self.now

    def _join(self, session_id: str) -> Session:
        """Find a session, or begin one that has to be proved."""
        session = self.find_session(session_id)
        if session is None:
            life = self.life_of(session_id)
            session = Session(id=session_id, life=life, heard_at=self.now)
            self.sessions.append(session)
        return session

    def _prove(self, session: Session) -> None:
        if session.opened_at is not None:
            return
        session.opened_at = session.heard_at = self.now
        self.said["session opened",] += 1
        remembered = [each for each in self.sessions if each.open]
        others = [each for each in remembered if each is not session]
        others.sort(key=lambda each: (self.is_busy(each), each.heard_at))
        for silent in others[: max(0, len(remembered) - self.limits.max_sessions)]:
            self.end_session(silent, SessionEnd.IDLE)

    def _forget(self) -> None:
        """Forget what nobody uses and nothing proves."""
        for session in self.sessions:
            if session.open and session.opened_at is None and not self.is_busy(session):
                session.open = self.holds_calls(session)

    def _suspend(self, call: Call) -> None:
        call.suspended = True
        call.suspended_at = self.now
        call.deadline = inf
        self._hold()

    def _hold(self) -> None:
        """Stop the time of calls that a GET waits for, and start it for those no longer."""
        for call in self.calls:
            if not call.suspended:
                continue
            _, *gets = streams_of(call, self.resuming)
            if any(not get.ended for get in gets):
                call.deadline = inf
            elif call.deadline == inf:
                patience = self.limits.suspended_seconds + retry_of(call, self.resuming)
                call.deadline = self.now + patience
