"""What revision 2026-07-28 asks of a request before anyone looks at its method.

Knows the per-request envelope and the headers that mirror it; does not know methods, tools or
answers. Source: MCP 2026-07-28, basic/index, basic/versioning, basic/transports/streamable-http.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Any, Final, Protocol

from mcp_proxy_exporter.demo import rpc

_SENTINEL_START: Final = "=?base64?"
_SENTINEL_END: Final = "?="
_NAMED_METHODS: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
"""The member of ``params`` that ``Mcp-Name`` repeats (Standard Request Headers)."""


class Headers(Protocol):
    """As much of a header multidict as is needed."""

    def getall(self, key: str, default: list[str]) -> Sequence[str]:
        """Every value of a header, by a name of any case."""
        ...  # pragma: no cover - a protocol has no body


def is_modern(headers: Headers, message: object = None) -> bool:
    """Tell the era of one request: each decides for itself (basic/versioning, Terminology)."""
    if rpc.MODERN_VERSION in headers.getall(rpc.VERSION_HEADER, []):
        return True
    return rpc.META_VERSION in _read_meta(message)


def check_envelope(message: rpc.Message, headers: Headers) -> None:
    """Let a well-formed request of this revision pass.

    Raises: `rpc.Fault`, for the first thing wrong: a missing envelope, a header that contradicts
    the body, a version that is not spoken here.
    """
    meta = _read_meta(message)
    missing = [key for key in (rpc.META_VERSION, rpc.META_CAPABILITIES) if key not in meta]
    if missing:
        raise rpc.Fault(rpc.INVALID_PARAMS, f"params._meta lacks {', '.join(missing)}", status=400)
    version = meta[rpc.META_VERSION]
    _check_header(headers, rpc.VERSION_HEADER, version)
    _check_header(headers, rpc.METHOD_HEADER, message.get("method"))
    member = _NAMED_METHODS.get(message.get("method", ""))
    if member is not None and member in message["params"]:
        _check_header(headers, rpc.NAME_HEADER, message["params"][member])
    if version != rpc.MODERN_VERSION:
        data = {"supported": list(rpc.SUPPORTED_VERSIONS), "requested": version}
        raise rpc.Fault(
            rpc.UNSUPPORTED_VERSION, "Unsupported protocol version", status=400, data=data
        )


def decode_header(value: str) -> str | None:
    """Read a header value, base64 sentinel or plain; None where the sentinel is broken.

    Source: streamable-http, Value Encoding.
    """
    if not (value.startswith(_SENTINEL_START) and value.endswith(_SENTINEL_END)):
        return value
    payload = value[len(_SENTINEL_START) : -len(_SENTINEL_END)]
    try:
        return base64.b64decode(payload, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def encode_header(value: str) -> str:
    """Write a header value so that `decode_header` gives it back."""
    plain = value.isascii() and value.isprintable() and value == value.strip()
    if plain and not value.startswith(_SENTINEL_START):
        return value
    return f"{_SENTINEL_START}{base64.b64encode(value.encode()).decode()}{_SENTINEL_END}"


def _check_header(headers: Headers, name: str, expected: object) -> None:
    # Exactly one: readers of the first and of the last copy would disagree.
    values = [decode_header(value) for value in headers.getall(name, [])]
    if values != [expected]:
        raise rpc.Fault(
            rpc.HEADER_MISMATCH, f"The {name} header does not match the body", status=400
        )


def _read_meta(message: object) -> dict[str, Any]:
    params = message.get("params") if isinstance(message, dict) else None
    meta = params.get("_meta") if isinstance(params, dict) else None
    return meta if isinstance(meta, dict) else {}
