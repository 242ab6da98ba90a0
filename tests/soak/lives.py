"""What happens between the first request of a client and its last, in all the ways there are.

Knows how sessions, calls, tasks and questions begin and end. Each life is a generator: where it
yields, others go on. Does not know how messages are written (`life`) nor how simple calls end
(`ends`).
"""

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from mcp_proxy_exporter.protocol import Abort, Outcome, SessionEnd, TaskOutcome
from tests.soak.ends import make_call
from tests.soak.life import (
    HTML,
    Life,
    encode,
    error,
    event,
    meta_of,
    notification,
    request,
    result,
)
from tests.support.account import INPUT_REQUIRED, SERVER_REQUEST
from tests.support.inspection import JSON

Pauses: TypeAlias = Iterator[None]

_ELICITATION: Final = "elicitation/create"
_SAMPLING: Final = "sampling/createMessage"
_ROOTS: Final = "roots/list"


def _use_up(life: Life, *, but: int = 0) -> Pauses:
    """Make the calls that are left, one after the other."""
    while life.calls > but:
        end = make_call(life, life.number + life.calls)
        yield
        end()


# Sessions


def _is_deleted(life: Life) -> Pauses:
    """List the tools, call, end the session."""
    life.open()
    yield
    life.list_tools()
    life.invent()
    yield from _use_up(life)
    life.delete()


def _expires(life: Life) -> Pauses:
    """Call until the server does not know the session any more."""
    life.open()
    yield from _use_up(life)
    life.expire()


def _was_there_before(life: Life) -> Pauses:
    """Go on in a session that began before the proxy did; then try one that never was."""
    life.enter(life.key("earlier").encode())
    yield from _use_up(life)
    life.expire()
    yield
    fields = {**JSON, b"mcp-session-id": life.key("stray").encode()}
    ping = encode(request(1, "ping"))
    for method, body in (("POST", ping), ("GET", b""), ("DELETE", b"")):
        life.world.begin(method, b"/mcp", fields, body).answer(404, HTML, b"gone")
    life.world.begin("POST", b"/mcp", fields, ping).abort(Abort.UPSTREAM_UNREACHABLE)


def _falls_silent(life: Life) -> Pauses:
    """Listen and call, and never come back."""
    life.open()
    stream = life.get()
    yield
    stream.say(event(notification("notifications/tools/list_changed")))
    life.invent()
    yield from _use_up(life)
    stream.abort(Abort.CLIENT_GONE)
    life.end_session(SessionEnd.IDLE)


def _breaks_off(life: Life) -> Pauses:
    """Leave bodies of both sides unfinished, and send what is no message."""
    life.open()
    world, text = life.world, encode(request(1, "tools/call", name="nap"))
    unfinished = world.begin("POST", life.target, life.fields, None)
    unfinished.ask_partly(text[:-9])
    world.begin("POST", life.target, life.fields, text[:-9]).answer(400, HTML, b"what?")
    world.begin("POST", b"/upload", HTML, b"<p>").answer(200, HTML, b"<p>")
    yield from _use_up(life)
    unfinished.abort(Abort.CLIENT_GONE)
    life.delete()


# Calls that go on elsewhere


def _cancels(life: Life) -> Pauses:
    """Cancel a call; its answer comes too late, or not at all."""
    life.open()
    yield
    number, passage = life.call("nap")
    passage.stream(event(None, life.key("event")))
    yield
    life.notify("notifications/cancelled", requestId=number)
    life.expect("nap", Outcome.CANCELLED)
    yield
    if life.number % 2:
        passage.say(event(result(number)))
        life.world.account.late["tools/call",] += 1
    passage.end()
    yield from _use_up(life)
    life.delete()


def _resumes(life: Life) -> Pauses:
    """Lose the stream of a call twice, and come back for the answer."""
    life.open()
    yield from _lose_and_find(life)
    yield from _use_up(life)
    life.delete()


