"""A process with few open files: idle clients of one server take them from nobody else."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.support.product import COMMAND
from tests.support.programs import Program, running
from tests.support.raw_client import RawClient
from tests.support.scripted_upstream import ScriptedUpstream
from tests.test_app import ANSWER

START_SECONDS = 30.0
WAIT = 10.0
GRANTED = 400
CLIENTS = 450

CONFIGURATION = """
[[servers]]
name = "crowded"
listen = "127.0.0.1:0"
upstream = "{upstream}"
[[servers]]
name = "other"
listen = "127.0.0.1:0"
upstream = "{upstream}"
[admin]
listen = "127.0.0.1:0"
"""


async def find_line(program: Program, text: str) -> str:
    return await asyncio.to_thread(program.wait_for_line, text, START_SECONDS)


@asynccontextmanager
async def crowding(url: str) -> AsyncIterator[list[socket.socket]]:
    """Connect far more clients than there are descriptors, which then say nothing."""
    loop = asyncio.get_running_loop()
    port = int(url.rpartition(":")[2])
    clients = [socket.socket() for _ in range(CLIENTS)]
    for client in clients:
        client.setblocking(False)  # noqa: FBT003  # the signature is socket's
        with suppress(ConnectionResetError):
            await asyncio.wait_for(loop.sock_connect(client, ("127.0.0.1", port)), WAIT)
    yield clients
    for client in clients:
        client.close()


async def ask(url: str, path: str) -> int:
    async with asyncio.timeout(WAIT), RawClient.connecting(url) as client:
        await client.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return (await client.read_response()).status


async def test_idle_clients_leave_descriptors_for_everybody_else(tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    async with ScriptedUpstream.running() as upstream:
        upstream.answer_always(ANSWER)
        file.write_text(CONFIGURATION.format(upstream=upstream.url))
        limited = ["sh", "-c", f'ulimit -n {GRANTED}; exec "$@"', "sh"]
        with running([*limited, *COMMAND, "run", "--config", str(file)]) as program:
            crowded = (await find_line(program, "crowded: http")).split()[1]
            other = (await find_line(program, "other: http")).split()[1]
            admin = (await find_line(program, "metrics: http")).split()[1].removesuffix("/metrics")
            for name in ("crowded", "other"):
                told = await find_line(program, f"server {name}: limits.connections is")
                assert "not 4096" in told
            async with crowding(crowded):
                for _ in range(3):
                    assert await ask(admin, "/livez") == 200
                    assert await ask(admin, "/metrics") == 200
                    assert await ask(other, "/mcp") == 200
            async with asyncio.timeout(WAIT):
                while await ask(crowded, "/mcp") != 200:  # noqa: ASYNC110  # it has yet to see them leave
                    await asyncio.sleep(0.05)
        assert program.exit_code == 0
