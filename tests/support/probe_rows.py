"""A row of a probe's table: a client's bytes, what the RFC demands, what the proxy makes of them.

Knows how a row is put to a proxy and judged byte for byte; does not know which rows there are.
"""

from dataclasses import dataclass

from tests.support.proxies import RunningProxy
from tests.support.raw_client import RawClient
from tests.support.scripted_upstream import ScriptedUpstream

G = b"GET / HTTP/1.1\r\nHost: a\r\n"
P = b"POST /mcp HTTP/1.1\r\nHost: a\r\n"
CHUNKED = P + b"Transfer-Encoding: chunked\r\n\r\n"
BODY = b'{"id":1}'
LENGTH = b"Content-Length: 8\r\n"
CHUNKS = b"8\r\n" + BODY + b"\r\n0\r\n\r\n"
NEXT = b"DELETE /next HTTP/1.1\r\nHost: a\r\n\r\n"
"""The request behind the one that is probed: it must be seen, or never be reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One probe and its verdict."""

    demand: str
    """What the RFC says, and where."""
    sent: bytes
    arrives: tuple[bytes, ...] = ()
    """What the upstream gets: whole requests, to the byte."""
    refused: int = 0
    """The status that ends the connection; 0 where nothing is refused."""
    begun: bool = False
    """The upstream gets the beginning of what is refused, and never its end."""
    ends: bool = False
    """The connection ends without a refusal."""

    @property
    def waits(self) -> bool:
        """Tell whether the client's silence is what ends it."""
        return self.refused == 408 or not (self.arrives or self.refused)


def refused(status: int, demand: str, sent: bytes) -> Row:
    """Refused: nothing of it reaches the upstream."""
    return Row(demand=demand, sent=sent, refused=status)


def passes(demand: str, sent: bytes, *arrives: bytes, ends: bool = False) -> Row:
    """Forwarded as ``arrives``, or to the byte as it was sent."""
    return Row(demand=demand, sent=sent, arrives=arrives or (sent,), ends=ends)


def unfinished(demand: str, sent: bytes, *, begun: bool = True) -> Row:
    """Waited for and given up: what has passed by then ends with a cut."""
    return Row(demand=demand, sent=sent, refused=408, begun=begun)


async def check(row: Row, running: RunningProxy, upstream: ScriptedUpstream) -> None:
    """Put a row to a proxy."""
    arrives = list(row.arrives)
    async with RawClient.connecting(running.url) as client:
        await client.send(row.sent)
        for request in row.arrives:
            assert (await client.read_response(request.split(b" ")[0])).status == 204
        if row.refused:
            response = await client.read_response()
            assert response.status == row.refused
            assert response.head.values(b"connection") == [b"close"]
        if row.refused or row.ends:
            await client.read_eof()
        else:
            arrives.append(NEXT)
            await client.send(NEXT)
            assert (await client.read_response()).status == 204
    for side in upstream.connections if row.begun else ():
        await side.wait_closed()
    assert [request.raw for request in upstream.requests] == arrives
    assert len(upstream.heads) == len(arrives) + row.begun
    # Whatever it was, the next client is served.
    async with RawClient.connecting(running.url) as client:
        await client.send(NEXT)
        assert (await client.read_response()).status == 204
    assert upstream.requests[-1].raw == NEXT
