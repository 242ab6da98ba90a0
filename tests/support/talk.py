"""Clients for conversations: what each call came to goes into the ledger, the rest by a `Witness`.

Knows how to open PyPI ``mcp``'s client, let it answer the server's questions and make calls, and
how the SDK shows their end; does not know servers or metrics.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import mcp
from mcp import types
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from pydantic import FileUrl

from tests.support.account import Account
from tests.support.ledger import OTHER
from tests.support.waiting import until
from tests.support.witness import Witness

CANCELLED = -32800
URL_ELICITATION_REQUIRED = -32042


@dataclass(slots=True)
class Human:
    """Who answers a server's questions, after some thought."""

    seconds: float = 0.0
    thought: float = field(default=0.0, init=False)
    """Seconds of thought so far."""

    async def think(self) -> None:
        """Take the time that an answer takes."""
        started = time.monotonic()
        await anyio.sleep(self.seconds)
        self.thought += time.monotonic() - started

    async def fill_in(
        self,
        context: Any,  # noqa: ARG002  # the signatures are the SDK's
        params: types.ElicitRequestParams,
    ) -> types.ElicitResult:
        """Answer an elicitation."""
        await self.think()
        form = isinstance(params, types.ElicitRequestFormParams)
        return types.ElicitResult(action="accept", content={"word": "purr"} if form else None)

    async def write(
        self,
        context: Any,  # noqa: ARG002
        params: types.CreateMessageRequestParams,  # noqa: ARG002
    ) -> types.CreateMessageResult:
        """Answer a sampling request."""
        await self.think()
        text = types.TextContent(type="text", text="purr")
        return types.CreateMessageResult(role="assistant", content=text, model="cat")

    async def show_roots(self, context: Any) -> types.ListRootsResult:  # noqa: ARG002
        """Answer a request for roots."""
        await self.think()
        return types.ListRootsResult(roots=[types.Root(uri=FileUrl("file:///cats"))])


@dataclass(slots=True)
class Talk:
    """A connected client of PyPI ``mcp``."""

    client: mcp.Client
    witness: Witness
    account: Account
    listed: set[str] = field(default_factory=set)
    """The names of the server's tools, as this client listed them."""

    async def call(self, tool: str, **arguments: Any) -> str:
        """Call a tool; write down how it ended, and return that."""
        try:
            result = await self.client.call_tool(tool, arguments)
        except mcp.MCPError as error:
            ending = _read_code(error.code)
        else:
            ending = "tool_error" if result.is_error else "success"
        self.note_end(tool, ending)
        return ending

    def note_end(self, tool: str, ending: str) -> None:
        """Write down how a call ended: a name that was never listed is `_other`."""
        self.account.calls[tool if tool in self.listed else OTHER, ending] += 1

    async def start(self, tool: str, **arguments: Any) -> asyncio.Task[str]:
        """Call a tool in the background, once the request is on its way."""
        sent = self.account.requests["tools/call",]
        call = asyncio.create_task(self.call(tool, **arguments))
        await until(lambda: self.account.requests["tools/call",] > sent)
        return call

    async def give_up(self, call: asyncio.Task[str], tool: str) -> None:
        """Let the SDK abandon a call, which says so to the server (up to 2025-11-25)."""
        accepted = self.account.exchanges["POST", "202"]
        call.cancel()
        await asyncio.wait([call])
        await until(lambda: self.account.exchanges["POST", "202"] > accepted)
        self.note_end(tool, "cancelled")

    async def wait_for_roots(self) -> None:
        """Wait until server-everything has asked for the roots, which it does of its own accord."""
        await until(lambda: "notifications/message" in self.witness.heard)

    async def list_tools(self) -> None:
        """List the tools, so that their names are known to who listens."""
        tools = (await self.client.list_tools(cache_mode="bypass")).tools
        self.listed = {tool.name for tool in tools}

    async def wait_for_notifications(self, count: int) -> None:
        """Wait until the server has sent so many notifications."""
        await until(lambda: len(self.witness.heard) >= count)

    async def wait_for_stream(self, kind: str = "get", count: int = 1) -> None:
        """Wait until so many long-lived streams of a kind are open."""
        await until(lambda: self.witness.open_streams.get(kind, 0) == count)


def _read_code(code: int) -> str:
    if code == CANCELLED:
        return "cancelled"
    return "input_required" if code == URL_ELICITATION_REQUIRED else "protocol_error"


@asynccontextmanager
async def talk(
    origin: str,
    account: Account,
    *,
    mode: str = "legacy",
    name: str = "talker",
    human: Human | None = None,
    sse: bool = False,
) -> AsyncIterator[Talk]:
    """Connect a client; it can answer questions if there is a human.

    Of a session it also waits for the stream of the server's own messages, so that none is missed.
    """
    witness = Witness(account)
    who = types.Implementation(name=name, version="1")
    async with witness.open_http() as http:
        if sse:
            transport = sse_client(f"{origin}/sse", httpx_client_factory=witness.open_http)
        else:
            transport = streamable_http_client(f"{origin}/mcp", http_client=http)
        async with mcp.Client(
            transport,
            mode=mode,
            client_info=who,
            elicitation_callback=human.fill_in if human else None,
            sampling_callback=human.write if human else None,
            list_roots_callback=human.show_roots if human else None,
        ) as client:
            connected = Talk(client, witness, account)
            if sse or client.session.initialize_result is not None:
                await connected.wait_for_stream("legacy_sse" if sse else "get")
            yield connected
