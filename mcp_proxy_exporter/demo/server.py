"""The cats' MCP server: both eras of Streamable HTTP on one endpoint, ``/mcp``.

Knows HTTP, sessions and event streams; does not know methods (`methods`), tools (`tools`) or what
the stateless revision asks of a request (`modern`), nor that anybody watches. An honest server:
nothing here is made for the proxy. Sources: MCP 2025-11-25 basic/transports, MCP 2026-07-28
basic/transports/streamable-http.
"""

import asyncio
import ipaddress
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from mcp_proxy_exporter.demo import methods, modern, rpc

PATH: Final = "/mcp"
MAX_SESSIONS: Final = 1000
"""Sessions that are remembered; the one unused longest is forgotten first, its client gets 404 and
initializes anew. A client that never says DELETE must not cost memory for ever."""
PROGRESS_STEPS: Final = 4
"""Progress notifications per nap: enough to see that a stream is no single answer."""
STOP_GRACE: Final = 0.1
"""Seconds that running calls get at `CatServer.stop`; nobody waits for a cat."""

_STREAM_HEADERS: Final = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}
_REQUIRED_MEDIA: Final = (
    ("application/json", "application/*", "*/*"),
    ("text/event-stream", "text/*", "*/*"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Session:
    """A legacy client between ``initialize`` and DELETE."""

    version: str
    running: dict[rpc.RequestId, asyncio.Future[None]] = field(default_factory=dict)
    """The calls that take time, by request id: whoever completes the future ends the call."""


class CatServer:
    """An MCP server with four cat tools.

    ``port=0`` takes any free port; `origin` and `url` are known after `start`, which raises
    `OSError` when the address cannot be bound. Starts once.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._host = host
        self._port = port
        self._sessions: dict[str, _Session] = {}
        app = web.Application()
        app.router.add_route("*", PATH, self._handle)
        # A client that hangs up ends its call: 2026-07-28 demands it, and without resumption the
        # older revisions could never deliver what an abandoned nap brings.
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=STOP_GRACE
        )

    async def start(self) -> None:
        """Listen."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError:
            await self._runner.cleanup()
            raise

    async def stop(self) -> None:
        """Close every connection; calls that run are cut off."""
        await self._runner.cleanup()

    @property
    def origin(self) -> str:
        """Where the server listens, such as ``http://127.0.0.1:43211``."""
        host, port = self._runner.addresses[0][:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def url(self) -> str:
        """The MCP endpoint."""
        return self.origin + PATH

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if not _is_local(request.headers.get("Origin")):
            return web.Response(status=403)
        try:
            if request.method == "POST":
                return await self._post(request)
            if modern.is_modern(request.headers):
                return web.Response(status=405, headers={"Allow": "POST"})
            if request.method == "DELETE":
                return self._end_session(request)
        except rpc.Fault as fault:
            return _build_json(rpc.build_refusal(None, fault), fault.status)
        # No stream for GET: the server has nothing to say unasked.
        return web.Response(status=405, headers={"Allow": "POST, DELETE"})

    async def _post(self, request: web.Request) -> web.StreamResponse:
        _check_media(request)
        try:
            message = msgspec.json.decode(await request.read())
        except (msgspec.DecodeError, RecursionError) as error:
            raise rpc.Fault(rpc.PARSE_ERROR, f"Parse error: {error}", status=400) from error
        if modern.is_modern(request.headers, message):
            return await _post_modern(request, message)
        if isinstance(message, dict) and message.get("method") == "initialize":
            return self._open_session(message)
        session = self._find_session(request)
        if isinstance(message, list):
            return await _post_batch(session, message)
        return await _post_legacy(request, session, message)

    def _open_session(self, message: rpc.Message) -> web.Response:
        request_id = rpc.read_request_id(message)
        result = methods.open_session(rpc.read_params(message))
        session_id = secrets.token_hex(16)
        self._sessions[session_id] = _Session(version=result["protocolVersion"])
        if len(self._sessions) > MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        answer = _build_json(rpc.build_response(request_id, result))
        answer.headers[rpc.SESSION_HEADER] = session_id
        return answer

    def _find_session(self, request: web.Request) -> _Session:
        session_id = request.headers.get(rpc.SESSION_HEADER)
        if session_id is None:
            raise rpc.Fault(rpc.INVALID_REQUEST, "Mcp-Session-Id is missing", status=400)
        session = self._sessions.pop(session_id, None)
        if session is None:
            raise rpc.Fault(rpc.INVALID_REQUEST, "Session not found", status=404)
        self._sessions[session_id] = session  # the most recently used one is last in line
        if request.headers.get(rpc.VERSION_HEADER, session.version) not in rpc.LEGACY_VERSIONS:
            raise rpc.Fault(rpc.INVALID_REQUEST, "Unsupported protocol version", status=400)
        return session

    def _end_session(self, request: web.Request) -> web.Response:
        session = self._find_session(request)
        self._sessions.popitem()  # the one just found
        for request_id in tuple(session.running):
            _end_call(session, request_id)
        return web.Response(status=200)


async def _post_modern(request: web.Request, message: object) -> web.StreamResponse:
    if not isinstance(message, dict) or not isinstance(message.get("method"), str):
        raise rpc.Fault(rpc.INVALID_REQUEST, "Not a request or notification", status=400)
    if "id" not in message:
        return web.Response(status=202)
    request_id = rpc.read_request_id(message)
    try:
        modern.check_envelope(message, request.headers)
        result = methods.perform_modern(message["method"], message["params"])
    except rpc.Fault as fault:
        return _build_json(rpc.build_refusal(request_id, fault), fault.status)
    if isinstance(result, methods.Call):
        never = asyncio.get_running_loop().create_future()
        return await _answer_call(request, request_id, result, methods.complete, never)
    return _build_json(rpc.build_response(request_id, methods.complete(result)))


async def _post_legacy(
    request: web.Request, session: _Session, message: object
) -> web.StreamResponse:
    rpc_request = _read_request(session, message)
    if rpc_request is None:
        return web.Response(status=202)
    request_id = rpc.read_request_id(rpc_request)
    try:
        result = methods.perform_legacy(rpc_request["method"], rpc.read_params(rpc_request))
    except rpc.Fault as fault:
        # Not the fault's status: before 2026-07-28 it speaks of the transport alone.
        return _build_json(rpc.build_refusal(request_id, fault))
    if not isinstance(result, methods.Call):
        return _build_json(rpc.build_response(request_id, result))
    ended = session.running[request_id] = asyncio.get_running_loop().create_future()
    try:
        return await _answer_call(request, request_id, result, _as_is, ended)
    finally:
        session.running.pop(request_id, None)


async def _post_batch(session: _Session, messages: list[Any]) -> web.Response:
    if session.version != rpc.BATCH_VERSION or not messages:
        raise rpc.Fault(rpc.INVALID_REQUEST, "Not a batch of this revision", status=400)
    answers = [await _answer_in_batch(session, message) for message in messages]
    answers = [answer for answer in answers if answer is not None]
    return _build_json(answers) if answers else web.Response(status=202)


async def _answer_in_batch(session: _Session, message: object) -> rpc.Message | None:
    request_id: rpc.RequestId | None = None
    try:
        rpc_request = _read_request(session, message)
        if rpc_request is None:
            return None
        request_id = rpc.read_request_id(rpc_request)
        result = methods.perform_legacy(rpc_request["method"], rpc.read_params(rpc_request))
    except rpc.Fault as fault:
        return rpc.build_refusal(request_id, fault)
    if isinstance(result, methods.Call):
        await asyncio.sleep(result.duration)
        result = result.finish()
    return rpc.build_response(request_id, result)


def _read_request(session: _Session, message: object) -> rpc.Message | None:
    """Return a message of a session if it is a request, which has an id and a method.

    Notifications take effect here; responses are ignored, for this server never asks.
    Raises: `rpc.Fault` for what is none of the three.
    """
    if not isinstance(message, dict):
        raise rpc.Fault(rpc.INVALID_REQUEST, "Not a JSON-RPC message", status=400)
    method = message.get("method")
    if "id" in message and method is not None:
        if not isinstance(method, str):
            raise rpc.Fault(rpc.INVALID_REQUEST, "method must be a string", status=400)
        return message
    if method == "notifications/cancelled":
        # Ids that are unknown or done are to be ignored (basic/utilities/cancellation).
        request_id = rpc.read_params(message).get("requestId")
        if isinstance(request_id, str | int):
            _end_call(session, request_id)
    return None


def _end_call(session: _Session, request_id: rpc.RequestId) -> None:
    ended = session.running.pop(request_id, None)
    if ended is not None:
        ended.set_result(None)


async def _answer_call(
    request: web.Request,
    request_id: rpc.RequestId,
    call: methods.Call,
    finish: Callable[[dict[str, Any]], dict[str, Any]],
    ended: asyncio.Future[None],
) -> web.StreamResponse:
    """Answer quick tools as JSON, slow ones as an event stream."""
    if call.duration == 0:
        return _build_json(rpc.build_response(request_id, finish(call.finish())))
    stream = web.StreamResponse(headers=_STREAM_HEADERS)
    await stream.prepare(request)
    for step in range(1, PROGRESS_STEPS + 1):
        await asyncio.wait({ended}, timeout=call.duration / PROGRESS_STEPS)
        if ended.done():
            fault = rpc.Fault(rpc.REQUEST_CANCELLED, "Request cancelled")
            await stream.write(_build_event(rpc.build_refusal(request_id, fault)))
            return stream
        if call.progress_token is not None:
            await stream.write(_build_event(_build_progress(call.progress_token, step)))
    await stream.write(_build_event(rpc.build_response(request_id, finish(call.finish()))))
    return stream


def _as_is(result: dict[str, Any]) -> dict[str, Any]:
    return result


def _build_progress(token: rpc.RequestId, step: int) -> rpc.Message:
    params = {"progressToken": token, "progress": step, "total": PROGRESS_STEPS, "message": "zzz"}
    return rpc.build_notification("notifications/progress", params)


def _build_event(message: rpc.Message) -> bytes:
    return b"event: message\ndata: " + msgspec.json.encode(message) + b"\n\n"


def _build_json(content: object, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(content), status=status, content_type="application/json"
    )


def _check_media(request: web.Request) -> None:
    """Refuse what the client could not read or should not have sent (Sending Messages, 2)."""
    accepted = {
        part.partition(";")[0].strip()
        for part in request.headers.get("Accept", "").lower().split(",")
    }
    if not all(accepted.intersection(choices) for choices in _REQUIRED_MEDIA):
        message = "Accept must list application/json and text/event-stream"
        raise rpc.Fault(rpc.INVALID_REQUEST, message, status=406)
    if request.content_type != "application/json":
        raise rpc.Fault(rpc.INVALID_REQUEST, "Content-Type must be application/json", status=415)


def _is_local(origin: str | None) -> bool:
    """Tell whether a page of this machine asks, or no page at all (DNS rebinding: Security)."""
    if origin is None:
        return True
    try:
        host = urlsplit(origin).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
