"""Clients that visit a server through the proxy, one session each, many at once, and keep a ledger.

Knows what `upstream` does with each tool and writes down what was sent and received; does not know
metrics. Its connections are kept alive and shared by all visitors.
"""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import ClientResponse, ClientSession, ClientTimeout, TCPConnector

from tests.soak.crowd import calls_of
from tests.soak.upstream import QUESTION, REVISION, SESSION
from tests.support.account import SERVER_REQUEST, Account

Json = dict[str, Any]

AT_ONCE: Final = 32
NAME: Final = "visitor"
# Of one answer; a busy machine may stop for a while, a hang lasts longer.
ANSWER_SECONDS: Final = 60.0
ELICITATION: Final = "elicitation/create"

_HEADERS: Final = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
}
_PLAIN: Final = (
    ("nap", "success"),
    ("purr", "success"),
    ("scratch", "tool_error"),
    ("hunt", "protocol_error"),
)


async def visit(origin: str, account: Account, numbers: Iterable[int]) -> None:
    """Let visitors come and go; all of them are gone at the end."""
    waiting = iter(numbers)
    timeout = ClientTimeout(total=None, sock_read=ANSWER_SECONDS)
    async with (
        ClientSession(connector=TCPConnector(limit=0), timeout=timeout) as http,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(AT_ONCE):
            group.create_task(_visit_in_turn(http, f"{origin}/mcp", account, waiting))


async def _visit_in_turn(
    http: ClientSession, url: str, account: Account, waiting: Iterator[int]
) -> None:
    for number in waiting:
        await Visitor(http, url, account).live(number)


class Visitor:
    """One client and its session."""

    def __init__(self, http: ClientSession, url: str, account: Account) -> None:
        self._http = http
        self._url = url
        self._account = account
        self._headers: Mapping[str, str] = _HEADERS
        self._ids = itertools.count(1)

    async def live(self, number: int) -> None:
        """Begin a session, call, and end it, in one of ten ways."""
        await self._initialize()
        if number % 100 == 0:
            await self._ask("tools/list")
        left = calls_of(number)
        way = number % 10
        if way == 1:
            await self._cancel()
        elif way == 3:
            await self._poll()
        elif way == 5:
            await self._answer()
        elif way == 7:
            await self._leave()
        left -= way in {1, 3, 5, 7, 9}
        if way == 0:
            await self._listen(number, left)
        else:
            await self._call(number, left)
        if way == 9:
            await self._vanish()
        elif way:
            await self._delete()

    # What a visitor sends

    @asynccontextmanager
    async def _sending(self, message: Json) -> AsyncIterator[ClientResponse]:
        account = self._account
        method = message.get("method")
        if method is None:
            kind = "response"
        elif "id" in message:
            kind = "request"
            account.requests[method,] += 1
            account.clients[NAME, REVISION] += 1
        else:
            kind = "notification"
            account.notifications["to_server", method] += 1
        account.messages["to_server", kind] += 1
        body = json.dumps(message).encode()
        async with self._http.post(self._url, data=body, headers=self._headers) as response:
            account.exchanges["POST", str(response.status)] += 1
            yield response

    async def _send(self, message: Json, status: int) -> ClientResponse:
        async with self._sending(message) as response:
            assert response.status == status, (message, response.status)
            body = await response.read()
        if body and status == 200:
            self._account.messages["to_client", "response"] += 1
            assert b'"id": %d' % message["id"] in body
        return response

    def _request(self, method: str, **params: object) -> Json:
        return {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}

    async def _ask(self, method: str, **params: object) -> ClientResponse:
        return await self._send(self._request(method, **params), 200)

    async def _notify(self, method: str, **params: object) -> None:
        await self._send({"jsonrpc": "2.0", "method": method, "params": params}, 202)

    def _note(self, tool: str, ending: str) -> None:
        self._account.calls[tool, ending] += 1

    # Sessions

    async def _initialize(self) -> None:
        info = {"name": NAME, "version": "1"}
        response = await self._ask(
            "initialize", protocolVersion=REVISION, capabilities={}, clientInfo=info
        )
        session = response.headers[SESSION]
        self._headers = {**_HEADERS, SESSION: session, "MCP-Protocol-Version": REVISION}
        self._account.opened += 1
        await self._notify("notifications/initialized")

    async def _delete(self) -> None:
        async with self._http.delete(self._url, headers=self._headers) as response:
            assert response.status == 200
        self._account.exchanges["DELETE", "200"] += 1
        self._account.closed["deleted",] += 1

    async def _vanish(self) -> None:
        """Let the server forget the session, and hear of it."""
        await self._ask("tools/call", name="vanish")
        self._note("vanish", "success")
        await self._send(self._request("ping"), 404)
        self._account.closed["expired",] += 1

    # Calls

    async def _call(self, number: int, count: int) -> None:
        """Make calls that are answered at once."""
        for tool, ending in itertools.islice(itertools.cycle(_PLAIN), number, number + count):
            await self._ask("tools/call", name=tool)
            self._note(tool, ending)

    async def _listen(self, number: int, count: int) -> None:
        """Make calls and end the session while a stream is open."""
        async with self._http.get(self._url, headers=self._headers) as response:
            assert response.status == 200
            await response.content.readuntil(b"\n\n")
            self._account.messages["to_client", "notification"] += 1
            self._account.notifications["to_client", "notifications/message"] += 1
            self._note_stream()
            await self._call(number, count)
            await self._delete()
            assert await response.read() == b""

    async def _poll(self) -> None:
        """Come back for the answer of a call whose stream ended."""
        message = self._request("tools/call", name="poll")
        async with self._sending(message) as response:
            body = await response.read()
        event_id = body.partition(b"id: ")[2].partition(b"\n")[0].decode()
        headers = {**self._headers, "Last-Event-ID": event_id}
        async with self._http.get(self._url, headers=headers) as response:
            assert b'"id": %d' % message["id"] in await response.read()
        self._account.messages["to_client", "response"] += 1
        self._note_stream()
        self._note("poll", "success")

    def _note_stream(self) -> None:
        self._account.exchanges["GET", "200"] += 1
        self._account.streams["get",] += 1
        self._account.events["get",] += 1

    async def _answer(self) -> None:
        """Answer a question of the server."""
        message = self._request("tools/call", name="ask")
        async with self._sending(message) as response:
            assert ELICITATION.encode() in await response.content.readuntil(b"\n\n")
            self._account.messages["to_client", "request"] += 1
            self._account.inputs[ELICITATION, SERVER_REQUEST] += 1
            await self._send({"jsonrpc": "2.0", "id": QUESTION, "result": {}}, 202)
            self._account.answers[ELICITATION,] += 1
            assert b'"id": %d' % message["id"] in await response.read()
        self._account.messages["to_client", "response"] += 1
        self._note("ask", "success")

    async def _cancel(self) -> None:
        """Cancel a call."""
        message = self._request("tools/call", name="hang")
        async with self._sending(message) as response:
            await response.content.readuntil(b"\n\n")
            await self._notify("notifications/cancelled", requestId=message["id"])
            assert await response.read() == b""
        self._note("hang", "cancelled")

    async def _leave(self) -> None:
        """Close the connection of a call."""
        async with self._sending(self._request("tools/call", name="hang")) as response:
            await response.content.readuntil(b"\n\n")
            response.close()
        self._note("hang", "client_disconnected")
