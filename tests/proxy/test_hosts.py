"""DNS rebinding: a page whose name suddenly means the proxy's address reaches no server.

`Host` is judged where the proxy rewrites it, because then nobody behind it can.
"""

import asyncio
import socket

import pytest

from tests.support.proxies import ProxyFactory
from tests.support.raw_client import RawClient
from tests.support.scripted_upstream import ScriptedUpstream

SERVED, FOREIGN, WRONG = 204, 421, 400

HOSTS: list[tuple[str, bytes, int]] = [
    # Where the proxy listens, what the client says, and what it is told. PORT is the real one.
    ("127.0.0.1:0", b"Host: 127.0.0.1:PORT", SERVED),
    ("127.0.0.1:0", b"Host: 127.0.0.1", SERVED),
    ("127.0.0.1:0", b"Host: localhost:PORT", SERVED),
    ("127.0.0.1:0", b"Host: LOCALHOST", SERVED),
    ("127.0.0.1:0", b"Host: [::1]:PORT", SERVED),
    ("127.0.0.1:0", b"Host: good.test", SERVED),
    ("127.0.0.1:0", b"Host: GOOD.test:1", SERVED),
    ("127.0.0.1:0", b"Host: port.test:81", SERVED),
    ("127.0.0.1:0", b"Host: [2001:db8::1]:9", SERVED),
    ("127.0.0.1:0", b"Host: rebound.test", FOREIGN),
    ("127.0.0.1:0", b"Host: rebound.test:PORT", FOREIGN),
    ("127.0.0.1:0", b"Host: 127.0.0.1.rebound.test", FOREIGN),
    ("127.0.0.1:0", b"Host: good.test.rebound.test", FOREIGN),
    ("127.0.0.1:0", b"Host: rebound.good.test", FOREIGN),
    ("127.0.0.1:0", b"Host: reboundgood.test", FOREIGN),
    ("127.0.0.1:0", b"Host: good.test.", FOREIGN),
    ("127.0.0.1:0", b"Host: port.test", FOREIGN),
    ("127.0.0.1:0", b"Host: port.test:82", FOREIGN),
    ("127.0.0.1:0", b"Host: 127.0.0.2", FOREIGN),
    ("127.0.0.1:0", b"Host: 2130706433", FOREIGN),
    ("127.0.0.1:0", b"Host: 0x7f.1", FOREIGN),
    ("127.0.0.1:0", b"Host: 0.0.0.0", FOREIGN),
    ("127.0.0.1:0", b"Host: [2001:db8::2]", FOREIGN),
    ("127.0.0.1:0", b"Host: [::ffff:127.0.0.1]", FOREIGN),
    ("127.0.0.1:0", b"Host:", FOREIGN),
    ("127.0.0.1:0", b"Host: good.test\r\nHost: good.test", WRONG),
    ("127.0.0.1:0", b"Host: good.test\r\nhost: rebound.test", WRONG),
    ("127.0.0.1:0", b"Host: good.test,rebound.test", FOREIGN),
    ("127.0.0.1:0", b"Host: good.test@rebound.test", WRONG),
    ("127.0.0.1:0", b"Host: good.test rebound.test", WRONG),
    ("127.0.0.1:0", b"A: b", WRONG),
    ("[::1]:0", b"Host: [::1]:PORT", SERVED),
    ("[::1]:0", b"Host: [0:0:0:0:0:0:0:1]:PORT", FOREIGN),  # nobody writes it so
    ("[::1]:0", b"Host: localhost:PORT", SERVED),
    ("[::1]:0", b"Host: good.test", SERVED),
    ("[::1]:0", b"Host: [::2]:PORT", FOREIGN),
    ("[::1]:0", b"Host: ::1", FOREIGN),
    ("[::1]:0", b"Host: [::1", FOREIGN),
    ("[::1]:0", b"Host: rebound.test:PORT", FOREIGN),
]


@pytest.mark.parametrize("rule", ["upstream", "literal.test:81"])
@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:0"])
async def test_only_known_hosts_are_served(
    proxy: ProxyFactory, upstream: ScriptedUpstream, listen: str, rule: str
) -> None:
    if listen.startswith("[") and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    running = await proxy(
        upstream.url,
        listen=listen,
        host_header=rule,
        allowed_hosts=("good.test", "port.test:81", "[2001:db8::1]"),
    )
    port = running.url.rpartition(":")[2].encode()
    told = {}
    rows = [(line, status) for where, line, status in HOSTS if where == listen]
    for line, _ in rows:
        async with RawClient.connecting(running.url) as client:
            lines = line.replace(b"PORT", port)
            await client.send(b"GET /mcp HTTP/1.1\r\n" + lines + b"\r\n\r\n")
            told[line] = (await client.read_response()).status
    assert told == dict(rows)
    assert len(upstream.heads) == sum(status == SERVED for _, status in rows)
    expected = upstream.url.removeprefix("http://") if rule == "upstream" else rule
    assert {head.values(b"host")[0] for head in upstream.heads} == {expected.encode()}


async def test_a_host_that_one_way_in_has_is_none_of_another(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    # The same head, which was judged and remembered before, but for another address of ours.
    running = await proxy(upstream.url, listen="0.0.0.0:0", host_header="upstream")
    port = int(running.url.rpartition(":")[2])
    told = []
    for way_in in ("127.0.0.2", "127.0.0.3", "127.0.0.2"):
        async with asyncio.timeout(10.0):
            client = RawClient(*await asyncio.open_connection(way_in, port))
            await client.send(b"GET /mcp HTTP/1.1\r\nHost: 127.0.0.2\r\n\r\n")
            told.append((await client.read_response()).status)
            await client.close()
    assert told == [SERVED, FOREIGN, SERVED]
