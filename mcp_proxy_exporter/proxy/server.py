"""One configured server's listener: where its clients come in.

Knows how the parts of the data plane fit together, from bind to drain. Does not know the other
servers, metrics or signals (`mcp_proxy_exporter.app`).
"""

import asyncio
import logging
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
from mcp_proxy_exporter.protocol.events import LimitHit
from mcp_proxy_exporter.proxy.admission import HostRule
from mcp_proxy_exporter.proxy.arrivals import Arrivals
from mcp_proxy_exporter.proxy.context import MAX_REFUSED, Context, Rules
from mcp_proxy_exporter.proxy.deadlines import Deadlines
from mcp_proxy_exporter.proxy.descriptors import fit
from mcp_proxy_exporter.proxy.downstream import ClientConnection
from mcp_proxy_exporter.proxy.forwarding import Forwarding
from mcp_proxy_exporter.proxy.pool import UpstreamPool
from mcp_proxy_exporter.proxy.sockets import allow_descriptors
from mcp_proxy_exporter.proxy.tls import TlsContexts, bound_buffers, make_contexts
from mcp_proxy_exporter.tap import TapFactory

_LOG = logging.getLogger(__name__)

_BACKLOG = 1024  # nginx takes 511, HAProxy more; the system caps it anyway
_DRAIN_POLL = 0.02  # seconds between looks at what is still running
_FAREWELL_SECONDS = 0.5  # for the last answers to leave; what is read slower than that is lost


class ProxyServer:
    """Forwards everything that comes to one address to one upstream."""

    def __init__(
        self,
        settings: ServerSettings,
        *,
        limits: LimitSettings,
        timeouts: TimeoutSettings,
        taps: TapFactory,
        tls: TlsContexts | None = None,
        clock: Callable[[], float] = time.perf_counter,
        descriptors: int | None = None,
    ) -> None:
        """``clock`` gives monotonic seconds, the same as the taps' clock.

        Without ``tls`` the settings' files are read. Raises `config.WrongFile`. ``descriptors`` are
        those that this server may use; None for no limit.
        """
        self._settings = settings
        self._descriptors = descriptors
        limits = self._fit(limits)
        upstream = settings.target
        if tls is None:
            tls = make_contexts(settings)
        pool = UpstreamPool(
            upstream,
            tls=tls.upstream,
            server_name=_server_name(settings),
            limits=limits,
            timeouts=timeouts,
            report=taps.report,
            clock=clock,
        )
        self._context = Context(
            rules=_make_rules(settings),
            limits=limits,
            timeouts=timeouts,
            taps=taps,
            pool=pool,
            clock=clock,
        )
        self._deadlines = Deadlines(self._context)
        self._server: asyncio.Server | Arrivals | None = None
        self._arrivals: Arrivals | None = None
        if tls.listener is not None:
            self._arrivals = Arrivals(self._accept, tls.listener, self._admits)
        self._leaving = False
        self._identity = (0, 0)
        self.addresses: list[str] = []
        """Where it listens, as URLs with the real ports; a unix socket as ``unix:/path``."""

    async def start(self) -> None:
        """Listen; raise OSError when the address cannot be had."""
        allow_descriptors()
        bound_buffers()
        loop = asyncio.get_running_loop()
        address = self._settings.listen_address
        if isinstance(address, UnixAddress):
            listening = _bind_unix(address.path)
            self._identity = _identify(address.path)
            self._server = await loop.create_unix_server(
                self._accept, sock=listening, backlog=_BACKLOG
            )
            self.addresses = [str(address)]
        elif self._arrivals is not None:
            listens = await self._arrivals.start(address, _BACKLOG)
            self._server = self._arrivals
            self.addresses = [f"https://{one}" for one in listens]
        else:
            self._server = await loop.create_server(
                self._accept, address.host or None, address.port, backlog=_BACKLOG
            )
            names = [one.getsockname()[:2] for one in self._server.sockets]
            self.addresses = [f"http://{TcpAddress(*name)}" for name in names]
        self._deadlines.start()

    def change(
        self,
        settings: ServerSettings,
        *,
        limits: LimitSettings,
        timeouts: TimeoutSettings,
    ) -> None:
        """Serve by other settings from the next request on, without losing a connection.

        Name, addresses and whether a side has TLS stay (`config.find_fixed`). Limits of a head are
        those of the time when its connection was opened.
        """
        self._settings = settings
        limits = self._fit(limits)
        context = self._context
        context.change(_make_rules(settings), limits=limits, timeouts=timeouts)
        context.closes_clients = self._leaving or not timeouts.client_idle
        context.pool.change(server_name=_server_name(settings), limits=limits, timeouts=timeouts)

    def change_tls(self, tls: TlsContexts) -> None:
        """Use these for connections that begin from now on."""
        if self._arrivals is not None and tls.listener is not None:
            self._arrivals.tls = tls.listener
        if tls.upstream is not None:
            self._context.pool.change_tls(tls.upstream)

    def send_away(self) -> None:
        """End each connection with its next answer, while new ones are still accepted."""
        self._leaving = self._context.closes_clients = True

    async def stop(self, grace: float) -> None:
        """Stop listening, let running exchanges end for ``grace`` seconds, then cut the rest."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        self._remove_socket()
        context = self._context
        self.send_away()
        await self._until_gone(ClientConnection.drain, grace)
        if self._arrivals is not None:
            self._arrivals.abort()
        await self._until_gone(ClientConnection.shut_down, _FAREWELL_SECONDS)
        await self._until_gone(ClientConnection.abort, _FAREWELL_SECONDS)
        self._deadlines.stop()
        await context.pool.close()

    async def _until_gone(self, ask: Callable[[ClientConnection], None], seconds: float) -> None:
        """Ask all clients again and again to go, until they are gone or the time is over."""
        clients = self._context.clients
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                # Polled: it happens once in a process's life, and costs the exchanges nothing.
                while clients:
                    for client in tuple(clients):
                        ask(client)
                    await asyncio.sleep(_DRAIN_POLL)

    def connections(self) -> Mapping[tuple[str, str], int]:
        """Count connections by (side, state): client or upstream, active or idle."""
        clients = self._context.clients
        active = sum(client.exchange is not None for client in clients)
        arriving = 0 if self._arrivals is None else len(self._arrivals)
        return {
            ("client", "active"): active,
            ("client", "idle"): len(clients) - active + arriving,
            ("upstream", "active"): self._context.pool.active,
            ("upstream", "idle"): self._context.pool.idle,
        }

    def _fit(self, limits: LimitSettings) -> LimitSettings:
        fitting = fit(limits, self._descriptors)
        if limits.connections > fitting.connections:
            _LOG.warning(
                "server %s: limits.connections is %d from now on, not %d: with limits.requests of "
                "%d, that is what the %d open files that the system leaves it are enough for",
                self._settings.name,
                fitting.connections,
                limits.connections,
                limits.requests,
                self._descriptors,
            )
        return fitting

    def _accept(self) -> ClientConnection:
        return ClientConnection(self._context)

    def _admits(self) -> bool:
        """Say whether one more may begin its handshake; the others are told once it is over."""
        context = self._context
        limit = context.limits.connections
        arriving = 0 if self._arrivals is None else len(self._arrivals)
        if limit and len(context.clients) + arriving >= limit + MAX_REFUSED:
            context.taps.report(LimitHit(limit="connections"))
            return False
        return True

    def _remove_socket(self) -> None:
        """Remove our unix socket's file, unless a successor has put its own there already."""
        address = self._settings.listen_address
        if isinstance(address, UnixAddress):
            with suppress(OSError):
                if _identify(address.path) == self._identity:
                    os.unlink(address.path)  # noqa: PTH108