def _resumes_without_session(life: Life) -> Pauses:
    """Do so where the server has no sessions; lose another stream for ever."""
    yield from _lose_and_find(life)
    yield from _lose(life, "lost")
    life.expect("hunt", Outcome.ABANDONED)
    yield from _use_up(life)


def _comes_back_early(life: Life) -> Pauses:
    """Do so twice before the proxy can know that the stream is lost."""
    number, passage = life.call("hunt")
    passage.stream(event(None, life.key("early")))
    yield
    first = life.get(life.key("early"))
    first.say(event(None, life.key("again")))
    first.end()
    yield
    again = life.get(life.key("again"))
    yield
    if life.number % 2:
        passage.abort(Abort.UPSTREAM_CLOSED)
    else:
        passage.end()
    yield
    again.say(event(result(number)))
    again.end()
    life.expect("hunt", Outcome.SUCCESS)
    yield from _use_up(life)


def _abandons(life: Life) -> Pauses:
    """Lose the stream of a call and end the session, or never come back."""
    life.open()
    yield from _use_up(life, but=1)
    yield from _lose(life, "lost")
    life.expect("hunt", Outcome.ABANDONED)
    if life.number % 2:
        life.delete()
    else:
        life.end_session(SessionEnd.IDLE)


def _lose(life: Life, event_id: str) -> Iterator[None]:
    """Begin a call on a stream that ends after an event without its answer."""
    _, passage = life.call("hunt")
    passage.stream(event(None, life.key(event_id)))
    yield
    if life.number % 2:
        passage.abort(Abort.UPSTREAM_CLOSED)
    else:
        passage.end()
    yield


def _lose_and_find(life: Life) -> Pauses:
    number = 1 if life.fields is JSON else 2  # what comes next
    yield from _lose(life, "first")
    again = life.get(life.key("first"))
    again.say(event(None, life.key("second")))
    yield
    again.abort(Abort.CLIENT_GONE)
    yield
    again = life.get(life.key("second"))
    again.say(event(result(number), life.key("third")))
    again.end()
    life.expect("hunt", Outcome.SUCCESS)


def _uses_endpoint(life: Life) -> Pauses:
    """Speak HTTP+SSE; the stream ends before the last answer."""
    life.target = b"/sse"
    life.answers = stream = life.get()
    life.target = f"/messages?session={life.key('sse')}".encode()
    stream.say(b"event: endpoint\ndata: %b\n\n" % life.target)
    yield
    number, passage = life.ask("initialize", protocolVersion="2024-11-05")
    life.answer(passage, result(number, protocolVersion="2024-11-05"))
    life.notify("notifications/initialized")
    yield from _use_up(life, but=1)
    _, passage = life.call("scratch")
    passage.answer(202, {})
    yield
    if life.number % 2:
        stream.abort(Abort.CLIENT_GONE)
        life.expect("scratch", Outcome.CLIENT_DISCONNECTED)
    else:
        stream.end()
        life.expect("scratch", Outcome.UPSTREAM_CLOSED)


def _batches(life: Life) -> Pauses:
    """Make two calls at once."""
    life.open()
    yield
    names = ("nap", "purr")
    life.calls -= len(names)
    passage = life.post([request(name, "tools/call", name=name) for name in names])
    yield
    passage.stream(*(event(result(name)) for name in names))
    passage.end()
    for name in names:
        life.expect(name, Outcome.SUCCESS)
    yield from _use_up(life)
    life.delete()


# Tasks


def _runs_tasks(life: Life) -> Pauses:
    """Let a call become a task and ask for its result (2025-11-25); forget another one."""
    life.open()
    yield
    for word in ("task", "forgotten"):
        number, passage = life.call("hunt", task={"ttl": 1000})
        task = {"taskId": life.key(word), "status": "working", "ttl": 1000}
        life.answer(passage, result(number, task=task))
        life.expect("hunt", Outcome.TASK_CREATED)
        yield
    number, passage = life.ask("tasks/get", taskId=life.key("task"))
    life.answer(passage, result(number, taskId=life.key("task"), status="working"))
    yield
    number, passage = life.ask("tasks/result", taskId=life.key("task"))
    life.answer(passage, result(number, isError=True))
    life.expect_task("hunt", TaskOutcome.TOOL_ERROR)
    life.expect_task("hunt", TaskOutcome.UNOBSERVED)
    yield from _use_up(life)
    life.delete()


