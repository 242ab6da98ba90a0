"""Claims about who asks: replaced by the truth, unless the peer is one whose word counts."""

import asyncio
import dataclasses
import ipaddress
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from mcp_proxy_exporter.config import LimitSettings, TcpAddress, TimeoutSettings
from mcp_proxy_exporter.proxy.forwarding import Asked, Forwarding, is_claim, plain_address
from mcp_proxy_exporter.proxy.heads import RequestHead, parse_request_head
from tests.support.messages import OK
from tests.support.proxies import ProxyFactory
from tests.support.raw_client import RawClient
from tests.support.raw_http import RawHead
from tests.support.scripted_upstream import CLOSE, RESET, ScriptedUpstream
from tests.support.waiting import until

ASKED = Asked("198.51.100.7", b"http", b"mcp.example:8080")
TRUTH = {
    b"Forwarded": b'for=198.51.100.7;host="mcp.example:8080";proto=http',
    b"X-Forwarded-For": b"198.51.100.7",
    b"X-Forwarded-Proto": b"http",
    b"X-Forwarded-Host": b"mcp.example:8080",
    b"X-Real-IP": b"198.51.100.7",
}
TRUSTING = [ipaddress.ip_network("198.51.100.0/24"), ipaddress.ip_network("2001:db8::/32")]


def request(*lines: bytes) -> RequestHead:
    return parse_request_head(b"\r\n".join([b"GET / HTTP/1.1", b"Host: a", *lines, b"", b""]), 100)


def replaced(
    *lines: bytes, trusted: bool = False, always: bool = False, asked: Asked = ASKED
) -> tuple[set[bytes], dict[bytes, bytes]]:
    rule = Forwarding(TRUSTING if trusted else [], always=always)
    dropped, added = rule.replace(request(*lines), asked)
    assert len(dict(added)) == len(added)
    return set(dropped), dict(added)


@pytest.mark.parametrize("name", TRUTH)
@pytest.mark.parametrize("spelled", [bytes.lower, bytes.upper, bytes.title])
def test_a_claim_is_replaced_by_the_truth(name: bytes, spelled: Callable[[bytes], bytes]) -> None:
    lines = [spelled(name) + b": 203.0.113.9", spelled(name) + b": 203.0.113.10"]
    assert replaced(*lines) == ({name.lower()}, {name: TRUTH[name]})


@pytest.mark.parametrize(
    "name",
    [
        b"X-Forwarded-Port", b"X-Forwarded-Prefix", b"X-Forwarded-Uri", b"X-Forwarded-Server",
        b"X_Forwarded_For", b"X-Forwarded_For", b"X_Real_IP", b"x_forwarded_proto",
    ],
)  # fmt: skip
@pytest.mark.parametrize("always", [False, True])
def test_claims_of_which_we_know_nothing_are_dropped(name: bytes, *, always: bool) -> None:
    assert is_claim(name.lower())
    dropped, added = replaced(name + b": x", always=always)
    assert dropped == {name.lower()}
    assert len(added) == (3 if always else 0)


@pytest.mark.parametrize("name", [b"x-forwarded", b"x-forward-for", b"not-x-forwarded-for", b"via"])
def test_other_fields_are_no_claims(name: bytes) -> None:
    assert not is_claim(name)
    assert not Forwarding([], always=False).concerns(request(name + b": x"))


def test_a_request_that_claims_nothing_stays_as_it_is() -> None:
    assert not Forwarding(TRUSTING, always=False).concerns(request(b"A: b"))
    assert replaced(b"A: b") == (set(), {})
    assert replaced(b"A: b", trusted=True) == (set(), {})