def _server_name(settings: ServerSettings) -> str:
    address = settings.target.address
    return settings.tls.server_name or (address.host if isinstance(address, TcpAddress) else "")


def _make_rules(settings: ServerSettings) -> Rules:
    rewrite = _rewritten_host(settings)
    return Rules(
        authority=settings.target.authority,
        rewrite_host=rewrite,
        host_rule=None if rewrite is None else _host_rule(settings),
        origins=_origins(settings),
        forwarding=_forwarding(settings),
        via=settings.via.encode("ascii"),
        extra_headers=settings.header_fields(),
    )


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


def _origins(settings: ServerSettings) -> frozenset[bytes] | None:
    allowed = settings.allowed_origins
    return frozenset(origin.encode("ascii") for origin in allowed) if allowed else None


def _forwarding(settings: ServerSettings) -> Forwarding | None:
    if settings.forwarded == "preserve":
        return None
    return Forwarding(settings.trusted_networks, always=settings.forwarded == "add")


def _bind_unix(path: str) -> socket.socket:
    """Bind a unix socket, in place of one that nobody listens on any more; raise OSError.

    Not left to the event loop, which removes whatever socket it finds, a living one too.
    """
    listening = socket.socket(socket.AF_UNIX)
    try:
        _remove_stale_socket(path)
        listening.bind(path)
    except OSError:
        listening.close()
        raise
    return listening


def _remove_stale_socket(path: str) -> None:
    """Remove a socket that refuses; anything else makes bind fail, as it should."""
    with suppress(FileNotFoundError), socket.socket(socket.AF_UNIX) as probe:
        if not stat.S_ISSOCK(os.stat(path).st_mode):  # noqa: PTH116
            return
        probe.settimeout(0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)  # noqa: PTH108
        except BlockingIOError:
            return  # a full backlog is a living server's


def _identify(path: str) -> tuple[int, int]:
    status = os.stat(path)  # noqa: PTH116
    return status.st_dev, status.st_ino
