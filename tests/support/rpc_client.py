"""An MCP client of plain HTTP, for what no SDK lets a test do: close in the middle of a call.

Knows just enough of both eras to start a session and a call; does not know the tools.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from tests.support.clients import LEGACY, MODERN

HTTP_SECONDS = 10.0
CLIENT = {"name": "raw", "version": "1"}
MEDIA = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
MODERN_META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": CLIENT,
    "io.modelcontextprotocol/clientCapabilities": {},
}


@contextmanager
def post(
    origin: str, message: Mapping[str, Any], headers: Mapping[str, str]
) -> Iterator[HTTPConnection]:
    """Send one message on a connection of its own; whatever has come by then, the block's end
    closes it.
    """
    connection = HTTPConnection(urlsplit(origin).netloc, timeout=HTTP_SECONDS)
    try:
        body = json.dumps({"jsonrpc": "2.0", **message})
        connection.request("POST", "/mcp", body, {**MEDIA, **headers})
        yield connection
    finally:
        connection.close()


def build_call(tool: str, arguments: Mapping[str, Any], *, modern: bool) -> dict[str, Any]:
    """Build a ``tools/call`` of either era."""
    params: dict[str, Any] = {"name": tool, "arguments": arguments}
    if modern:
        params["_meta"] = MODERN_META
    return {"id": 7, "method": "tools/call", "params": params}


def build_modern_headers(tool: str) -> dict[str, str]:
    """Return the headers that a call of 2026-07-28 needs."""
    return {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": tool}


def open_legacy_session(origin: str) -> dict[str, str]:
    """Initialize a session; return the headers that its later requests need."""
    params = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": CLIENT}
    with post(origin, {"id": 1, "method": "initialize", "params": params}, {}) as connection:
        response = connection.getresponse()
        response.read()
        session = response.headers["Mcp-Session-Id"]
    headers = {"MCP-Protocol-Version": LEGACY, "Mcp-Session-Id": session}
    with post(origin, {"method": "notifications/initialized"}, headers) as connection:
        connection.getresponse().read()
    return headers
