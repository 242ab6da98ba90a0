"""The end of a real process that was told to stop, as those around it see it, by the clock."""

import asyncio
import signal
import time
from pathlib import Path

import pytest

from tests.support.messages import EVENTS, chunk
from tests.support.product import COMMAND
from tests.support.programs import Program, find_free_port, is_listening
from tests.support.raw_client import RawClient
from tests.support.scrape import fetch
from tests.support.scripted_upstream import ScriptedUpstream

DELAY, DRAIN, MARGIN = 3.0, 4.0, 2.0
"""The settings' seconds, and those that the process may take besides (docs/server-behavior.md)."""
BUSY = 5.0
"""Seconds that a busy machine may take on top."""
START_SECONDS = 30.0
RESULT = b'{"jsonrpc":"2.0","id":1,"result":{"content":[]}}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(RESULT),
    RESULT,
)
HINT = chunk(b": hi\n\n")
CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"nap"}}'
POST = (
    b"POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    b"Accept: application/json, text/event-stream\r\nContent-Length: %d\r\n\r\n%b"
) % (len(CALL), CALL)
GET = b"GET /mcp HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"

CONFIGURATION = """
[[servers]]
name = "cats"
listen = "127.0.0.1:{port}"
upstream = "{upstream}"
[admin]
listen = "127.0.0.1:{admin}"
[timeouts]
shutdown_delay = {delay}
drain = {drain}
"""


@pytest.mark.slow
async def test_each_is_let_go_in_its_turn(tmp_path: Path) -> None:
    async with ScriptedUpstream.running() as upstream:
        port, admin = find_free_port(), find_free_port()
        file = tmp_path / "proxy.toml"
        file.write_text(
            CONFIGURATION.format(
                port=port, admin=admin, upstream=upstream.url, delay=DELAY, drain=DRAIN
            )
        )
        program = await asyncio.to_thread(Program, [*COMMAND, "run", "--config", str(file)])
        try:
            await asyncio.to_thread(program.wait_for_line, "metrics: ", START_SECONDS)
            await see_it_end(program, upstream, port, f"http://127.0.0.1:{admin}")
        finally:
            await asyncio.to_thread(program.stop)
        assert "Traceback" not in program.output


async def see_it_end(program: Program, upstream: ScriptedUpstream, port: int, admin: str) -> None:
    url, finish = f"http://127.0.0.1:{port}", asyncio.Event()
    upstream.answer(EVENTS + HINT, asyncio.Event().wait)  # a stream that nobody waits on
    upstream.answer(EVENTS + HINT, asyncio.Event().wait)  # a call whose answer never comes
    upstream.answer(finish.wait, ANSWER)  # a call that takes its time
    upstream.answer_always(ANSWER)
    listener, waiting, slow = [await RawClient.connect(url) for _ in range(3)]
    for number, (client, request) in enumerate(
        [(listener, GET), (waiting, POST), (slow, POST)], start=1
    ):
        await client.send(request)
        await upstream.wait_for_requests(number)
    for client in (listener, waiting):
        await client.read_until(HINT)

    told = time.monotonic()
    program._process.send_signal(signal.SIGTERM)
    while (await asyncio.to_thread(fetch, admin, "/readyz")).status == 200:
        assert time.monotonic() - told < DELAY
    # Still open, and new clients are served and sent away.
    async with RawClient.connecting(url) as late:
        await late.send(POST)
        answer = await late.read_response()
        assert answer.body == RESULT
        assert answer.head.values(b"connection") == [b"close"]
        await late.read_eof()
    # The stream on which no answer is awaited ends properly once the delay is over.
    assert await listener.read_rest() == LAST_CHUNK
    assert time.monotonic() - told >= DELAY
    assert not is_listening(port)
    assert (await asyncio.to_thread(fetch, admin, "/livez")).status == 200
    # The call that takes its time ends whole, and its connection with it.
    finish.set()
    assert (await slow.read_response()).body == RESULT
    await slow.read_eof()
    assert program.exit_code is None
    # The call without an answer is cut at the end of the drain, visibly.
    try:
        rest = await waiting.read_rest()
    except ConnectionResetError:
        rest = b""
    assert LAST_CHUNK not in rest
    assert time.monotonic() - told >= DELAY + DRAIN
    assert await asyncio.to_thread(program.wait_for_exit, MARGIN + BUSY) == 0
    assert time.monotonic() - told < DELAY + DRAIN + MARGIN + BUSY
    assert not is_listening(int(admin.rpartition(":")[2]))
    for client in (listener, waiting, slow):
        await client.close()
