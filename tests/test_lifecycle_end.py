"""The end of the process waits for nothing that has no end of its own."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from mcp_proxy_exporter import app
from mcp_proxy_exporter.app import serve
from mcp_proxy_exporter.config import TimeoutSettings
from mcp_proxy_exporter.proxy.server import ProxyServer
from tests.support.programs import Program, running
from tests.support.scrape import Scrape, fetch
from tests.test_app import build_server, build_settings, eventually
from tests.test_lifecycle import START_SECONDS, port_of

CLIENTS = 20
HANG_SECONDS = 60
"""What a resolver or a disk takes here. Nobody waits for it."""
END_SECONDS = 15.0
"""Far below that, and far above what the end takes."""

NO_RESOLVER = f"""
import socket, sys, time
ask = socket.getaddrinfo
def look_up(host, *arguments, **options):
    if host == "name.test" and not options.get("flags"):
        print("looking up", flush=True)
        time.sleep({HANG_SECONDS})
    return ask(host, *arguments, **options)
socket.getaddrinfo = look_up
{{loop}}
from mcp_proxy_exporter.cli import main
sys.exit(main(sys.argv[1:]))
"""
NO_UVLOOP = "sys.modules['uvloop'] = None"

BUSY_THREAD = f"""
import asyncio, sys, time
from mcp_proxy_exporter import app

async def main():
    asyncio.get_running_loop().run_in_executor(None, time.sleep, {HANG_SECONDS})
    await asyncio.sleep(0.1)
    print("over")
    return 0

sys.exit(app.run(main(), log_level="info"))
"""


def count_active(admin: str) -> float | None:
    scrape = Scrape.from_text(fetch(admin.removesuffix("/metrics"), "/metrics").body)
    return scrape.value("mcp_http_connections", server="mcp", side="client", state="active")


@contextmanager
def end_within(seconds: float) -> Iterator[None]:
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < seconds


@pytest.mark.parametrize("loop", ["", NO_UVLOOP], ids=["found", "asyncio"])
def test_resolver_that_hangs_does_not_delay_the_end(loop: str) -> None:
    command = [sys.executable, "-c", NO_RESOLVER.format(loop=loop), "run"]
    command += ["--upstream", "http://name.test:1", "--admin", "127.0.0.1:0"]
    command += ["--listen", "127.0.0.1:0"]
    environment = {**os.environ, "MCP_PROXY_EXPORTER__TIMEOUTS__DRAIN": "0.5"}
    with running(command, environment) as program, ExitStack() as open_clients:
        listens = program.wait_for_line("mcp: http://", START_SECONDS).split()[1]
        admin = program.wait_for_line("metrics: ", START_SECONDS).split()[1]
        clients = [
            open_clients.enter_context(socket.create_connection(("127.0.0.1", port_of(listens))))
            for _ in range(CLIENTS)
        ]
        for client in clients:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        # Nor does a scrape wait for it.
        program.wait_until(lambda: count_active(admin) == CLIENTS, "asked by all clients")
        program.wait_for_line("looking up", START_SECONDS)
        with end_within(END_SECONDS):
            program._process.send_signal(signal.SIGTERM)
            assert program.wait_for_exit(END_SECONDS) == 0
        for client in clients:
            assert client.recv(1000).startswith(b"HTTP/1.1 503 ")
        assert program.output.count("looking up") == 1
        assert "Traceback" not in program.output


def test_thread_that_hangs_does_not_delay_the_end() -> None:
    program = Program([sys.executable, "-c", BUSY_THREAD])
    try:
        program.wait_for_line("over", START_SECONDS)
        assert program.wait_for_exit(END_SECONDS) == 0
        assert program.output == "over"
    finally:
        program.stop()


async def test_stop_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = ProxyServer.stop
    gate = asyncio.Event()

    async def stop_late(proxy: ProxyServer, grace: float) -> None:
        await gate.wait()
        await stop(proxy, grace)

    monkeypatch.setattr(ProxyServer, "stop", stop_late)
    monkeypatch.setattr(app, "_STOP_SECONDS", 0.1)
    lines: list[str] = []
    others = asyncio.all_tasks()
    timeouts = TimeoutSettings(shutdown_delay=0.1, drain=0.1)
    serving = asyncio.ensure_future(
        serve(build_settings(build_server(), timeouts=timeouts), lines.append)
    )
    await eventually(lambda: len(lines) == 2)
    begun = asyncio.get_running_loop().time()
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(END_SECONDS):
        assert await serving == 0
    assert asyncio.get_running_loop().time() - begun >= 0.29
    # What is left running ends with the process; here it has to be let go.
    gate.set()
    async with asyncio.timeout(END_SECONDS):
        await asyncio.gather(*asyncio.all_tasks() - others)
