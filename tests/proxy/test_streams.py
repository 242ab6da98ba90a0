"""Bytes under way: event by event, as fast as the slower side, cut when the client leaves."""

import asyncio
import os
import resource
import socket
import statistics
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from mcp_proxy_exporter.protocol.events import HttpExchangeClosed
from mcp_proxy_exporter.protocol.outcome import Abort
from tests.support.messages import EVENTS, GET, LAST_CHUNK, chunk, post, post_chunked
from tests.support.proxies import ProxyFactory, RunningProxy
from tests.support.raw_client import RawClient
from tests.support.scripted_upstream import Moment, ScriptedUpstream, UpstreamSide
from tests.support.transports import hold_back, let_go
from tests.support.waiting import until

MIB = 1024 * 1024
ROUNDS = 100
DISCONNECT_SECONDS = 0.05
"""How soon a client's disconnect must have reached the upstream."""
MAX_RISE = 16 * MIB
BUFFERED = 2 * MIB
"""More than the proxy may hold of one stream, less than the system's own buffers."""

LEGACY = (b"Mcp-Session-Id: s", b"Mcp-Protocol-Version: 2025-11-25")
MODERN = (b"Mcp-Method: tools/call", b"Mcp-Name: hang", b"Mcp-Protocol-Version: 2026-07-28")


# Events


