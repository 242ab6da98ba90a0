"""One configured server's listener: where its clients come in.

Knows how the parts of the data plane fit together, from bind to drain. Does not know the other
servers, metrics or signals (`mcp_proxy_exporter.app`).
"""

import asyncio
import os
import socket
import stat
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from mcp_proxy_exporter.config import (
    LimitSettings,
    ServerSettings,
    TcpAddress,
    TimeoutSettings,
    UnixAddress,
)
from mcp_proxy_exporter.proxy.admission import HostRule
from mcp_proxy_exporter.proxy.context import Context
from mcp_proxy_exporter.proxy.deadlines import Deadlines
from mcp_proxy_exporter.proxy.downstream import ClientConnection
from mcp_proxy_exporter.proxy.pool import UpstreamPool, build_tls
from mcp_proxy_exporter.tap import TapFactory

_BACKLOG = 1024  # nginx takes 511, HAProxy more; the system caps it anyway
_DRAIN_POLL = 0.02  # seconds between looks at what is still running


class ProxyServer:
    """Forwards everything that comes to one address to one upstream."""

    def __init__(
        self,
        settings: ServerSettings,
        *,
        limits: LimitSettings,
        timeouts: TimeoutSettings,
        taps: TapFactory,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """``clock`` gives monotonic seconds, the same as the taps' clock."""
        self._settings = settings
        upstream = settings.target
        host = settings.tls.server_name
        if not host and isinstance(upstream.address, TcpAddress):
            host = upstream.address.host
        pool = UpstreamPool(
            upstream,
            tls=build_tls(settings.tls.ca_file) if upstream.scheme == "https" else None,
            server_name=host,
            limits=limits,
            timeouts=timeouts,
            report=taps.report,
            clock=clock,
        )
        rewrite = _rewritten_host(settings)
        self._context = Context(
            authority=upstream.authority,
            rewrite_host=rewrite,
            host_rule=None if rewrite is None else _host_rule(settings),
            extra_headers=settings.header_fields(),
            limits=limits,
            timeouts=timeouts,
            taps=taps,
            pool=pool,
            clock=clock,
        )
        self._deadlines = Deadlines(self._context)
        self._server: asyncio.Server | None = None
        self.addresses: list[str] = []
        """Where it listens, as URLs with the real ports; a unix socket as ``unix:/path``."""

    async def start(self) -> None:
        """Listen; raise OSError when the address cannot be had."""
        loop = asyncio.get_running_loop()
        address = self._settings.listen_address
        if isinstance(address, UnixAddress):
            _remove_stale_socket(address.path)
            self._server = await loop.create_unix_server(
                self._accept, address.path, backlog=_BACKLOG
            )
            self.addresses = [str(address)]
        else:
            self._server = await loop.create_server(
                self._accept, address.host or None, address.port, backlog=_BACKLOG
            )
            self.addresses = [
                f"http://{TcpAddress(*listening.getsockname()[:2])}"
                for listening in self._server.sockets
            ]
        self._deadlines.start()

    async def stop(self, grace: float) -> None:
        """Stop listening, let running exchanges end for ``grace`` seconds, then cut the rest."""
        if self._server is None:
            return
        context = self._context
        context.draining = True
        self._server.close()
        for client in tuple(context.clients):
            client.drain()
        # Polled: it happens once in a process's life, and costs the exchanges nothing.
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while context.clients:  # noqa: ASYNC110
                    await asyncio.sleep(_DRAIN_POLL)
        for client in tuple(context.clients):
            client.shut_down()
        self._deadlines.stop()
        await context.pool.close()
        self._server = None
        if isinstance(self._settings.listen_address, UnixAddress):
            with suppress(FileNotFoundError):
                os.unlink(self._settings.listen_address.path)  # noqa: PTH108

    def connections(self) -> Mapping[tuple[str, str], int]:
        """Count connections by (side, state): client or upstream, active or idle."""
        clients = self._context.clients
        active = sum(client.exchange is not None for client in clients)
        return {
            ("client", "active"): active,
            ("client", "idle"): len(clients) - active,
            ("upstream", "active"): self._context.pool.active,
            ("upstream", "idle"): self._context.pool.idle,
        }

    def _accept(self) -> ClientConnection:
        return ClientConnection(self._context)


def _rewritten_host(settings: ServerSettings) -> bytes | None:
    """Return what replaces the client's Host; None where it is preserved.

    ``auto`` preserves it towards plain http, where rewriting would defeat a local server's own
    protection against DNS rebinding, and rewrites it towards https, where a remote server answers
    to no name but its own.
    """
    match settings.host_header:
        case "preserve":
            return None
        case "upstream":
            return settings.target.authority
        case "auto":
            return settings.target.authority if settings.target.scheme == "https" else None
        case literal:
            return literal.encode("ascii")


def _host_rule(settings: ServerSettings) -> HostRule | None:
    listen = settings.listen_address
    if isinstance(listen, UnixAddress):
        # No browser reaches a unix socket, so no name can be rebound to it.
        return None
    return HostRule([listen.host] if listen.host else [], settings.allowed_hosts)


def _remove_stale_socket(path: str) -> None:
    """Remove a socket that nobody listens on any more; a live one makes bind fail as it should."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):  # noqa: PTH116
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)  # noqa: PTH108
