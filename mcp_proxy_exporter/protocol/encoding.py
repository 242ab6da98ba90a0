"""Content codings (RFC 9110 section 8.4), taken off a copy of a body as it passes.

Knows gzip, deflate, br and zstd and stacks of them, and how much memory each decoder holds; does
not know what the bytes mean, nor who pays for the memory. Every call bounds its output while it is
made, so that a bomb of any ratio costs no more than the limit, and its work by the input's length.
"""

import sys
import zlib
from collections.abc import Callable, Mapping
from typing import Final, Protocol

if sys.version_info >= (3, 14):  # pragma: no cover - one Python runs the tests
    from compression import zstd
else:
    from backports import zstd

try:
    import brotli  # type: ignore[import-untyped]
except ImportError:  # pragma: no cover - a dependency on CPython only
    brotli = None

# RFC 9110 sets no bound to a stack; nobody sends more than one coding.
MAX_CODINGS: Final = 3
# RFC 9659: an encoder of this coding must not use more than 8 MiB. The library alone would let
# the peer make us allocate 128 MiB.
ZSTD_WINDOW_LOG: Final = 23
# Brotli's output limit is soft: it is overrun by up to a block. Small steps keep that small.
BROTLI_STEP: Final = 64 * 1024
# To begin a frame takes 10 to 35 us, and an empty one has 9 bytes. Servers that begin one for each
# event put more than 100 bytes into it: no JSON-RPC message compressed on its own is shorter.
FREE_MEMBERS: Final = 32
MEMBER_BYTES: Final = 100
# Output of one call that is input of the next decoder: what was compressed hardly shrinks again.
# More costs time out of all proportion: 4 KiB can hold a megabyte of empty deflate blocks.
MAX_BETWEEN: Final = 32 * 1024
MAX_SHRINKING: Final = 2

# What decoders hold, as measured: a state, and a window that takes memory as far as it is written.
_ZLIB_STATE: Final = 10 * 1024
_ZLIB_WINDOW_BYTES: Final = 32 * 1024
# Usual streams take a quarter of this. Spiteful ones take prefix codes of 830 KiB for 1.2 KiB of
# input, and nothing tells.
_BROTLI_STATE: Final = 256 * 1024
_ZSTD_STATE: Final = 32 * 1024
# A block of input and one of literals, each of 128 KiB, and tables; they grow with what passes.
_ZSTD_BUFFERS: Final = 288 * 1024
# RFC 8878 section 3.1.1: up to here, a frame header tells the size of the window.
_ZSTD_HEAD: Final = 6
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"

_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS
_ZLIB_WINDOW: Final = zlib.MAX_WBITS
_RAW_WINDOW: Final = -zlib.MAX_WBITS


class UnknownCodingError(Exception):
    """A content coding that nobody here can take off."""


class BrokenCodingError(Exception):
    """Bytes that the declared coding cannot have produced."""


class ExpansionError(Exception):
    """More output than the limit."""


class _Decoder(Protocol):
    @property
    def held(self) -> int:
        """About how many bytes of memory it takes."""

    def decode(self, data: bytes, limit: int) -> bytes:
        """Decode the next bytes, of which at least one; stop soon after `limit` of output."""


class ContentDecoder:
    """Takes the codings of one ``Content-Encoding`` field off one body.

    Raises `UnknownCodingError` if it names one that is not known.
    """

    __slots__ = ("_decoders",)

    def __init__(self, codings: list[bytes]) -> None:
        if len(codings) > MAX_CODINGS:
            raise UnknownCodingError
        try:
            # The field names them in the order they were applied.
            self._decoders = [_CODINGS[coding]() for coding in reversed(codings)]
        except KeyError:
            raise UnknownCodingError from None

    def decode(self, data: bytes, limit: int) -> bytes:
        """Decode the next bytes.

        Raises `BrokenCodingError`, or `ExpansionError` if there is more output than `limit`, or
        too much between two codings; it is of no use afterwards.
        """
        last = self._decoders[-1]
        for decoder in self._decoders:
            if not data:
                break
            room = limit if decoder is last else max(MAX_BETWEEN, MAX_SHRINKING * len(data))
            try:
                data = decoder.decode(data, room)
            except (zlib.error, zstd.ZstdError, BrokenCodingError):
                raise BrokenCodingError from None
            if len(data) > room:
                raise ExpansionError
        return data

    @property
    def held(self) -> int:
        """About how many bytes of memory it takes."""
        return sum(decoder.held for decoder in self._decoders)


def codings_of(content_encoding: bytes) -> list[bytes]:
    """Read a ``Content-Encoding`` field: the codings in order, without ``identity``."""
    codings = [coding.strip().lower() for coding in content_encoding.split(b",")]
    return [coding for coding in codings if coding not in {b"", b"identity"}]


