"""The tools of one server, read from ``tools/list`` answers as they pass.

Knows how pages of one listing belong together: the cursor that an answer names is the one that
the next request of that session carries, or of anybody where there are no sessions. Listings of
several clients run at once, and their cursors are opaque and may be secret, so that only digests
are held.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final, TypeAlias

import msgspec

from mcp_proxy_exporter.protocol.elements import split
from mcp_proxy_exporter.protocol.events import Event, Tool, ToolsListed, ToolsSeen
from mcp_proxy_exporter.protocol.ids import MAX_TEXT
from mcp_proxy_exporter.protocol.params import read_anyhow

# Places in listings where a next page may be asked for. Several clients may be sent on by the same
# cursor, so a place stays until younger ones push it out.
MAX_UNFINISHED: Final = 32
# Tools of one listing of which more is kept than their number: ten times what a model can choose
# from, in about 300 bytes each.
MAX_TOOLS: Final = 2_000
# Definitions of one page that are looked at for a name: those beyond count unseen.
MAX_NAMED: Final = 10_000
# Values in the definitions of a page that is read whole: they take 50 ms. Of one with more, each
# definition is compared as it is written. Of usual definitions these are 4 000.
MAX_VALUES: Final = 100_000


class _Annotations(msgspec.Struct, gc=False, frozen=True, rename="camel"):
    """Hints of MCP 2025-03-26 and later (schema, ToolAnnotations)."""

    read_only_hint: bool | None = None
    destructive_hint: bool | None = None
    idempotent_hint: bool | None = None
    open_world_hint: bool | None = None


_NO_HINTS: Final = _Annotations()


class _LooseTool(msgspec.Struct, gc=False, frozen=True, rename="camel"):
    """A definition; of the large members only the JSON text, to be measured."""

    name: str
    description: msgspec.Raw = msgspec.Raw(b"")
    input_schema: msgspec.Raw = msgspec.Raw(b"")
    output_schema: msgspec.Raw = msgspec.Raw(b"")


class _Tool(_LooseTool, gc=False, frozen=True, rename="camel"):
    """A definition whose annotations are what the schema makes them."""

    annotations: _Annotations | None = None


class _Named(msgspec.Struct, gc=False, frozen=True):
    """A definition of which only the name is read."""

    name: str


class _Page(msgspec.Struct, gc=False, frozen=True, rename="camel"):
    tools: msgspec.Raw
    next_cursor: msgspec.Raw = msgspec.Raw(b"null")


_decode_page = msgspec.json.Decoder(_Page).decode
_decode_tool = msgspec.json.Decoder(_Tool).decode
_decode_loose_tool = msgspec.json.Decoder(_LooseTool).decode
_decode_named = msgspec.json.Decoder(_Named).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_any = msgspec.json.Decoder().decode
# Two servers, or two runs of one, may write the members of the same definition in another order.
_encode_sorted = msgspec.json.Encoder(order="sorted").encode


class _Part(msgspec.Struct, gc=False, frozen=True):
    """A listing as far as it has come."""

    tools: tuple[Tool, ...]
    more: int
    size: int

    def join(self, page: "_Part") -> "_Part":
        """Add the next page: no name twice, but for those that are only counted."""
        by_name = {tool.name: tool for tool in (*self.tools, *page.tools)}
        more = self.more + page.more + max(0, len(by_name) - MAX_TOOLS)
        return _Part(tuple(by_name.values())[:MAX_TOOLS], more, self.size + page.size)


_Place: TypeAlias = tuple[bytes, bytes]
"""Where a listing goes on: whose it is, and the digest of its cursor."""


class Catalog:
    """What one server's listings show."""

    __slots__ = ("_unfinished",)

    def __init__(self) -> None:
        self._unfinished: dict[_Place, _Part] = {}

    def add(self, place: bytes | None, result: msgspec.Raw, whose: bytes = b"") -> Sequence[Event]:
        """Read one answer.

        `place` is `place_of` the cursor in its request, and `whose` the session that it belongs to;
        empty where there is none.
        """
        page = _read_page(result)
        if page is None:
            return ()
        part, next_place = page
        seen = ToolsSeen(part.tools, part.more)
        unfinished = self._unfinished
        if place is not None:
            earlier = unfinished.get((whose, place))
            if earlier is None:  # begun before we were there
                return (seen,)
            part = earlier.join(part)
        if next_place is None:
            return seen, ToolsListed(part.tools, part.size, part.more)
        if whose and place is not None:  # nobody else follows it there
            del unfinished[whose, place]
        unfinished.pop((whose, next_place), None)  # so that it is the youngest
        unfinished[whose, next_place] = part
        if len(unfinished) > MAX_UNFINISHED:
            del unfinished[next(iter(unfinished))]
        return (seen,)


def place_of(cursor: str | None) -> bytes | None:
    """Give the place in a listing that a cursor stands for; None for its beginning or end."""
    # An empty cursor is none: so read all clients that loop "while cursor".
    return sha256(cursor.encode()).digest() if cursor else None


def _read_page(result: msgspec.Raw) -> tuple[_Part, bytes | None] | None:
    """Return what an answer lists and the place of the next one; None if it lists nothing."""
    page = read_anyhow(_decode_page, result)
    if page is None:
        return None
    definitions = split(page.tools)
    if definitions is None:
        return None
    digest = _digest if _count_values(page.tools) <= MAX_VALUES else _digest_text
    tools: dict[str, Tool] = {}
    more: set[str] = set()
    for raw in definitions[:MAX_NAMED]:
        if len(tools) < MAX_TOOLS:
            tool = _read_tool(raw, digest)
            if tool is not None:
                tools[tool.name] = tool
        else:
            more.add(_read_name(raw))
    more -= {"", *tools}
    cursor = read_anyhow(_decode_text, page.next_cursor)
    count = len(more) + max(0, len(definitions) - MAX_NAMED)
    return _Part(tuple(tools.values()), count, len(result)), place_of(cursor)


def _count_values(array: msgspec.Raw) -> int:
    """Return how many values a JSON text holds at most, in about that many."""
    if len(array) <= MAX_VALUES:
        return 0
    text = bytes(array)
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def _read_name(raw: msgspec.Raw) -> str:
    """Return a tool's name; empty if it has none."""
    tool = read_anyhow(_decode_named, raw)
    return "" if tool is None else tool.name[:MAX_TEXT]


def _read_tool(raw: msgspec.Raw, digest: Callable[[msgspec.Raw], bytes]) -> Tool | None:
    """Return a tool; None if it has no name."""
    strict = read_anyhow(_decode_tool, raw)
    tool = strict or read_anyhow(_decode_loose_tool, raw)
    if tool is None:
        return None
    hints = (None if strict is None else strict.annotations) or _NO_HINTS
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
        digest=digest(raw),
    )


def _digest(raw: msgspec.Raw) -> bytes:
    """Return what tells one definition from another, whatever the order of its members."""
    try:
        return sha256(_encode_sorted(_decode_any(raw))).digest()
    except (ValueError, RecursionError):  # texts that the decoder does not take
        return _digest_text(raw)


def _digest_text(raw: msgspec.Raw) -> bytes:
    return sha256(bytes(raw)).digest()
