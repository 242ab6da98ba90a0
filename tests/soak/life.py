"""One client in the making, and the texts that it and its server exchange.

Knows how a message is written, sent and answered in each transport, and writes into the ledger what
it is told; does not know in which order things happen (`lives`) nor what the product makes of them.
"""

import itertools
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import msgspec

from mcp_proxy_exporter.protocol import Outcome, SessionEnd, TaskOutcome
from tests.soak.world import INVENTED, Passage, World
from tests.support.clients import LEGACY, MODERN
from tests.support.inspection import EVENTS, JSON
from tests.support.ledger import OTHER

Json: TypeAlias = dict[str, Any]

TOOLS: Final = ("nap", "purr", "scratch", "hunt")
HTML: Final = {b"content-type": b"text/html"}
META: Final = "io.modelcontextprotocol/"

_CLIENTS: Final = ("basket", "sofa", "window")

encode = msgspec.json.encode


def event(message: Json | None, event_id: str = "") -> bytes:
    """Write a server-sent event; without a message it only gives its id."""
    data = b"" if message is None else encode(message)
    return (f"id: {event_id}\n".encode() if event_id else b"") + b"data: %b\n\n" % data


def request(number: int | str, method: str, **params: object) -> Json:
    """Write a request, of either side."""
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def notification(method: str, **params: object) -> Json:
    """Write a notification."""
    return {"jsonrpc": "2.0", "method": method, "params": params}


def result(number: int | str, **members: object) -> Json:
    """Write a response."""
    return {"jsonrpc": "2.0", "id": number, "result": {"content": [], **members}}


def error(number: int, code: int, **data: object) -> Json:
    """Write a response that is an error."""
    return {
        "jsonrpc": "2.0", "id": number, "error": {"code": code, "message": "no", "data": data}
    }  # fmt: skip


def meta_of(name: str, version: str = MODERN) -> Json:
    """Write who sends a request (2026-07-28)."""
    return {f"{META}protocolVersion": version, f"{META}clientInfo": {"name": name}}


