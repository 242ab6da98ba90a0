"""The server of a stormy soak: connections, requests, sessions, and gusts that nobody asked for.

Knows HTTP and where a request's nonce stands; what it does with a call is in `turns`.
"""

import asyncio
import fcntl
import json
import re
import socket
import struct
import termios
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, TypeAlias

from tests.soak.weather import (
    HTML,
    Answer,
    Call,
    Sky,
    Visit,
    Wording,
    begin_chance,
    compose,
    draw_wording,
    frame,
    write_event,
    write_message,
    write_result,
)
from tests.support.raw_http import RawHead, decode_chunked, read_chunked

HOST: Final = "127.0.0.1"
GONE_SECONDS: Final = 25.0
"""In which the server has to learn that its client is gone."""
GUST_SECONDS: Final = 0.2
"""Between two gusts, on average."""
RESTART_PART: Final = 0.02
"""Of the gusts: the listener is closed for a moment."""
_NONCE: Final = re.compile(rb'"nonce": "(n[0-9a-f]+)"')
_STRAY: Final = b"HTTP/1.1 408 Request Timeout\r\nX-Stray: yes\r\nContent-Length: 0\r\n\r\n"


class ClientGone(Exception):
    """The other side of a connection has ended it."""


class Link:
    """One connection that the server accepted."""

    def __init__(
        self, storm: "Storm", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._storm = storm
        self._sky = storm.sky
        self.reader = reader
        self.writer = writer
        self.idle = False
        self.spoilt = False
        """What was said on it answers nothing: no request is read any more."""

    # What a turn asks for

    async def send(self, data: bytes) -> None:
        """Send bytes; raise `ClientGone` where nobody takes them."""
        if self.writer.transport.is_closing():
            raise ClientGone
        self.writer.write(data)
        try:
            await asyncio.wait_for(self.writer.drain(), GONE_SECONDS)
        except ConnectionError:
            raise ClientGone from None

    async def reply(self, answer: Answer) -> bool:
        """Send an answer at once; return whether the connection goes on."""
        await self.send(answer.wire)
        return not answer.last

    async def wait_for_end(self, call: Call) -> bool:
        """Wait until the client is gone, which has to be seen here."""
        try:
            rest = await asyncio.wait_for(self.reader.read(1), GONE_SECONDS)
        except ConnectionError:
            rest = b""
        except TimeoutError:
            self._sky.blame(f"{call.tool}: the server was not told that its client left")
            return False
        if rest:
            self._sky.blame(f"{call.tool}: more came than was asked")
        call.gone.set()
        return False

    async def drain(self) -> None:
        """Read what still comes."""
        with suppress(ConnectionError):
            while await asyncio.wait_for(self.reader.read(65_536), GONE_SECONDS):
                pass

    def end(self, *, reset: bool) -> None:
        """End the connection, by RST or FIN."""
        if reset:
            connection = self.writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.writer.transport.abort()
        else:
            self.writer.close()

    # Requests

    async def serve(self) -> None:
        """Serve one request after the other."""
        sky = self._sky
        sky.accepted += 1
        sky.open += 1
        try:
            while await self._serve_one():
                pass
        except (ClientGone, ConnectionError, asyncio.IncompleteReadError):
            pass
        except Exception as error:
            sky.blame(f"the server itself failed: {error!r}")
            raise
        finally:
            sky.open -= 1
            self._storm.links.discard(self)
            self.writer.close()

    async def _serve_one(self) -> bool:
        self.idle = True
        head = RawHead.parse(await self.reader.readuntil(b"\r\n\r\n"))
        self.idle = False
        if self.spoilt:
            return False
        method = head.start.split(b" ")[0]
        visit = self._sky.visits.get(b"".join(head.values(b"mcp-session-id")).decode())
        if method == b"GET":
            return await self._stream(head, visit)
        if method == b"DELETE":
            return await self._delete(visit)
        body, call = await self._read_body(head)
        if call is None:
            message = json.loads(body)
            if "id" in message:
                self._sky.blame(f"a request of nobody came: {body[:200]!r}")
            return await self.reply(
                frame(_PLAIN, [b""], begin_chance(0), status="202 Accepted", lines=[])
            )
        if visit is not call.visit and call.method != "initialize":
            self._sky.blame(f"{call.tool} came in the wrong session")
        try:
            return await self._answer(call)
        except (ClientGone, ConnectionError):
            call.gone.set()
            raise

    async def _read_body(self, head: RawHead) -> tuple[bytes, Call | None]:
        if not (lengths := head.values(b"content-length")):
            body, _ = decode_chunked(await read_chunked(self.reader))
            call = self._find(body)
        else:
            body, call = b"", None
            while len(body) < int(lengths[0]):
                piece = await self._read_piece(int(lengths[0]) - len(body), call)
                body += piece
                call = call or self._find(body)
                if call is not None:
                    call.arrived.set()
                    if call.tool == "early_answer":
                        return body, call
        if call is not None:
            call.arrived.set()
            call.deliveries += 1
            if call.deliveries > 1:
                self._sky.blame(f"{call.tool} was delivered {call.deliveries} times")
        return body, call

    async def _read_piece(self, size: int, call: Call | None) -> bytes:
        try:
            piece = await self.reader.read(size)
        except ConnectionError:
            piece = b""
        if not piece:
            if call is not None:
                call.gone.set()
            raise ClientGone
        return piece

    def _find(self, body: bytes) -> Call | None:
        found = _NONCE.search(body)
        return None if found is None else self._sky.calls.get(found[1].decode())

    async def _answer(self, call: Call) -> bool:
        chance = call.chance
        if call.visit is not None and call.visit.dead:
            page = draw_wording(chance, events=False, close=False)
            lines = [b"Content-Type: " + HTML]
            answer = frame(page, [b"gone"], chance, status="404 Not Found", lines=lines)
            return await self.reply(answer)
        if call.method == "initialize":
            assert call.visit is not None
            return await self._reply_plainly(call, [b"Mcp-Session-Id: " + call.visit.key.encode()])
        if call.method in {"tools/list", "ping"}:
            return await self._reply_plainly(call)
        return await self._storm.turns[call.tool](self, call)

    async def _reply_plainly(self, call: Call, fields: list[bytes] | None = None) -> bool:
        members: dict[str, Any] = {}
        if call.method == "initialize":
            members = {"protocolVersion": call.era, "capabilities": {}}
        elif call.method == "tools/list":
            schema = {"type": "object"}
            members = {
                "tools": [{"name": name, "inputSchema": schema} for name in self._storm.turns]
            }
        message = write_result(call, **members)
        wording = draw_wording(call.chance)
        return await self.reply(compose(wording, [message], call.chance, fields=fields or ()))

    # Sessions

    async def _delete(self, visit: Visit | None) -> bool:
        found = visit is not None and not visit.dead
        if visit is not None:
            visit.dead = True
        status = "200 OK" if found else "404 Not Found"
        return await self.reply(frame(_PLAIN, [b""], begin_chance(0), status=status, lines=[]))

    async def _stream(self, head: RawHead, visit: Visit | None) -> bool:
        """Send the answer that waits for who comes back, or news."""
        wording = Wording(events=True, coding="", framing="chunked", last=False)
        event_ids = head.values(b"last-event-id")
        if event_ids:
            call = self._sky.calls[event_ids[0].decode()]
            return await self.reply(compose(wording, [write_result(call)], call.chance))
        if visit is None:
            self._sky.blame("a stream came without its session")
            return False
        await self.send(compose(wording, [], begin_chance(0)).head)
        for _ in range(visit.news):
            await asyncio.sleep(self._sky.chance.random() * 0.1)
            data = write_event(NEWS)
            await self.send(b"%x\r\n%b\r\n" % (len(data), data))
        if visit.end == "client":
            await self._await_departure(visit)
            return False
        if visit.end == "cut":
            await self.send(b"20\r\ndata: ")
            self.end(reset=False)
            return False
        await self.send(b"0\r\n\r\n")
        return True

    async def _await_departure(self, visit: Visit) -> None:
        try:
            await asyncio.wait_for(self.reader.read(1), GONE_SECONDS)
        except ConnectionError:
            pass
        except TimeoutError:
            self._sky.blame("the server was not told that the client of a stream left")
            return
        visit.left.set()


Turn: TypeAlias = Callable[[Link, Call], Awaitable[bool]]
"""Answers a call, in whatever way; returns whether the connection goes on."""

NEWS: Final = write_message(
    method="notifications/message", params={"level": "info", "data": "rain"}
)
_PLAIN: Final = Wording(events=False, coding="", framing="length", last=False)


class Storm:
    """The listener, its connections, and what befalls them."""

    def __init__(self, sky: Sky, port: int, turns: dict[str, Turn]) -> None:
        self.sky = sky
        self.turns = turns
        self.links: set[Link] = set()
        self._port = port
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._chance = begin_chance(sky.chance.getrandbits(64))

    async def open(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, HOST, self._port, backlog=512)

    async def close(self) -> None:
        """Listen no more, and end every connection."""
        self.shut()
        for link in tuple(self.links):
            link.end(reset=True)
        if self._serving:
            await asyncio.wait(tuple(self._serving), timeout=GONE_SECONDS)

    def shut(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(self, reader, writer)
        self.links.add(link)
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        await link.serve()

    async def blow(self) -> None:
        """Disturb idle connections and the listener until cancelled."""
        while True:
            await asyncio.sleep(self._chance.expovariate(1 / GUST_SECONDS))
            if self._chance.random() < RESTART_PART:
                await self._restart()
                continue
            idle = [link for link in self.links if link.idle and _is_silent(link)]
            if idle:
                self._disturb(self._chance.choice(idle))

    async def _restart(self) -> None:
        self.sky.note_gust("restart")
        self.sky.is_open = False
        self.shut()
        for link in tuple(self.links):
            if link.idle and _is_silent(link):
                link.end(reset=False)
        await asyncio.sleep(self._chance.uniform(0.05, 0.3))
        await self.open()
        self.sky.is_open = True
        self.sky.gust_at = asyncio.get_running_loop().time()

    def _disturb(self, link: Link) -> None:
        kind = self._chance.choice(("idle_fin", "idle_rst", "unsolicited", "stray_answer"))
        self.sky.note_gust(kind)
        if kind == "unsolicited":
            link.spoilt = True
            link.writer.write(b"rain, and more rain\r\n")
        elif kind == "stray_answer":
            link.writer.write(_STRAY)
            link.end(reset=False)
        else:
            link.end(reset=kind == "idle_rst")


def _is_silent(link: Link) -> bool:
    """Tell whether nothing was sent that was not read yet."""
    if link.writer.transport.is_closing() or link.reader.at_eof():
        return False
    descriptor = link.writer.get_extra_info("socket").fileno()
    waiting = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)))[0]
    return not waiting and not link.reader._buffer  # type: ignore[attr-defined]
