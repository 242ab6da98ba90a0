"""The upstream behind the proxy under torture: it echoes bodies, and tells what must not reach it.

Usage: python -m tests.torture.echo PORT

It reads what it gets as well as it can, so that nothing is refused here that the proxy should have
refused; a request that two readers could cut differently is answered 599, a status of its own.
`LARGE` is answered with more than all sockets on the way hold, a ``tools/call`` with a result. Does
not know who asks, nor what the proxy answers itself.
"""

import asyncio
import json
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from tests.support.programs import find_free_port, is_listening, running
from tests.support.raw_http import RawHead, decode_chunked, read_chunked

LARGE = "/large"
AMBIGUOUS: Final = 599
"""The status that says: the proxy let a request pass that can be read in two ways."""

_PIECE = bytes(64 * 1024)
_PIECES = 128
# Less than the system would keep of `LARGE`: hundreds of its connections stay within its memory.
_SEND_BUFFER = 64 * 1024
_BACKLOG = 1024
_STREAM_LIMIT = 1 << 20

# What a reader more lenient than RFC 9112 could take for Transfer-Encoding or Content-Length.
_FRAMING = re.compile(rb"[\W_]*(transfer[\W_]*encoding|content[\W_]*length)[\W_]*", re.IGNORECASE)
# No line ends but CRLF, and no NUL (RFC 9112 section 2.2, RFC 9110 section 5.5).
_LOOSE = re.compile(rb"[\r\n\0]")


def is_ambiguous(head: RawHead) -> bool:
    """Say whether two readers could take this for messages of different lengths."""
    fields = [line.partition(b":") for line in head.lines]
    framing = [(name, value) for name, _, value in fields if _FRAMING.fullmatch(name)]
    plain = all(
        (name.lower() == b"content-length" and value.strip(b" \t").isdigit())
        or (name.lower() == b"transfer-encoding" and value.strip(b" \t").lower() == b"chunked")
        for name, value in framing
    )
    folded = any(line.startswith((b" ", b"\t")) for line in head.lines)
    loose = any(_LOOSE.search(line) for line in (head.start, *head.lines))
    return len(framing) > 1 or not plain or folded or loose


async def read_body(reader: asyncio.StreamReader, head: RawHead) -> bytes:
    """Read the body that belongs to a head."""
    if head.values(b"transfer-encoding"):
        return decode_chunked(await read_chunked(reader))[0]
    lengths = head.values(b"content-length")
    return await reader.readexactly(int(lengths[0])) if lengths else b""


def answer(status: int, body: bytes, media: str = "text/plain") -> bytes:
    """Build a response."""
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {media}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def answer_call(body: bytes) -> bytes:
    """Build the response to a ``tools/call``."""
    result = {"content": [{"type": "text", "text": "done"}], "resultType": "complete"}
    message = {"jsonrpc": "2.0", "id": json.loads(body)["id"], "result": result}
    return answer(200, json.dumps(message).encode(), "application/json")


async def write_large(writer: asyncio.StreamWriter) -> None:
    """Write a body in pieces, as fast as they are taken."""
    length = len(_PIECE) * _PIECES
    writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode())
    for _ in range(_PIECES):
        writer.write(_PIECE)
        await writer.drain()


async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request."""
    head = RawHead.parse(await reader.readuntil(b"\r\n\r\n"))
    if is_ambiguous(head):
        writer.write(answer(AMBIGUOUS, head.raw))
        # Where its body ends nobody can say.
        writer.close()
        return
    method, target, _ = head.start.split(b" ")
    body = await read_body(reader, head)
    if target == LARGE.encode():
        await write_large(writer)
    elif method == b"POST" and target == b"/mcp":
        writer.write(answer_call(body))
    else:
        writer.write(answer(200, b"" if method == b"HEAD" else body))
    await writer.drain()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer all requests of a connection; the other side may leave at any byte."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while not writer.is_closing():
            await serve_one(reader, writer)
    writer.close()


@contextmanager
def run_echo() -> Iterator[str]:
    """Run this program and yield its origin."""
    port = find_free_port()
    with running([sys.executable, "-m", "tests.torture.echo", str(port)]) as program:
        program.wait_until(lambda: is_listening(port), "listening")
        yield f"http://127.0.0.1:{port}"


async def main(port: int) -> None:
    """Serve until terminated."""
    with socket.create_server(("127.0.0.1", port)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        server = await asyncio.start_server(
            serve, sock=listening, backlog=_BACKLOG, limit=_STREAM_LIMIT
        )
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
