"""What one call is to be: drawn by chance, known to both sides, told to neither's other side.

The client and the server of a stormy soak run in one process, apart from the proxy between them, so
that each can wait for what the other one saw: whoever leaves does so when it is known how far
things had come. Does not know sockets (`storm`, `guests`) or figures (`chronicle`).
"""

import asyncio
import gzip
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

LEGACY: Final = "2025-11-25"
MODERN: Final = "2026-07-28"
HTML: Final = b"text/html"
TOOL_CALL: Final = "tools/call"


def begin_chance(seed: int) -> Random:
    """Begin a row of random numbers that the same seed repeats."""
    return Random(seed)  # noqa: S311  # no secret


_FILLING: Final = bytes(
    begin_chance(7).choices(b"abcdefghijklmnopqrstuvwxyz0123456789 ", k=1 << 20)
).decode()
"""Random, so that it compresses about as badly as what tools say."""


@dataclass(slots=True, eq=False)
class Visit:
    """A session, as its server knows it."""

    key: str
    ids: int = 0
    dead: bool = False
    """The server has forgotten it."""
    news: int = 0
    """How many events the stream of its next GET has."""
    end: str = ""
    """How that stream ends: by ``client``, ``cut`` or ``end``."""
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """The server has seen that the client of that stream is gone."""

    def next_id(self) -> int:
        """Give an id that no request of the session had."""
        self.ids += 1
        return self.ids


@dataclass(slots=True, eq=False)
class Call:
    """A request, and how far it has come."""

    nonce: str
    chance: Random
    """Decides all that is left to chance, on both sides."""
    method: str = TOOL_CALL
    tool: str = ""
    number: int = 1
    visit: Visit | None = None
    """None in 2026-07-28."""
    started: float = 0.0
    deliveries: int = 0
    """How often its server got it whole."""
    events: int = 0
    """How many events its server sent before it waits."""
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    """Its server has seen it, whole or as much as was sent."""
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    """Its client allows the server to go on."""
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Its server has seen that nobody waits any more."""

    @property
    def era(self) -> str:
        """The revision of MCP that it is made in."""
        return MODERN if self.visit is None else LEGACY

    def draw_text(self, at_most: int) -> str:
        """Draw some text; mostly a short one."""
        size = int(at_most ** self.chance.random())
        start = self.chance.randrange(len(_FILLING) - size)
        return _FILLING[start : start + size]


@dataclass(frozen=True, slots=True)
class Wording:
    """How an answer is written."""

    events: bool
    """As an event stream."""
    coding: str
    framing: str
    """``length``, ``chunked`` or ``close``."""
    last: bool
    """The connection ends with it."""


def draw_wording(chance: Random, *, events: bool | None = None, close: bool = True) -> Wording:
    """Draw how an answer is written; ``close`` allows one that ends with its connection."""
    framing = chance.choice(("length", "chunked", "chunked", "close" if close else "length"))
    streams = chance.random() < 0.5 if events is None else events
    coding = "gzip" if chance.random() < 0.25 else ""
    return Wording(streams, coding, framing, framing == "close" or chance.random() < 0.05)


def write_message(**members: object) -> bytes:
    """Write a JSON-RPC message."""
    return json.dumps({"jsonrpc": "2.0", **members}).encode()


def write_result(call: Call, text: str = "", **more: Any) -> bytes:
    """Write the answer to a call; its nonce tells whose it is."""
    content = [{"type": "text", "text": text}]
    result = {"_meta": {"nonce": call.nonce}, "content": content, **more}
    return write_message(id=call.number, result=result)


def write_error(call: Call, code: int) -> bytes:
    """Write an error that answers a call."""
    error = {"code": code, "message": "no", "data": {"nonce": call.nonce}}
    return write_message(id=call.number, error=error)


def write_event(data: bytes, event_id: str = "") -> bytes:
    """Write a server-sent event."""
    return (b"id: %b\n" % event_id.encode() if event_id else b"") + b"data: %b\n\n" % data


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer as bytes."""

    head: bytes
    body: bytes
    last: bool
    """Its connection ends after it."""

    @property
    def wire(self) -> bytes:
        """All of it."""
        return self.head + self.body


