"""A client's HTTP layer that writes down which messages pass, for the ledger.

Knows HTTP, event streams and the members of JSON-RPC messages; does not know what a call means or
what became of it.
"""

import json
import ssl
from collections.abc import AsyncIterator
from typing import Any

import httpx2

from tests.support.account import INPUT_REQUIRED, SERVER_REQUEST, Account
from tests.support.clients import HTTP_SECONDS

EVENT_STREAM = "text/event-stream"
SESSION = "mcp-session-id"
META = "io.modelcontextprotocol/"
LISTEN = "subscriptions/listen"
URL_ELICITATION_REQUIRED = -32042


class Witness:
    """One client's HTTP layer; give its `open_http` to an SDK, or send by it."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self.name: str | None = None
        """Of the client, as the session's requests count under it."""
        self._revision: str | None = None
        self._questions: dict[Any, list[str]] = {}
        """Methods of what the server asked, by the request's id or the state to send back."""
        self.open_streams: dict[str, int] = {}
        """Long-lived streams that are open now, by kind."""
        self.event_id = ""
        """The last event id of any stream."""
        self.asked: list[str] = []
        """Methods of the server's requests."""
        self.heard: list[str] = []
        """Methods of the server's notifications."""

    def open_http(
        self,
        headers: dict[str, str] | None = None,
        timeout: httpx2.Timeout | None = None,
        auth: httpx2.Auth | None = None,
    ) -> httpx2.AsyncClient:
        """Build an HTTP client that is watched."""
        return httpx2.AsyncClient(
            headers=headers,
            timeout=timeout or httpx2.Timeout(HTTP_SECONDS),
            auth=auth,
            transport=_Transport(self),
        )

    def note_request(self, request: httpx2.Request) -> None:
        """Write down what a client sends."""
        if request.method != "POST":
            return
        body = json.loads(request.content)
        for message in body if isinstance(body, list) else [body]:
            self._note_message("to_server", message)
            if "method" not in message:
                self._note_reply(message["id"])
            elif "id" in message:
                self._note_own_request(message)

    def note_head(self, request: httpx2.Request, response: httpx2.Response) -> str | None:
        """Write down an answer's head; return the kind of stream if it is a long-lived one."""
        account = self._account
        account.exchanges[request.method, str(response.status_code)] += 1
        if not response.is_success:
            return None
        if request.method == "DELETE":
            account.closed["deleted",] += 1
        if request.method == "POST" and SESSION in response.headers:
            account.opened += b'"initialize"' in request.content
        if not _is_event_stream(response):
            return None
        if request.method == "GET":
            return "get" if request.url.path == "/mcp" else "legacy_sse"
        return "listen" if LISTEN.encode() in request.content else None

    def note_stream(self, kind: str, change: int) -> None:
        """Write down that a long-lived stream began or ended."""
        self.open_streams[kind] = self.open_streams.get(kind, 0) + change
        if change > 0:
            self._account.streams[kind,] += 1

    def note_event(self, kind: str | None, event: bytes) -> None:
        """Write down one event of a stream: only data make it one (WHATWG HTML section 9.2.6)."""
        fields = [line.split(b":", 1) for line in event.split(b"\n") if b":" in line]
        values = {name: value.removeprefix(b" ") for name, value in fields}
        if b"data" not in values:
            return
        if kind:
            self._account.events[kind,] += 1
        self.event_id = values.get(b"id", self.event_id.encode()).decode()
        if values.get(b"event", b"message") == b"message":
            self.note_body(values[b"data"])

    def note_body(self, body: bytes) -> None:
        """Write down the messages of an answer."""
        try:
            parsed = json.loads(body)
        except ValueError:  # a priming event, the text of a 202
            return
        for message in parsed if isinstance(parsed, list) else [parsed]:
            if isinstance(message, dict) and "jsonrpc" in message:
                self._note_message("to_client", message)
                self._note_answer(message)

    def _note_message(self, direction: str, message: dict[str, Any]) -> None:
        account = self._account
        kind = "response"
        if "method" in message:
            kind = "request" if "id" in message else "notification"
        account.messages[direction, kind] += 1
        if kind == "notification":
            account.notifications[direction, message["method"]] += 1

    def _note_own_request(self, message: dict[str, Any]) -> None:
        account = self._account
        method, params = message["method"], message.get("params") or {}
        account.requests[method,] += 1
        if method == "initialize":
            self.name = params["clientInfo"]["name"]
            self._revision = params["protocolVersion"]
        name, revision = self.name, self._revision
        if "inputResponses" in params:
            self._note_reply(params["requestState"])
        meta = params.get("_meta") or {}
        if f"{META}protocolVersion" in meta:
            name = meta[f"{META}clientInfo"]["name"]
            revision = meta[f"{META}protocolVersion"]
        assert name is not None
        assert revision is not None
        account.clients[name, revision] += 1

    def _note_answer(self, message: dict[str, Any]) -> None:
        result, error = message.get("result", {}), message.get("error", {})
        if "method" in message:
            (self.asked if "id" in message else self.heard).append(message["method"])
            if "id" in message:
                self._note_questions(message["id"], [message], SERVER_REQUEST)
            elif message["method"] == "notifications/cancelled":
                # Nobody waits for that answer any more.
                self._questions.pop(message["params"]["requestId"], None)
        elif "protocolVersion" in result:
            self._revision = result["protocolVersion"]
        elif result.get("resultType") == INPUT_REQUIRED:
            asked = list(result.get("inputRequests", {}).values())
            self._note_questions(result["requestState"], asked, INPUT_REQUIRED)
        elif error.get("code") == URL_ELICITATION_REQUIRED:
            asked = [{"method": "elicitation/create"} for _ in error["data"]["elicitations"]]
            self._note_questions(None, asked, INPUT_REQUIRED)

    def _note_questions(self, key: Any, asked: list[dict[str, Any]], delivery: str) -> None:
        methods = [question["method"] for question in asked]
        self._questions[key] = methods
        for method in methods:
            self._account.inputs[method, delivery] += 1

    def _note_reply(self, key: Any) -> None:
        for method in self._questions.pop(key, ()):
            self._account.answers[method,] += 1


