"""The HTTP headers that repeat what a request's body says (MCP 2026-07-28, streamable-http).

Knows ``Mcp-Method``, ``Mcp-Name`` and ``MCP-Protocol-Version``. The body stays the truth: what a
header claims is only ever compared with it.
"""

from base64 import b64decode
from typing import Final

from mcp_proxy_exporter.protocol.jsonrpc import Message

# The first revision without sessions and resumption. Revisions are dates, which sort as text; the
# upper bound keeps words out.
_FIRST_MODERN: Final = "2026-07-28"
_AFTER_DATES: Final = ":"
FIRST_MODERN_FIELD: Final = _FIRST_MODERN.encode()
_AFTER_DATES_FIELD: Final = _AFTER_DATES.encode()

# Section "Value Encoding".
_SENTINEL: Final = b"=?base64?"
_SENTINEL_END: Final = b"?="


def is_modern(version: str | None) -> bool:
    """Tell whether ``params._meta`` names 2026-07-28 or later."""
    return version is not None and _FIRST_MODERN <= version < _AFTER_DATES


def is_modern_field(version: bytes | None) -> bool:
    """Tell whether ``MCP-Protocol-Version`` names 2026-07-28 or later."""
    return version is not None and FIRST_MODERN_FIELD <= version < _AFTER_DATES_FIELD


def contradicts(message: Message, method: bytes | None, name: bytes | None) -> bool:
    """Tell whether ``Mcp-Method`` or ``Mcp-Name`` is there and says other than the body."""
    if message.method is None:  # a response, to which these headers do not apply
        return False
    if method is not None and method != message.method.encode():
        return True
    if name is None:
        return False
    attribute = _named_by(message.method)
    if attribute is None:
        return False
    in_body = None if message.params is None else getattr(message.params, attribute)
    return in_body is None or _decode_value(name) != in_body.encode()


def _named_by(method: str) -> str | None:
    """Give the member of `Params` that ``Mcp-Name`` repeats."""
    if method in {"tools/call", "prompts/get"}:
        return "name"
    if method == "resources/read":
        return "uri"
    return "task_id" if method.startswith("tasks/") else None  # the tasks extension


def _decode_value(value: bytes) -> bytes:
    if not (value.startswith(_SENTINEL) and value.endswith(_SENTINEL_END)):
        return value
    try:
        return b64decode(value[len(_SENTINEL) : -len(_SENTINEL_END)], validate=True)
    except ValueError:
        return value
