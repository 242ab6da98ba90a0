"""Content codings: the same output or the same refusal however cut, and never more than the limit.

An input is a ``Content-Encoding`` field, a line end, and the body.
"""

import gzip
import zlib
from collections.abc import Sequence

import brotli  # type: ignore[import-untyped]
from backports import zstd

from mcp_proxy_exporter.protocol.encoding import (
    FREE_MEMBERS,
    BrokenCodingError,
    ContentDecoder,
    ExpansionError,
    UnknownCodingError,
    codings_of,
)
from tests.fuzz.corpus import event_streams, json_answers
from tests.fuzz.cuts import cut
from tests.fuzz.hunt import Check, Target

LIMIT = 200_000
_BOMB = 3_000_000
_TOKENS = (
    b"gzip", b"x-gzip", b"deflate", b"br", b"zstd", b"identity", b"rot13", b",", b" , ", b"\n",
    b"\x00", b"\x00" * 40, b"\x1f\x8b\x08\x00", b"\x1f\x8b\x08\x1f", b"\x78\x9c", b"\x78\xbb",
    b"\x03\x00", b"\x00\x00\xff\xff", b"\x28\xb5\x2f\xfd", b"\x28\xb5\x2f\xfd\x04\x00",
    b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd", b"\x5f\x2a\x4d\x18\xff\xff\xff\x7f", b"\x3b", b"\x06",
    b"\x8f\xff\x7f", b"\xff\xff\xff\xff", b"\x01\x05\x00\xfa\xffhello",
    gzip.compress(b"a", mtime=0), zlib.compress(b"a"), zstd.compress(b"a"), brotli.compress(b"a"),
)  # fmt: skip


_MEMBER_MAGICS = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x2a\x4d\x18")


def begin() -> Check:
    """Begin a life."""
    return check


def check(data: bytes) -> None:
    """Take the codings off, of the body whole and in pieces."""
    field, _, body = data.partition(b"\n")
    codings = codings_of(field)
    if not codings:
        return  # there is nothing to take off
    if any(body.count(magic) > FREE_MEMBERS for magic in _MEMBER_MAGICS):
        return  # how many members are too many depends on how much comes at once
    whole = decode(codings, [body] if body else [])
    pieces = decode(codings, cut(body))
    if len(codings) > 1 and "ExpansionError" in {whole[0], pieces[0]}:
        # The limit is that of one step, which has more to hold between two codings.
        return
    if b"zstd" in codings and whole[0] and not pieces[0]:
        # libzstd compares the size that an empty frame declares only where it comes in one piece.
        return
    # What is over the limit and broken may be told as the one or the other, and the more pieces
    # there are, the more of what came before was readable.
    assert bool(pieces[0]) == bool(whole[0]), (pieces[0], whole[0])
    if not whole[0]:
        assert pieces[1] == whole[1]


def decode(codings: list[bytes], pieces: Sequence[bytes]) -> tuple[str, bytes]:
    """Return the name of what ended the body early, and what came out."""
    output = b""
    try:
        decoder = ContentDecoder(codings)
        for piece in pieces:
            room = LIMIT - len(output)
            decoded = decoder.decode(piece, room)
            assert len(decoded) <= room
            output += decoded
    except (UnknownCodingError, BrokenCodingError, ExpansionError) as error:
        return type(error).__name__, output
    return "", output


def _deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def _seeds() -> list[bytes]:
    encoders = {
        b"gzip": _gzip,
        b"deflate": zlib.compress,
        b" Deflate": _deflate,
        b"br": brotli.compress,
        b"zstd": zstd.compress,
    }
    texts = [*json_answers()[::12], *event_streams()[::12], b"", b"a", bytes(_BOMB)]
    texts += [b"0123456789" * (LIMIT // 10), b"x" * (LIMIT + 1)]
    seeds = [
        b"%b\n%b" % (name.strip(), encode(text))
        for text in texts
        for name, encode in encoders.items()
    ]
    for name in (b"gzip", b"zstd"):
        encode = encoders[name]
        seeds.append(b"%b\n%b" % (name, encode(b"one") + encode(b"") + encode(b"two")))
        seeds.append(b"%b\n%b" % (name, encode(bytes(_BOMB)) * 3))
    seeds.append(b"gzip\n" + _gzip(b"a") + bytes(30) + _gzip(b"b") + bytes(600))
    seeds.append(b"gzip, br\n" + brotli.compress(_gzip(b"text" * 40)))
    seeds.append(b"br,zstd , gzip\n" + _gzip(zstd.compress(brotli.compress(b"text" * 40))))
    seeds.append(b"gzip, gzip\n" + _gzip(_gzip(bytes(_BOMB))))
    return seeds


TARGET = Target("codings", 150_000, _seeds, _TOKENS, begin)
