"""MCP clients that this project did not write, and what they send and see on the HTTP layer.

Knows how to open them and how to make each kind of call; does not know which calls are made or what
they should give.
"""

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import fastmcp
import httpx2
import mcp
from fastmcp.client.transports import StreamableHttpTransport
from mcp import types
from mcp.client.streamable_http import streamable_http_client

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
# Far more than any call of the tests takes, far less than a hang would.
HTTP_SECONDS = 20.0


class OnProgress(Protocol):
    """What a client calls at each progress notification."""

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        """Take what the notification says."""


@dataclass(slots=True)
class Wire:
    """What HTTP clients sent and received, counted where they hand it to the network."""

    requests: Counter[str] = field(default_factory=Counter)
    """JSON-RPC requests by method."""
    notifications: Counter[str] = field(default_factory=Counter)
    """JSON-RPC notifications by method."""
    request_bytes: int = 0
    """Bytes of the bodies that are JSON-RPC requests."""
    exchanges: Counter[tuple[str, str]] = field(default_factory=Counter)
    """HTTP answers by method and status."""

    async def note_request(self, request: httpx2.Request) -> None:
        """Count what a request's body says."""
        if request.method != "POST":
            return
        message = json.loads(request.content)
        if "id" in message:
            self.requests[message["method"]] += 1
            self.request_bytes += len(request.content)
        else:
            self.notifications[message["method"]] += 1

    async def note_response(self, response: httpx2.Response) -> None:
        """Count an answer, when its head is in."""
        self.exchanges[response.request.method, str(response.status_code)] += 1

    def open_http(
        self,
        headers: dict[str, str] | None = None,
        timeout: httpx2.Timeout | None = None,
        auth: httpx2.Auth | None = None,
        **settings: Any,
    ) -> httpx2.AsyncClient:
        """Build an HTTP client that is watched."""
        hooks: Mapping[str, list[Callable[..., Any]]] = {
            "request": [self.note_request],
            "response": [self.note_response],
        }
        return httpx2.AsyncClient(
            headers=headers,
            timeout=timeout or httpx2.Timeout(HTTP_SECONDS),
            auth=auth,
            event_hooks=hooks,
            **settings,
        )


class Session(Protocol):
    """A connected client of any SDK."""

    @property
    def protocol_version(self) -> str | None:
        """The negotiated revision."""

    async def list_tools(self) -> list[types.Tool]:
        """Send ``tools/list``."""

    async def call(
        self, tool: str, arguments: dict[str, Any] | None, on_progress: OnProgress
    ) -> types.CallToolResult:
        """Send ``tools/call``; raise `mcp.MCPError` on a JSON-RPC error."""

    async def call_misshapen(self, tool: str) -> types.CallToolResult:
        """Send ``tools/call`` with arguments that no schema of the protocol allows."""


Opener = Callable[[str, Wire], AbstractAsyncContextManager[Session]]


class MisshapenParams(types.RequestParams):
    """``params`` of a call whose ``arguments`` are an array; the protocol wants an object."""

    name: str
    arguments: list[int]


class MisshapenCall(types.Request[MisshapenParams, Literal["tools/call"]]):
    """A call that a server refuses with a JSON-RPC error, before any tool sees it."""

    method: Literal["tools/call"] = "tools/call"
    params: MisshapenParams


async def send_misshapen(session: mcp.ClientSession, tool: str) -> types.CallToolResult:
    """Send a misshapen call, which only the layer below the SDKs' own `call_tool` lets through."""
    call = MisshapenCall(params=MisshapenParams(name=tool, arguments=[1]))
    return await session.send_request(call, types.CallToolResult)


class SdkSession:
    """A client of PyPI ``mcp``."""

    def __init__(self, client: mcp.Client) -> None:
        """Wrap a client that is connected."""
        self._client = client

    @property
    def protocol_version(self) -> str | None:
        """The negotiated revision."""
        return self._client.protocol_version

    async def list_tools(self) -> list[types.Tool]:
        """Send ``tools/list``."""
        return (await self._client.list_tools(cache_mode="bypass")).tools

    async def call(
        self, tool: str, arguments: dict[str, Any] | None, on_progress: OnProgress
    ) -> types.CallToolResult:
        """Send ``tools/call``."""
        return await self._client.call_tool(tool, arguments, progress_callback=on_progress)

    async def call_misshapen(self, tool: str) -> types.CallToolResult:
        """Send a misshapen ``tools/call``."""
        return await send_misshapen(self._client.session, tool)


class FastSession:
    """A client of PyPI ``fastmcp``."""

    def __init__(self, client: fastmcp.Client[StreamableHttpTransport]) -> None:
        """Wrap a client that is connected."""
        self._client = client

    @property
    def protocol_version(self) -> str | None:
        """The negotiated revision."""
        return self._client.protocol_version

    async def list_tools(self) -> list[types.Tool]:
        """Send ``tools/list``."""
        return await self._client.list_tools()

    async def call(
        self, tool: str, arguments: dict[str, Any] | None, on_progress: OnProgress
    ) -> types.CallToolResult:
        """Send ``tools/call``."""
        return await self._client.call_tool_mcp(tool, arguments or {}, on_progress)

    async def call_misshapen(self, tool: str) -> types.CallToolResult:
        """Send a misshapen ``tools/call``."""
        return await send_misshapen(self._client.session, tool)


def sdk_client(mode: str) -> Opener:
    """Return how to open PyPI ``mcp``: ``legacy``, ``auto`` (probe, fall back) or a revision."""

    @asynccontextmanager
    async def open_session(origin: str, wire: Wire) -> AsyncIterator[Session]:
        async with wire.open_http() as http:
            transport = streamable_http_client(f"{origin}/mcp", http_client=http)
            async with mcp.Client(transport, mode=mode) as client:
                yield SdkSession(client)

    return open_session


def fastmcp_client(mode: str) -> Opener:
    """Return how to open PyPI ``fastmcp``, with the same modes."""

    @asynccontextmanager
    async def open_session(origin: str, wire: Wire) -> AsyncIterator[Session]:
        transport = StreamableHttpTransport(f"{origin}/mcp", httpx_client_factory=wire.open_http)
        async with fastmcp.Client(transport, mode=mode) as client:
            yield FastSession(client)

    return open_session