@pytest.mark.parametrize("trusted", [False, True])
def test_the_truth_is_told_unasked_where_that_is_wanted(*, trusted: bool) -> None:
    assert Forwarding([], always=True).concerns(request(b"A: b"))
    told = {
        name: TRUTH[name]
        for name in (b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host")
    }
    assert replaced(b"A: b", always=True, trusted=trusted) == (set(), told)


def test_a_trusted_peer_is_believed_and_added_to_the_list() -> None:
    lines = [
        b"X-Forwarded-For: 203.0.113.9",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Host: public.example",
        b"X-Forwarded-Port: 443",
        b"X-Real-IP: 203.0.113.9",
        b"Forwarded: for=203.0.113.9",
        b"x-forwarded-for: 192.0.2.1",
        b"X_Forwarded_For: 6.6.6.6",
    ]
    expected = (
        {b"x-forwarded-for", b"forwarded", b"x_forwarded_for"},
        {
            b"X-Forwarded-For": b"203.0.113.9, 192.0.2.1, 198.51.100.7",
            b"Forwarded": b"for=203.0.113.9, " + TRUTH[b"Forwarded"],
        },
    )
    assert replaced(*lines, trusted=True) == expected
    assert replaced(*lines, trusted=True, always=True) == expected


def test_what_a_trusted_peer_leaves_out_is_told_where_that_is_wanted() -> None:
    dropped, added = replaced(b"X-Forwarded-Proto: https", trusted=True, always=True)
    assert dropped == set()
    assert set(added) == {b"X-Forwarded-For", b"X-Forwarded-Host"}
    assert replaced(b"X-Forwarded-For:", trusted=True) == (
        {b"x-forwarded-for"},
        {b"X-Forwarded-For": b"198.51.100.7"},
    )


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [("198.51.100.255", True), ("198.51.101.0", False), ("2001:db8::1", True), ("::1", False)],
)
def test_trust_is_a_matter_of_networks(peer: str, *, trusted: bool) -> None:
    asked = Asked(peer, b"https", b"a")
    _, added = replaced(b"X-Forwarded-For: 192.0.2.1", trusted=True, asked=asked)
    assert added[b"X-Forwarded-For"] == (b"192.0.2.1, " if trusted else b"") + peer.encode()


def test_ipv6_is_quoted_where_the_grammar_wants_it() -> None:
    # RFC 7239 section 6.
    lines = [b"Forwarded: x", b"X-Forwarded-For: y"]
    _, added = replaced(*lines, asked=Asked("2001:db8::1", b"https", b"[::1]:80"))
    assert added == {
        b"Forwarded": b'for="[2001:db8::1]";host="[::1]:80";proto=https',
        b"X-Forwarded-For": b"2001:db8::1",
    }


def test_a_peer_without_an_address_is_trusted_by_nobody() -> None:
    lines = [b"Forwarded: for=1.2.3.4", b"X-Forwarded-For: 1.2.3.4", b"X-Real-IP: 1.2.3.4"]
    everybody = [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]
    dropped, added = Forwarding(everybody, always=True).replace(
        request(*lines), Asked("", b"http", b"a")
    )
    assert dropped == {b"forwarded", b"x-forwarded-for", b"x-real-ip"}
    assert dict(added) == {
        b"Forwarded": b'for=unknown;host="a";proto=http',
        b"X-Forwarded-Proto": b"http",
        b"X-Forwarded-Host": b"a",
    }


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        (("127.0.0.1", 5), "127.0.0.1"),
        (("::ffff:192.0.2.1", 5, 0, 0), "192.0.2.1"),
        (("fe80::1%eth0", 5, 0, 2), "fe80::1"),
        (("2001:DB8::1", 5, 0, 0), "2001:db8::1"),
        ("", ""),
        (b"@name", ""),
        (None, ""),
    ],
)
def test_a_peers_address_is_the_plain_one(peer: object, address: str) -> None:
    assert plain_address(peer) == address


# Through a proxy


CLAIMS = b"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Host: evil\r\nX_Forwarded_For: 6.6.6.6\r\n"
CLAIMING = b"GET / HTTP/1.1\r\nHost: me:1\r\nA: b\r\n" + CLAIMS + b"B: c\r\n\r\n"
SILENT = b"GET / HTTP/1.1\r\nHost: me:1\r\nA: b\r\nB: c\r\n\r\n"


