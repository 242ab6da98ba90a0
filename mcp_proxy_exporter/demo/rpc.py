"""The words of MCP on the wire that the cats and their clients share.

Knows names, numbers and the shapes of JSON-RPC messages; does not know HTTP, tools or time.
Independent of `mcp_proxy_exporter.protocol` on purpose: a demonstration that shared the inspected
reading of the protocol could not contradict it.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

LEGACY_VERSIONS: Final = ("2025-11-25", "2025-06-18", "2025-03-26")
"""Revisions with Streamable HTTP and an ``initialize`` handshake, newest first."""
BATCH_VERSION: Final = "2025-03-26"
"""The only revision with JSON-RPC batches (its base protocol; removed in 2025-06-18)."""
MODERN_VERSION: Final = "2026-07-28"
"""The stateless revision: every request says who asks and in which version."""
SUPPORTED_VERSIONS: Final = (MODERN_VERSION, *LEGACY_VERSIONS)

VERSION_HEADER: Final = "MCP-Protocol-Version"
SESSION_HEADER: Final = "Mcp-Session-Id"
METHOD_HEADER: Final = "Mcp-Method"
NAME_HEADER: Final = "Mcp-Name"

META_VERSION: Final = "io.modelcontextprotocol/protocolVersion"
META_CLIENT: Final = "io.modelcontextprotocol/clientInfo"
META_CAPABILITIES: Final = "io.modelcontextprotocol/clientCapabilities"
META_SERVER: Final = "io.modelcontextprotocol/serverInfo"

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
HEADER_MISMATCH: Final = -32020
UNSUPPORTED_VERSION: Final = -32022
REQUEST_CANCELLED: Final = -32800
"""What the Python SDK answers a cancelled request with; the specification names no code."""

Message: TypeAlias = Mapping[str, Any]
RequestId: TypeAlias = str | int


class Fault(Exception):
    """The sender's mistake: a JSON-RPC error and the HTTP status that carries it."""

    def __init__(self, code: int, message: str, *, status: int = 200, data: object = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.data = data


def build_request(request_id: RequestId, method: str, params: Message) -> Message:
    """Write a request, which expects an answer."""
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}


def build_notification(method: str, params: Message | None = None) -> Message:
    """Write a notification, which expects none."""
    message = {"jsonrpc": "2.0", "method": method}
    return message if params is None else {**message, "params": params}


def build_response(request_id: RequestId, result: Message) -> Message:
    """Answer a request that was carried out."""
    return {"jsonrpc": "2.0", "id": request_id, "result": result}


def build_refusal(request_id: RequestId | None, fault: Fault) -> Message:
    """Answer a request that was not; the id is null where none could be read."""
    error: dict[str, object] = {"code": fault.code, "message": fault.message}
    if fault.data is not None:
        error["data"] = fault.data
    return {"jsonrpc": "2.0", "id": request_id, "error": error}


def read_request_id(message: Message) -> RequestId:
    """Read a request's id: a string or an integer, never null (MCP base protocol, Requests).

    Raises: `Fault` for anything else.
    """
    request_id = message.get("id")
    if isinstance(request_id, str | int) and not isinstance(request_id, bool):
        return request_id
    raise Fault(INVALID_REQUEST, "The id must be a string or an integer", status=400)


def read_params(message: Message) -> Message:
    """Read a message's ``params``; an absent member reads as an empty object.

    Raises: `Fault` when they are no object.
    """
    params = message.get("params", {})
    if isinstance(params, dict):
        return params
    raise Fault(INVALID_PARAMS, "params must be an object", status=400)


def read_progress_token(params: Message) -> RequestId | None:
    """Read the token under which a caller wants to hear of progress (MCP, Progress)."""
    meta = params.get("_meta")
    token = meta.get("progressToken") if isinstance(meta, dict) else None
    return token if isinstance(token, str | int) else None
