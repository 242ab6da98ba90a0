"""An HTTP server that is only a socket: it records the bytes it gets and answers by script.

Knows where one request ends; does not know what a valid answer is. Works on asyncio and uvloop.

    async with ScriptedUpstream.running() as upstream:
        upstream.answer(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")   # next request
        upstream.answer(HEAD, b"half", RESET)                             # the one after
        upstream.answer(HEAD, gate.wait, b"rest", CLOSE, when=Moment.HEAD)  # before its body
        ...                                                    # traffic to upstream.url
        assert upstream.requests[0].raw == b"GET / HTTP/1.1\\r\\n..."
        await upstream.connections[0].wait_closed()

A script is a list of steps, done in order for one request: bytes are written, `CLOSE` (FIN) and
`RESET` (RST) end the connection, a callable without arguments is called and awaited, one that takes
the `UpstreamSide` is given it. Scripts are used in the order of the requests, whatever their
connections; with none left, ``default`` answers (204). A body is read whole before the answer,
except with ``when=Moment.HEAD`` or ``when=Moment.CONNECTED`` (a server that speaks first).
"""

import asyncio
import inspect
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Self

from tests.support.raw_http import RawHead, decode_chunked, read_chunked

WAIT_SECONDS = 20.0
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
_STREAM_LIMIT = 1 << 24


class End(Enum):
    """How a script ends a connection."""

    CLOSE = auto()
    RESET = auto()


CLOSE = End.CLOSE
RESET = End.RESET


class Moment(Enum):
    """When a script begins."""

    CONNECTED = auto()
    HEAD = auto()
    WHOLE = auto()


