"""What a tool's result brings to a model's context: its blocks, and what it says twice.

Knows ``content`` and ``structuredContent`` (MCP 2025-06-18 server/tools, Structured Content: "for
backwards compatibility, a tool that returns structured content SHOULD also return the serialized
JSON in a TextContent block"); does not know whether the call succeeded.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

import msgspec

from mcp_proxy_exporter.protocol.elements import split
from mcp_proxy_exporter.protocol.events import Content
from mcp_proxy_exporter.protocol.ids import MAX_TEXT
from mcp_proxy_exporter.protocol.params import is_absent, read_anyhow

# Blocks of one result that are looked at: 5 ms. Ten times what servers are known to send.
MAX_BLOCKS: Final = 10_000
# Structured content beyond is compared with nothing: to read a MiB of JSON takes 10 ms and more.
MAX_COMPARED: Final = 64 * 1024
# JSON text of the blocks of one result that is compared, in all, and how many blocks. SDKs repeat
# structured content in one; escaped, it may be twice as long.
MAX_COMPARED_TEXT: Final = 2 * MAX_COMPARED
MAX_COMPARED_BLOCKS: Final = 64

_TEXT: Final = "text"
# What most results are.
ONE_TEXT: Final = Content((_TEXT,))


class Block(msgspec.Struct, gc=False, frozen=True):
    """One element of ``content``."""

    type: str | None = None
    text: msgspec.Raw = msgspec.Raw(b"")


# What is no block still is an element that a model may be shown.
_ODD: Final = Block()

_decode_block = msgspec.json.Decoder(Block).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_any = msgspec.json.Decoder().decode


def read_blocks(content: msgspec.Raw) -> list[Block] | None:
    """Read ``content`` whose elements may be anything; None if it is no array."""
    elements = split(content)
    if elements is None:
        return None
    return [read_anyhow(_decode_block, raw) or _ODD for raw in elements[:MAX_BLOCKS]]


def measure(blocks: Sequence[Block] | None, structured: msgspec.Raw) -> Content | None:
    """Say what a result holds; None where it holds neither.

    `blocks` is None and `structured` empty where the member is absent.
    """
    if not len(structured) or is_absent(structured):
        if blocks is None:
            return None
        if len(blocks) == 1 and blocks[0].type == _TEXT:
            return ONE_TEXT
        return Content(_types(blocks))
    if blocks is None:
        return Content((), structured=True)
    return Content(_types(blocks), structured=True, duplicated=_count_repeated(blocks, structured))


def _types(blocks: Sequence[Block]) -> tuple[str, ...]:
    return tuple((block.type or "")[:MAX_TEXT] for block in blocks[:MAX_BLOCKS])


def _count_repeated(blocks: Sequence[Block], structured: msgspec.Raw) -> int:
    """Return the bytes of the texts that say what `structured` says."""
    if len(structured) > MAX_COMPARED:
        return 0
    meant = _Meaning(bytes(structured))
    room = MAX_COMPARED_TEXT
    repeated = 0
    texts = (block.text for block in blocks if block.type == _TEXT and len(block.text))
    for raw in islice(texts, MAX_COMPARED_BLOCKS):
        if len(raw) <= room:
            room -= len(raw)
            repeated += _measure_repetition(raw, meant)
    return repeated


def _measure_repetition(raw: msgspec.Raw, meant: "_Meaning") -> int:
    text = read_anyhow(_decode_text, raw)
    if text is None:
        return 0
    said = text.encode()
    return len(said) if meant.is_said_by(text, said) else 0


class _Meaning:
    """What structured content says, read once it is asked for."""

    __slots__ = ("_json", "_values")

    def __init__(self, json: bytes) -> None:
        self._json = json
        self._values: Sequence[Any] | None = None

    def is_said_by(self, text: str, utf8: bytes) -> bool:
        """Tell whether a text says the same."""
        if utf8 == self._json:
            return True
        values = self._values
        if values is None:
            meant = _read(self._json)
            # FastMCP and the Python SDK wrap what is no object.
            values = self._values = [meant, meant["result"]] if _is_wrapped(meant) else [meant]
        if any(type(value) is str and value == text for value in values):
            return True
        said = _read(utf8)
        return any(_same(said, value) for value in values)


def _is_wrapped(meant: Any) -> bool:
    return type(meant) is dict and meant.keys() == {"result"}


def _same(said: Any, meant: Any) -> bool:
    """Compare JSON values: 1 is 1.0, but not true."""
    try:
        if said != meant:
            return False
    except RecursionError:  # both were read, but to compare takes more of the stack
        return False
    found = [([said], [meant])]
    while found:  # without recursion: they may be as deep as the decoder goes
        for one, other in zip(*found.pop(), strict=True):
            kind = type(one)
            if kind is not type(other):
                if kind is bool or type(other) is bool:
                    return False
            elif kind is list:
                found.append((one, other))
            elif kind is dict:
                found.append(([*one.values()], [other[name] for name in one]))
    return True


class _Unreadable:
    """Equal to nothing but itself."""


def _read(text: bytes) -> Any:
    try:
        return _decode_any(text)
    except (ValueError, RecursionError):
        return _Unreadable()
