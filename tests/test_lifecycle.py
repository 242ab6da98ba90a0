"""The process from its first moment to its last: signals, order, exit codes."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from mcp_proxy_exporter.app import Service
from mcp_proxy_exporter.config import TimeoutSettings
from tests.support.product import COMMAND, run_product
from tests.support.programs import Program, find_free_port, is_listening
from tests.support.raw_client import RawClient
from tests.support.scripted_upstream import ScriptedUpstream
from tests.test_app import ANSWER, FIELDS, RESULT, build_server, build_settings, call, status

START_SECONDS = 20.0
STOP_SECONDS = 10.0
DELAY = 0.6
LAST_CHUNK = b"0\r\n\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


@contextmanager
def running(*arguments: str) -> Iterator[tuple[Program, str, str]]:
    """Run the product before nothing; give it, where it listens and its admin's origin."""
    with run_product(
        [
            "run",
            "--upstream",
            "http://127.0.0.1:1",
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            *arguments,
        ]
    ) as program:
        listens = program.wait_for_line("mcp: http://", START_SECONDS).split()[1]
        admin = program.wait_for_line("metrics: ", START_SECONDS).split()[1]
        yield program, listens, admin.removesuffix("/metrics")


async def test_order_of_the_end() -> None:
    """Readiness, delay, listeners, calls, streams, admin: each in its time."""
    async with ScriptedUpstream.running() as upstream, aiohttp.ClientSession() as http:
        finish = asyncio.Event()
        upstream.answer(EVENTS, asyncio.Event().wait)
        upstream.answer(finish.wait, ANSWER)
        upstream.answer_always(ANSWER)
        timeouts = TimeoutSettings(shutdown_delay=DELAY, drain=STOP_SECONDS)
        service = Service(build_settings(build_server(upstream.url), timeouts=timeouts))
        await service.start()
        [url] = service.addresses("cats")
        async with RawClient.connecting(url) as listener:
            await listener.send(b"GET /mcp HTTP/1.1\r\nHost: a\r\n\r\n")
            await listener.read_head()
            running_call = asyncio.ensure_future(call(http, url))
            await upstream.wait_for_requests(2)

            told_at = time.monotonic()
            stopping = asyncio.ensure_future(service.stop())
            await asyncio.sleep(0)
            # Not ready at once, and open all the same.
            assert await status(http, f"{service.admin_url}/readyz") == 503
            async with (
                aiohttp.ClientSession() as late,
                late.post(f"{url}/mcp", data=b"{}", headers=FIELDS) as answer,
            ):
                assert await answer.read() == RESULT
                assert answer.headers["Connection"] == "close"
            assert time.monotonic() - told_at < DELAY

            # The stream ends properly once the delay is over, and the call goes on.
            async with asyncio.timeout(STOP_SECONDS):
                assert await listener.read_rest() == LAST_CHUNK
            assert time.monotonic() - told_at >= DELAY
            assert not is_listening(port_of(url))
            assert await status(http, f"{service.admin_url}/livez") == 200
            assert not running_call.done()
            finish.set()
            assert await running_call == RESULT
        async with asyncio.timeout(STOP_SECONDS):
            await stopping
        assert not is_listening(port_of(service.admin_url))


async def test_stream_that_a_call_waits_on_is_not_ended_before_its_answer() -> None:
    """HTTP+SSE (2024-11-05): the answers to POSTs come on the stream of a GET."""
    endpoint = b"event: endpoint\ndata: /messages?s=1\n\n"
    answer = b"event: message\ndata: %b\n\n" % RESULT
    accepted = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
    finish = asyncio.Event()
    async with ScriptedUpstream.running() as upstream, aiohttp.ClientSession() as http:
        upstream.answer(
            EVENTS + b"%x\r\n%b\r\n" % (len(endpoint), endpoint),
            finish.wait,
            b"%x\r\n%b\r\n" % (len(answer), answer),
            asyncio.Event().wait,
        )
        upstream.answer(accepted)
        timeouts = TimeoutSettings(drain=STOP_SECONDS)
        service = Service(build_settings(build_server(upstream.url), timeouts=timeouts))
        await service.start()
        [url] = service.addresses("cats")
        async with RawClient.connecting(url) as listener:
            await listener.send(b"GET /sse HTTP/1.1\r\nHost: a\r\n\r\n")
            await listener.read_until(endpoint + b"\r\n")
            body = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"nap"}}'
            async with http.post(f"{url}/messages?s=1", data=body, headers=FIELDS) as posted:
                assert posted.status == 202
            stopping = asyncio.ensure_future(service.stop())
            await asyncio.sleep(0.2)
            assert not stopping.done()
            finish.set()
            async with asyncio.timeout(STOP_SECONDS / 2):
                rest = await listener.read_rest()
                await stopping
            assert rest.endswith(answer + b"\r\n" + LAST_CHUNK)


RESTARTS = 12


