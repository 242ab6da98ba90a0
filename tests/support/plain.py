"""A client of plain HTTP that speaks JSON-RPC of any revision, for what no SDK lets a test do.

Batches, tasks, ids of its own choice, leaving in the middle, coming back later. Knows how each
answer of the protocol shows what became of a call, and writes it into the ledger; does not know
servers or metrics.
"""

import itertools
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from tests.support.account import Account
from tests.support.clients import LEGACY, MODERN
from tests.support.witness import Witness

Message = dict[str, Any]

ACCEPT = {"Accept": "application/json, text/event-stream"}
META = "io.modelcontextprotocol/"
TASKS = f"{META}tasks"
CANCELLED = -32800
UNKNOWN = "_unknown"
# Where `Mcp-Name` comes from (MCP 2026-07-28, streamable HTTP, Standard Request Headers).
NAMING = ("name", "uri", "taskId")


class Plain:
    """A client, connected if it has a session's headers."""

    def __init__(
        self, origin: str, http: httpx2.AsyncClient, witness: Witness, account: Account
    ) -> None:
        self.witness = witness
        self.headers: dict[str, str] = {}
        self.extensions: Mapping[str, Any] = {TASKS: {}}
        """What the client says it can do besides the protocol (2026-07-28)."""
        self.name = "plain"
        self._url = f"{origin}/mcp"
        self._http = http
        self._account = account
        self._ids = itertools.count(1)

    async def initialize(self, revision: str, capabilities: Mapping[str, Any]) -> None:
        """Begin a session (up to 2025-11-25)."""
        params = {
            "protocolVersion": revision,
            "capabilities": capabilities,
            "clientInfo": {"name": self.name, "version": "1"},
        }
        async with self.sending(self.build("initialize", params)) as response:
            await read_answers(response, 1)
            session = response.headers.get("Mcp-Session-Id")
        self.headers = {"MCP-Protocol-Version": revision}
        if session is not None:
            self.headers["Mcp-Session-Id"] = session
        await self.notify("notifications/initialized")

    def build(
        self, method: str, params: Mapping[str, Any] | None = None, number: Any = None
    ) -> Message:
        """Build a request with the next id, or one of the caller's choice."""
        number = next(self._ids) if number is None else number
        return {"jsonrpc": "2.0", "id": number, "method": method, "params": dict(params or {})}

    async def ask(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        replies: Mapping[str, Message] | None = None,
    ) -> Message:
        """Send a request and return the answer; to the server's questions reply by method."""
        async with self.sending(self.build(method, params)) as response:
            async for message in read_messages(response):
                if "method" not in message:
                    return message
                if replies and "id" in message:
                    await self.reply(message["id"], replies[message["method"]])
        raise AssertionError(f"no answer to {method}")

    async def reply(self, number: Any, result: Message) -> None:
        """Answer a request of the server."""
        message = {"jsonrpc": "2.0", "id": number, "result": result}
        async with self.sending(message) as response:
            await response.aread()
            assert response.status_code == 202

    async def call(
        self, tool: str, arguments: Mapping[str, Any] | None = None, **more: Any
    ) -> Message:
        """Call a tool, write down how the call ended and return the answer."""
        answer = await self.ask("tools/call", {"name": tool, "arguments": arguments or {}, **more})
        self.note_end(tool, answer)
        return answer

    def note_end(self, tool: str, answer: Message) -> str:
        """Write down what an answer says of a call."""
        ending = read_ending(answer)
        self._account.calls[tool, ending] += 1
        return ending

    async def notify(self, method: str, params: Mapping[str, Any] | None = None) -> None:
        """Send a notification."""
        message = {"jsonrpc": "2.0", "method": method, "params": dict(params or {})}
        async with self.sending(message) as response:
            await response.aread()
            assert response.status_code == 202

    async def delete(self) -> int:
        """End the session; return the status."""
        return (await self._http.delete(self._url, headers=self.headers)).status_code

    async def call_in_vain(self, tool: str) -> int:
        """Call a tool in a session that the server does not know any more; return the status.

        The answer names no request; and whose session it was, nobody remembers from now on.
        """
        call = self.build("tools/call", {"name": tool, "arguments": {}})
        async with self.sending(call) as response:
            await response.aread()
        self._account.calls[tool, "http_error"] += 1
        self.witness.name = UNKNOWN
        return response.status_code

    @asynccontextmanager
    async def sending(self, message: Message | Sequence[Message]) -> AsyncIterator[httpx2.Response]:
        """Post a message or a batch; whatever has come by then, the block's end closes it."""
        headers = {**ACCEPT, **self.headers}
        if isinstance(message, dict):
            headers |= self._route(message)
        async with self._http.stream("POST", self._url, json=message, headers=headers) as response:
            yield response

    @asynccontextmanager
    async def listening(self, last_event_id: str = "") -> AsyncIterator[httpx2.Response]:
        """GET an event stream: the server's own messages, or the rest of another stream."""
        headers = {"Accept": "text/event-stream", **self.headers}
        if last_event_id:
            headers["Last-Event-ID"] = last_event_id
        async with self._http.stream("GET", self._url, headers=headers) as response:
            yield response

    def _route(self, message: Message) -> dict[str, str]:  # noqa: ARG002  # for 2026-07-28
        """Return the headers that name a request."""
        return {}


