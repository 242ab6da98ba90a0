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


_NO_HINTS: Final = _Annotations()


class _Tool(msgspec.Struct, gc=False, frozen=True, rename="camel"):
    """A definition; of the large members only the JSON text, to be measured."""

    name: str
    annotations: _Annotations | None = None
    description: msgspec.Raw = msgspec.Raw(b"")
    input_schema: msgspec.Raw = msgspec.Raw(b"")
    output_schema: msgspec.Raw = msgspec.Raw(b"")


class _LooseTool(msgspec.Struct, gc=False, frozen=True, rename="camel"):
    """A definition whose annotations are not what the schema makes them."""

    name: str
    description: msgspec.Raw = msgspec.Raw(b"")
    input_schema: msgspec.Raw = msgspec.Raw(b"")
    output_schema: msgspec.Raw = msgspec.Raw(b"")


class _Page(msgspec.Struct, gc=False, frozen=True, rename="camel"):
    tools: list[msgspec.Raw]
    next_cursor: msgspec.Raw = msgspec.Raw(b"null")


_decode_page = msgspec.json.Decoder(_Page).decode
_decode_tool = msgspec.json.Decoder(_Tool).decode
_decode_loose_tool = msgspec.json.Decoder(_LooseTool).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_any = msgspec.json.Decoder().decode
# Two servers, or two runs of one, may write the members of the same definition in another order.
_encode_sorted = msgspec.json.Encoder(order="sorted").encode


class _Unfinished(msgspec.Struct, gc=False, frozen=True):
    """A listing of which more pages are to come."""

    tools: tuple[Tool, ...]
    size: int


class Catalog:
    """What one server's listings show."""

    __slots__ = ("_unfinished",)

    def __init__(self) -> None:
        self._unfinished: dict[bytes, _Unfinished] = {}  # by the cursor that continues it

    def add(self, place: bytes | None, result: msgspec.Raw) -> Sequence[Event]:
        """Read one answer. `place` is `place_of` the cursor in its request."""
        page = _read_page(result)
        if page is None:
            return ()
        tools, next_place = page
        size = len(result)
        seen = ToolsSeen(tools)
        if place is not None:
            earlier = self._unfinished.get(place)
            if earlier is None:  # begun before we were there
                return (seen,)
            tools = earlier.tools + tools
            size += earlier.size
        tools = tuple({tool.name: tool for tool in tools}.values())[:MAX_TOOLS]
        if next_place is None:
            return seen, ToolsListed(tools, size)
        self._unfinished.pop(next_place, None)
        self._unfinished[next_place] = _Unfinished(tools, size)
        if len(self._unfinished) > MAX_UNFINISHED:
            del self._unfinished[next(iter(self._unfinished))]
        return (seen,)


def place_of(cursor: str | None) -> bytes | None:
    """Give the place in a listing that a cursor stands for; None for its beginning or end."""
    # An empty cursor is none: so read all clients that loop "while cursor".
    return sha256(cursor.encode()).digest() if cursor else None


def _read_page(result: msgspec.Raw) -> tuple[tuple[Tool, ...], bytes | None] | None:
    """Return the tools of an answer and the place of the next one; None if it lists none."""
    try:
        page = _decode_page(result)
    except (ValueError, RecursionError):
        return None
    tools = [_read_tool(raw) for raw in page.tools[:MAX_TOOLS]]
    try:
        cursor = _decode_text(page.next_cursor)
    except ValueError:
        cursor = None
    return tuple(tool for tool in tools if tool is not None), place_of(cursor)


def _read_tool(raw: msgspec.Raw) -> Tool | None:
    """Return a tool; None if it has no name."""
    hints = None
    tool: _Tool | _LooseTool
    try:
        tool = strict = _decode_tool(raw)
        hints = strict.annotations
    except (ValueError, RecursionError):
        try:
            tool = _decode_loose_tool(raw)
        except (ValueError, RecursionError):
            return None
    hints = hints or _NO_HINTS
    description, inputs, outputs = map(
        len, (tool.description, tool.input_schema, tool.output_schema)
    )
    return Tool(
        tool.name[:MAX_TEXT],
        hints.read_only_hint,
        hints.destructive_hint,
        hints.idempotent_hint,
        hints.open_world_hint,
        description_size=description,
        input_schema_size=inputs,
        output_schema_size=outputs,
        other_size=len(raw) - description - inputs - outputs,
        digest=_digest(raw),
    )


def _digest(raw: msgspec.Raw) -> bytes:
    """Return what tells one definition from another, whatever the order of its members."""
    try:
        return sha256(_encode_sorted(_decode_any(raw))).digest()
    except (ValueError, RecursionError):  # texts that the decoder does not take
        return sha256(bytes(raw)).digest()