def _is_modern(life: Life) -> Pauses:
    """Listen, and let a call become a task whose end is told there (2026-07-28)."""
    meta = meta_of("window")
    _, stream = life.ask("subscriptions/listen", _meta=meta)
    stream.stream()
    yield
    task_id = life.key("modern-task")
    number, passage = life.call("purr", _meta=meta)
    life.answer(passage, result(number, resultType="task", taskId=task_id, ttlMs=None))
    life.expect("purr", Outcome.TASK_CREATED)
    yield
    if life.number % 2:
        status = {"taskId": task_id, "status": "completed", "result": {"content": []}}
        stream.say(event(notification("notifications/tasks", **status)))
        life.expect_task("purr", TaskOutcome.SUCCESS)
    else:
        life.expect_task("purr", TaskOutcome.UNOBSERVED)
    yield
    stream.abort(Abort.CLIENT_GONE)
    yield from _use_up(life)


# Questions


def _is_asked(life: Life) -> Pauses:
    """Answer one question of the server, and leave two."""
    account = life.world.account
    life.open()
    stream = life.get()
    number, passage = life.call("scratch")
    passage.stream(event(request("answered", _ELICITATION)), event(request("left", _SAMPLING)))
    account.inputs[_ELICITATION, SERVER_REQUEST] += 1
    account.inputs[_SAMPLING, SERVER_REQUEST] += 1
    yield
    life.post(result("answered")).answer(202, {})
    account.answers[_ELICITATION,] += 1
    yield
    passage.say(event(result(number)))
    passage.end()
    life.expect("scratch", Outcome.SUCCESS)
    stream.say(event(request(1, _ROOTS)))
    account.inputs[_ROOTS, SERVER_REQUEST] += 1
    yield from _use_up(life)
    life.delete()
    yield
    stream.end()


def _gives_input(life: Life) -> Pauses:
    """Repeat a call with the input that it wants, but not another one (2026-07-28)."""
    account, meta = life.world.account, meta_of("sofa")
    wanted = {"resultType": "input_required", "inputRequests": {"one": {"method": _SAMPLING}}}
    for word in ("state", "given up"):
        number, passage = life.call("nap", _meta=meta)
        life.answer(passage, result(number, **wanted, requestState=life.key(word)))
        life.expect("nap", Outcome.INPUT_REQUIRED)
        account.inputs[_SAMPLING, INPUT_REQUIRED] += 1
        yield
    life.succeed("nap", _meta=meta, requestState=life.key("state"))
    account.answers[_SAMPLING,] += 1
    if life.calls:
        number, passage = life.call("purr")
        life.answer(passage, error(number, -32042, elicitations=[{}]))
        life.expect("purr", Outcome.INPUT_REQUIRED)
        account.inputs[_ELICITATION, INPUT_REQUIRED] += 1


# Eras


def _falls_back(life: Life) -> Pauses:
    """Try the new era first; every third client gives up when that is refused."""
    name = life.key("prober")
    number, passage = life.ask("server/discover", _meta=meta_of(name))
    passage.answer(404, JSON, encode(error(number, -32601)))
    yield
    if life.number // len(LIVES) % 3:
        life.open(name)
        life.world.account.fallbacks += 1
        yield from _use_up(life)
        life.delete()
    else:
        yield from _use_up(life)


LIVES: Final[tuple[Callable[[Life], Pauses], ...]] = (
    _is_deleted,
    _expires,
    _falls_silent,
    _was_there_before,
    _breaks_off,
    _cancels,
    _resumes,
    _resumes_without_session,
    _abandons,
    _uses_endpoint,
    _batches,
    _runs_tasks,
    _is_modern,
    _is_asked,
    _gives_input,
    _falls_back,
    _comes_back_early,
)