class ModernPlain(Plain):
    """A client of 2026-07-28: no session, everything in each request."""

    def build(
        self, method: str, params: Mapping[str, Any] | None = None, number: Any = None
    ) -> Message:
        """Build a request that says whose it is."""
        meta = {
            f"{META}protocolVersion": MODERN,
            f"{META}clientInfo": {"name": self.name, "version": "1"},
            f"{META}clientCapabilities": {"elicitation": {}, "extensions": dict(self.extensions)},
        }
        return super().build(method, {**(params or {}), "_meta": meta}, number)

    def _route(self, message: Message) -> dict[str, str]:
        headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": message["method"]}
        names = [message["params"][key] for key in NAMING if key in message["params"]]
        return headers | ({"Mcp-Name": names[0]} if names else {})


@asynccontextmanager
async def plain(
    origin: str,
    account: Account,
    revision: str = LEGACY,
    capabilities: Mapping[str, Any] | None = None,
) -> AsyncIterator[Plain]:
    """Open a client; of a session it is left to the caller how that ends."""
    witness = Witness(account)
    async with witness.open_http() as http:
        if revision == MODERN:
            yield ModernPlain(origin, http, witness, account)
        else:
            client = Plain(origin, http, witness, account)
            await client.initialize(revision, capabilities or {})
            yield client


async def read_messages(response: httpx2.Response) -> AsyncIterator[Message]:
    """Read an answer of either media type; yield its messages as they come."""
    if response.headers["content-type"].startswith("application/json"):
        for message in _flatten(await response.aread()):
            yield message
        return
    async for event in httpx2.EventSource(response):
        if event.event == "message" and event.data:
            for message in _flatten(event.data):
                yield message


def _flatten(text: bytes | str) -> list[Message]:
    body = json.loads(text)
    messages: list[Message] = body if isinstance(body, list) else [body]
    # Some servers send `{}` where they have sent a priming event before.
    return [message for message in messages if message]


async def read_answers(response: httpx2.Response, count: int) -> list[Message]:
    """Read an answer until it has given so many responses."""
    answers: list[Message] = []
    async for message in read_messages(response):
        if "method" not in message:
            answers.append(message)
        if len(answers) == count:
            return answers
    raise AssertionError(f"{len(answers)} answers instead of {count}")


async def read_notifications(response: httpx2.Response, method: str) -> AsyncIterator[Message]:
    """Read an event stream; yield the parameters of each notification of one method."""
    async for message in read_messages(response):
        if message.get("method") == method:
            yield message["params"]


def read_ending(answer: Message) -> str:
    """Say what an answer says of a call."""
    if "error" in answer:
        return "cancelled" if answer["error"]["code"] == CANCELLED else "protocol_error"
    result = answer["result"]
    if result.get("resultType") == "task" or "task" in result:
        return "task_created"
    return "tool_error" if result.get("isError") else "success"