class Balancer:
    """Two instances, of which only those that say that they are ready are called."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self.instances: list[Service] = []
        self.targets: dict[Service, str] = {}
        self.answered = 0
        self.is_over = False

    async def start(self) -> Service:
        """Start an instance; it is called once it was found to be ready."""
        timeouts = TimeoutSettings(shutdown_delay=0.15, drain=STOP_SECONDS)
        service = Service(build_settings(build_server(self._upstream), timeouts=timeouts))
        await service.start()
        return service

    async def look(self) -> None:
        """Learn of readiness by asking, and so late."""
        async with aiohttp.ClientSession() as http:
            while not self.is_over:
                for service in tuple(self.instances):
                    if await status(http, f"{service.admin_url}/readyz") == 200:
                        self.targets[service] = service.addresses("cats")[0]
                    else:
                        self.targets.pop(service, None)
                await asyncio.sleep(0.03)

    async def call(self) -> None:
        """Call whoever is ready, without a pause."""
        async with aiohttp.ClientSession() as http:
            while not self.is_over:
                await asyncio.sleep(0)
                for url in tuple(self.targets.values()):
                    assert await call(http, url) == RESULT
                    self.answered += 1


async def test_restarts_behind_a_balancer_lose_no_call() -> None:
    """D5: one of two instances is always being replaced, and clients never stop."""
    async with ScriptedUpstream.running() as upstream:
        upstream.answer_always(ANSWER)
        balancer = Balancer(upstream.url)
        balancer.instances = [await balancer.start(), await balancer.start()]
        workers = [
            asyncio.ensure_future(work()) for work in (balancer.look, balancer.call, balancer.call)
        ]
        for number in range(RESTARTS):
            stopping = asyncio.ensure_future(balancer.instances[number % 2].stop())
            await asyncio.sleep(0.1)  # the balancer has looked by now
            balancer.instances[number % 2] = await balancer.start()
            await stopping
        balancer.is_over = True
        async with asyncio.timeout(STOP_SECONDS):
            await asyncio.gather(*workers)
            for service in balancer.instances:
                await service.stop()
        assert balancer.answered > RESTARTS * 10


def test_first_signal_is_exit_0_and_the_second_is_at_once() -> None:
    with (
        running() as (program, listens, _),
        socket.create_connection(("127.0.0.1", port_of(listens))),
    ):
        program._process.send_signal(signal.SIGTERM)
        assert program.wait_for_exit(STOP_SECONDS) == 0
    for second in (signal.SIGTERM, signal.SIGINT):
        environment = {
            **os.environ,
            "MCP_PROXY_EXPORTER__TIMEOUTS__SHUTDOWN_DELAY": str(START_SECONDS),
        }
        program = Program(
            [
                *COMMAND,
                "run",
                *("--upstream", "http://127.0.0.1:1"),
                *("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"),
            ],
            environment,
        )
        try:
            program.wait_for_line("metrics: ", START_SECONDS)
            program._process.send_signal(signal.SIGTERM)
            with pytest.raises(subprocess.TimeoutExpired):
                program.wait_for_exit(0.3)
            begun = time.monotonic()
            program._process.send_signal(second)
            assert program.wait_for_exit(STOP_SECONDS) == 128 + second
            assert time.monotonic() - begun < 2
        finally:
            program.stop()


EARLY = """
import os, signal, sys
from mcp_proxy_exporter import cli
import mcp_proxy_exporter.commands.run as run

def load(*_):
    os.kill(os.getpid(), signal.SIGHUP)
    print("loading", flush=True)
    os.kill(os.getpid(), signal.{name})
    while True:
        pass

run.load_settings = load
sys.exit(cli.main(["run", "--upstream", "http://127.0.0.1:1"]))
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_signal_during_the_start_ends_the_process_quietly(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", EARLY.format(name=name)],
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "loading\n", "")


UNSHARE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]


def test_first_process_of_a_container_obeys_signals(tmp_path: Path) -> None:
    """With process id 1 the kernel drops every signal that no handler waits for."""
    if subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no process namespaces here")
    told = tmp_path / "told"
    script = (
        "import os, sys; sys.argv[0] = 'x'; "
        f"open({str(told)!r}, 'w').write(str(os.getpid())); "
        "from mcp_proxy_exporter.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    program = Program(
        [
            *UNSHARE,
            sys.executable,
            "-c",
            script,
            "run",
            *("--upstream", "http://127.0.0.1:1"),
            *("--listen", "127.0.0.1:0", "--admin", f"127.0.0.1:{find_free_port()}"),
        ]
    )
    try:
        program.wait_for_line("metrics: ", START_SECONDS)
        assert told.read_text() == "1"
        [child] = _children(program._process.pid)
        os.kill(child, signal.SIGHUP)
        program.wait_for_line("the configuration was reloaded", STOP_SECONDS)
        os.kill(child, signal.SIGTERM)
        assert program.wait_for_exit(STOP_SECONDS) == 0
    finally:
        program.stop()


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]
