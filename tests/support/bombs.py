"""Messages that are small to send, or cheap to make, and dear to look at.

Knows how each is built; does not know what becomes of it. Each is a whole HTTP body: what is sent,
and the header fields that describe it.
"""

import gzip
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import brotli  # type: ignore[import-untyped]

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MIB = 1024 * 1024
UNPACKED = 200 * MIB
LONG_LINE = 100 * MIB
JUST_READ = 4 * MIB - 100
"""Bytes of a message that is still looked at, by default."""

JSON = b"Content-Type: application/json"
EVENTS = b"Content-Type: text/event-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bomb:
    """One body."""

    data: bytes
    fields: tuple[bytes, ...] = (JSON,)
    times: int = 1
    """How often ``data`` is sent."""


def fill(begin: bytes, middle: bytes, end: bytes) -> Bomb:
    """Repeat something until the message is as long as a message may be."""
    times = (JUST_READ - len(begin) - len(end)) // len(middle)
    return Bomb(data=begin + middle * times + end)


def pack() -> Mapping[str, Bomb]:
    """Compress the same 200 MiB of text in each way."""
    text = b'{"jsonrpc":"2.0","id":1,"result":{"a":"' + b"a" * UNPACKED + b'"}}'
    packed = {
        b"gzip": gzip.compress(text, 9),
        b"deflate": zlib.compress(text, 9),
        b"br": brotli.compress(text, quality=5),
        b"zstd": zstd.compress(text),
        b"gzip, gzip": gzip.compress(gzip.compress(text, 9), 9),
    }
    return {
        name.decode(): Bomb(data=data, fields=(JSON, b"Content-Encoding: " + name))
        for name, data in packed.items()
    }


def write_empty_blocks(size: int) -> bytes:
    """Write deflate blocks that say how to read symbols, and then hold none (RFC 1951)."""
    block, length = 0, 0

    def put(value: int, bits: int) -> None:
        nonlocal block, length
        block |= value << length
        length += bits

    for _ in range(8):  # whole bytes
        put(0b100, 3)  # not the last one; its own codes
        put(0, 10)  # 257 literals and lengths, one distance
        put(14, 4)
        for symbol in (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1):
            put({18: 1, 0: 2, 1: 2}.get(symbol, 0), 3)
        put(0b11, 2)  # the first literal has a code of one bit
        put(0, 1)
        put(138 - 11, 7)
        put(0, 1)
        put(117 - 11, 7)
        put(0b1111, 4)  # so have the end of the block and the distance
        put(1, 1)  # the end
    assert length % 8 == 0
    once = block.to_bytes(length // 8, "little")
    return once * (size // len(once))


def build_dear_codings() -> Mapping[str, Bomb]:
    """Build bodies that are dear to decode, or that hold much more than they weigh."""
    gzip_head = gzip.compress(b"")[:10]
    blocks = gzip_head + write_empty_blocks(4 * MIB)
    event = b'data:{"jsonrpc":"2.0","method":"a"}\n\n'
    rare = b"data:\n\n" * (JUST_READ // 7)
    bombs = {
        "gzip of empty members": (JSON, b"gzip", gzip.compress(b"") * 12_000),
        "zstd of empty frames": (JSON, b"zstd", zstd.compress(b"") * 28_000),
        "members after much": (
            JSON,
            b"gzip",
            gzip.compress(bytes(3 * MIB)) + gzip.compress(b"a") * 5_000,
        ),
        "empty blocks": (JSON, b"gzip", blocks[: 256 * 1024]),
        "empty blocks in a coding": (JSON, b"gzip, gzip", gzip.compress(blocks, 9)),
        "events in gzip": (EVENTS, b"gzip", gzip.compress(event * (JUST_READ // len(event)))),
        "events in br": (EVENTS, b"br", brotli.compress(event * (JUST_READ // len(event)))),
        "empty events in zstd": (EVENTS, b"zstd", zstd.compress(rare)),
        "line ends in zstd": (EVENTS, b"zstd", zstd.compress(b"\n" * JUST_READ)),
    }
    return {
        name: Bomb(data=data, fields=(kind, b"Content-Encoding: " + coding))
        for name, (kind, coding, data) in bombs.items()
    }


def build_bombs() -> Mapping[str, Bomb]:
    """Build all of them; it takes a few seconds."""
    result = b'{"jsonrpc":"2.0","id":1,"result":'
    block = b'{"type":"text","text":"\\u0000\\ud800"},'
    return {
        **pack(),
        **build_dear_codings(),
        "arrays in arrays": Bomb(data=b"[" * 200_000 + b"]" * 200_000),
        "objects in a result": Bomb(data=result + b'{"a":' * 200_000 + b"1" + b"}" * 200_001),
        "an id of 5 000 digits": Bomb(
            data=b'{"jsonrpc":"2.0","result":{},"id":%b}' % (b"9" * 5000)
        ),
        "a result of digits": fill(result, b"9", b"}"),
        "a result of escapes": fill(result + b'"', b"\\u0000", b'"}'),
        "a result of half surrogate pairs": fill(result + b'"', b"\\ud800", b'"}'),
        "a result of many blocks": fill(result + b'{"content":[', block, b"{}]}}"),
        "a result of many members": fill(result + b"{", b'"a":1,', b'"a":1}}'),
        "a list of many tools": fill(result + b'{"tools":[', b'{"name":"a"},', b"{}]}}"),
        "a batch of numbers": fill(b"[", b"1,", b"1]"),
        "a batch of requests": fill(b"[", b'{"jsonrpc":"2.0","method":"a"},', b"1]"),
        "a line of 100 MiB": Bomb(data=b"a" * MIB, fields=(EVENTS,), times=LONG_LINE // MIB),
        "a stream of many lines": Bomb(data=b"data:1\n" * (MIB // 7), fields=(EVENTS,), times=48),
        "a stream of many events": Bomb(data=b"data:\n\n" * (MIB // 7), fields=(EVENTS,), times=48),
        "only line ends": Bomb(data=b"\r" * JUST_READ, fields=(EVENTS,)),
        "only fields": Bomb(data=b"id:1\n" * (JUST_READ // 5), fields=(EVENTS,)),
        "only events": Bomb(data=b"data:\n\n" * (JUST_READ // 7), fields=(EVENTS,)),
        "an event of many lines": Bomb(data=b"data:1\n" * (JUST_READ // 7), fields=(EVENTS,)),
    }
