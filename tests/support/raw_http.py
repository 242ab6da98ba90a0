"""Just enough HTTP/1.1 to cut a well-formed stream into messages, written apart from the product.

Knows where a head and a body end; judges nothing. Raises IndexError, ValueError or
asyncio.IncompleteReadError on anything malformed, which fails the test that met it.
"""

import asyncio
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class RawHead:
    """A head, byte for byte."""

    raw: bytes
    """With its empty line."""
    start: bytes
    """Request line or status line."""
    lines: tuple[bytes, ...]
    """Field lines, without line ends."""

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Split a head that ends with its empty line."""
        start, *lines = raw.removesuffix(b"\r\n\r\n").split(b"\r\n")
        return cls(raw=raw, start=start, lines=tuple(lines))

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of a field (lower-case name), in order."""
        pairs = [line.split(b":", 1) for line in self.lines]
        return [value.strip(b" \t") for found, value in pairs if found.lower() == name]


async def read_chunked(reader: asyncio.StreamReader) -> bytes:
    """Read one chunked body with its trailers, as it stands on the wire."""
    pieces = []
    while True:
        line = await reader.readuntil(b"\r\n")
        pieces.append(line)
        size = int(line.split(b";")[0], 16)
        if size == 0:
            break
        pieces.append(await reader.readexactly(size + 2))
    while line != b"\r\n":
        line = await reader.readuntil(b"\r\n")
        pieces.append(line)
    return b"".join(pieces)


def decode_chunked(framed: bytes) -> tuple[bytes, tuple[bytes, ...]]:
    """Return the payload and the trailer lines of a whole chunked body."""
    pieces: list[bytes] = []
    position = 0
    while True:
        end = framed.index(b"\r\n", position)
        size = int(framed[position:end].split(b";")[0], 16)
        position = end + 2
        if size == 0:
            trailers = framed[position:].split(b"\r\n")
            assert trailers[-2:] == [b"", b""]
            return b"".join(pieces), tuple(trailers[:-2])
        pieces.append(framed[position : position + size])
        assert framed[position + size : position + size + 2] == b"\r\n"
        position += size + 2