class _Transport(httpx2.AsyncBaseTransport):
    """HTTP/1.1 over TCP, watched."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness
        # Not the default, which reads all certificate authorities: 50 ms for each client.
        self._inner = httpx2.AsyncHTTPTransport(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request."""
        await request.aread()
        self._witness.note_request(request)
        response = await self._inner.handle_async_request(request)
        kind = self._witness.note_head(request, response)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        stream = _Stream(response.stream, self._witness, kind, events=_is_event_stream(response))
        return httpx2.Response(
            response.status_code,
            headers=response.headers,
            stream=stream,
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._inner.aclose()


class _Stream(httpx2.AsyncByteStream):
    """An answer's body, watched."""

    def __init__(
        self, inner: httpx2.AsyncByteStream, witness: Witness, kind: str | None, *, events: bool
    ) -> None:
        self._inner = inner
        self._witness = witness
        self._kind = kind
        self._events = events
        self._pending = b""
        self._open = kind is not None
        if kind is not None:
            witness.note_stream(kind, 1)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Pass the chunks on, after a look at them."""
        async for chunk in self._inner:
            self._look(chunk)
            yield chunk
        if not self._events:
            self._witness.note_body(self._pending)

    def _look(self, chunk: bytes) -> None:
        self._pending += chunk
        if not self._events:
            return
        *events, self._pending = self._pending.replace(b"\r\n", b"\n").split(b"\n\n")
        for event in events:
            self._witness.note_event(self._kind, event)

    async def aclose(self) -> None:
        """Close the connection, or give it back."""
        if self._open and self._kind is not None:
            self._open = False
            self._witness.note_stream(self._kind, -1)
        await self._inner.aclose()


def _is_event_stream(response: httpx2.Response) -> bool:
    return response.headers.get("content-type", "").startswith(EVENT_STREAM)
