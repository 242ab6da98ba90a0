"""What the cats' server does for each method, whatever carried the request.

Knows methods, their parameters and the shape of results in both eras; does not know HTTP, sessions,
streams or time: a call that takes a while is handed back as a `Call` for the caller to wait out.
"""

from dataclasses import dataclass
from typing import Any, Final

from mcp_proxy_exporter import __version__
from mcp_proxy_exporter.demo import rpc
from mcp_proxy_exporter.demo.tools import TOOLS, Answer, Arguments, Tool, find_complaint

SERVER_INFO: Final = {"name": "cats", "version": __version__}
INSTRUCTIONS: Final = "Sharpen claws before you scratch the sofa. Do not expect to catch the laser."
CAPABILITIES: Final = {"tools": {"listChanged": False}}
CACHE_HINTS: Final = {"ttlMs": 60_000, "cacheScope": "public"}
"""Tools never change and are the same for all (MCP 2026-07-28, server/utilities/caching)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One well-formed ``tools/call``: wait `duration` seconds, then `finish` it."""

    tool: Tool
    arguments: Arguments
    progress_token: rpc.RequestId | None
    complaint: str | None
    """What is wrong with the arguments. The model can correct them, so it is told by ``isError``
    (MCP 2025-11-25, server/tools, Error Handling)."""

    @property
    def duration(self) -> float:
        """Seconds from the request to its result."""
        return 0.0 if self.complaint else self.tool.duration(self.arguments)

    def finish(self) -> dict[str, Any]:
        """Answer with the CallToolResult as revisions before 2026-07-28 know it."""
        if self.complaint:
            return Answer(text=self.complaint, failed=True).build_result()
        return self.tool.answer(self.arguments).build_result()


def perform_legacy(method: str, params: rpc.Message) -> Call | dict[str, Any]:
    """Carry out a request of 2025-03-26 to 2025-11-25, inside a session.

    Raises: `rpc.Fault`.
    """
    if method == "ping":
        return {}
    if method == "tools/list":
        return _list_tools(params)
    if method == "tools/call":
        return _read_call(params)
    raise rpc.Fault(rpc.METHOD_NOT_FOUND, "Method not found", data=method)


def perform_modern(method: str, params: rpc.Message) -> Call | dict[str, Any]:
    """Carry out a request of 2026-07-28 whose envelope is in order.

    Raises: `rpc.Fault`; unknown methods are HTTP 404 (streamable-http, Protocol Version Header).
    """
    if method == "server/discover":
        return {
            "supportedVersions": list(rpc.SUPPORTED_VERSIONS),
            "capabilities": CAPABILITIES,
            "instructions": INSTRUCTIONS,
            **CACHE_HINTS,
        }
    if method == "tools/list":
        return {**_list_tools(params), **CACHE_HINTS}
    if method == "tools/call":
        return _read_call(params)
    raise rpc.Fault(rpc.METHOD_NOT_FOUND, "Method not found", status=404, data=method)


def open_session(params: rpc.Message) -> dict[str, Any]:
    """Answer ``initialize``: with the version asked for, or the newest one with a handshake."""
    asked = params.get("protocolVersion")
    return {
        "protocolVersion": asked if asked in rpc.LEGACY_VERSIONS else rpc.LEGACY_VERSIONS[0],
        "capabilities": CAPABILITIES,
        "serverInfo": SERVER_INFO,
        "instructions": INSTRUCTIONS,
    }


def complete(result: dict[str, Any]) -> dict[str, Any]:
    """Add what every result of 2026-07-28 carries."""
    return {**result, "resultType": "complete", "_meta": {rpc.META_SERVER: SERVER_INFO}}


def _list_tools(params: rpc.Message) -> dict[str, Any]:
    if params.get("cursor") is not None:
        raise rpc.Fault(rpc.INVALID_PARAMS, "Unknown cursor: the list has one page")
    return {"tools": [tool.describe() for tool in TOOLS.values()]}


def _read_call(params: rpc.Message) -> Call:
    name, arguments = params.get("name"), params.get("arguments", {})
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise rpc.Fault(rpc.INVALID_PARAMS, "name must be a string and arguments an object")
    tool = TOOLS.get(name)
    if tool is None:
        raise rpc.Fault(rpc.INVALID_PARAMS, f"Unknown tool: {name}")
    return Call(
        tool=tool,
        arguments=arguments,
        progress_token=rpc.read_progress_token(params),
        complaint=find_complaint(tool.input_schema, arguments),
    )
