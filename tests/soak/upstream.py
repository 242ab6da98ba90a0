"""A small MCP server of Streamable HTTP with sessions (2025-11-25), run as a program with a port.

A fake, because a server on a real SDK would take a quarter of an hour for 100 000 calls; that real
servers are understood is proved elsewhere. Its tools answer at once or go on elsewhere, each in one
way; what it keeps of a session goes with the session. Knows nothing of proxies or metrics.
"""

import argparse
import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from aiohttp import web

Json = dict[str, Any]

HOST = "127.0.0.1"
REVISION = "2025-11-25"
SESSION = "Mcp-Session-Id"
QUESTION = "question"
"""The id of what the server asks."""
EVENTS = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}


class Session:
    """What is under way for one client."""

    def __init__(self) -> None:
        self.polled: dict[str, object] = {}
        """Ids of calls whose answer waits for who comes back, by event id."""
        self.news = asyncio.Event()
        """Something came that a call waits for: a cancellation, or an answer."""
        self.over = asyncio.Event()


def result(number: object, **members: object) -> bytes:
    """Write a response."""
    members = {"content": [{"type": "text", "text": "miaow"}], **members}
    return json.dumps({"jsonrpc": "2.0", "id": number, "result": members}).encode()


def reply(body: bytes) -> web.Response:
    """Answer with JSON."""
    return web.Response(body=body, content_type="application/json")


def event(body: bytes, event_id: str = "") -> bytes:
    """Write a server-sent event."""
    return (f"id: {event_id}\n".encode() if event_id else b"") + b"data: %b\n\n" % body


class Server:
    """The sessions and what their clients may ask for."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._ids = itertools.count(1)
        self._tools: Mapping[str, Callable[[web.Request, Session, Json], Awaitable[Any]]] = {
            "nap": self._nap,
            "purr": self._purr,
            "scratch": self._scratch,
            "hunt": self._hunt,
            "poll": self._poll,
            "ask": self._ask,
            "hang": self._hang,
            "vanish": self._vanish,
        }

    def build(self) -> web.Application:
        """Give the application."""
        app = web.Application()
        app.router.add_post("/mcp", self._post)
        app.router.add_get("/mcp", self._get)
        app.router.add_delete("/mcp", self._delete)
        return app

    def _find(self, request: web.Request) -> Session:
        session = self._sessions.get(request.headers.get(SESSION, ""))
        if session is None:
            raise web.HTTPNotFound
        return session

    async def _post(self, request: web.Request) -> web.StreamResponse:
        message: Json = json.loads(await request.read())
        method = message.get("method")
        if method == "initialize":
            return self._initialize(message)
        session = self._find(request)
        if method == "tools/call":
            answer: web.StreamResponse = await self._tools[message["params"]["name"]](
                request, session, message
            )
            return answer
        if method == "tools/list":
            tools = [{"name": name, "inputSchema": {"type": "object"}} for name in self._tools]
            return reply(result(message["id"], tools=tools))
        if method != "notifications/initialized":
            session.news.set()
        return web.Response(status=202)

    def _initialize(self, message: Json) -> web.Response:
        session_id = f"{next(self._ids):032x}"
        self._sessions[session_id] = Session()
        answer = reply(result(message["id"], protocolVersion=REVISION, capabilities={}))
        answer.headers[SESSION] = session_id
        return answer

    async def _get(self, request: web.Request) -> web.StreamResponse:
        """Bring the answer that waits for who comes back, or a word until the session is over."""
        session = self._find(request)
        event_id = request.headers.get("Last-Event-ID")
        if event_id is not None:
            return await self._stream(request, event(result(session.polled.pop(event_id))))
        stream = web.StreamResponse(headers=EVENTS)
        await stream.prepare(request)
        message = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info"}}
        await stream.write(event(json.dumps(message).encode()))
        await session.over.wait()
        return stream

    async def _delete(self, request: web.Request) -> web.Response:
        self._find(request).over.set()
        del self._sessions[request.headers[SESSION]]
        return web.Response()

    # Tools

    async def _stream(self, request: web.Request, *events: bytes) -> web.StreamResponse:
        stream = web.StreamResponse(headers=EVENTS)
        await stream.prepare(request)
        for piece in events:
            await stream.write(piece)
        return stream

    async def _nap(self, _request: web.Request, _session: Session, call: Json) -> web.Response:
        return reply(result(call["id"]))

    async def _purr(
        self, request: web.Request, _session: Session, call: Json
    ) -> web.StreamResponse:
        return await self._stream(request, event(result(call["id"])))

    async def _scratch(self, _request: web.Request, _session: Session, call: Json) -> web.Response:
        return reply(result(call["id"], isError=True))

    async def _hunt(self, _request: web.Request, _session: Session, call: Json) -> web.Response:
        error = {"code": -32603, "message": "nothing to hunt"}
        return reply(json.dumps({"jsonrpc": "2.0", "id": call["id"], "error": error}).encode())

    async def _poll(self, request: web.Request, session: Session, call: Json) -> web.StreamResponse:
        """End the stream before the answer."""
        event_id = f"event-{next(self._ids)}"
        session.polled[event_id] = call["id"]
        return await self._stream(request, event(b"", event_id))

    async def _ask(self, request: web.Request, session: Session, call: Json) -> web.StreamResponse:
        """Ask the client first."""
        question = {"jsonrpc": "2.0", "id": QUESTION, "method": "elicitation/create", "params": {}}
        stream = await self._stream(request, event(json.dumps(question).encode()))
        await session.news.wait()
        session.news.clear()
        await stream.write(event(result(call["id"])))
        return stream

    async def _hang(
        self, request: web.Request, session: Session, _call: Json
    ) -> web.StreamResponse:
        """Say nothing more until the client does."""
        stream = await self._stream(request, b": wait\n\n")
        await session.news.wait()
        session.news.clear()
        return stream

    async def _vanish(self, request: web.Request, _session: Session, call: Json) -> web.Response:
        """Forget the session."""
        del self._sessions[request.headers[SESSION]]
        return reply(result(call["id"]))


async def serve(port: int) -> None:
    """Serve until cancelled."""
    # A handler whose client is gone must not wait for it.
    runner = web.AppRunner(Server().build(), access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, HOST, port).start()
    await asyncio.Event().wait()


def main() -> None:
    """Serve until terminated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
