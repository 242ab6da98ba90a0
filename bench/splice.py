"""A forwarder that copies bytes and understands nothing: the floor of any proxy in Python.

Usage: splice.py PORT UPSTREAM_PORT. What the proxy costs beyond this is HTTP, inspection and
metrics; what this costs beyond nginx is the event loop. One connection in is one connection out,
and nothing limits what waits for a slow reader: it is a yardstick, not a proxy.
"""

import asyncio
import sys
from collections.abc import Callable
from typing import cast


class Side(asyncio.Protocol):
    """One end of a pair: what comes in here goes out at the other."""

    def __init__(self, other: "Side | None" = None) -> None:
        self.other = other
        self.transport: asyncio.Transport | None = None
        self.waiting: list[bytes] = []
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send what came in at the other end meanwhile."""
        self.transport = cast("asyncio.Transport", transport)
        if self.other is not None:
            self.transport.writelines(self.other.waiting)
            if self.other.closed:
                self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Pass it on."""
        if self.other is None or self.other.transport is None:
            self.waiting.append(data)
        else:
            self.other.transport.write(data)

    def connection_lost(self, _exc: Exception | None) -> None:
        """Close the other end too."""
        self.closed = True
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


class Entrance(Side):
    """The end of the client; dials the upstream."""

    def __init__(self, upstream: int) -> None:
        super().__init__()
        self.upstream = upstream
        self.dialling: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open the other end."""
        super().connection_made(transport)
        self.dialling = asyncio.create_task(self.dial())

    async def dial(self) -> None:
        """Connect to the upstream, or close the client's connection."""
        self.other = exit_side = Side(self)
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: exit_side, "127.0.0.1", self.upstream)
        except OSError:
            cast("asyncio.Transport", self.transport).close()


async def serve(port: int, upstream: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Entrance(upstream), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


def choose_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop  # noqa: PLC0415 - an optional extra, as for the proxy
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def main() -> None:
    port, upstream = map(int, sys.argv[1:])
    with asyncio.Runner(loop_factory=choose_loop()) as runner:
        runner.run(serve(port, upstream))


if __name__ == "__main__":
    main()
