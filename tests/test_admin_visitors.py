"""Connections of the admin listener: how many there may be, and how long each may take."""

import asyncio
import socket
import ssl
from contextlib import suppress

import pytest
import trustme

from mcp_proxy_exporter.admin import Page, visitors
from mcp_proxy_exporter.observe.exposition import Exposition
from tests.support.certificates import trusting
from tests.test_admin import CONTENT_TYPE, Operator, operate

WAIT = 10.0
REQUEST = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(operator: Operator, tls: ssl.SSLContext | None = None) -> Stream:
    port = int(operator.url.rpartition(":")[2])
    return await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port, ssl=tls), WAIT)


async def ask(stream: Stream, request: bytes = REQUEST) -> bytes:
    """Send a request, and read the status line, the fields and the one word of the answer."""
    reader, writer = stream
    writer.write(request)
    async with asyncio.timeout(WAIT):
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readuntil(b"\n")
    return head


async def is_ended(stream: Stream) -> bool:
    """Read up to the end of the connection."""
    async with asyncio.timeout(WAIT):
        try:
            return await stream[0].read() == b""
        except ConnectionResetError:
            return True


async def leave(*streams: Stream) -> None:
    for _, writer in streams:
        writer.transport.abort()
    await asyncio.sleep(0)


async def test_silent_visitors_do_not_keep_out_a_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitors, "MAX_VISITORS", 8)
    async with operate() as operator:
        assert operator.server is not None
        crowd = operator.server._visitors
        silent = []
        for number in range(1, 9):
            silent.append(await connect(operator))
            async with asyncio.timeout(WAIT):
                while len(crowd.members) < number:  # noqa: ASYNC110  # no event tells
                    await asyncio.sleep(0.002)
        for _ in range(3):
            probe = await connect(operator)
            assert (await ask(probe)).startswith(b"HTTP/1.1 200 ")
            await leave(probe)
        # Those that were silent for longest had to go; the others are still there.
        assert await is_ended(silent[0])
        assert (await ask(silent[-1])).startswith(b"HTTP/1.1 200 ")
        assert len(crowd.members) <= 8
        await leave(*silent)


async def test_visitors_that_are_answered_are_not_sent_away_for_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(visitors, "MAX_VISITORS", 2)
    gate, asked = asyncio.Event(), asyncio.Semaphore(0)

    async def render(_exposition: Exposition, _compress: bool) -> Page:  # noqa: FBT001  # a callback
        asked.release()
        await gate.wait()
        return Page(body=b"x\n", content_type=CONTENT_TYPE)

    async with operate(render) as operator:
        assert operator.server is not None
        crowd = operator.server._visitors
        scrape = REQUEST.replace(b"/livez", b"/metrics")
        busy = [await connect(operator) for _ in range(2)]
        asking = [asyncio.ensure_future(ask(stream, scrape)) for stream in busy]
        async with asyncio.timeout(WAIT):
            while sum(one.is_answered for one in crowd.members.values()) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.002)
        with pytest.raises(ConnectionResetError):
            await ask(await connect(operator))
        gate.set()
        for answer in asking:
            assert (await answer).startswith(b"HTTP/1.1 200 ")
        await leave(*busy)


@pytest.mark.parametrize(
    ("step", "sent"),
    [
        ("_HEAD_SECONDS", b""),
        ("_HEAD_SECONDS", b"GET / HT"),
        ("_HEAD_SECONDS", REQUEST + b"GET /livez HTTP/1.1\r\nHost: loc"),
        ("_IDLE_SECONDS", REQUEST),
    ],
)
async def test_each_step_of_a_visit_has_its_time(
    monkeypatch: pytest.MonkeyPatch, step: str, sent: bytes
) -> None:
    monkeypatch.setattr(visitors, step, 0.2)
    async with operate() as operator:
        stream = await connect(operator)
        if sent.startswith(REQUEST):
            assert (await ask(stream)).startswith(b"HTTP/1.1 200 ")
            sent = sent.removeprefix(REQUEST)
        stream[1].write(sent)
        await asyncio.sleep(0.05)
        assert not stream[0].at_eof()
        assert await is_ended(stream)
        await leave(stream)


async def test_requests_one_after_the_other_have_each_their_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(visitors, "_HEAD_SECONDS", 0.4)
    async with operate() as operator:
        stream = await connect(operator)
        for _ in range(4):
            stream[1].write(REQUEST[:20])
            await asyncio.sleep(0.15)
            assert (await ask(stream, REQUEST[20:])).startswith(b"HTTP/1.1 200 ")
        await leave(stream)


async def test_handshakes_that_do_not_end_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitors, "MAX_VISITORS", 3)
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with operate(tls=context) as operator:
        assert operator.server is not None
        assert operator.server._arrivals is not None
        silent = [await connect(operator) for _ in range(5)]
        assert await is_ended(silent[0])
        assert len(operator.server._arrivals) <= 3
        probe = await connect(operator, trusting(authority))
        assert (await ask(probe)).startswith(b"HTTP/1.1 200 ")
        await leave(*silent, probe)


async def test_crowd_of_connections_leaves_nothing() -> None:
    async with operate() as operator:
        assert operator.server is not None
        crowd = operator.server._visitors
        port = int(operator.url.rpartition(":")[2])
        loop = asyncio.get_running_loop()
        many = [socket.socket() for _ in range(300)]
        for one in many:
            one.setblocking(False)  # noqa: FBT003  # the signature is socket's
            with suppress(ConnectionResetError):
                await asyncio.wait_for(loop.sock_connect(one, ("127.0.0.1", port)), WAIT)
            assert len(crowd.members) <= visitors.MAX_VISITORS + 2  # those that end are two at most
        probe = await connect(operator)
        assert (await ask(probe)).startswith(b"HTTP/1.1 200 ")
        await leave(probe)
        for one in many:
            one.close()
        async with asyncio.timeout(WAIT):
            while crowd.members:  # noqa: ASYNC110  # no event tells
                await asyncio.sleep(0.002)
