"""Real servers that are given what the proxy forwarded, and say which requests they saw.

Knows how they are started and asked; does not know what they ought to see.
"""

import asyncio
import base64
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from tests.differential.mutate import LAST
from tests.differential.read import Reading
from tests.differential.record import Seen, Wire
from tests.support.programs import find_free_port, is_listening, running
from tests.support.raw_client import RawClient

_NODE = Path(__file__).with_name("node.cjs")


class Server:
    """One running server."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._turn = asyncio.Semaphore(8)

    async def read(self, wire: Wire) -> Reading:
        """Return what the server saw of a connection, and its refusal where it gave one."""
        async with self._turn, RawClient.connecting(self._url) as client:
            if wire.whole:
                # What stands behind it must be seen as a request of its own.
                await client.send(wire.data + LAST)
                answers = await client.read_rest()
            else:
                await client.send(wire.data)
                answers, refusal = b"", ""
                seen: list[Seen] = []
                while len(seen) < len(wire.requests) and not refusal:
                    answers += await client.read_until(b"\r\n\r\n")
                    seen, refusal = _read_answers(answers)
                client.half_close()
                answers += await client.read_rest()
        return _read_answers(answers)


def _read_answers(answers: bytes) -> Reading:
    seen: list[Seen] = []
    while answers:
        head, _, answers = answers.partition(b"\r\n\r\n")
        lines = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
        status = head.split(b" ")[1]
        if status == b"100":
            continue
        if b"x-saw" not in lines:
            return seen, f"answered {status.decode()}"
        # The name was matched in lower case; base64 has to be as it came.
        encoded = head[head.lower().index(b"x-saw:") + 6 :].split(b"\r\n")[0]
        method, target, fields, body = json.loads(base64.b64decode(encoded))
        pairs = [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields
        ]
        seen.append(
            Seen(
                method.encode("latin-1"), target.encode("latin-1"), tuple(pairs),
                body.encode("latin-1"),
            )
        )  # fmt: skip
    return seen, ""


def _run_uvicorn(parser: str, port: int) -> list[str]:
    options = ["--lifespan", "off", "--no-access-log", "--log-level", "error"]
    application = "tests.differential.application:application"
    return [
        *(sys.executable, "-m", "uvicorn", application),
        *("--http", parser, "--port", str(port), *options),
    ]


def _run_node(port: int) -> list[str]:
    return ["node", str(_NODE), str(port)]


@contextmanager
def running_servers() -> Iterator[dict[str, Server]]:
    """Start Node's server, and uvicorn on each of its parsers."""
    commands: dict[str, Callable[[int], list[str]]] = {
        "node": _run_node,
        "uvicorn (h11)": partial(_run_uvicorn, "h11"),
        "uvicorn (httptools)": partial(_run_uvicorn, "httptools"),
    }
    with ExitStack() as stack:
        servers = {}
        for name, command in commands.items():
            port = find_free_port()
            program = stack.enter_context(running(command(port)))
            program.wait_until(partial(is_listening, port), "listening")
            servers[name] = Server(port)
        yield servers