async def ask(url: str, *raw: bytes) -> None:
    async with RawClient.connecting(url) as client:
        for one in raw:
            await client.send(one)
            assert (await client.read_response()).status == 204


def lines_of(heads: list[RawHead]) -> list[tuple[bytes, ...]]:
    return [head.lines[1:] for head in heads]


async def test_by_default_who_claims_nothing_passes_byte_for_byte(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    await ask(running.url, SILENT, SILENT, CLAIMING, CLAIMING, SILENT)
    corrected = (b"A: b", b"B: c", b"X-Forwarded-For: 127.0.0.1", b"X-Forwarded-Host: me:1")
    assert [upstream.heads[index].raw for index in (0, 1, 4)] == [SILENT] * 3
    assert lines_of(upstream.heads[2:4]) == [corrected] * 2


async def test_claims_pass_where_the_operator_says_so(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url, forwarded="preserve")
    await ask(running.url, CLAIMING, CLAIMING)
    assert [head.raw for head in upstream.heads] == [CLAIMING] * 2


async def test_a_trusted_peers_claims_are_extended(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url, trusted_proxies=("127.0.0.0/8",))
    await ask(running.url, SILENT, CLAIMING, CLAIMING)
    extended = (b"A: b", b"X-Forwarded-Host: evil", b"B: c", b"X-Forwarded-For: 6.6.6.6, 127.0.0.1")
    assert lines_of(upstream.heads[1:]) == [extended] * 2


async def test_one_head_of_two_clients_names_each(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url, forwarded="add", listen="0.0.0.0:0")
    port = running.url.rpartition(":")[2]
    for local in ("127.0.0.1", "127.0.0.2", "127.0.0.1"):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", int(port), local_addr=(local, 0)
        )
        writer.write(SILENT)
        await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
    assert [head.values(b"x-forwarded-for") for head in upstream.heads] == [
        [b"127.0.0.1"],
        [b"127.0.0.2"],
        [b"127.0.0.1"],
    ]


async def test_configured_headers_have_the_last_word(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(
        upstream.url, forwarded="add", headers={"x-forwarded-for": {"value": "192.0.2.9"}}
    )
    await ask(running.url, CLAIMING)
    assert upstream.heads[0].values(b"x-forwarded-for") == [b"192.0.2.9"]


async def test_clients_of_a_unix_socket_cannot_claim_an_address(
    proxy: ProxyFactory, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    running = await proxy(
        upstream.url, listen=f"unix:{tmp_path}/proxy", trusted_proxies=("0.0.0.0/0",)
    )
    await ask(running.url, CLAIMING)
    assert lines_of(upstream.heads) == [(b"A: b", b"B: c", b"X-Forwarded-Host: me:1")]


@pytest.mark.parametrize("end", [CLOSE, RESET])
async def test_a_repeated_request_says_the_same(
    proxy: ProxyFactory, upstream: ScriptedUpstream, end: Any
) -> None:
    running = await proxy(upstream.url, forwarded="add")
    upstream.answer(OK)
    upstream.answer(end)
    upstream.answer(OK)
    async with RawClient.connecting(running.url) as client:
        for _ in range(2):
            await client.send(SILENT)
            assert (await client.read_response()).body == b"ok"
    assert [head.raw for head in upstream.heads] == [upstream.heads[0].raw] * 3


class Asgi:
    """A uvicorn that trusts 127.0.0.1, as it does by default, and notes whom it was told of."""

    def __init__(self) -> None:
        self.clients: list[str] = []
        config = uvicorn.Config(
            self._answer, port=0, log_level="error", lifespan="off", interface="asgi3"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    async def _answer(
        self, scope: dict[str, Any], _receive: object, send: Callable[..., Awaitable[None]]
    ) -> None:
        self.clients.append(f"{scope['scheme']}://{scope['client'][0]}")
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    async def start(self) -> str:
        self._thread.start()
        await until(lambda: self._server.started)
        return f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10.0)


@pytest.fixture
def asgi() -> Iterator[Asgi]:
    server = Asgi()
    yield server
    server.stop()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # What a spoofing client could do if claims passed: the reason for the default.
        ({"forwarded": "preserve"}, "https://203.0.113.9"),
        ({}, "http://127.0.0.1"),
        ({"forwarded": "add"}, "http://127.0.0.1"),
        ({"trusted_proxies": ("127.0.0.1",)}, "https://203.0.113.9"),
        ({"forwarded": "add", "trusted_proxies": ("127.0.0.1",)}, "https://203.0.113.9"),
    ],
)
async def test_uvicorn_reports_the_true_client(
    proxy: ProxyFactory, asgi: Asgi, settings: dict[str, Any], expected: str
) -> None:
    running = await proxy(await asgi.start(), **settings)
    claims = b"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n"
    await ask(running.url, SILENT[:-2] + claims + b"\r\n")
    assert asgi.clients == [expected]


