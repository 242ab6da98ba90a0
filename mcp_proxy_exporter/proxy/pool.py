"""The connections to one upstream: opened when needed, kept idle for the next request.

Knows addresses, TLS and how a connection attempt fails; does not know exchanges beyond handing them
a connection or an error. There is no cap: each event stream holds one (MCP streamable HTTP), and
the clients' own concurrency is the bound.
"""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

from mcp_proxy_exporter.config import LimitSettings, TcpAddress, TimeoutSettings, Upstream
from mcp_proxy_exporter.protocol.events import Event, LimitHit, UpstreamConnected
from mcp_proxy_exporter.proxy.errors import UpstreamError, UpstreamReason
from mcp_proxy_exporter.proxy.heads import KnownHeads, ResponseHead
from mcp_proxy_exporter.proxy.upstream import UpstreamConnection
from mcp_proxy_exporter.proxy.wire import ResponseReader

if TYPE_CHECKING:
    from mcp_proxy_exporter.proxy.exchange import HttpExchange

_Target: TypeAlias = tuple[int, int, int, str, tuple[Any, ...]]
"""What ``getaddrinfo`` returns: family, type, protocol, canonical name, socket address."""
_CLOSE_SECONDS = 1.0  # connections are cut and close within a turn or two of the event loop
_CLOSE_POLL = 0.005


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
        self._known_heads: KnownHeads[ResponseHead] = KnownHeads()
        self._idle: list[UpstreamConnection] = []
        self._open: set[UpstreamConnection] = set()
        self._outdated: set[UpstreamConnection] = set()
        """Those of `_open` that were opened by earlier settings: not for another request."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._proven: object = None
        """The socket address that answered last."""
        self._looking: asyncio.Task[list[_Target]] | None = None
        """Asks what the upstream's name stands for, for all exchanges that want to know."""
        self._looking_since = 0.0
        self._look_ups: set[asyncio.Task[list[_Target]]] = set()
        """It, and those before it that still hang."""

    @property
    def idle(self) -> int:
        """Connections that wait for a request."""
        return len(self._idle)

    @property
    def active(self) -> int:
        """Connections that serve one."""
        return len(self._open) - len(self._idle)

    def change(self, *, server_name: str, limits: LimitSettings, timeouts: TimeoutSettings) -> None:
        """Open connections by these from now on."""
        self._server_name = server_name
        self._limits = limits
        self._timeouts = timeouts

    def change_tls(self, tls: ssl.SSLContext) -> None:
        """Open connections with this from now on; those that exist end with their exchange."""
        self._tls = tls
        self._outdated = set(self._open)
        for connection in self._idle:
            connection.abort()

    def take(self, now: float) -> UpstreamConnection | None:
        """Return an idle connection that is certain to be open and silent; None if there is none.

        The one used last comes first, so that a burst's extra connections age and are closed.
        """
        oldest = now - self._timeouts.upstream_idle
        while self._idle:
            connection = self._idle.pop()
            if connection.idle_since < oldest:
                self._report(LimitHit(limit="upstream_idle"))
            elif connection.is_usable():
                return connection
            connection.abort()
        return None

    def put(self, connection: UpstreamConnection) -> None:
        """Keep a connection whose exchange is over and clean."""
        if self._timeouts.upstream_idle and connection not in self._outdated:
            connection.idle_since = self._clock()
            self._idle.append(connection)
        else:
            connection.abort()

    def connect(self, exchange: "HttpExchange") -> asyncio.Task[None]:
        """Open a connection for an exchange; it gets the connection or the error."""
        task = asyncio.get_running_loop().create_task(self._connect(exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def closed(self, connection: UpstreamConnection) -> None:
        """Take note of a closed connection."""
        self._open.discard(connection)
        self._outdated.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def check(self, now: float) -> None:
        """Close what has been idle too long; called by `deadlines`."""
        oldest = now - self._timeouts.upstream_idle
        for connection in self._idle:
            if connection.idle_since < oldest:
                self._report(LimitHit(limit="upstream_idle"))
                connection.abort()

    async def close(self) -> None:
        """Close what no exchange holds, all being over, and wait until the sockets are closed."""
        for connection in self._open:
            connection.abort()
        for looking in self._look_ups:
            looking.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                # Attempts that their exchanges ended may still be ending, too.
                while self._open or self._tasks:  # noqa: ASYNC110  # once in a process's life
                    await asyncio.sleep(_CLOSE_POLL)

    async def _connect(self, exchange: "HttpExchange") -> None:
        started = self._clock()
        tls = self._tls
        try:
            connection = await self._open_connection()
            connection.check_open()
        except Exception as error:  # noqa: BLE001  # whatever it is, the client must not wait for ever
            if not isinstance(error, (OSError, UnicodeError)):  # then it is our own fault
                loop = asyncio.get_running_loop()
                loop.call_exception_handler({"message": "connecting failed", "exception": error})
            reason = _reason(error, in_tls=tls is not None)
            exchange.fail(UpstreamError(reason, _DETAILS[reason]))
            return
        self._open.add(connection)
        if tls is not self._tls:
            self._outdated.add(connection)
        self._report(UpstreamConnected(duration=self._clock() - started))
        exchange.attach(connection)

    async def _open_connection(self) -> UpstreamConnection:
        loop = asyncio.get_running_loop()
        limit = self._timeouts.connect
        deadline = loop.time() + limit
        address = self._upstream.address
        if not isinstance(address, TcpAddress):
            async with asyncio.timeout(limit):
                _, connection = await loop.create_unix_connection(self._build, address.path)
            return connection
        targets = await self._resolve(address, limit)
        # A sort is stable: all but the address that answered last keep the resolver's order.
        targets.sort(key=lambda target: target[4] != self._proven)
        failure: OSError | None = None
        for tried, target in enumerate(targets):
            share = (deadline - loop.time()) / (len(targets) - tried)
            try:
                # One silent address must not use up the time of the others.
                async with asyncio.timeout(share):
                    connection = await self._open_to(target)
            except OSError as error:
                failure = error
            else:
                self._proven = target[4]
                return connection
        raise failure if failure is not None else OSError("the name has no address")

    async def _resolve(self, address: TcpAddress, limit: float) -> list[_Target]:
        """Return what a host's name stands for; a literal address needs no resolver."""
        literal = _literal(address)
        if literal:
            return literal
        looking = self._looking
        loop = asyncio.get_running_loop()
        if looking is None or loop.time() - self._looking_since > limit:
            # One at a time: a resolver that hangs would be asked once more by each request. One
            # that has hung for longer than anybody waits may have lost the question.
            looking = self._looking = loop.create_task(_look_up(address))
            self._looking_since = loop.time()
            self._look_ups.add(looking)
            looking.add_done_callback(self._looked)
        done, _ = await asyncio.wait({looking}, timeout=limit)
        if not done:
            raise socket.gaierror(socket.EAI_AGAIN, "the resolver did not answer in time")
        return list(looking.result())

    def _looked(self, looking: asyncio.Task[list[_Target]]) -> None:
        self._look_ups.discard(looking)
        if looking is self._looking:
            self._looking = None
        if not looking.cancelled():
            looking.exception()  # taken note of, even if all who waited have left

    async def _open_to(self, target: _Target) -> UpstreamConnection:
        family, _, protocol, _, (host, port, *rest) = target
        if family == socket.AF_INET6 and rest[-1]:
            host = f"{host}%{rest[-1]}"  # the zone (RFC 4007), which the address lacks by itself
        tls = self._tls
        _, connection = await asyncio.get_running_loop().create_connection(
            self._build,
            host,
            port,
            family=family,
            proto=protocol,
            ssl=tls,
            server_hostname=None if tls is None else self._server_name,
            ssl_handshake_timeout=None if tls is None else self._timeouts.connect,
        )
        return connection

    def _build(self) -> UpstreamConnection:
        limits = self._limits
        reader = ResponseReader(limits.head_bytes, limits.head_fields, self._known_heads)
        return UpstreamConnection(self, reader, self._clock)


async def _look_up(address: TcpAddress) -> list[_Target]:
    """Ask the system in a thread that nothing waits for, neither a scrape nor the process's end.

    A resolver may take half a minute. An event loop's own threads are few, other work would stand
    in line behind it, and a process ends only after them.
    """
    found: asyncio.Future[list[_Target]] = asyncio.get_running_loop().create_future()
    threading.Thread(target=_ask, args=(address, found), name="look-up", daemon=True).start()
    return await found


def _ask(address: TcpAddress, found: "asyncio.Future[list[_Target]]") -> None:
    result: list[_Target] | Exception
    try:
        result = list(socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM))
    except Exception as error:  # noqa: BLE001  # for those who wait to judge
        result = error
    with suppress(RuntimeError):  # the event loop is closed: nobody waits any more
        found.get_loop().call_soon_threadsafe(_tell, found, result)


def _tell(found: "asyncio.Future[list[_Target]]", result: list[_Target] | Exception) -> None:
    if found.done():
        return
    if isinstance(result, Exception):
        found.set_exception(result)
    else:
        found.set_result(result)


def _literal(address: TcpAddress) -> list[_Target]:
    """Return what a literal address stands for; nothing for a name."""
    with suppress(socket.gaierror):
        return list(
            socket.getaddrinfo(
                address.host,
                address.port,
                type=socket.SOCK_STREAM,
                flags=socket.AI_NUMERICHOST,
            )
        )
    return []


_DETAILS = {
    UpstreamReason.CONNECT_REFUSED: "the upstream refused the connection",
    UpstreamReason.CONNECT_TIMEOUT: "the upstream did not accept the connection in time",
    UpstreamReason.CONNECT_FAILED: "the upstream cannot be reached",
    UpstreamReason.DNS: "the upstream's name cannot be resolved",
    UpstreamReason.TLS: "TLS with the upstream failed",
}


def _reason(error: Exception, *, in_tls: bool) -> UpstreamReason:
    match error:
        case ConnectionResetError() | ConnectionAbortedError() if in_tls:
            # What was there can be lost: TCP was, and the handshake was refused without a word.
            return UpstreamReason.TLS
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
