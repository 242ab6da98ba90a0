"""Content codings (RFC 9110 section 8.4), taken off a copy of a body as it passes.

Knows gzip, deflate, br and zstd and stacks of them; does not know what the bytes mean. Every call
bounds its output while it is made, so that a bomb of any ratio costs no more than the limit. Apart
from that a decoder holds its window, which never exceeds what it has put out.
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

        Raises `BrokenCodingError`, or `ExpansionError` if there is more output than `limit`;
        it is of no use afterwards.
        """
        for decoder in self._decoders:
            if not data:
                break
            try:
                data = decoder.decode(data, limit)
            except (zlib.error, zstd.ZstdError, BrokenCodingError):
                raise BrokenCodingError from None
            if len(data) > limit:
                raise ExpansionError
        return data


def codings_of(content_encoding: bytes) -> list[bytes]:
    """Read a ``Content-Encoding`` field: the codings in order, without ``identity``."""
    codings = [coding.strip().lower() for coding in content_encoding.split(b",")]
    return [coding for coding in codings if coding not in {b"", b"identity"}]


class _Gzip:
    """RFC 1952: one or more members, perhaps padded with zeros."""

    __slots__ = ("_member",)

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP_WINDOW)

    def decode(self, data: bytes, limit: int) -> bytes:
        output = b""
        while data and len(output) <= limit:
            if self._member.eof:
                data = data.lstrip(b"\0")
                if not data:
                    break
                self._member = zlib.decompressobj(_GZIP_WINDOW)
            output += self._member.decompress(data, limit + 1 - len(output))
            data = self._member.unused_data
        return output


class _Deflate:
    """RFC 9110 says zlib format; old servers send it without the zlib header."""

    __slots__ = ("_stream",)

    def __init__(self) -> None:
        self._stream: zlib._Decompress | None = None

    def decode(self, data: bytes, limit: int) -> bytes:
        if self._stream is None:
            # RFC 1950: the low half of the first byte is 8. Bare deflate (RFC 1951) that begins
            # so would be a stored block with a padding bit set, which no encoder writes.
            has_header = data[0] & 0x0F == 8  # noqa: PLR2004
            self._stream = zlib.decompressobj(_ZLIB_WINDOW if has_header else _RAW_WINDOW)
        if self._stream.eof:  # or zlib would collect whatever follows
            return b""
        return self._stream.decompress(data, limit + 1)


class _Zstd:
    """RFC 8878: one or more frames."""

    __slots__ = ("_frame",)

    def __init__(self) -> None:
        self._frame = _zstd_frame()

    def decode(self, data: bytes, limit: int) -> bytes:
        output = self._frame.decompress(data, limit + 1)
        while self._frame.eof and len(output) <= limit:
            rest = self._frame.unused_data
            self._frame = _zstd_frame()
            if not rest:
                break
            output += self._frame.decompress(rest, limit + 1 - len(output))
        return output


def _zstd_frame() -> zstd.ZstdDecompressor:
    return zstd.ZstdDecompressor(
        options={zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG}
    )


class _Brotli:
    """RFC 7932."""

    __slots__ = ("_stream",)

    def __init__(self) -> None:
        if brotli is None:
            raise UnknownCodingError
        self._stream = brotli.Decompressor()

    def decode(self, data: bytes, limit: int) -> bytes:
        output: bytes
        try:
            output = piece = self._stream.process(data, output_buffer_limit=BROTLI_STEP)
            # Output may be left although all input is taken, which is all that
            # `can_accept_more_data` tells, and in any buffer that was full: only none is the end.
            while piece and len(output) <= limit:
                piece = self._stream.process(b"", output_buffer_limit=BROTLI_STEP)
                output += piece
        except brotli.error:
            raise BrokenCodingError from None
        return output


_CODINGS: Final[Mapping[bytes, Callable[[], _Decoder]]] = {
    b"gzip": _Gzip,
    b"x-gzip": _Gzip,
    b"deflate": _Deflate,
    b"br": _Brotli,
    b"zstd": _Zstd,
}
