"""What a server says of itself: in its answers to ``initialize`` and to ``server/discover``.

Knows where the two eras put it (MCP 2025-11-25 schema, InitializeResult; 2026-07-28 basic/index,
_meta, and server/discover); does not know whether it is true, nor who asked.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from mcp_proxy_exporter.protocol.events import ServerDescribed
from mcp_proxy_exporter.protocol.ids import MAX_TEXT
from mcp_proxy_exporter.protocol.params import read_anyhow

_ABSENT: Final = msgspec.Raw(b"")


class _Info(msgspec.Struct, gc=False, frozen=True):
    """``serverInfo``."""

    name: msgspec.Raw = _ABSENT
    version: msgspec.Raw = _ABSENT


class _Meta(msgspec.Struct, gc=False, frozen=True):
    """``result._meta``."""

    info: msgspec.Raw = msgspec.field(name="io.modelcontextprotocol/serverInfo", default=_ABSENT)


class _Result(msgspec.Struct, gc=False, frozen=True):
    """A result of either method, of whatever types."""

    version: msgspec.Raw = msgspec.field(name="protocolVersion", default=_ABSENT)
    info: msgspec.Raw = msgspec.field(name="serverInfo", default=_ABSENT)
    meta: msgspec.Raw = msgspec.field(name="_meta", default=_ABSENT)
    instructions: msgspec.Raw = _ABSENT


_decode_result = msgspec.json.Decoder(_Result).decode
_decode_meta = msgspec.json.Decoder(_Meta).decode
_decode_info = msgspec.json.Decoder(_Info).decode
_decode_text = msgspec.json.Decoder(str).decode


def read_version(result: msgspec.Raw) -> str | None:
    """Return the revision that an answer to ``initialize`` settles; None if it names none."""
    return _read_text(_read_result(result).version) or None


def read_initialize(result: msgspec.Raw, protocol_version: str | None) -> Sequence[ServerDescribed]:
    """Read an answer to ``initialize``; nothing if the server says nothing of itself."""
    read = _read_result(result)
    return _describe(read.info, read.instructions, protocol_version)


def read_discovery(result: msgspec.Raw, protocol_version: str | None) -> Sequence[ServerDescribed]:
    """Read an answer to ``server/discover``; nothing if the server says nothing of itself."""
    read = _read_result(result)
    meta = read_anyhow(_decode_meta, read.meta) or _Meta()
    return _describe(meta.info, read.instructions, protocol_version)


def _describe(
    info: msgspec.Raw, instructions: msgspec.Raw, protocol_version: str | None
) -> Sequence[ServerDescribed]:
    read = read_anyhow(_decode_info, info) or _Info()
    name, version = _read_text(read.name), _read_text(read.version)
    size = 0 if _read_text(instructions) is None else len(instructions)
    if name is None and version is None and not size:
        return ()
    return (ServerDescribed(name, version, protocol_version, size),)


def _read_result(result: msgspec.Raw) -> _Result:
    return read_anyhow(_decode_result, result) or _Result()


def _read_text(raw: msgspec.Raw) -> str | None:
    text = read_anyhow(_decode_text, raw)
    return None if text is None else text[:MAX_TEXT]
