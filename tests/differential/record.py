"""What the proxy makes of a client's bytes: what it answers, and what it sends to the upstream.

Knows both sides of the proxy, byte for byte; does not know how another parser reads them. What the
upstream gets is cut into requests by `tests.support.raw_http`, which is none of the product's.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

from mcp_proxy_exporter.config import TimeoutSettings
from mcp_proxy_exporter.protocol.outcome import Abort
from tests.differential.mutate import LAST
from tests.support.proxies import RunningProxy, start_proxy
from tests.support.raw_client import WAIT_SECONDS, RawClient
from tests.support.scripted_upstream import RawRequest, ScriptedUpstream, UpstreamSide

Field = tuple[bytes, bytes]
# Short, as every request that is never whole costs one; but an idle connection must not be closed
# on a busy machine before what its client has sent is read.
_SOON = TimeoutSettings(client_head=0.5, client_body=0.5, client_idle=5.0, upstream_idle=60.0)
_ASKS_TO_CLOSE = re.compile(rb"connection:[^\n]*close|HTTP/1\.0\r", re.IGNORECASE)
_NO_TRAILERS = frozenset(
    {b"authorization", b"content-length", b"forwarded", b"host", b"mcp-session-id", b"origin",
     b"transfer-encoding", b"x-forwarded-for"}
)  # fmt: skip
"""Names that someone may take for a field of the head (RFC 9110 section 6.5.1)."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One request, as someone reads it."""

    method: bytes
    target: bytes
    fields: tuple[Field, ...]
    """Lower-case names and values without white space around, in order."""
    body: bytes
    trailers: tuple[Field, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Wire:
    """What one connection to the upstream carried for one client."""

    data: bytes
    requests: tuple[Seen, ...]
    """Those that are whole."""
    whole: bool
    """Nothing follows them."""


@dataclass(frozen=True, slots=True)
class Passage:
    """One client's bytes and what became of them."""

    sent: bytes
    wires: tuple[Wire, ...]
    statuses: tuple[int, ...]
    was_reset: bool
    """The client sent on after an end that it had asked for: answers may be lost."""

    @property
    def refusal(self) -> int:
        """The status that ended it; 0 where nothing was refused."""
        return self.statuses[-1] if self.statuses and self.statuses[-1] >= 400 else 0

    @property
    def forwarded(self) -> int:
        """How many requests arrived whole."""
        return sum(len(wire.requests) for wire in self.wires)


class _Side(UpstreamSide):
    """A connection that keeps every byte."""

    def __init__(self, upstream: "_Recorder") -> None:
        super().__init__(upstream._accept)
        self.received = bytearray()

    def data_received(self, data: bytes) -> None:
        self.received += data
        super().data_received(data)


class _Recorder(ScriptedUpstream):
    """An upstream that answers each request with 204."""

    def __init__(self) -> None:
        super().__init__()
        self.sides: list[_Side] = []

    def _build(self) -> UpstreamSide:
        side = _Side(self)
        self.sides.append(side)
        return side


class Bench:
    """A proxy between a client that sends anything and an upstream that keeps everything."""

    def __init__(self, proxy: RunningProxy, recorder: _Recorder) -> None:
        self._proxy = proxy
        self._recorder = recorder

    @classmethod
    @asynccontextmanager
    async def running(cls) -> AsyncIterator[Self]:
        """Start both, and stop them with the block."""
        async with _Recorder.running() as recorder:
            proxy = await start_proxy(recorder.url, timeouts=_SOON)
            try:
                yield cls(proxy, recorder)
            finally:
                await proxy.stop()

    async def put(self, pieces: Sequence[bytes]) -> Passage:
        """Send each piece in a write of its own, until the proxy ends the connection."""
        proxy, recorder = self._proxy, self._recorder
        proxy.exchanges.clear()
        recorder.forget()
        over = {side for side in recorder.sides if side.is_ended}
        begun = {side: len(side.received) for side in recorder.sides}
        client = await RawClient.connect(proxy.url)
        for piece in pieces:
            client.writer.write(piece)
            await asyncio.sleep(0.001 if len(pieces) > 1 else 0)
        # However it is meant, the proxy ends it: nothing hangs.
        answers, was_reset = await _read_to_the_end(client)
        await client.close()
        sides = [side for side in recorder.sides if side not in over]
        wires = [await self._cut(side, begun.get(side, 0)) for side in sides]
        passage = Passage(
            sent=b"".join(pieces),
            wires=tuple(wire for wire in wires if wire.data),
            statuses=_read_statuses(answers),
            was_reset=was_reset,
        )
        self._check(passage)
        return passage

    async def _cut(self, side: _Side, begun: int) -> Wire:
        """Return what came since ``begun``."""
        index = self._recorder.connections.index(side)
        requests = [one for one in self._recorder.requests if one.connection == index]
        size = sum(len(request.raw) for request in requests)
        if len(side.received) - begun > size:
            await side.wait_ended()  # a request that was given up
        data = bytes(side.received[begun:])
        assert data.startswith(b"".join(request.raw for request in requests))
        return Wire(data, tuple(map(_see, requests)), len(data) == size)

    def _check(self, passage: Passage) -> None:
        """Make sure that what was forwarded is what the proxy says that it saw, and answered."""
        *firsts, _ = passage.statuses or (0,)
        assert set(firsts) <= {204}, passage
        if passage.was_reset:
            # RFC 9112 section 9.6: who asked for the close MUST NOT send more.
            assert _ASKS_TO_CLOSE.search(passage.sent.removesuffix(LAST)), passage
        else:
            assert passage.statuses.count(204) == passage.forwarded, passage
        told = [
            (exchange.method, exchange.request_body)
            for exchange in self._proxy.exchanges
            if "request_end" in exchange.calls and exchange.abort is not Abort.REJECTED
        ]
        seen = [(one.method, one.body) for wire in passage.wires for one in wire.requests]
        assert sorted(told) == sorted(seen), passage
        trailers = {
            name for wire in passage.wires for one in wire.requests for name, _ in one.trailers
        }
        assert trailers.isdisjoint(_NO_TRAILERS), passage


async def _read_to_the_end(client: RawClient) -> tuple[bytes, bool]:
    """Return what came, and whether a reset ended it."""
    answers = b""
    try:
        while data := await asyncio.wait_for(client.reader.read(65_536), WAIT_SECONDS):
            answers += data
    except ConnectionError:
        return answers, True
    return answers, False


def _see(request: RawRequest) -> Seen:
    method, target, _ = request.head.start.split(b" ")
    trailers = _split(request.trailers)
    return Seen(method, target, _split(request.head.lines), request.body, trailers)


def _split(lines: Sequence[bytes]) -> tuple[Field, ...]:
    pairs = [line.split(b":", 1) for line in lines]
    return tuple((name.lower(), value.strip(b" \t")) for name, value in pairs)


def _read_statuses(answers: bytes) -> tuple[int, ...]:
    """Return the statuses; the bodies of refusals are skipped, and nothing may follow them."""
    statuses = []
    while answers:
        head, end, answers = answers.partition(b"\r\n\r\n")
        assert end, head
        status = int(head.split(b" ")[1])
        statuses.append(status)
        if status >= 400:
            assert b"\r\nConnection: close" in head, head
            length = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
            assert len(answers) in (length, 0), answers  # 0 where a HEAD was refused
            break
        assert b"Content-Length" not in head, head
    return tuple(statuses)
