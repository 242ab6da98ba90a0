"""What one peer sends is worked off in turns: between any two the others are served.

Counted in chunks and requests for each turn of the event loop, not in seconds.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trustme

from mcp_proxy_exporter.protocol.events import HttpExchangeClosed, UpstreamFailed
from mcp_proxy_exporter.protocol.outcome import Abort
from mcp_proxy_exporter.proxy import turns
from mcp_proxy_exporter.proxy.chunks import ChunkedReader
from mcp_proxy_exporter.proxy.downstream import ClientConnection
from mcp_proxy_exporter.proxy.turns import TurnTaker
from mcp_proxy_exporter.proxy.upstream import UpstreamConnection
from mcp_proxy_exporter.proxy.wire import RequestReader
from tests.support.messages import CHUNKED, GET, LAST_CHUNK, OK, post, post_chunked
from tests.support.proxies import ProxyFactory, RunningProxy
from tests.support.raw_client import RawClient
from tests.support.scripted_upstream import CLOSE, RESET, End, ScriptedUpstream, UpstreamSide
from tests.support.waiting import until

TINY = b"1\r\na\r\n"
SHARE = 256  # chunks
TURN = 2 * SHARE  # one share when the bytes come, and one of what is left, may meet in one turn
MANY = 50_000  # 300 KB: more than an event loop reads at a time
INTERIM = b"HTTP/1.1 102 Processing\r\n\r\n"
FOREIGN = b"GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n"


def only_client(running: RunningProxy) -> ClientConnection:
    (client,) = running.server._context.clients
    return client


def only_upstream(running: RunningProxy) -> UpstreamConnection:
    (connection,) = running.server._context.pool._open
    return connection


@asynccontextmanager
async def watching(figure: Callable[[], int]) -> AsyncIterator[list[int]]:
    """Note by how much a figure grows in each turn of the event loop."""
    growth: list[int] = []
    last = figure()

    def note() -> None:
        nonlocal last
        now = figure()
        growth.append(now - last)
        last = now

    async def look() -> None:
        while True:
            await asyncio.sleep(0)
            note()

    task = asyncio.create_task(look())
    try:
        yield growth
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        note()


def request_size(running: RunningProxy) -> int:
    return len(running.exchanges[0].request_body) if running.exchanges else 0


def response_size(running: RunningProxy) -> int:
    return len(running.exchanges[0].response_body) if running.exchanges else 0


# Tiny chunks


@pytest.mark.parametrize("wire", [TINY, b"1;x\r\na\r\n", b"01\r\na\r\n"])
def test_no_more_chunks_are_read_at_a_time_than_are_one_turns_share(wire: bytes) -> None:
    reader = ChunkedReader()
    payload, rest = reader.feed(wire * MANY)
    assert 0 < len(payload) <= SHARE
    assert not reader.done
    assert len(rest) >= (MANY - SHARE) * len(wire)
    assert (wire * MANY).endswith(rest)


def test_trailer_lines_are_read_in_turns_too() -> None:
    reader = ChunkedReader()
    _, rest = reader.feed(b"0\r\n" + b"A: b\r\n" * 2000 + b"\r\n")
    assert len(rest) > 6 * (2000 - SHARE)
    turns = 1
    while not reader.done:
        _, rest = reader.feed(rest)
        turns += 1
    assert turns >= 2000 / SHARE
    assert reader.trailers == b"A: b\r\n" * 2000


async def test_a_request_in_tiny_chunks_is_read_in_turns(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer_always(OK)
    async with (
        RawClient.connecting(running.url) as client,
        watching(lambda: request_size(running)) as growth,
    ):
        await client.send(post_chunked() + TINY * MANY + LAST_CHUNK + GET)
        assert (await client.read_response()).body == b"ok"
        assert (await client.read_response()).body == b"ok"
    assert upstream.requests[0].body == b"a" * MANY
    assert sum(growth) == MANY
    assert max(growth) <= TURN
    assert len(upstream.requests) == 2


async def test_a_pipelined_request_in_tiny_chunks_is_read_in_turns(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    gate = asyncio.Event()
    upstream.answer(gate.wait, OK)
    upstream.answer_always(OK)
    count = 20_000
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)
        await upstream.wait_for_requests(1)
        sending = asyncio.create_task(
            client.send(post_chunked() + TINY * count + LAST_CHUNK + post(b"x" * 100_000))
        )
        await until(lambda: only_client(running)._reader.pending > 6 * SHARE)

        def size() -> int:
            return len(running.exchanges[1].request_body) if len(running.exchanges) > 1 else 0

        async with watching(size) as growth:
            gate.set()
            for _ in range(3):
                assert (await client.read_response()).body == b"ok"
        await sending
    assert [len(request.body) for request in upstream.requests] == [0, count, 100_000]
    assert max(growth) <= TURN


async def test_a_response_in_tiny_chunks_is_read_in_turns(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(CHUNKED + TINY * MANY + LAST_CHUNK)
    upstream.answer(OK)
    async with (
        RawClient.connecting(running.url) as client,
        watching(lambda: response_size(running)) as growth,
    ):
        await client.send(GET)
        assert (await client.read_response()).body == b"a" * MANY
        assert max(growth) <= TURN
        assert sum(growth) == MANY
        # Both connections are as good as new.
        await client.send(GET)
        assert (await client.read_response()).body == b"ok"
    assert len(upstream.connections) == 1


@pytest.mark.parametrize("end", [CLOSE, RESET])
async def test_what_was_read_arrives_although_its_sender_left_before_its_turn(
    proxy: ProxyFactory, upstream: ScriptedUpstream, end: End
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(CHUNKED + TINY * 5000 + LAST_CHUNK, asyncio.Event().wait)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)
        await until(lambda: running.server._context.pool._open)
        connection = only_upstream(running)
        while not connection._yielding:  # noqa: ASYNC110  # until, to the turn
            await asyncio.sleep(0)
        if end is CLOSE:  # as over TLS, where it may come while nobody reads
            connection.eof_received()
        connection._transport.abort()
        assert (await client.read_response()).body == b"a" * 5000
    assert running.seen(UpstreamFailed) == []
    assert running.exchanges[0].abort is None


async def test_a_response_that_breaks_off_before_its_turn_is_cut_where_it_broke_off(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(CHUNKED + TINY * 5000, asyncio.Event().wait)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)
        await until(lambda: running.server._context.pool._open)
        connection = only_upstream(running)
        while not connection._yielding:  # noqa: ASYNC110  # until, to the turn
            await asyncio.sleep(0)
        connection._transport.abort()
        received = await client.read_rest()
    assert LAST_CHUNK not in received
    assert running.exchanges[0].response_body == b"a" * 5000
    assert running.exchanges[0].abort is Abort.UPSTREAM_CLOSED
    assert [event.reason for event in running.seen(UpstreamFailed)] == ["truncated"]


async def test_a_fault_in_a_later_turn_is_refused_as_in_the_first(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    async with RawClient.connecting(running.url) as client:
        await client.send(post_chunked() + TINY * 2000 + b"z\r\n")
        assert (await client.read_response()).status == 400
        await client.read_eof()
    assert running.exchanges[0].request_body == b"a" * 2000
    assert running.exchanges[0].abort is Abort.REJECTED
    upstream.answer(CHUNKED + TINY * 2000 + b"z\r\n")
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)
        assert LAST_CHUNK not in await client.read_rest()
    assert running.exchanges[1].response_body == b"a" * 2000
    assert running.exchanges[1].abort is Abort.UPSTREAM_CLOSED


async def test_back_pressure_stops_the_turns_and_a_client_is_still_seen_to_leave(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    async with RawClient.connecting(running.url) as client:
        await client.send(post_chunked() + TINY * 20_000)
        await until(lambda: running.server._context.clients)
        connection = only_client(running)
        while not connection._yielding:  # noqa: ASYNC110  # until, to the turn
            await asyncio.sleep(0)
        await until(lambda: upstream.heads)
        connection.pause_reading()
        await asyncio.sleep(0)
        before = request_size(running)
        async with watching(lambda: request_size(running)) as growth:
            for _ in range(20):
                await asyncio.sleep(0)
        assert sum(growth) == 0
        assert 0 < before < 20_000
        connection.resume_reading()
        await until(lambda: request_size(running) > before)
        connection.pause_reading()
    await upstream.connections[0].wait_ended()
    await running.wait_for(HttpExchangeClosed)
    assert running.exchanges[0].abort is Abort.CLIENT_GONE


async def test_tiny_chunks_over_tls_arrive_whole_before_the_end_that_came_with_them(
    proxy: ProxyFactory, tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    upstream = ScriptedUpstream()
    server = await asyncio.get_running_loop().create_server(
        upstream._build, "127.0.0.1", 0, ssl=context
    )
    port = server.sockets[0].getsockname()[1]
    upstream.answer(CHUNKED + TINY * MANY + LAST_CHUNK, CLOSE)
    running = await proxy(f"https://127.0.0.1:{port}", tls={"ca_file": str(tmp_path / "ca.pem")})
    host = running.url.removeprefix("http://").encode()
    async with RawClient.connecting(running.url) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
        assert (await client.read_response()).body == b"a" * MANY
    server.close()
    await upstream.stop()
    assert running.seen(UpstreamFailed) == []


# Requests that the proxy answers by itself


async def test_pipelined_requests_that_are_refused_are_answered_in_turns(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url, host_header="upstream")
    count = 2000
    async with (
        RawClient.connecting(running.url) as client,
        watching(lambda: len(running.seen(HttpExchangeClosed))) as growth,
    ):
        await client.send(FOREIGN * count)
        for _ in range(count):
            assert (await client.read_response()).status == 421
    assert sum(growth) == count
    assert max(growth) <= 2 * 16 + 1


def test_pipelined_requests_are_worked_off_without_copies_of_the_others() -> None:
    class Nobody:
        def take_request(self, head: object) -> None: ...
        def take_body(self, data: bytes) -> None: ...
        def take_end(self, trailers: bytes) -> None: ...

    reader = RequestReader(Nobody(), 1024, 16)
    reader.feed(FOREIGN * 5000)
    waiting = reader._buffer
    for left in range(4998, -1, -1):
        assert reader.resume()
        assert reader._buffer is waiting
        assert reader.pending == left * len(FOREIGN)
    assert not reader.resume()


# Interim answers, and empty lines


async def test_interim_answers_have_an_end(proxy: ProxyFactory, upstream: ScriptedUpstream) -> None:
    running = await proxy(upstream.url)
    # A hundred pass, for each of two answers.
    upstream.answer(INTERIM * 100 + OK)
    upstream.answer(INTERIM * 100 + OK)
    upstream.answer(INTERIM * 101 + OK)
    async with RawClient.connecting(running.url) as client:
        for _ in range(2):
            await client.send(GET)
            received = await client.read_until(b"ok")
            assert received.count(b"HTTP/1.1 102") == 100
        await client.send(GET)
        assert (await client.read_response()).status == 502
    assert [event.reason for event in running.seen(UpstreamFailed)] == ["bad_response"]
    assert len(upstream.connections) == 1


async def test_interim_answers_without_end_are_cut(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)

    async def flood(side: UpstreamSide) -> None:
        while True:
            await side.write(INTERIM * 1000)

    upstream.answer(flood)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)
        assert (await client.read_response()).status == 502
    await upstream.connections[0].wait_ended()


@pytest.mark.parametrize("apart", [False, True])
async def test_a_few_empty_lines_before_a_request_are_ignored_and_more_are_refused(
    proxy: ProxyFactory, upstream: ScriptedUpstream, *, apart: bool
) -> None:
    running = await proxy(upstream.url)
    upstream.answer_always(OK)
    async with RawClient.connecting(running.url) as client:
        for _ in range(3):  # they are counted for each request anew
            for line in [b"\r\n"] * 4 if apart else [b"\r\n" * 4]:
                await client.send(line)
                await asyncio.sleep(0.001)
            await client.send(GET)
            assert (await client.read_response()).body == b"ok"
        await client.send(b"\r\n" * 5 + GET)
        assert (await client.read_response()).status == 400
        await client.read_eof()
    assert len(upstream.requests) == 3


async def test_empty_lines_do_not_make_a_client_less_idle(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer_always(OK)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)
        await client.read_response()
        connection = only_client(running)
        since = connection._since

        def has_ignored(count: int) -> bool:
            return connection._reader.empty_lines == count

        for count in range(1, 5):
            await client.send(b"\r\n")
            await until(partial(has_ignored, count))
            assert connection._since == since
        await client.send(GET)
        await client.read_response()
        assert connection._since > since


# The two reasons not to read

interpreted = pytest.mark.skipif(
    not str(turns.__file__).endswith(".py"), reason="a compiled class has no interpreted subclass"
)


class Transport(asyncio.Transport):
    """Notes whether it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = True
        self.closing = False

    def pause_reading(self) -> None:
        assert not self.closing
        self.reads = False

    def resume_reading(self) -> None:
        assert not self.closing
        self.reads = True

    def is_closing(self) -> bool:
        return self.closing


