"""The tools of one server, read from ``tools/list`` answers as they pass.

Knows how pages of one listing belong together: the cursor that an answer names is the one that
the next request carries. Does not know who asked: listings of several clients run at once, and
their cursors are opaque and may be secret, so that only digests are held.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import msgspec

from mcp_proxy_exporter.protocol.events import Event, Tool, ToolsListed, ToolsSeen
from mcp_proxy_exporter.protocol.ids import MAX_TEXT

# Places in listings where a next page may be asked for. Several clients may be sent on by the same
# cursor, so a place stays until younger ones push it out.
MAX_UNFINISHED: Final = 32
# One listing: ten times what a model can choose from. What is above is cut off.
MAX_TOOLS: Final = 2_000


class _Annotations(msgspec.Struct, gc=False, frozen=True, rename="camel"):
    """Hints of MCP 2025-03-26 and later (schema, ToolAnnotations)."""

    read_only_hint: bool | None = None
    destructive_hint: bool | None = None
    idempotent_hint: bool | None = None
    open_world_hint: bool | None = None


class _Tool(msgspec.Struct, gc=False, frozen=True):
    name: str
    annotations: _Annotations | None = None


class _Page(msgspec.Struct, gc=False, frozen=True, rename="camel"):
    tools: list[_Tool]
    next_cursor: str | None = None


class _LooseTool(msgspec.Struct, gc=False, frozen=True):
    """A tool whose annotations are not what the schema makes them."""

    name: str


class _LoosePage(msgspec.Struct, gc=False, frozen=True, rename="camel"):
    """A page of which something is not what the schema makes it."""

    tools: list[msgspec.Raw]
    next_cursor: msgspec.Raw = msgspec.Raw(b"null")


_decode_page = msgspec.json.Decoder(_Page).decode
_decode_loose_page = msgspec.json.Decoder(_LoosePage).decode
_decode_tool = msgspec.json.Decoder(_Tool).decode
_decode_loose_tool = msgspec.json.Decoder(_LooseTool).decode
_decode_text = msgspec.json.Decoder(str).decode


class Catalog:
    """What one server's listings show."""

    __slots__ = ("_unfinished",)

    def __init__(self) -> None:
        self._unfinished: dict[bytes, tuple[Tool, ...]] = {}  # by the cursor that continues it

    def add(self, place: bytes | None, result: msgspec.Raw) -> Sequence[Event]:
        """Read one answer. `place` is `place_of` the cursor in its request."""
        page = _read_page(result)
        if page is None:
            return ()
        tools = tuple(map(_tool, page.tools[:MAX_TOOLS]))
        seen = ToolsSeen(tools)
        if place is not None:
            earlier = self._unfinished.get(place)
            if earlier is None:  # begun before we were there
                return (seen,)
            tools = earlier + tools
        tools = tuple({tool.name: tool for tool in tools}.values())[:MAX_TOOLS]
        next_place = place_of(page.next_cursor)
        if next_place is None:
            return seen, ToolsListed(tools)
        self._unfinished.pop(next_place, None)
        self._unfinished[next_place] = tools
        if len(self._unfinished) > MAX_UNFINISHED:
            del self._unfinished[next(iter(self._unfinished))]
        return (seen,)


def place_of(cursor: str | None) -> bytes | None:
    """Give the place in a listing that a cursor stands for; None for its beginning or end."""
    # An empty cursor is none: so read all clients that loop "while cursor".
    return sha256(cursor.encode()).digest() if cursor else None


def _tool(tool: _Tool) -> Tool:
    hints = tool.annotations
    name = tool.name[:MAX_TEXT]
    if hints is None:
        return Tool(name)
    return Tool(
        name,
        hints.read_only_hint,
        hints.destructive_hint,
        hints.idempotent_hint,
        hints.open_world_hint,
    )


def _read_page(result: msgspec.Raw) -> _Page | None:
    try:
        return _decode_page(result)
    except ValueError:
        return _read_loose_page(result)
    except RecursionError:
        return None


def _read_loose_page(result: msgspec.Raw) -> _Page | None:
    try:
        page = _decode_loose_page(result)
    except (ValueError, RecursionError):  # no tools
        return None
    tools = [_read_loose_tool(tool) for tool in page.tools[:MAX_TOOLS]]
    try:
        cursor = _decode_text(page.next_cursor)
    except ValueError:
        cursor = None
    return _Page([tool for tool in tools if tool is not None], cursor)


def _read_loose_tool(raw: msgspec.Raw) -> _Tool | None:
    try:
        return _decode_tool(raw)
    except (ValueError, RecursionError):
        pass
    try:
        return _Tool(_decode_loose_tool(raw).name)
    except (ValueError, RecursionError):  # no name
        return None
