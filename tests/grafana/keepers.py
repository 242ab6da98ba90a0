"""Clients of the zoo: the same calls each second, written down.

Knows what is called and how often; does not know what becomes of it, which the tests state.
"""

import asyncio
import itertools
import json
import random
import time
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from typing import Any

import aiohttp

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
MEDIA = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
CALL_SECONDS = 5.0
PATIENCE = 0.2
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACED = {"traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01"}

EACH_SECOND = {
    "work": 6,
    "files.read": 2,
    "files-read": 1,
    "complain": 2,
    "shrug": 1,
    "refuse": 1,
    "ask": 1,
    "crash": 1,
    "babble": 1,
    "withdraw": 1,
    "stall": 1,
    "drop": 1,
    "bulky": 1,
}
"""Calls of 2026-07-28, by tool: how many in each second."""
MANY_FIELDS = 300
LIST_EVERY = 4
"""Seconds between two lists of the tools."""


class Keeper:
    """A client of both eras on one server."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = url
        self._ids = itertools.count(1)
        self._session: dict[str, str] = {}
        self._chance = random.Random(1)  # noqa: S311  # protects nothing
        self.calls: list[tuple[float, str]] = []
        """When each call was sent, and of which tool."""

    async def run(self, seconds: float) -> None:
        """Call for so long; return when every call has ended."""
        await self._ask(MODERN, "tools/list", {})
        self._session = await self._open_session("keeper")
        stream = asyncio.create_task(self._read_stream(self._session))
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for second in itertools.count():
                await asyncio.sleep(max(0, started + second - time.monotonic()))
                if time.monotonic() - started >= seconds:
                    break
                self._begin_second(group, second)
        stream.cancel()
        await asyncio.wait([stream])

    def _begin_second(self, group: asyncio.TaskGroup, second: int) -> None:
        acts: list[Awaitable[object]] = [
            self.call(tool) for tool, count in EACH_SECOND.items() for _ in range(count)
        ]
        acts += [
            self.call("linger", patience=PATIENCE),
            self.call("guarded", host="evil.test"),
            self.call("ask", inputResponses={"who": {"action": "decline"}}),
            self._call_in_session("vanish"),
            self._call_in_session("repeat"),
            self._consult(),
            self._delegate(),
            self._come_and_go(),
            self._ask(MODERN, "completion/complete", {}),
            self._chatter(),
        ]
        if second % LIST_EVERY == 0:
            acts.append(self._ask(MODERN, "tools/list", {}))
        for act in acts:
            group.create_task(self._finish_within_second(act))

    async def _finish_within_second(self, act: Awaitable[object]) -> None:
        # Scrapes come each second, too: they must not always see the same moment of it.
        await asyncio.sleep(self._chance.random())
        await _finish(act)

    async def call(
        self, tool: str, patience: float = CALL_SECONDS, host: str = "", **params: object
    ) -> None:
        """Call a tool, and give it up after some seconds."""
        self.calls.append((time.time(), tool))
        headers = {**TRACED, "Mcp-Name": tool, **({"Host": host} if host else {})}
        async with asyncio.timeout(patience):
            said = {"name": tool, "arguments": {}, **params}
            await self._ask(MODERN, "tools/call", said, headers)

    async def _call_in_session(self, tool: str, **params: object) -> None:
        said = {"name": tool, "arguments": {}, **params}
        await self._ask(LEGACY, "tools/call", said, self._session)

    async def _delegate(self) -> None:
        number = next(self._ids)
        arguments = {"number": number}
        await self._call_in_session("delegate", arguments=arguments, task={"ttl": 60_000})
        await self._ask(LEGACY, "tasks/result", {"taskId": f"task-{number}"}, self._session)

    async def _consult(self) -> None:
        request_id = next(self._ids)
        params = {"name": "consult", "arguments": {}}
        message = {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params}
        async with self._http.post(
            self._url, data=json.dumps(message), headers={**MEDIA, **self._session}
        ) as answer:
            await answer.content.readuntil(b"\n\n")
            await asyncio.sleep(PATIENCE)
            reply = {
                "jsonrpc": "2.0",
                "id": f"question-{request_id}",
                "result": {"action": "decline"},
            }
            await self._post(reply, self._session)
            await answer.read()

    async def _come_and_go(self) -> None:
        """Try the new revision, fall back to a session, and end it."""
        who = {"name": "visitor", "version": "1"}
        await self._ask(MODERN, "server/discover", {}, who=who)
        session = await self._open_session("visitor")
        async with self._http.delete(self._url, headers=session) as answer:
            await answer.read()

    async def _chatter(self) -> None:
        """Send more header fields than the proxy takes."""
        fields = {f"X-Field-{number}": "" for number in range(MANY_FIELDS)}
        async with self._http.get(self._url, headers=fields) as answer:
            await answer.read()

    async def _open_session(self, name: str) -> dict[str, str]:
        message = {
            "protocolVersion": LEGACY,
            "capabilities": {},
            "clientInfo": {"name": name, "version": "1"},
        }
        headers = await self._ask("", "initialize", message)
        session = {"Mcp-Session-Id": headers["Mcp-Session-Id"], "MCP-Protocol-Version": LEGACY}
        await self._post({"jsonrpc": "2.0", "method": "notifications/initialized"}, session)
        return session

    async def _read_stream(self, session: Mapping[str, str]) -> None:
        headers = {"Accept": "text/event-stream", **session}
        async with self._http.get(self._url, headers=headers) as stream:
            async for _ in stream.content:
                pass

    async def _ask(
        self,
        version: str,
        method: str,
        params: Mapping[str, object],
        headers: Mapping[str, str] | None = None,
        who: Mapping[str, str] | None = None,
    ) -> Mapping[str, str]:
        more = dict(headers or {})
        if version == MODERN:
            prefix = "io.modelcontextprotocol/"
            meta = {
                f"{prefix}protocolVersion": version,
                f"{prefix}clientInfo": who or {"name": "keeper", "version": "1"},
                f"{prefix}clientCapabilities": {},
            }
            params = {**params, "_meta": meta}
            more |= {"MCP-Protocol-Version": version, "Mcp-Method": method}
        message = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
        return await self._post(message, more)

    async def _post(
        self, message: Mapping[str, Any], headers: Mapping[str, str]
    ) -> Mapping[str, str]:
        async with self._http.post(
            self._url, data=json.dumps(message), headers={**MEDIA, **headers}
        ) as answer:
            await answer.read()
            return answer.headers


async def _finish(act: Awaitable[object]) -> None:
    # Most of the tools end their calls in ways that a client takes for trouble.
    with suppress(aiohttp.ClientError, OSError):
        await act


async def call_in_vain(http: aiohttp.ClientSession, url: str, seconds: float) -> None:
    """Call a tool of a server that is not there, each second."""
    keeper = Keeper(http, url)
    for _ in range(int(seconds)):
        await _finish(keeper.call("anything"))
        await asyncio.sleep(1)


async def call_once(
    http: aiohttp.ClientSession, url: str, delay: float, calls: Mapping[str, int]
) -> None:
    """Call tools after a while, so many times each and all at once, and never again."""
    await asyncio.sleep(delay)
    keeper = Keeper(http, url)
    tools = [tool for tool, count in calls.items() for _ in range(count)]
    await asyncio.gather(*(_finish(keeper.call(tool)) for tool in tools))