class Worker(TurnTaker):
    """Has so many turns' work left."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.transport = Transport()
        self._transport = self.transport
        self.left = left

    def _is_behind(self) -> bool:
        return self.left > 0

    def _work(self) -> None:
        assert self.transport.closing or not self.transport.reads
        self.left -= 1

    def leave_work(self) -> None:
        self._yield()
        self._yield()  # once is enough


async def turn() -> None:
    await asyncio.sleep(0)


@interpreted
async def test_a_socket_is_read_again_when_the_work_is_done() -> None:
    worker = Worker(3)
    worker.leave_work()
    for left in (2, 1, 0):
        assert not worker.transport.reads
        await turn()
        assert worker.left == left
    assert worker.transport.reads


@interpreted
async def test_back_pressure_outlasts_the_turns() -> None:
    worker = Worker(2)
    worker.leave_work()
    worker.pause_reading()
    for _ in range(5):
        await turn()
    assert (worker.left, worker.transport.reads) == (2, False)
    worker.resume_reading()
    assert not worker.transport.reads
    for _ in range(5):
        await turn()
    assert (worker.left, worker.transport.reads) == (0, True)


@interpreted
async def test_the_end_of_back_pressure_does_not_cut_the_turns_short() -> None:
    worker = Worker(2)
    worker.leave_work()
    worker.pause_reading()
    worker.resume_reading()
    assert not worker.transport.reads
    await turn()
    assert (worker.left, worker.transport.reads) == (1, False)
    await turn()
    assert (worker.left, worker.transport.reads) == (0, True)


@interpreted
async def test_a_closed_socket_is_left_alone() -> None:
    worker = Worker(2)
    worker.transport.closing = True
    worker.leave_work()
    for _ in range(5):
        await turn()
    assert worker.left == 0


@interpreted
async def test_many_that_left_work_take_turns_and_one_that_fails_stops_nobody() -> None:
    class Failing(Worker):
        def _work(self) -> None:
            raise RuntimeError("broken")

    told: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context.get("exception")))
    workers = [Worker(3), Failing(1), Worker(3), Worker(1)]
    for worker in workers:
        worker.leave_work()
    for _ in range(12):
        await turn()
    assert [worker.left for worker in workers] == [0, 1, 0, 0]
    assert [type(error) for error in told] == [RuntimeError]