Step = bytes | End | Callable[..., Awaitable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What one request is answered with."""

    steps: tuple[Step, ...]
    when: Moment = Moment.WHOLE


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRequest:
    """One request as it stood on the wire."""

    head: RawHead
    framed: bytes
    """The body as it came, chunk sizes and trailers included."""
    body: bytes
    """The body without chunked coding."""
    trailers: tuple[bytes, ...]
    connection: int
    """Index in ``connections``."""

    @property
    def raw(self) -> bytes:
        """The whole request."""
        return self.head.raw + self.framed

    @property
    def target(self) -> bytes:
        """The request target."""
        return self.head.start.split(b" ")[1]


class UpstreamSide(asyncio.StreamReaderProtocol):
    """One accepted connection. It notices the peer's end at once, also while a script waits."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def __init__(self, accept: "Callable[[UpstreamSide], None]") -> None:
        self.reader = asyncio.StreamReader(limit=_STREAM_LIMIT)
        super().__init__(self.reader, self._connected)
        self._accept = accept
        self._has_ended = asyncio.Event()
        self._is_gone = asyncio.Event()
        self.was_reset = False
        """True when the peer ended it by RST."""

    def _connected(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self._accept(self)

    def eof_received(self) -> bool | None:
        self._has_ended.set()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self.was_reset = isinstance(exc, ConnectionError)
        self._has_ended.set()
        self._is_gone.set()
        super().connection_lost(exc)

    async def write(self, data: bytes) -> None:
        """Write, waiting while the socket is full."""
        self.writer.write(data)
        await self.writer.drain()

    def end(self, how: End) -> None:
        """Close by FIN or RST."""
        if how is RESET:
            connection = self.writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.writer.transport.abort()
        self.writer.close()

    async def wait_ended(self) -> None:
        """Wait until the peer sends no more: FIN, RST, or the connection is closed."""
        await asyncio.wait_for(self._has_ended.wait(), WAIT_SECONDS)

    async def wait_closed(self) -> None:
        """Wait until the connection is closed on both sides."""
        await asyncio.wait_for(self._is_gone.wait(), WAIT_SECONDS)

    @property
    def is_ended(self) -> bool:
        """Tell whether the peer has ended it."""
        return self._has_ended.is_set()


class ScriptedUpstream:
    """The server."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[RawRequest] = []
        """Complete ones, in the order of their ends."""
        self.heads: list[RawHead] = []
        """Of all requests, also of those whose body never ended."""
        self.connections: list[UpstreamSide] = []
        self.default = Script(steps=(NO_CONTENT,))
        self._scripts: deque[Script] = deque()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._news = asyncio.Condition()

    @classmethod
    @asynccontextmanager
    async def running(cls, path: str | None = None) -> AsyncIterator[Self]:
        """Listen on a free port of 127.0.0.1, or on a unix socket at ``path``."""
        upstream = cls()
        await upstream.start(path)
        try:
            yield upstream
        finally:
            await upstream.stop()

    async def start(self, path: str | None = None) -> None:
        """Listen; ``url`` says where."""
        loop = asyncio.get_running_loop()
        if path is not None:
            self._server = await loop.create_unix_server(self._build, path)
            self.url = f"unix:{path}"
            return
        self._server = await loop.create_server(self._build, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for side in self.connections:
            side.writer.transport.abort()

    def answer(self, *steps: Step, when: Moment = Moment.WHOLE) -> None:
        """Add the script of one request."""
        self._scripts.append(Script(steps=steps, when=when))

    def answer_always(self, *steps: Step, when: Moment = Moment.WHOLE) -> None:
        """Set the script of every request that has none of its own."""
        self.default = Script(steps=steps, when=when)

    def forget(self) -> None:
        """Drop the records of requests and the scripts that were not used."""
        self.requests.clear()
        self.heads.clear()
        self._scripts.clear()

    async def wait_for_requests(self, count: int) -> None:
        """Wait until so many whole requests have come in all."""
        await self._wait(lambda: len(self.requests) >= count)

    async def wait_for_heads(self, count: int) -> None:
        """Wait until so many request heads have come in all."""
        await self._wait(lambda: len(self.heads) >= count)

    async def _wait(self, holds: Callable[[], bool]) -> None:
        async with self._news:
            await asyncio.wait_for(self._news.wait_for(holds), WAIT_SECONDS)

    async def _notify(self) -> None:
        async with self._news:
            self._news.notify_all()

    def _build(self) -> UpstreamSide:
        return UpstreamSide(self._accept)

    def _accept(self, side: UpstreamSide) -> None:
        self.connections.append(side)
        task = asyncio.get_running_loop().create_task(self._serve(side, len(self.connections) - 1))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, side: UpstreamSide, index: int) -> None:
        await self._notify()
        # The peer may leave at any byte.
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while not side.writer.is_closing():
                await self._serve_one(side, index)
        side.writer.close()

    async def _serve_one(self, side: UpstreamSide, index: int) -> None:
        if self._scripts and self._scripts[0].when is Moment.CONNECTED:
            await self._play(self._take_script(), side)
            script = Script(steps=())
            head = await self._read_head(side)
        else:
            head = await self._read_head(side)
            script = self._take_script()
        if script.when is Moment.HEAD:
            await self._play(script, side)
        framed, body, trailers = await _read_body(side.reader, head)
        self.requests.append(
            RawRequest(head=head, framed=framed, body=body, trailers=trailers, connection=index)
        )
        await self._notify()
        if script.when is Moment.WHOLE:
            await self._play(script, side)

    async def _read_head(self, side: UpstreamSide) -> RawHead:
        head = RawHead.parse(await side.reader.readuntil(b"\r\n\r\n"))
        self.heads.append(head)
        await self._notify()
        return head

    def _take_script(self) -> Script:
        return self._scripts.popleft() if self._scripts else self.default

    async def _play(self, script: Script, side: UpstreamSide) -> None:
        for step in script.steps:
            if isinstance(step, bytes):
                await side.write(step)
            elif isinstance(step, End):
                side.end(step)
            else:
                await (step(side) if inspect.signature(step).parameters else step())


async def _read_body(
    reader: asyncio.StreamReader, head: RawHead
) -> tuple[bytes, bytes, tuple[bytes, ...]]:
    """Return the body as it stands on the wire, its payload, and its trailer lines."""
    if head.values(b"transfer-encoding") == [b"chunked"]:
        framed = await read_chunked(reader)
        return framed, *decode_chunked(framed)
    lengths = head.values(b"content-length")
    body = await reader.readexactly(int(lengths[0])) if lengths else b""
    return body, body, ()
