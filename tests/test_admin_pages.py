"""Pages of metrics: shared by those who ask at the same time, and few of them in memory."""

import asyncio
import socket

import pytest

from mcp_proxy_exporter.admin import Page, pages, visitors
from mcp_proxy_exporter.observe.exposition import Exposition
from tests.test_admin import CONTENT_TYPE, Operator, operate

WAIT = 10.0
LARGE = bytes(16 * 1024 * 1024)


class Writer:
    """Writes pages that say how often something has happened when their writing began."""

    def __init__(self, body: bytes = b"") -> None:
        self.happened = 0
        self.written = 0
        self.at_once = 0
        self.most_at_once = 0
        self._body = body

    async def __call__(self, exposition: Exposition, compress: bool) -> Page:  # noqa: FBT001  # a callback
        said = f"{self.happened} {exposition.content_type[:4]} {compress} ".encode()
        self.written += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0.02)
        self.at_once -= 1
        return Page(body=said + self._body, content_type=CONTENT_TYPE)


async def connect(operator: Operator) -> socket.socket:
    """Ask for metrics and read none."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)  # noqa: FBT003  # the signature is socket's
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", int(operator.url.rpartition(":")[2])))
    await loop.sock_sendall(client, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return client


async def is_reset(client: socket.socket) -> bool:
    """Read to the end; say whether it was one."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(WAIT):
        try:
            while await loop.sock_recv(client, 1 << 20):
                pass
        except ConnectionResetError:
            return True
    return False


async def test_scrapers_share_a_page_that_is_written_after_they_asked() -> None:
    writer = Writer()
    async with operate(writer) as operator:

        async def scrape() -> None:
            writer.happened += 1
            happened = writer.happened
            _, body = await operator.ask("/metrics", **{"Accept-Encoding": "identity"})
            assert int(body.split(b" ")[0]) >= happened

        for _ in range(4):
            await asyncio.gather(*(scrape() for _ in range(15)))
    assert writer.most_at_once == 1
    assert writer.written < 4 * 15 / 3


async def test_each_gets_the_format_that_it_asked_for() -> None:
    writer = Writer()
    async with operate(writer) as operator:
        wishes = [
            (accept, coding)
            for accept in ("text/plain", "application/openmetrics-text")
            for coding in ("gzip", "identity")
        ]
        answers = await asyncio.gather(
            *(
                operator.ask("/metrics", Accept=accept, **{"Accept-Encoding": coding})
                for accept, coding in wishes * 3
            )
        )
    assert [body for _, body in answers] == [
        f"0 {accept[:4]} {coding == 'gzip'} ".encode() for accept, coding in wishes * 3
    ]


async def test_large_page_arrives_whole() -> None:
    async with operate(Writer(LARGE)) as operator:
        answer, body = await operator.ask("/metrics")
        assert int(answer.headers["Content-Length"]) == len(body)
        assert body.endswith(LARGE)
        assert len(body) < len(LARGE) + 20


async def test_few_pages_are_held_whoever_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "_HOLD_SECONDS", 0.3)
    writer = Writer(LARGE)
    async with operate(writer) as operator:
        assert operator.server is not None
        held = operator.server._pages._held
        idlers = []
        for number in range(1, 4):
            idlers.append(await connect(operator))
            async with asyncio.timeout(WAIT):
                while writer.written < number or len(held) < number:  # noqa: ASYNC110  # no event tells
                    await asyncio.sleep(0.005)
        # One more is answered, once the oldest had its time.
        _, body = await operator.ask("/metrics", **{"Accept-Encoding": "identity"})
        assert body.endswith(LARGE)
        assert len(held) == 2
        assert await is_reset(idlers[0])
        # The others go on, and are given all of theirs.
        assert not await asyncio.wait_for(reads_whole(idlers[1]), WAIT) < len(LARGE)
        for idler in idlers:
            idler.close()


async def reads_whole(client: socket.socket) -> int:
    """Read what is there until it says nothing for a moment; count it."""
    loop = asyncio.get_running_loop()
    count = 0
    while count < len(LARGE):
        data = await loop.sock_recv(client, 1 << 20)
        assert data
        count += len(data)
    return count


async def test_page_that_nobody_reads_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitors, "_ANSWER_SECONDS", 0.3)
    async with operate(Writer(LARGE)) as operator:
        assert operator.server is not None
        idler = await connect(operator)
        await asyncio.sleep(0.6)
        assert await is_reset(idler)
        assert operator.server._pages._held == []
        idler.close()


async def test_scraper_that_leaves_gives_its_page_back() -> None:
    writer = Writer(LARGE)
    async with operate(writer) as operator:
        assert operator.server is not None
        for _ in range(5):
            (await connect(operator)).close()
        await asyncio.sleep(0.1)
        _, body = await operator.ask("/metrics", **{"Accept-Encoding": "identity"})
        assert body.endswith(LARGE)
        assert operator.server._pages._held == []
        assert operator.server._pages._wanted == {}


async def test_stop_leaves_nobody_who_does_not_read() -> None:
    writer = Writer(LARGE)
    async with operate(writer) as operator:
        assert operator.server is not None
        idler = await connect(operator)
        await asyncio.sleep(0.1)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await operator.server.stop()
        assert loop.time() - begun < 3
        assert await is_reset(idler)
        idler.close()