async def test_every_event_arrives_before_the_next_is_sent(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    arrived = asyncio.Semaphore(0)

    async def stream(side: UpstreamSide) -> None:
        await side.write(EVENTS)
        for number in range(200):
            await side.write(chunk(b"data: %d\n\n" % number))
            await asyncio.wait_for(arrived.acquire(), 5.0)
        await side.write(LAST_CHUNK)

    upstream.answer(stream)
    async with RawClient.connecting(running.url) as client:
        await client.send(post())
        await client.read_head()
        for number in range(200):
            expected = chunk(b"data: %d\n\n" % number)
            assert await client.read(len(expected)) == expected
            assert running.exchanges[0].response_body.endswith(b"data: %d\n\n" % number)
            arrived.release()
        assert await client.read(5) == LAST_CHUNK


async def test_head_of_a_stream_arrives_before_its_first_event(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    gate = asyncio.Event()
    upstream.answer(EVENTS, gate.wait, LAST_CHUNK)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)
        assert (await client.read_head()).values(b"content-type") == [b"text/event-stream"]
        gate.set()
        assert await client.read(5) == LAST_CHUNK


async def test_events_split_at_every_byte_arrive_byte_for_byte(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    events = b"\xef\xbb\xbf: hi\r\n\r\nid: 1\rdata: a\r\rdata: b\n\n"

    async def drip(side: UpstreamSide) -> None:
        stream = EVENTS + chunk(events) + LAST_CHUNK
        for index in range(len(stream)):
            await side.write(stream[index : index + 1])
            await asyncio.sleep(0)

    upstream.answer(drip)
    async with RawClient.connecting(running.url) as client:
        await client.send(post())
        assert (await client.read_response()).body == events
    assert running.exchanges[0].response_body == events


async def test_upload_in_drops_arrives_drop_by_drop(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    arrived = asyncio.Queue[bytes]()

    async def watch(side: UpstreamSide) -> None:
        for _ in range(50):
            arrived.put_nowait(await side.reader.readexactly(6))

    upstream.answer(watch, when=Moment.HEAD)
    async with RawClient.connecting(running.url) as client:
        await client.send(post_chunked())
        for number in range(50):
            drop = chunk(b"%d" % (number % 10))
            await client.send(drop)
            assert await asyncio.wait_for(arrived.get(), 5.0) == drop


# A client that leaves


@pytest.mark.parametrize("era", [LEGACY, MODERN])
@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("moment", ["before the head", "after the head", "while uploading"])
async def test_disconnect_reaches_the_upstream_at_once(
    proxy: ProxyFactory, upstream: ScriptedUpstream, era: tuple[bytes, ...], how: str, moment: str
) -> None:
    running = await proxy(upstream.url)
    if moment == "after the head":
        upstream.answer_always(EVENTS + chunk(b": hi\n\n"), asyncio.Event().wait)
    elif moment == "before the head":
        upstream.answer_always(asyncio.Event().wait)
    request = post(b"{}", *era)
    if moment == "while uploading":
        request = request[:-1]
    delays = []
    rounds = ROUNDS // 4  # of each: era, how, moment and event loop
    for number in range(rounds):
        client = await RawClient.connect(running.url)
        await client.send(request)
        if moment == "while uploading":
            await upstream.wait_for_heads(number + 1)
        else:
            await upstream.wait_for_requests(number + 1)
        if moment == "after the head":
            await client.read_until(b": hi\n\n\r\n")
        left = time.perf_counter()
        if how == "reset":
            client.reset()
        else:
            client.writer.close()
        await upstream.connections[number].wait_ended()
        delays.append(time.perf_counter() - left)
    assert_prompt(delays)
    closed = await running.wait_for(HttpExchangeClosed, rounds)
    assert {event.status for event in closed} == {200 if moment == "after the head" else 0}
    assert {exchange.abort for exchange in running.exchanges} == {Abort.CLIENT_GONE}


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_disconnect_of_a_client_that_must_wait_reaches_the_upstream(
    proxy: ProxyFactory, upstream: ScriptedUpstream, how: str
) -> None:
    # The upload is held back, so nobody reads the client's socket. (Behind bytes that do not fit
    # into the proxy's receive buffer even TCP cannot tell of an end, but for a reset.)
    running = await proxy(upstream.url)

    async def never_read(side: UpstreamSide) -> None:
        hold_back(side.writer)
        await asyncio.Event().wait()

    upstream.answer_always(never_read, when=Moment.HEAD)
    delays = []
    for number in range(5):
        with connected(running) as peer:
            peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999\r\n\r\n")
            await until(partial(fill_up, running, peer))
            left = time.perf_counter()
            if how == "reset":
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await running.wait_for(HttpExchangeClosed, number + 1)
        delays.append(time.perf_counter() - left)
    assert_prompt(delays)
    assert {exchange.abort for exchange in running.exchanges} == {Abort.CLIENT_GONE}
    await until(lambda: running.server.connections()["upstream", "active"] == 0)


def assert_prompt(delays: list[float]) -> None:
    """Check that disconnects arrived at once, but for one pause of a busy machine."""
    *prompt, _ = sorted(delays)
    assert prompt[-1] < DISCONNECT_SECONDS
    assert statistics.median(delays) < DISCONNECT_SECONDS / 2


async def test_upload_goes_on_when_the_upstream_reads_again(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    gate = asyncio.Event()

    async def read_later(side: UpstreamSide) -> None:
        hold_back(side.writer)
        await gate.wait()
        let_go(side.writer)

    upstream.answer(read_later, when=Moment.HEAD)
    body = os.urandom(12 * MIB)
    async with RawClient.connecting(running.url) as client:
        sending = asyncio.create_task(client.send(post(body)))
        await until(lambda: is_held_back(running))
        gate.set()
        await sending
        await upstream.wait_for_requests(1)
    assert upstream.requests[0].body == body
    assert running.exchanges[0].request_body == body


def fill_up(running: RunningProxy, peer: socket.socket) -> bool:
    """Send what goes out at once; True when that was enough."""
    if not is_held_back(running):
        with suppress(BlockingIOError):
            peer.send(bytes(65_536))
    return is_held_back(running)


def is_held_back(running: RunningProxy) -> bool:
    return any(client._paused for client in running.server._context.clients)


@contextmanager
def connected(running: RunningProxy) -> Iterator[socket.socket]:
    """Connect a socket that no event loop reads or writes."""
    with socket.socket() as peer:
        peer.connect(address_of(running.url))
        peer.settimeout(0)
        yield peer


def address_of(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("http://").partition(":")
    return host, int(port)


# A side that is slower than the other


class Peer(threading.Thread):
    """A blocking socket of its own thread, which buffers nothing: what rises is the proxy's."""

    def __init__(self, act: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._act = act

    def run(self) -> None:
        with suppress(OSError):  # cut at the end of the test
            self._act()


class Flow:
    """``size`` bytes on their way from one side to the other, at the pace of a slow reader."""

    def __init__(self, size: int, *, reads: bool, pause: float = 0.0) -> None:
        self.size = size
        self.sent = 0
        self.received = 0
        self._reads = reads
        self._pause = pause
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.sockets: list[socket.socket] = []
        self._over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def serve_download(self) -> None:
        side = self._accept()
        side.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self.size)
        self._send(side)

    def serve_upload(self) -> None:
        side = self._accept()
        self._receive(side)
        side.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    def download(self, url: str) -> None:
        peer = self._connect(url)
        peer.sendall(GET)
        self._receive(peer)

    def upload(self, url: str) -> None:
        peer = self._connect(url)
        peer.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % self.size)
        self._send(peer)
        peer.recv(65_536)

    def close(self) -> None:
        self._over.set()
        for one in (*self.sockets, self.listener):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> socket.socket:
        side, _ = self.listener.accept()
        self.sockets.append(side)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += side.recv(1)
        return side

    def _connect(self, url: str) -> socket.socket:
        peer = socket.create_connection(address_of(url))
        self.sockets.append(peer)
        return peer

    def _send(self, side: socket.socket) -> None:
        block = memoryview(bytes(MIB))
        while self.sent < self.size:
            self.sent += side.send(block[: self.size - self.sent])

    def _receive(self, side: socket.socket) -> None:
        buffer = bytearray(256 * 1024)
        if not self._reads:
            self._over.wait()
            return
        while self.received < self.size and (count := side.recv_into(buffer)):
            self.received += count
            self._over.wait(self._pause)


def resident() -> int:
    """Return the bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


async def watch_rise(flow: Flow, is_over: Callable[[], bool]) -> int:
    """Return by how much the process grew at most until a flow is over."""
    before = highest = resident()
    async with asyncio.timeout(50.0):
        while not is_over():
            highest = max(highest, resident())
            await asyncio.sleep(0.005)
    assert flow.sent
    return highest - before


has_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc here")


@has_proc
@pytest.mark.parametrize("direction", ["download", "upload"])
@pytest.mark.parametrize("size", [48 * MIB, pytest.param(400 * MIB, marks=pytest.mark.slow)])
async def test_large_body_passes_a_slow_reader_in_flat_memory(
    proxy: ProxyFactory, direction: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = Flow(size, reads=True, pause=0.001)
    running = await proxy(flow.url)
    held_back: list[bool] = []

    def is_over() -> bool:
        held_back.extend(
            client.write_paused or client._paused for client in running.server._context.clients
        )
        return bool(running.seen(HttpExchangeClosed))

    monkeypatch.setattr(running.server._context.taps, "_inspector", None)  # its record would grow
    serve = flow.serve_download if direction == "download" else flow.serve_upload
    fetch = flow.download if direction == "download" else flow.upload
    threads = [Peer(serve), Peer(lambda: fetch(running.url))]
    for thread in threads:
        thread.start()
    try:
        rise = await watch_rise(flow, is_over)
    finally:
        for thread in threads:
            await asyncio.to_thread(thread.join, 5.0)
        flow.close()
    assert flow.sent == size
    assert any(held_back)
    assert rise < MAX_RISE


@has_proc
@pytest.mark.parametrize("direction", ["download", "upload"])
async def test_reader_that_never_reads_stops_the_writer(
    proxy: ProxyFactory, direction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = Flow(400 * MIB, reads=False)
    running = await proxy(flow.url)
    monkeypatch.setattr(running.server._context.taps, "_inspector", None)
    serve = flow.serve_download if direction == "download" else flow.serve_upload
    fetch = flow.download if direction == "download" else flow.upload
    threads = [Peer(serve), Peer(lambda: fetch(running.url))]
    for thread in threads:
        thread.start()
    stalled = Stalled(flow)
    try:
        rise = await watch_rise(flow, stalled)
        (downstream,) = running.server._context.clients
        (connection,) = running.server._context.pool._open
        assert downstream.write_paused if direction == "download" else downstream._paused
        held = (
            downstream._transport.get_write_buffer_size()
            + connection._transport.get_write_buffer_size()
        )
        assert held < BUFFERED
    finally:
        flow.close()
        for thread in threads:
            await asyncio.to_thread(thread.join, 5.0)
    assert flow.sent < 64 * MIB
    assert rise < MAX_RISE
    await running.wait_for(HttpExchangeClosed)


class Stalled:
    """Tells whether nothing more was sent for a while."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._sent = 0
        self._since = time.monotonic()

    def __call__(self) -> bool:
        if self._flow.sent != self._sent:
            self._sent = self._flow.sent
            self._since = time.monotonic()
        return self._sent > 0 and time.monotonic() - self._since > 0.2
