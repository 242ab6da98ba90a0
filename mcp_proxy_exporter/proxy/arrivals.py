"""Connections that come in, from the accepted socket to the end of the TLS handshake.

Knows listening sockets, and asks whether there is room for one more. Does not know what a client
says once it is in (`downstream`, or the admin's library), nor where certificates come from (`tls`).

An event loop's own listener with TLS tells of a connection only when its handshake is over, so that
those which never end theirs would be under no limit, and nobody would count them.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable

from mcp_proxy_exporter.config import TcpAddress
from mcp_proxy_exporter.proxy.sockets import reset_socket
from mcp_proxy_exporter.proxy.tls import HANDSHAKE_SECONDS, SHUTDOWN_SECONDS

_ACCEPT_PAUSE = 1.0
"""Seconds without accepting after the system had no descriptor or memory left: asyncio's own."""


class Arrivals:
    """Accepts connections and agrees on TLS with each of them."""

    def __init__(
        self,
        make: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext | None,
        admits: Callable[[], bool],
    ) -> None:
        """``make`` builds what serves a client whose handshake is over.

        Where ``admits`` says no, the client is reset.
        """
        self.tls = tls
        """For handshakes that begin from now on; None accepts without."""
        self._make = make
        self._admits = admits
        self._listening: list[socket.socket] = []
        self._greeting: dict[asyncio.Task[None], None] = {}
        """Handshakes under way, the oldest first."""
        self._pause: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Count the handshakes under way."""
        return len(self._greeting)

    async def start(self, address: TcpAddress, backlog: int) -> list[TcpAddress]:
        """Listen, on each address that the name has; raise OSError. Returns the real addresses."""
        self._listening = await _bind(address)
        for listening in self._listening:
            listening.setblocking(False)  # noqa: FBT003  # the signature is socket's
            listening.listen(backlog)
        self._resume()
        return [TcpAddress(*listening.getsockname()[:2]) for listening in self._listening]

    def close(self) -> None:
        """Accept no more; handshakes under way go on."""
        if self._pause is None:
            self._suspend()
        else:
            self._pause.cancel()
        while self._listening:
            self._listening.pop().close()

    def abort(self) -> None:
        """End the handshakes under way."""
        for task in self._greeting:
            task.cancel()

    def drop(self) -> bool:
        """End the handshake that takes longest; False where there is none."""
        oldest = next(iter(self._greeting), None)
        if self.tls is None or oldest is None:
            return False
        self._forget(oldest)
        return oldest.cancel()

    def _resume(self) -> None:
        self._pause = None
        loop = asyncio.get_running_loop()
        for listening in self._listening:
            loop.add_reader(listening, self._accept, listening)

    def _suspend(self) -> None:
        loop = asyncio.get_running_loop()
        for listening in self._listening:
            loop.remove_reader(listening)

    def _accept(self, listening: socket.socket) -> None:
        """Accept one; the event loop comes back at once for the next."""
        loop = asyncio.get_running_loop()
        try:
            accepted, _ = listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # it has left already
        except OSError as error:
            loop.call_exception_handler({"message": "accept failed", "exception": error})
            self._suspend()
            self._pause = loop.call_later(_ACCEPT_PAUSE, self._resume)
            return
        if not self._admits():
            reset_socket(accepted)
            return
        accepted.setblocking(False)  # noqa: FBT003
        task = loop.create_task(self._greet(accepted))
        self._greeting[task] = None
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._greeting.pop(task, None)

    async def _greet(self, accepted: socket.socket) -> None:
        loop, tls = asyncio.get_running_loop(), self.tls
        try:
            await loop.connect_accepted_socket(
                self._make,
                accepted,
                ssl=tls,
                ssl_handshake_timeout=None if tls is None else HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=None if tls is None else SHUTDOWN_SECONDS,
            )
        except OSError as error:  # ssl.SSLError is one: what anybody can make fail
            loop.call_exception_handler({"message": "handshake failed", "exception": error})


async def _bind(address: TcpAddress) -> list[socket.socket]:
    """Bind as an event loop does, to all addresses of a name, and take its sockets from it."""
    loop = asyncio.get_running_loop()
    host = address.host or None
    server = await loop.create_server(asyncio.Protocol, host, address.port, start_serving=False)
    try:
        return [socket.socket(fileno=os.dup(bound.fileno())) for bound in server.sockets]
    finally:
        server.close()