class _Gzip:
    """RFC 1952: one or more members, perhaps padded with zeros."""

    __slots__ = ("_member", "_written")

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP_WINDOW)
        self._written = 0

    @property
    def held(self) -> int:
        return _ZLIB_STATE + min(_ZLIB_WINDOW_BYTES, self._written)

    def decode(self, data: bytes, limit: int) -> bytes:
        pieces, room = [], limit + 1
        members = _count_members(data)
        while data and room > 0:
            if self._member.eof:
                data = data.lstrip(b"\0")
                if not data:
                    break
                if not members:
                    raise BrokenCodingError
                members -= 1
                self._member = zlib.decompressobj(_GZIP_WINDOW)
                self._written = 0
            piece = self._member.decompress(data, room)
            self._written += len(piece)
            room -= len(piece)
            pieces.append(piece)
            data = self._member.unused_data
        return b"".join(pieces)


class _Deflate:
    """RFC 9110 says zlib format; old servers send it without the zlib header."""

    __slots__ = ("_stream", "_written")

    def __init__(self) -> None:
        self._stream: zlib._Decompress | None = None
        self._written = 0

    @property
    def held(self) -> int:
        return _ZLIB_STATE + min(_ZLIB_WINDOW_BYTES, self._written)

    def decode(self, data: bytes, limit: int) -> bytes:
        if self._stream is None:
            # RFC 1950: the low half of the first byte is 8. Bare deflate (RFC 1951) that begins
            # so would be a stored block with a padding bit set, which no encoder writes.
            has_header = data[0] & 0x0F == 8  # noqa: PLR2004
            self._stream = zlib.decompressobj(_ZLIB_WINDOW if has_header else _RAW_WINDOW)
        if self._stream.eof:  # or zlib would collect whatever follows
            return b""
        output = self._stream.decompress(data, limit + 1)
        self._written += len(output)
        return output


class _Zstd:
    """RFC 8878: one or more frames."""

    __slots__ = ("_frame", "_head", "_passed")

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._frame = zstd.ZstdDecompressor(
            options={zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG}
        )
        self._head = b""
        self._passed = 0

    @property
    def held(self) -> int:
        most = _zstd_window(self._head) + _ZSTD_BUFFERS
        return _ZSTD_STATE + min(most, 2 * self._passed)

    def decode(self, data: bytes, limit: int) -> bytes:
        pieces, room = [], limit + 1
        members = _count_members(data)
        while data and room > 0:
            if self._frame.eof:
                if not members:
                    raise BrokenCodingError
                members -= 1
                self._begin()
            if len(self._head) < _ZSTD_HEAD:
                self._head += data[: _ZSTD_HEAD - len(self._head)]
            piece = self._frame.decompress(data, room)
            self._passed += len(data) + len(piece)
            room -= len(piece)
            pieces.append(piece)
            data = self._frame.unused_data
        return b"".join(pieces)


def _zstd_window(head: bytes) -> int:
    """Read the size of a frame's window (RFC 8878 section 3.1.1.1.2), or the most it can be."""
    is_whole = len(head) == _ZSTD_HEAD and head.startswith(_ZSTD_MAGIC)
    if not is_whole or head[4] & 0x20:  # a single segment: as large as its content
        return 1 << ZSTD_WINDOW_LOG
    base = 1 << (10 + (head[5] >> 3))
    return base + base // 8 * (head[5] & 7)


class _Brotli:
    """RFC 7932."""

    __slots__ = ("_stream", "_window", "_written")

    def __init__(self) -> None:
        if brotli is None:
            raise UnknownCodingError
        self._stream = brotli.Decompressor()
        self._window = 0
        self._written = 0

    @property
    def held(self) -> int:
        return _BROTLI_STATE + min(self._window, self._written)

    def decode(self, data: bytes, limit: int) -> bytes:
        if not self._window:
            self._window = _brotli_window(data[0])
        pieces, size = [], 0
        try:
            piece = self._stream.process(data, output_buffer_limit=BROTLI_STEP)
            # Output may be left although all input is taken, which is all that
            # `can_accept_more_data` tells, and in any buffer that was full: only none is the end.
            while piece:
                pieces.append(piece)
                size += len(piece)
                if size > limit:
                    break
                piece = self._stream.process(b"", output_buffer_limit=BROTLI_STEP)
        except brotli.error:
            raise BrokenCodingError from None
        self._written += size
        return b"".join(pieces)


def _brotli_window(first: int) -> int:
    """Read the size of the window from the first byte of a stream (RFC 7932 section 9.1)."""
    if not first & 1:
        return 1 << 16
    if first & 0x0E:
        return 1 << (17 + (first >> 1 & 7))
    return 1 << (8 + (first >> 4 & 7) if first & 0x70 else 17)


def _count_members(data: bytes) -> int:
    """Say how many members or frames may begin within one piece of input."""
    return FREE_MEMBERS + len(data) // MEMBER_BYTES


_CODINGS: Final[Mapping[bytes, Callable[[], _Decoder]]] = {
    b"gzip": _Gzip,
    b"x-gzip": _Gzip,
    b"deflate": _Deflate,
    b"br": _Brotli,
    b"zstd": _Zstd,
}
