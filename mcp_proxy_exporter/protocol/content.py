"""What a tool's result brings to a model's context: its blocks, and what it says twice.

Knows ``content`` and ``structuredContent`` (MCP 2025-06-18 server/tools, Structured Content: "for
backwards compatibility, a tool that returns structured content SHOULD also return the serialized
JSON in a TextContent block"); does not know whether the call succeeded.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from mcp_proxy_exporter.protocol.events import Content
from mcp_proxy_exporter.protocol.ids import MAX_TEXT

# Blocks of one result that are looked at. A thousand are nobody's habit.
MAX_BLOCKS: Final = 1_000
# Texts beyond are not compared: reading a MiB of JSON twice takes 10 ms.
MAX_COMPARED: Final = 64 * 1024

_TEXT: Final = "text"
# What most results are.
ONE_TEXT: Final = Content((_TEXT,))


class Block(msgspec.Struct, gc=False, frozen=True):
    """One element of ``content``."""

    type: str | None = None
    text: msgspec.Raw = msgspec.Raw(b"")


_decode_text = msgspec.json.Decoder(str).decode
_decode_any = msgspec.json.Decoder().decode


def measure(blocks: Sequence[Block], structured: msgspec.Raw) -> Content:
    """Say what a result holds. `structured` is empty where the member is absent."""
    if not len(structured) and len(blocks) == 1 and blocks[0].type == _TEXT:
        return ONE_TEXT
    types = tuple((block.type or "")[:MAX_TEXT] for block in blocks[:MAX_BLOCKS])
    if not len(structured):
        return Content(types)
    return Content(types, structured=True, duplicated=_count_repeated(blocks, structured))


def _count_repeated(blocks: Sequence[Block], structured: msgspec.Raw) -> int:
    """Return the bytes of the texts that say what `structured` says."""
    if len(structured) > MAX_COMPARED:
        return 0
    meant = _read(structured)
    # FastMCP and the Python SDK wrap what is no object.
    meanings = [meant, meant["result"]] if _is_wrapped(meant) else [meant]
    repeated = 0
    for block in blocks[:MAX_BLOCKS]:
        if block.type == _TEXT and 0 < len(block.text) <= 2 * MAX_COMPARED:
            repeated += _measure_repetition(block.text, meanings)
    return repeated


def _measure_repetition(raw: msgspec.Raw, meanings: Sequence[Any]) -> int:
    try:
        text = _decode_text(raw).encode()
    except ValueError:  # no string
        return 0
    if any(type(meaning) is str and meaning.encode() == text for meaning in meanings):
        return len(text)
    said = _read(text)
    return len(text) if any(_same(said, meaning) for meaning in meanings) else 0


def _is_wrapped(meant: Any) -> bool:
    return type(meant) is dict and meant.keys() == {"result"}


def _same(said: Any, meant: Any) -> bool:
    """Compare JSON values: 1 is 1.0, but not true."""
    return bool(said == meant) and isinstance(said, bool) == isinstance(meant, bool)


class _Unreadable:
    """Equal to nothing but itself."""


def _read(text: bytes | msgspec.Raw) -> Any:
    try:
        return _decode_any(text)
    except (ValueError, RecursionError):
        return _Unreadable()
