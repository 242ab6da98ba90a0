"""The connections to one upstream: opened when needed, kept idle for the next request.

Knows addresses, TLS and how a connection attempt fails; does not know exchanges beyond handing them
a connection or an error. There is no cap: each event stream holds one (MCP streamable HTTP), and
the clients' own concurrency is the bound.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

from mcp_proxy_exporter.config import LimitSettings, TcpAddress, TimeoutSettings, Upstream
from mcp_proxy_exporter.protocol.events import Event, UpstreamConnected
from mcp_proxy_exporter.proxy.errors import UpstreamError, UpstreamReason
from mcp_proxy_exporter.proxy.upstream import UpstreamConnection
from mcp_proxy_exporter.proxy.wire import ResponseReader

if TYPE_CHECKING:
    from mcp_proxy_exporter.proxy.exchange import HttpExchange


class UpstreamPool:
    """Opens, keeps and closes connections to one upstream."""

    def __init__(
        self,
        upstream: Upstream,
        *,
        tls: ssl.SSLContext | None,
        server_name: str,
        limits: LimitSettings,
        timeouts: TimeoutSettings,
        report: Callable[[Event], None],
        clock: Callable[[], float],
    ) -> None:
        """``tls`` None speaks plain HTTP; ``server_name`` is verified and sent as SNI."""
        self._upstream = upstream
        self._tls = tls
        self._server_name = server_name
        self._limits = limits
        self._timeouts = timeouts
        self._report = report
        self._clock = clock
        self._idle: list[UpstreamConnection] = []
        self._open: set[UpstreamConnection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def idle(self) -> int:
        """Connections that wait for a request."""
        return len(self._idle)

    @property
    def active(self) -> int:
        """Connections that serve one."""
        return len(self._open) - len(self._idle)

    def take(self, now: float) -> UpstreamConnection | None:
        """Return an idle connection that is certain to be open and silent; None if there is none.

        The one used last comes first, so that a burst's extra connections age and are closed.
        """
        oldest = now - self._timeouts.upstream_idle
        while self._idle:
            connection = self._idle.pop()
            if connection.idle_since >= oldest and connection.is_usable():
                return connection
            connection.abort()
        return None

    def put(self, connection: UpstreamConnection) -> None:
        """Keep a connection whose exchange is over and clean."""
        connection.idle_since = self._clock()
        self._idle.append(connection)

    def connect(self, exchange: "HttpExchange") -> asyncio.Task[None]:
        """Open a connection for an exchange; it gets the connection or the error."""
        task = asyncio.get_running_loop().create_task(self._connect(exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def opened(self, connection: UpstreamConnection) -> None:
        """Take note of an open connection."""
        self._open.add(connection)

    def closed(self, connection: UpstreamConnection) -> None:
        """Take note of a closed connection."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def check(self, now: float) -> None:
        """Close what has been idle too long; called by `deadlines`."""
        oldest = now - self._timeouts.upstream_idle
        for connection in [idle for idle in self._idle if idle.idle_since < oldest]:
            connection.abort()

    async def close(self) -> None:
        """Close everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in self._open:
            connection.abort()

    async def _connect(self, exchange: "HttpExchange") -> None:
        started = self._clock()
        try:
            async with asyncio.timeout(self._timeouts.connect):
                connection = await self._open_connection()
        except (OSError, UnicodeError) as error:
            reason = _reason(error)
            exchange.connect_failed(UpstreamError(reason, _DETAILS[reason]))
            return
        self._report(UpstreamConnected(duration=self._clock() - started))
        exchange.attached_late(connection)

    async def _open_connection(self) -> UpstreamConnection:
        loop = asyncio.get_running_loop()
        address = self._upstream.address
        if not isinstance(address, TcpAddress):
            _, connection = await loop.create_unix_connection(self._build, address.path)
            return connection
        found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        failure: OSError | None = None
        for family, _, protocol, _, socket_address in found:
            try:
                _, connection = await loop.create_connection(
                    self._build,
                    str(socket_address[0]),
                    int(socket_address[1]),
                    family=family,
                    proto=protocol,
                    ssl=self._tls,
                    server_hostname=self._server_name if self._tls is not None else None,
                )
            except OSError as error:
                failure = error
            else:
                return connection
        raise failure if failure is not None else OSError("the name has no address")

    def _build(self) -> UpstreamConnection:
        limits = self._limits
        reader = ResponseReader(limits.head_bytes, limits.head_fields)
        return UpstreamConnection(self, reader, self._clock)


_DETAILS = {
    UpstreamReason.CONNECT_REFUSED: "the upstream refused the connection",
    UpstreamReason.CONNECT_TIMEOUT: "the upstream did not accept the connection in time",
    UpstreamReason.CONNECT_FAILED: "the upstream cannot be reached",
    UpstreamReason.DNS: "the upstream's name cannot be resolved",
    UpstreamReason.TLS: "TLS with the upstream failed",
}


def _reason(error: Exception) -> UpstreamReason:
    match error:
        case TimeoutError():
            return UpstreamReason.CONNECT_TIMEOUT
        case ssl.SSLError():
            return UpstreamReason.TLS
        case socket.gaierror() | UnicodeError():  # a name that cannot even be asked for
            return UpstreamReason.DNS
        case ConnectionRefusedError():
            return UpstreamReason.CONNECT_REFUSED
        case _:
            return UpstreamReason.CONNECT_FAILED


def build_tls(ca_file: str) -> ssl.SSLContext:
    """Build the context of an https upstream: verified, with the system's authorities or a file's.

    Raises OSError or ssl.SSLError for a file that cannot be read or holds no certificate.
    """
    context = ssl.create_default_context(cafile=ca_file or None)
    context.set_alpn_protocols(["http/1.1"])
    return context
