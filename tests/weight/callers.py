"""Clients that call tools without an end, and the server that answers them.

Know tool calls and keep-alive; do not know who stands between them. Each call is known by its
number, so that an answer is the right one or none.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

CLIENTS = 8
QUICK_EACH = 3
"""Quick calls of each client at a time; each has a connection that is kept."""
SLOW_EACH = 2
PAUSE_SECONDS = 0.12
SLOW_SECONDS = (1.0, 2.0)
CALL_SECONDS = 20.0
_FIRST_ADDRESS = 2
"""The last number of the first client's."""
_FIELDS = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": "2025-06-18",
}


async def _answer(request: web.Request) -> web.Response:
    call = await request.json()
    arguments = call["params"]["arguments"]
    await asyncio.sleep(arguments["seconds"])
    text = {"type": "text", "text": f"slept {arguments['number']}"}
    result = {"jsonrpc": "2.0", "id": call["id"], "result": {"content": [text]}}
    return web.json_response(result)


@asynccontextmanager
async def run_upstream() -> AsyncIterator[str]:
    """Run the server; give its origin."""
    application = web.Application()
    application.router.add_post("/mcp", _answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@dataclass(slots=True)
class Callers:
    """The clients, and what became of their calls."""

    origin: str
    answered: Counter[str] = field(default_factory=Counter)
    """By tool."""
    failures: list[str] = field(default_factory=list)
    connections: int = 0
    """That were opened."""
    _numbers: int = 0
    _over: bool = False

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[None]:
        """Call, as long as the block lasts and until the last answer."""
        clients = [asyncio.ensure_future(self._run_client(number)) for number in range(CLIENTS)]
        try:
            yield
        finally:
            self._over = True
            await asyncio.gather(*clients)

    async def _run_client(self, number: int) -> None:
        trace = aiohttp.TraceConfig()
        trace.on_connection_create_end.append(self._note_connection)
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
        # An address of its own: the balancer chooses by it.
        connector = aiohttp.TCPConnector(local_addr=(f"127.0.0.{_FIRST_ADDRESS + number}", 0))
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, trace_configs=[trace]
        ) as http:
            quick = (self._call_on(http, "quick") for _ in range(QUICK_EACH))
            slow = (self._call_on(http, "slow") for _ in range(SLOW_EACH))
            await asyncio.gather(*quick, *slow)

    async def _note_connection(self, *_: object) -> None:
        self.connections += 1

    async def _call_on(self, http: aiohttp.ClientSession, tool: str) -> None:
        while not self._over:
            self._numbers += 1
            await self._call(http, tool, self._numbers)
            if tool == "quick":
                await asyncio.sleep(random.uniform(0, 2 * PAUSE_SECONDS))  # noqa: S311

    async def _call(self, http: aiohttp.ClientSession, tool: str, number: int) -> None:
        seconds = random.uniform(*SLOW_SECONDS) if tool == "slow" else 0  # noqa: S311
        params = {"name": tool, "arguments": {"number": number, "seconds": seconds}}
        call = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
        try:
            async with http.post(f"{self.origin}/mcp", json=call, headers=_FIELDS) as response:
                status, body = response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            self.failures.append(f"{tool} {number}: {error!r}")
            return
        text = f"slept {number}"
        if status != 200 or json.loads(body)["result"]["content"][0]["text"] != text:
            self.failures.append(f"{tool} {number}: {status} {body[:200]!r}")
        else:
            self.answered[tool] += 1