# Via


async def test_via_is_added_where_we_have_a_name(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    # RFC 9110 section 7.6.3.
    running = await proxy(upstream.url, via="edge-1")
    await ask(running.url, SILENT, SILENT[:-2] + b"Via: 1.0 fred\r\n\r\n")
    async with RawClient.connecting(running.url) as client:
        await client.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        await client.read_response()
    assert [head.values(b"via") for head in upstream.heads] == [
        [b"1.1 edge-1"],
        [b"1.0 fred", b"1.1 edge-1"],
        [b"1.0 edge-1"],
    ]


async def test_via_of_others_passes_where_we_have_no_name(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    raw = SILENT[:-2] + b"Via: 1.0 fred\r\n\r\n"
    await ask(running.url, raw)
    assert upstream.heads[0].raw == raw


async def test_a_loop_of_two_proxies_is_ended_once_by_the_first(proxy: ProxyFactory) -> None:
    # The first one's upstream is the second, whose upstream is the first.
    second = await proxy("http://127.0.0.1:1", via="second")
    first = await proxy(second.url, via="first")
    pool = second.server._context.pool
    address = TcpAddress("127.0.0.1", int(first.url.rpartition(":")[2]))
    pool._upstream = dataclasses.replace(pool._upstream, address=address)
    async with RawClient.connecting(first.url) as client:
        await client.send(b"POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
        response = await client.read_response()
    assert response.status == 508
    assert response.body.endswith(b"(loop)\n")
    assert (len(first.exchanges), len(second.exchanges)) == (2, 1)


async def test_heads_of_one_client_are_remembered_within_bounds(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url, forwarded="add")
    async with RawClient.connecting(running.url) as client:
        for number in [*range(20), 19, 19, 0]:
            await client.send(b"GET /%d HTTP/1.1\r\nHost: me:1\r\n\r\n" % number)
            assert (await client.read_response()).status == 204
            await client.send(SILENT[:-2] + b"X: " + b"x" * 5000 + b"\r\n\r\n")
            assert (await client.read_response()).status == 204
            (connection,) = running.server._context.clients
            assert len(connection._reader.personal) <= 4
    assert all(head.values(b"x-forwarded-for") == [b"127.0.0.1"] for head in upstream.heads)


async def test_changed_settings_hold_for_heads_that_were_remembered(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url, forwarded="add")
    server = running.server
    async with RawClient.connecting(running.url) as client:
        for fields in (
            {},
            {"via": "edge"},
            {"forwarded": "preserve"},
            {"allowed_origins": ["null"]},
        ):
            server.change(
                server._settings.model_copy(update=fields),
                limits=LimitSettings(),
                timeouts=TimeoutSettings(),
            )
            for _ in range(2):
                await client.send(SILENT)
                assert (await client.read_response()).status == 204
        await client.send(SILENT[:-2] + b"Origin: https://evil.example\r\n\r\n")
        assert (await client.read_response()).status == 403
    told = [(len(head.values(b"x-forwarded-for")), head.values(b"via")) for head in upstream.heads]
    edge = [b"1.1 edge"]
    assert told == 2 * [(1, [])] + 2 * [(1, edge)] + 4 * [(0, edge)]
