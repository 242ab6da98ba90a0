"""What is dear to look at passes whole, in flat memory, and holds up nobody."""

import asyncio
import hashlib
import sys
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import brotli  # type: ignore[import-untyped]
import pytest

from mcp_proxy_exporter.tap import TapFactory
from tests.support.bombs import JSON, MIB, Bomb, build_bombs
from tests.support.product import run_proxy
from tests.support.raw_client import RawClient
from tests.support.scripted_upstream import ScriptedUpstream, UpstreamSide
from tests.test_app import ANSWER, CALL, RESULT, build_server, build_settings, running, scrape

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAX_RISE = 16 * MIB
MAX_TURN = 0.3
"""Seconds of CPU without a pause, several times what is seen: 65 ms at most."""
READ_SIZE = 256 * 1024

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
has_proc = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="no /proc here")


@pytest.fixture(scope="module")
def bombs() -> Mapping[str, Bomb]:
    return build_bombs()


class Memory:
    """What a process holds."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")

    def begin(self) -> int:
        """Forget the peak (proc(5): 5 resets it), and say what is held now."""
        (self._folder / "clear_refs").write_text("5")
        return self._read("VmRSS")

    def peak(self) -> int:
        """Say what was held at most since then."""
        return self._read("VmHWM")

    def _read(self, name: str) -> int:
        lines = (self._folder / "status").read_text().splitlines()
        [found] = [line for line in lines if line.startswith(name + ":")]
        return int(found.split()[1]) * 1024


def build_head(start: bytes, bomb: Bomb) -> bytes:
    length = b"Content-Length: %d" % (len(bomb.data) * bomb.times)
    return b"\r\n".join([start, b"Host: a", *bomb.fields, length, b"", b""])


async def receive(reader: asyncio.StreamReader, size: int) -> str:
    """Read so many bytes, keep none, and return their digest."""
    digest, left = hashlib.sha256(), size
    while left:
        data = await asyncio.wait_for(reader.read(min(READ_SIZE, left)), 20.0)
        assert data
        digest.update(data)
        left -= len(data)
    return digest.hexdigest()


async def explode(upstream: ScriptedUpstream, url: str, bomb: Bomb) -> None:
    """Send a bomb as an answer to a call, then as a request, and see that it arrives."""
    digest = hashlib.sha256()
    for _ in range(bomb.times):
        digest.update(bomb.data)

    async def speak(side: UpstreamSide) -> None:
        await side.write(build_head(b"HTTP/1.1 200 OK", bomb))
        for _ in range(bomb.times):
            await side.write(bomb.data)

    async with RawClient.connecting(url) as client:
        upstream.answer(speak)
        call = Bomb(data=CALL)
        await client.send(build_head(b"POST /mcp HTTP/1.1", call) + CALL)
        await client.read_head()
        got = await receive(client.reader, len(bomb.data) * bomb.times)
        assert got == digest.hexdigest()
        if bomb.times == 1:
            await client.send(build_head(b"POST /mcp HTTP/1.1", bomb))
            await client.send(bomb.data)
            assert (await client.read_response()).body == RESULT
            assert upstream.requests[-1].body == bomb.data
    upstream.requests.clear()


@has_proc
def test_a_bomb_passes_in_flat_memory(bombs: Mapping[str, Bomb]) -> None:
    async def run() -> dict[str, int]:
        rises: dict[str, int] = {}
        async with ScriptedUpstream.running() as upstream:
            upstream.answer_always(ANSWER)
            with run_proxy(upstream.url, name="cats") as proxy:
                memory = Memory(proxy.program._process.pid)
                for name, bomb in [("", bombs["a result of escapes"]), *bombs.items()]:
                    before = memory.begin()
                    await explode(upstream, proxy.origin, bomb)
                    rises[name] = memory.peak() - before
                figures = await asyncio.to_thread(proxy.settle)
        assert figures.total("mcp_proxy_inspection_errors_total") == 0
        assert figures.total("mcp_requests_in_flight") == 0
        assert figures.total("mcp_requests_total", method="tools/call") == len(bombs) + 1
        return rises

    rises = asyncio.run(run())
    for name, rise in rises.items():
        print(f"{name}: {rise / MIB:.1f} MiB")  # noqa: T201
    assert max(rises.values()) < MAX_RISE


@has_proc
@pytest.mark.parametrize("coding", ["br", "zstd"])
def test_decoders_of_unfinished_bodies_stay_within_the_budget(coding: str) -> None:
    """100 bytes make one decoder hold megabytes."""
    text = b" " * 4_000_000
    if coding == "br":
        brotler = brotli.Compressor(quality=5, lgwin=24)
        begun = brotler.process(text) + brotler.flush()
    else:
        options: dict[int, int] = {zstd.CompressionParameter.window_log: 23}
        zstder = zstd.ZstdCompressor(options=options)
        begun = zstder.compress(text, zstder.FLUSH_BLOCK)
    head = build_head(b"POST /mcp HTTP/1.1", Bomb(data=bytes(100_000)))
    head = head.replace(JSON, JSON + b"\r\nContent-Encoding: " + coding.encode())

    async def run() -> int:
        async with ScriptedUpstream.running() as upstream, AsyncExitStack() as stack:
            upstream.answer_always(ANSWER)
            with run_proxy(upstream.url, name="cats") as proxy:
                memory = Memory(proxy.program._process.pid)
                before = memory.begin()
                for _ in range(80):
                    client = await stack.enter_async_context(RawClient.connecting(proxy.origin))
                    await client.send(head + begun)
                async with asyncio.timeout(20.0):
                    while True:
                        figures = await asyncio.to_thread(proxy.scrape)
                        name = "mcp_proxy_uninspected_messages_total"
                        if figures.total(name, reason="too_large") > 60:
                            break
                        await asyncio.sleep(0.1)
                rise = memory.peak() - before
                await stack.aclose()
            return rise

    rise = asyncio.run(run())
    print(f"{coding}: {rise / MIB:.1f} MiB")  # noqa: T201
    # 32 MiB by default, one body that is read, and the connections; 500 MiB if nobody counted.
    assert rise < 80 * MIB


async def test_a_bomb_is_looked_at_in_short_turns(
    bombs: Mapping[str, Bomb], monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[float] = []
    whole = TapFactory._take_turn

    def take_turn(factory: TapFactory) -> None:
        began = time.thread_time()  # a busy machine's other work does not count
        whole(factory)
        turns.append(time.thread_time() - began)

    monkeypatch.setattr(TapFactory, "_take_turn", take_turn)
    longest: dict[str, float] = {}
    async with (
        aiohttp.ClientSession() as http,
        ScriptedUpstream.running() as upstream,
        running(build_settings(build_server(upstream.url))) as service,
    ):
        upstream.answer_always(ANSWER)
        for name, bomb in bombs.items():
            turns.clear()
            await explode(upstream, service.addresses("cats")[0], bomb)
            await scrape(http, service)
            longest[name] = max(turns)
    for name, seconds in longest.items():
        print(f"{name}: {seconds * 1000:.1f} ms")  # noqa: T201
    assert max(longest.values()) < MAX_TURN