def compose(
    wording: Wording,
    messages: Sequence[bytes],
    chance: Random,
    *,
    status: str = "200 OK",
    fields: Sequence[bytes] = (),
) -> Answer:
    """Write messages as an HTTP answer; an event stream takes any number, JSON one."""
    if wording.events:
        pieces = [write_event(message) for message in messages]
        media = b"text/event-stream"
    else:
        pieces, media = list(messages[-1:]), b"application/json"
    if wording.coding == "gzip":
        pieces = _compress(pieces)
    lines = [b"Content-Type: %b" % media, *fields]
    if wording.coding:
        lines.append(b"Content-Encoding: %b" % wording.coding.encode())
    return frame(wording, pieces, chance, status=status, lines=lines)


def frame(
    wording: Wording,
    pieces: Sequence[bytes],
    chance: Random,
    *,
    status: str = "200 OK",
    lines: Sequence[bytes],
) -> Answer:
    """Delimit a body, which comes in pieces that chunks are made of."""
    lines = [b"HTTP/1.1 " + status.encode(), *lines]
    body = b"".join(pieces)
    if wording.framing == "length":
        lines.append(b"Content-Length: %d" % len(body))
    elif wording.framing == "chunked":
        lines.append(b"Transfer-Encoding: chunked")
        body = b"".join(_cut_into_chunks(piece, chance) for piece in pieces) + b"0\r\n\r\n"
    if wording.last:
        lines.append(b"Connection: close")
    return Answer(b"\r\n".join(lines) + b"\r\n\r\n", body, wording.last)


def _cut_into_chunks(data: bytes, chance: Random) -> bytes:
    chunks = []
    while data:
        size = len(data) if chance.random() < 0.5 else chance.randint(1, len(data))
        chunks.append(b"%x\r\n%b\r\n" % (size, data[:size]))
        data = data[size:]
    return b"".join(chunks)


def _compress(pieces: Sequence[bytes]) -> list[bytes]:
    """Compress so that each piece can be read as soon as it is there, as event streams are."""
    if len(pieces) == 1:
        return [gzip.compress(pieces[0], 1)]
    packer = zlib.compressobj(1, wbits=31)
    packed = [packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH) for piece in pieces]
    return [*packed, packer.flush()]


def unpack(data: bytes) -> bytes:
    """Decompress as much as is there."""
    return zlib.decompressobj(wbits=31).decompress(data)


class Sky:
    """What both sides know of each other, and what went wrong where it could not."""

    def __init__(self, seed: int) -> None:
        self.chance = begin_chance(seed)
        self.calls: dict[str, Call] = {}
        """Those that go on, by nonce."""
        self.visits: dict[str, Visit] = {}
        self.accepted = 0
        """Connections that the server accepted."""
        self.open = 0
        """Those of them that it has open."""
        self.gust_at = 0.0
        """When the server last did something to a connection that was idle, or to its listener."""
        self.is_open = True
        """Whether the server listens."""
        self.gusts: dict[str, int] = {}
        self.wrongs: list[str] = []
        """What must not have happened."""
        self._made = 0

    def make_call(self, method: str, tool: str, visit: Visit | None) -> Call:
        """Make a call that there was none like."""
        self._made += 1
        chance = begin_chance(self.chance.getrandbits(64))
        number = chance.randint(0, 9) if visit is None else visit.next_id()
        call = Call(f"n{self._made:x}", chance, method, tool, number, visit)
        self.calls[call.nonce] = call
        return call

    def make_visit(self) -> Visit:
        """Make a session that there was none like."""
        self._made += 1
        visit = Visit(f"visit-{self._made:x}")
        self.visits[visit.key] = visit
        return visit

    def note_gust(self, kind: str) -> None:
        """Take note of a disturbance that no call asked for."""
        self.gust_at = asyncio.get_running_loop().time()
        self.gusts[kind] = self.gusts.get(kind, 0) + 1

    def blame(self, what: str) -> None:
        """Take note of what must not have happened; the first hundred will do."""
        if len(self.wrongs) < 100:
            self.wrongs.append(what)
