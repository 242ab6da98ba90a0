"""The clients of a stormy soak: how they send a call, wait for it, or do not.

Knows sockets and how clients misbehave; writes into the ledger what it saw. What it cannot know, it
learns from the server before it goes on (`weather.Call`): so every end can be told beforehand.
"""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

from tests.soak.chronicle import GONE, Chronicle
from tests.soak.sight import Sight, look
from tests.soak.storm import GONE_SECONDS
from tests.soak.weather import LEGACY, MODERN, TOOL_CALL, Call, Sky, Visit
from tests.support.raw_client import RawClient

KEPT_SECONDS: Final = 20.0
"""How long a connection waits for its next call."""
UNSERVED: Final = "unserved"
"""What becomes of a call that met a disturbance and never came to its server."""
ARRIVAL_SECONDS: Final = 5.0
"""In which a part of a request comes to the server, if it is there."""
RACE_SECONDS: Final = 0.1
"""How long before a call a disturbance may have been that it met, on a busy machine."""


class Guest:
    """What all clients share: connections that are kept, and the ledger."""

    def __init__(self, origin: str, sky: Sky, chronicle: Chronicle) -> None:
        self.origin = origin
        self.sky = sky
        self.chronicle = chronicle
        self._host = origin.removeprefix("http://").encode()
        self._kept: list[tuple[RawClient, float]] = []

    # Connections

    async def take(self, call: Call | None = None) -> RawClient:
        """Give a connection, mostly one that was used before."""
        now = asyncio.get_running_loop().time()
        fresh = call is not None and call.chance.random() < 0.2
        while self._kept and not fresh:
            client, since = self._kept.pop()
            if now - since < KEPT_SECONDS and not client.reader.at_eof():
                return client
            await client.close()
        return await RawClient.connect(self.origin)

    async def give(self, client: RawClient, sight: Sight) -> None:
        """Take a connection back."""
        if sight.keeps:
            self._kept.append((client, asyncio.get_running_loop().time()))
        else:
            await client.close()

    async def close(self) -> None:
        """Close what was kept."""
        while self._kept:
            await self._kept.pop()[0].close()

    async def take_narrow(self) -> RawClient:
        """Give a connection that takes little at a time."""
        host, _, port = self._host.decode().partition(":")
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        connection.settimeout(0)
        await asyncio.get_running_loop().sock_connect(connection, (host, int(port)))
        return RawClient(*await asyncio.open_connection(sock=connection, limit=1 << 24))

    # Requests

    def write(self, call: Call, *, filling: str = "", chunked: bool = False) -> bytes:
        """Write a request."""
        meta: dict[str, object] = {"nonce": call.nonce}
        info = {"name": "stormy" if call.era == LEGACY else "modern", "version": "1"}
        if call.era == MODERN:
            prefix = "io.modelcontextprotocol"
            meta |= {f"{prefix}/protocolVersion": MODERN, f"{prefix}/clientInfo": info}
        params: dict[str, object] = {"_meta": meta}
        if call.method == "initialize":
            params |= {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": info}
        elif call.method == TOOL_CALL:
            params |= {"name": call.tool, "arguments": {"filling": filling}}
        message = {"jsonrpc": "2.0", "id": call.number, "method": call.method, "params": params}
        visit = None if call.method == "initialize" else call.visit
        extra: dict[str, str] = {}
        if call.era == MODERN:
            extra = {"MCP-Protocol-Version": MODERN, "Mcp-Method": call.method}
            if call.method == TOOL_CALL:
                extra["Mcp-Name"] = call.tool
        return self.write_post(json.dumps(message).encode(), visit, extra, chunked=chunked)

    def write_post(
        self,
        body: bytes,
        visit: Visit | None,
        extra: Mapping[str, str],
        *,
        chunked: bool = False,
    ) -> bytes:
        """Write a POST."""
        fields = {"Content-Type": "application/json", **extra}
        if chunked:
            fields["Transfer-Encoding"] = "chunked"
            half = len(body) // 2
            pieces = (body[:half], body[half:])
            body = (
                b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
            )
        else:
            fields["Content-Length"] = str(len(body))
        return self.write_head("POST", visit, fields) + body

    def write_head(self, method: str, visit: Visit | None, fields: Mapping[str, str]) -> bytes:
        """Write the head of a request."""
        lines = [f"{method} /mcp HTTP/1.1".encode(), b"Host: " + self._host]
        lines.append(b"Accept: application/json, text/event-stream")
        if visit is not None:
            lines.append(b"Mcp-Session-Id: " + visit.key.encode())
            lines.append(b"MCP-Protocol-Version: " + LEGACY.encode())
        lines += [f"{name}: {value}".encode() for name, value in fields.items()]
        return b"\r\n".join(lines) + b"\r\n\r\n"

    # What becomes of them

    def judge(self, call: Call, sight: Sight, *, cancelled: bool = False) -> str:
        """Take what was seen of a call that its client waited for; return its outcome."""
        self.chronicle.note_request(call)
        if sight.status == 0:
            self.sky.blame(f"{call.tool or call.method}: no answer at all")
        outcome = self.chronicle.judge(call, sight, self.sky, cancelled=cancelled)
        self.chronicle.note_end(call, outcome)
        return outcome

    def is_unserved(self, call: Call, sight: Sight) -> bool:
        """Whether a request met a disturbance, and its server never saw it."""
        if call.deliveries or (not sight.is_stray and sight.own not in _TOLD):
            return False
        if self.sky.is_open and self.sky.gust_at < call.started - RACE_SECONDS:
            self.sky.blame(f"{call.tool or call.method}: {sight.own} on a quiet day")
        self.chronicle.unserved[sight.own or "stray",] += 1
        return True

    async def watch(self, client: RawClient, call: Call) -> tuple[Sight, "asyncio.Task[Sight]"]:
        """Begin to read an answer; wait until it is there, or its call has come to the server."""
        sight = Sight()
        reading = asyncio.create_task(look(client, sight))
        arriving = asyncio.create_task(call.arrived.wait())
        await asyncio.wait({reading, arriving}, return_when=asyncio.FIRST_COMPLETED)
        arriving.cancel()
        return sight, reading

    async def leave(self, client: RawClient, call: Call, reading: "asyncio.Task[Sight]") -> None:
        """End the connection under an answer, in whatever way, and see that the server is told."""
        reading.cancel()
        await asyncio.wait({reading})
        if call.chance.random() < 0.5:
            client.reset()
        else:
            await client.close()
        await self.await_departure(call)

    async def await_departure(self, call: Call) -> None:
        """Wait until the server knows that nobody waits any more."""
        try:
            await asyncio.wait_for(call.gone.wait(), GONE_SECONDS)
        except TimeoutError:
            self.sky.blame(f"{call.tool}: the server never heard that its client left")

    def note_departure(self, call: Call, status: str = "0") -> None:
        """Take a call that its client left."""
        self.chronicle.note_request(call)
        self.chronicle.note_end(call, GONE)
        self.chronicle.exchanges["POST", status] += 1

    async def finish(self, client: RawClient, call: Call, sight: Sight) -> str:
        """Take an answer that was waited for, and its connection; say what became of the call."""
        await self.give(client, sight)
        unserved = self.is_unserved(call, sight)
        outcome = self.judge(call, sight)
        return UNSERVED if unserved else outcome

    async def ask(self, call: Call) -> Sight:
        """Send a request and wait for its answer."""
        call.started = asyncio.get_running_loop().time()
        client = await self.take(call)
        chance = call.chance
        filling = call.draw_text(20_000) if chance.random() < 0.1 else ""
        await client.send(self.write(call, filling=filling, chunked=chance.random() < 0.1))
        sight = await look(client, Sight())
        await self.give(client, sight)
        return sight


_TOLD: Final = frozenset(
    {"connect_refused", "connect_failed", "closed_before_head", "bad_response"}
)
"""What a client is told whose request met a disturbance."""

Manner: TypeAlias = Callable[[Guest, Call], Awaitable[str]]
"""Makes a call, in whatever manner; returns its outcome as the ledger has it: empty for none."""


async def wait(guest: Guest, call: Call) -> str:
    """Wait for the answer."""
    sight = await guest.ask(call)
    unserved = guest.is_unserved(call, sight)
    outcome = guest.judge(call, sight)
    return UNSERVED if unserved else outcome
