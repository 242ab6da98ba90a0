"""An MCP server each of whose tools ends its calls in one way, however odd.

Knows what to answer; does not know that anybody watches. Honest servers cannot be asked for half
of these ends. Sessions of 2025-11-25 and requests of 2026-07-28 share the endpoint ``/mcp``.
"""

import asyncio
import json
from typing import Any

from aiohttp import web

TIME_LIMIT = 1.5
"""Seconds that the proxy waits for a response's head."""
MESSAGE_LIMIT = 32_768
"""Bytes of a message that the proxy inspects."""
SEASON = 8.0
"""Seconds after which the tools change."""

TOOLS = (
    "work", "files.read", "files-read", "complain", "shrug", "refuse", "ask", "consult",
    "delegate", "crash", "babble", "withdraw", "linger", "stall", "drop", "vanish", "bulky",
    "guarded", "repeat", "idle",
)  # fmt: skip

Message = dict[str, Any]


def respond(request_id: object, **members: object) -> web.Response:
    """Answer a request by JSON."""
    return web.json_response({"jsonrpc": "2.0", "id": request_id, **members})


def build_result(text: str, **members: object) -> Message:
    """Build the result of a tool."""
    content = [{"type": "text", "text": text}]
    return {"content": content, "isError": False, "resultType": "complete", **members}


class Zoo:
    """The server."""

    def __init__(self) -> None:
        self.origin = ""
        self._sessions = 0
        self._answers: dict[str, asyncio.Event] = {}
        self._started = 0.0
        app = web.Application()
        app.router.add_post("/mcp", self._post)
        app.router.add_get("/mcp", self._get)
        app.router.add_delete("/mcp", self._delete)
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )

    async def start(self) -> None:
        """Listen on a free port."""
        self._started = asyncio.get_running_loop().time()
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.origin = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Close everything."""
        await self._runner.cleanup()

    @property
    def season(self) -> int:
        """Say how often the tools have changed."""
        return int((asyncio.get_running_loop().time() - self._started) / SEASON)

    async def _delete(self, _request: web.Request) -> web.Response:
        return web.Response()

    async def _get(self, request: web.Request) -> web.StreamResponse:
        stream = await _begin_stream(request)
        season = self.season
        while True:
            words = {"level": "error", "data": "the monkeys are out"}
            await _send(stream, {"method": "notifications/message", "params": words})
            if self.season != season:
                season = self.season
                await _send(stream, {"method": "notifications/tools/list_changed"})
            await asyncio.sleep(1)

    async def _post(self, request: web.Request) -> web.StreamResponse:
        message: Message = await request.json()
        if "method" not in message:
            self._answers.pop(message["id"]).set()
            return web.Response(status=202)
        if "id" not in message:
            return web.Response(status=202)
        if message["method"] == "tools/call":
            return await self._call(request, message)
        return self._answer(message)

    def _answer(self, message: Message) -> web.Response:
        request_id, method = message["id"], message["method"]
        if method == "server/discover":
            return respond(request_id, error={"code": -32601, "message": "what is that?"})
        if method == "initialize":
            self._sessions += 1
            result = {
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "zoo", "version": "1"},
                "instructions": "Do not feed the tools.",
            }
            answer = respond(request_id, result=result)
            answer.headers["Mcp-Session-Id"] = f"session-{self._sessions}"
            return answer
        if method == "tools/list":
            return respond(request_id, result={"tools": self._list(), "resultType": "complete"})
        if method == "tasks/result":
            return respond(request_id, result=build_result("done"))
        return respond(request_id, result={"resultType": "complete"})

    def _list(self) -> list[Message]:
        season = "summer" if self.season % 2 else "winter"
        tools = [
            {"name": name, "description": f"{name}, in {season}", "inputSchema": {"type": "object"}}
            for name in (*TOOLS, f"{season}-coat")
        ]
        for tool in tools:
            if tool["name"] not in {"work", f"{season}-coat"}:
                tool["description"] = f"{tool['name']}, all year"
        return tools

    async def _call(self, request: web.Request, message: Message) -> web.StreamResponse:
        name, request_id = message["params"]["name"], message["id"]
        if name == "consult":
            return await self._consult(request, request_id)
        if name == "vanish":
            stream = await _begin_stream(request)
            await _send(stream, {"method": "notifications/progress", "params": {}}, event_id="1")
            return stream
        if name in {"linger", "stall"}:
            await asyncio.sleep(TIME_LIMIT * 2)
        if name == "drop" and request.transport is not None:
            request.transport.abort()
        if name == "crash":
            return web.Response(status=500, text="out of bananas")
        if name == "babble":
            return web.Response(text="<p>hello</p>", content_type="text/html")
        if name in {"refuse", "withdraw"}:
            code = -32602 if name == "refuse" else -32800
            return respond(request_id, error={"code": code, "message": "no"})
        return respond(request_id, result=_build_answer(name, message["params"]))

    async def _consult(self, request: web.Request, request_id: object) -> web.StreamResponse:
        stream = await _begin_stream(request)
        question = f"question-{request_id}"
        answered = self._answers[question] = asyncio.Event()
        params = {"message": "Which?", "requestedSchema": {"type": "object", "properties": {}}}
        await _send(stream, {"id": question, "method": "elicitation/create", "params": params})
        await answered.wait()
        await _send(stream, {"id": request_id, "result": build_result("that one")})
        return stream


def _build_answer(name: str, params: Message) -> Message:
    if name == "complain":
        return build_result("no", isError=True)
    if name == "shrug":
        return build_result("", structuredContent={"success": False, "error_code": "empty"})
    if name == "bulky":
        return build_result("x" * (MESSAGE_LIMIT + 1))
    if name == "ask" and "inputResponses" not in params:
        form = {"message": "Who?", "mode": "form", "requestedSchema": {"type": "object"}}
        asked = {"who": {"method": "elicitation/create", "params": form}}
        return {"resultType": "input_required", "inputRequests": asked}
    if name == "delegate":
        task = {"taskId": f"task-{params['arguments']['number']}", "status": "working"}
        return {"task": {**task, "ttl": 60_000, "createdAt": "2026-01-01T00:00:00Z"}}
    return build_result("done")


async def _begin_stream(request: web.Request) -> web.StreamResponse:
    stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await stream.prepare(request)
    return stream


async def _send(stream: web.StreamResponse, message: Message, event_id: str | None = None) -> None:
    data = json.dumps({"jsonrpc": "2.0", **message})
    prefix = "" if event_id is None else f"id: {event_id}\n"
    await stream.write(f"{prefix}data: {data}\n\n".encode())
