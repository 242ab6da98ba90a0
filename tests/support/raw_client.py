"""An HTTP client that is only a socket: it sends any bytes and shows what came, byte for byte.

Knows enough of HTTP to tell where one response ends (written apart from the product, which it
judges); does not know what a valid request is. Every wait is bounded.

    async with RawClient.connecting(proxy.url) as client:
        await client.send(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
        response = await client.read_response()
        assert response.status == 200
        assert response.body == b"hello"
        await client.read_eof()          # the other side closed, and sent nothing more

The stream lives on the running loop, so the client works on asyncio and on uvloop. `reset` ends the
connection by RST, `half_close` sends FIN and goes on reading, `close` does the usual.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from tests.support.raw_http import RawHead, decode_chunked, read_chunked

WAIT_SECONDS = 20.0
"""No wait of a test lasts longer: what has not come by then never comes."""
_STREAM_LIMIT = 1 << 24  # asyncio's own default would end heads of 64 KiB


@dataclass(frozen=True, slots=True, kw_only=True)
class RawResponse:
    """One response as it stood on the wire."""

    head: RawHead
    framed: bytes
    """The body as it came, chunk sizes and trailers included."""
    body: bytes
    """The body without chunked coding."""
    trailers: tuple[bytes, ...]

    @property
    def status(self) -> int:
        """The status code."""
        return int(self.head.start.split(b" ")[1])


class RawClient:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, url: str) -> Self:
        """Connect to ``http://host:port`` or ``unix:/path``."""
        if url.startswith("unix:"):
            opening = asyncio.open_unix_connection(url.removeprefix("unix:"), limit=_STREAM_LIMIT)
        else:
            parts = urlsplit(url)
            opening = asyncio.open_connection(parts.hostname, parts.port, limit=_STREAM_LIMIT)
        return cls(*await asyncio.wait_for(opening, WAIT_SECONDS))

    @classmethod
    @asynccontextmanager
    async def connecting(cls, url: str) -> AsyncIterator[Self]:
        """Connect, and close with the block."""
        client = await cls.connect(url)
        try:
            yield client
        finally:
            await client.close()

    async def send(self, *pieces: bytes) -> None:
        """Send each piece in a write of its own, waiting only for a full socket."""
        for piece in pieces:
            self.writer.write(piece)
            await asyncio.wait_for(self.writer.drain(), WAIT_SECONDS)

    async def read(self, size: int) -> bytes:
        """Read exactly ``size`` bytes; raise asyncio.IncompleteReadError at an early end."""
        return await asyncio.wait_for(self.reader.readexactly(size), WAIT_SECONDS)

    async def read_until(self, separator: bytes) -> bytes:
        """Read up to and with ``separator``."""
        return await asyncio.wait_for(self.reader.readuntil(separator), WAIT_SECONDS)

    async def read_head(self) -> RawHead:
        """Read one response head, interim or final."""
        return RawHead.parse(await self.read_until(b"\r\n\r\n"))

    async def read_response(self, method: bytes = b"GET") -> RawResponse:
        """Read one final response, whose request had ``method``; interim ones are passed over."""
        head = await self.read_head()
        while head.start.split(b" ")[1].startswith(b"1"):
            head = await self.read_head()
        return await self.read_body(head, method)

    async def read_body(self, head: RawHead, method: bytes = b"GET") -> RawResponse:
        """Read what belongs to a head that was read."""
        trailers: tuple[bytes, ...] = ()
        status = head.start.split(b" ")[1]
        if method == b"HEAD" or status in (b"204", b"304"):
            framed = body = b""
        elif head.values(b"transfer-encoding") == [b"chunked"]:
            framed = await asyncio.wait_for(read_chunked(self.reader), WAIT_SECONDS)
            body, trailers = decode_chunked(framed)
        elif length := head.values(b"content-length"):
            framed = body = await self.read(int(length[0]))
        else:
            framed = body = await self.read_rest()
        return RawResponse(head=head, framed=framed, body=body, trailers=trailers)

    async def read_rest(self) -> bytes:
        """Read to the end; raise ConnectionResetError where that is a reset."""
        return await asyncio.wait_for(self.reader.read(), WAIT_SECONDS)

    async def read_eof(self) -> None:
        """Wait for the end, and make sure that nothing comes before it."""
        rest = await self.read_rest()
        assert rest == b"", rest

    def half_close(self) -> None:
        """Send FIN and keep reading."""
        self.writer.write_eof()

    def reset(self) -> None:
        """End the connection by RST."""
        connection = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self) -> None:
        """Close, whatever state the connection is in."""
        self.writer.close()
        with suppress(OSError):  # the peer reset it first
            await asyncio.wait_for(self.writer.wait_closed(), WAIT_SECONDS)