class Life:
    """One client, what it has begun, and how many calls it still has to make."""

    def __init__(self, world: World, number: int, calls: int) -> None:
        self.world = world
        self.number = number
        self.calls = calls
        self.fields: Mapping[bytes, bytes] = JSON
        self.target = b"/mcp"
        self.answers: Passage | None = None
        """With HTTP+SSE: the stream that brings all answers."""
        self._ids = itertools.count(1)

    def key(self, word: str) -> str:
        """Give an id that only this life has."""
        return f"{word}-{self.number}"

    # What it sends

    def post(self, message: object) -> Passage:
        """Send a message."""
        return self.world.begin("POST", self.target, self.fields, encode(message))

    def ask(self, method: str, **params: object) -> tuple[int, Passage]:
        """Send a request with the next id."""
        number = next(self._ids)
        return number, self.post(request(number, method, **params))

    def call(self, tool: str, **more: object) -> tuple[int, Passage]:
        """Call a tool."""
        self.calls -= 1
        return self.ask("tools/call", name=tool, arguments={}, **more)

    def notify(self, method: str, **params: object) -> None:
        """Send a notification."""
        self.post(notification(method, **params)).answer(202, {})

    def get(self, event_id: str = "") -> Passage:
        """Open an event stream, or come back to one."""
        fields = {**self.fields, b"last-event-id": event_id.encode()} if event_id else self.fields
        passage = self.world.begin("GET", self.target, fields)
        passage.stream()
        return passage

    def list_tools(self) -> None:
        """List the tools on two pages."""
        tools, cursor = [{"name": name} for name in TOOLS], self.key("cursor")
        number, passage = self.ask("tools/list")
        self.answer(passage, result(number, tools=tools[:2], nextCursor=cursor))
        number, passage = self.ask("tools/list", cursor=cursor)
        self.answer(passage, result(number, tools=tools[2:]))

    # What it is answered

    def answer(self, passage: Passage, message: Json) -> None:
        """Answer a request where its client waits for the answer."""
        if self.answers is not None:
            passage.answer(202, {})
            self.answers.say(event(message))
        elif self.number % 3:
            passage.answer(200, JSON, encode(message))
        else:
            passage.answer(200, EVENTS, event(message))

    def succeed(self, tool: str, **more: object) -> None:
        """Make a call that succeeds."""
        number, passage = self.call(tool, **more)
        self.answer(passage, result(number))
        self.expect(tool, Outcome.SUCCESS)

    # Sessions

    def open(self, name: str = "") -> None:
        """Begin a session."""
        info = {"name": name or _CLIENTS[self.number % len(_CLIENTS)], "version": "1"}
        number, passage = self.ask("initialize", protocolVersion=LEGACY, clientInfo=info)
        # Every seventh id is longer than what is kept of it.
        session = self.key("session" * (30 if self.number % 7 == 0 else 1)).encode()
        answer = result(number, protocolVersion=LEGACY)
        if self.number % 2:
            passage.answer(200, {**JSON, b"mcp-session-id": session}, encode(answer))
        else:
            passage.stream(event(answer), fields={**EVENTS, b"mcp-session-id": session})
            passage.end()
        self.enter(session)
        self.notify("notifications/initialized")

    def enter(self, session: bytes) -> None:
        """Go on in a session that exists."""
        self.fields = {**JSON, b"mcp-session-id": session, b"mcp-protocol-version": LEGACY.encode()}
        self.world.account.opened += 1

    def delete(self) -> None:
        """End the session."""
        self.world.begin("DELETE", self.target, self.fields).answer(200, {})
        self.end_session(SessionEnd.DELETED)

    def expire(self) -> None:
        """Hear that there is no session any more, in either of the ways that servers have."""
        number, passage = self.ask("ping")
        if self.number % 2:
            passage.answer(404, HTML, b"gone")
        else:
            text = encode(error(number, -32000)).replace(b'"no"', b'"no such session"')
            passage.answer(400, JSON, text)
        self.end_session(SessionEnd.EXPIRED)

    # What becomes of it all

    def expect(self, tool: str, outcome: Outcome) -> None:
        """Write down what becomes of a call."""
        self.world.account.calls[tool, outcome] += 1

    def expect_task(self, tool: str, outcome: TaskOutcome) -> None:
        """Write down what becomes of a task."""
        self.world.account.tasks[tool, outcome] += 1

    def end_session(self, reason: SessionEnd) -> None:
        """Write down what becomes of the session."""
        self.world.account.closed[reason,] += 1

    def invent(self) -> None:
        """Say what nobody has said before: no map may depend on the goodwill of a client."""
        self.calls -= 1
        invent(self.world, self.number)


def invent(world: World, number: int) -> None:
    """Make one call as a new client, and whatever else a client or a server may make up."""
    version = f"2099-{number}"
    fields = {**JSON, b"mcp-protocol-version": version.encode()}
    meta = meta_of(f"{INVENTED} client {number}", version)
    exchanges: list[tuple[Json, int, Json | None]] = [
        (
            request(1, "tools/call", name=f"{INVENTED} tool {number}", _meta=meta),
            200, result(1),
        ),
        (request(1, f"{INVENTED}/{number}"), 600 + number % 300, error(1, -number)),
        (request(1, "tools/list", cursor=f"{INVENTED} {number}"), 200, result(1, tools=[])),
        (notification("notifications/message", level=version), 202, None),
        (notification(f"notifications/{version}"), 202, None),
    ]  # fmt: skip
    for message, status, answer in exchanges:
        passage = world.begin("POST", f"/{number}".encode(), fields, encode(message))
        passage.answer(status, JSON, b"" if answer is None else encode(answer))
    world.begin(f"INVENT{number}", b"/", {}).answer(405, {})
    world.account.calls[OTHER, Outcome.SUCCESS] += 1
