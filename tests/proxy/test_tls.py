"""TLS on both sides: whom the proxy trusts, who it says it is, how connections end."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme

from mcp_proxy_exporter.config import ListenTlsSettings, TlsSettings
from mcp_proxy_exporter.protocol.events import (
    HttpExchangeClosed,
    UpstreamConnected,
    UpstreamFailed,
)
from mcp_proxy_exporter.protocol.outcome import Abort
from mcp_proxy_exporter.proxy.tls import TlsContexts, stamp
from tests.support.certificates import Identity, connect_tls, trusting
from tests.support.deadlines import sweep
from tests.support.messages import (
    CHUNKED,
    LAST_CHUNK,
    OK,
    UNTIL_CLOSE,
    answer,
    chunk,
    post,
    post_chunked,
)
from tests.support.proxies import ProxyFactory, RunningProxy
from tests.support.raw_client import RawClient
from tests.support.scripted_upstream import (
    CLOSE,
    RESET,
    Moment,
    ScriptedUpstream,
    UpstreamSide,
)
from tests.support.waiting import until


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@asynccontextmanager
async def tls_upstream(
    authority: trustme.CA,
    *names: str,
    client_authority: trustme.CA | None = None,
    newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    not_after: datetime | None = None,
) -> AsyncIterator[ScriptedUpstream]:
    """Serve TLS with a certificate for these names (127.0.0.1 and localhost by default)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = newest
    certificate = authority.issue_cert(*(names or ("127.0.0.1", "localhost")), not_after=not_after)
    certificate.configure_cert(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    if client_authority is not None:
        client_authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    upstream = ScriptedUpstream()
    server = await asyncio.get_running_loop().create_server(
        upstream._build, "127.0.0.1", 0, ssl=context
    )
    upstream.url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield upstream
    finally:
        server.close()
        await upstream.stop()


def reasons(running: RunningProxy) -> list[str]:
    return [event.reason for event in running.seen(UpstreamFailed)]


def own_host(running: RunningProxy) -> bytes:
    return running.url.removeprefix("http://").encode()


def get(running: RunningProxy) -> bytes:
    return b"GET /mcp HTTP/1.1\r\nHost: " + own_host(running) + b"\r\n\r\n"


async def status_of_a_get(running: RunningProxy) -> int:
    async with RawClient.connecting(running.url) as client:
        await client.send(get(running))
        return (await client.read_response()).status


async def test_trusted_upstream_is_reached_under_its_own_name_and_kept(
    proxy: ProxyFactory, authority: trustme.CA, ca_file: str
) -> None:
    async with tls_upstream(authority) as upstream:
        running = await proxy(upstream.url, tls={"ca_file": ca_file})
        upstream.answer_always(OK)
        async with RawClient.connecting(running.url) as client:
            for _ in range(3):
                await client.send(get(running))
                assert (await client.read_response()).body == b"ok"
        assert len(upstream.connections) == 1
        assert upstream.heads[0].values(b"host") == [upstream.url[8:].encode()]
        transport = upstream.connections[0].writer.transport
        assert transport.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
    (connected,) = running.seen(UpstreamConnected)
    assert connected.duration > 0


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (b"evil.test", 421),
        (b"", 421),
        (b"good.test", 204),
        (b"good.test:444", 204),
        (b"exact.test:99", 204),
        (b"exact.test:98", 421),
        (b"localhost:1", 204),
        (b"[::1]:1", 204),
    ],
)
async def test_foreign_hosts_are_refused_before_the_upstream_hears_of_them(
    proxy: ProxyFactory, authority: trustme.CA, ca_file: str, host: bytes, status: int
) -> None:
    async with tls_upstream(authority) as upstream:
        running = await proxy(
            upstream.url,
            tls={"ca_file": ca_file},
            allowed_hosts=("good.test", "exact.test:99"),
        )
        async with RawClient.connecting(running.url) as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
            assert (await client.read_response()).status == status
        assert len(upstream.connections) == (status == 204)


async def test_host_is_preserved_towards_tls_on_request(
    proxy: ProxyFactory, authority: trustme.CA, ca_file: str
) -> None:
    async with tls_upstream(authority) as upstream:
        running = await proxy(upstream.url, tls={"ca_file": ca_file}, host_header="preserve")
        async with RawClient.connecting(running.url) as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: client.test\r\n\r\n")
            assert (await client.read_response()).status == 204
        assert upstream.heads[0].values(b"host") == [b"client.test"]


async def test_unknown_authority_is_a_tls_failure(
    proxy: ProxyFactory, authority: trustme.CA
) -> None:
    async with tls_upstream(authority) as upstream:
        running = await proxy(upstream.url)  # trusts the system's only
        async with RawClient.connecting(running.url) as client:
            await client.send(post().replace(b"Host: a", b"Host: " + own_host(running)))
            response = await client.read_response()
            assert response.status == 502
            assert b"(tls)" in response.body
        assert upstream.heads == []
    assert reasons(running) == ["tls"]
    assert running.exchanges[0].abort is Abort.UPSTREAM_UNREACHABLE


async def test_wrong_name_is_a_tls_failure_and_server_name_mends_it(
    proxy: ProxyFactory, authority: trustme.CA, ca_file: str
) -> None:
    async with tls_upstream(authority, "other.test") as upstream:
        running = await proxy(upstream.url, tls={"ca_file": ca_file})
        assert await status_of_a_get(running) == 502
        assert reasons(running) == ["tls"]
        mended = await proxy(upstream.url, tls={"ca_file": ca_file, "server_name": "other.test"})
        assert await status_of_a_get(mended) == 204


async def test_plain_server_behind_https_is_a_tls_failure(
    proxy: ProxyFactory, ca_file: str
) -> None:
    async with ScriptedUpstream.running() as upstream:
        running = await proxy(upstream.url.replace("http:", "https:"), tls={"ca_file": ca_file})

        async def speak(side: UpstreamSide) -> None:
            await side.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        upstream.answer(speak, CLOSE, when=Moment.CONNECTED)
        assert await status_of_a_get(running) == 502
    assert reasons(running) == ["tls"]


@pytest.mark.parametrize("end", [CLOSE, RESET])
async def test_server_that_closes_during_the_handshake_is_502(
    proxy: ProxyFactory, ca_file: str, end: Any
) -> None:
    async with ScriptedUpstream.running() as upstream:
        running = await proxy(upstream.url.replace("http:", "https:"), tls={"ca_file": ca_file})
        upstream.answer(end, when=Moment.CONNECTED)
        assert await status_of_a_get(running) == 502
    assert reasons(running) == ["tls"]
    assert running.exchanges[0].abort is Abort.UPSTREAM_UNREACHABLE


async def test_server_that_wants_our_certificate_fails_the_exchange(
    proxy: ProxyFactory, authority: trustme.CA, ca_file: str
) -> None:
    # In TLS 1.3 its refusal comes after our side of the handshake is complete.
    async with tls_upstream(authority, client_authority=authority) as upstream:
        running = await proxy(upstream.url, tls={"ca_file": ca_file})
        for _ in range(10):
            assert await status_of_a_get(running) == 502
        assert upstream.heads == []
    # It had the request by then, as far as we can know; it never read it.
    assert set(reasons(running)) <= {"tls", "closed_before_head"}
    assert len(reasons(running)) == 10
    assert len(running.seen(HttpExchangeClosed)) == 10


async def test_connection_that_is_lost_before_its_first_request_is_502(
    proxy: ProxyFactory, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await proxy(upstream.url)
    pool = running.server._context.pool
    open_connection = pool._open_connection

    async def open_then_lose() -> object:
        connection = await open_connection()
        connection.abort()
        await asyncio.sleep(0)
        return connection

    monkeypatch.setattr(pool, "_open_connection", open_then_lose)
    assert await status_of_a_get(running) == 502
    assert reasons(running) == ["connect_failed"]
    assert running.server.connections()["upstream", "active"] == 0


async def test_body_until_close_is_whole_only_with_a_closing_alert(
    proxy: ProxyFactory, authority: trustme.CA, ca_file: str
) -> None:
    async def vanish(side: UpstreamSide) -> None:
        await asyncio.sleep(0.02)
        # TCP's end without TLS's: nobody can tell whether more was meant to come.
        side.writer.transport.abort()

    async with tls_upstream(authority) as upstream:
        running = await proxy(upstream.url, tls={"ca_file": ca_file})
        upstream.answer(UNTIL_CLOSE + b"whole", CLOSE)
        upstream.answer(UNTIL_CLOSE + b"half", vanish)
        async with RawClient.connecting(running.url) as client:
            await client.send(get(running))
            assert (await client.read_response()).body == b"whole"
            await client.send(get(running))
            await client.read_head()
            assert await client.read_rest() == chunk(b"half")
    assert reasons(running) == ["truncated"]


@pytest.mark.parametrize("end", [CLOSE, RESET])
async def test_truncation_over_tls_stays_visible(
    proxy: ProxyFactory, authority: trustme.CA, ca_file: str, end: object
) -> None:
    async with tls_upstream(authority) as upstream:
        running = await proxy(upstream.url, tls={"ca_file": ca_file})
        upstream.answer(CHUNKED + chunk(b"half"), end)  # type: ignore[arg-type]
        async with RawClient.connecting(running.url) as client:
            await client.send(get(running))
            await client.read_head()
            assert LAST_CHUNK not in await client.read_rest()
    assert reasons(running) == ["truncated"]


async def test_large_bodies_pass_both_ways_and_a_slow_reader_holds_them_back(
    proxy: ProxyFactory, authority: trustme.CA, ca_file: str
) -> None:
    body = bytes(range(256)) * 16_384  # 4 MiB
    async with tls_upstream(authority) as upstream:
        running = await proxy(upstream.url, tls={"ca_file": ca_file})
        upstream.answer(answer(body))
        async with RawClient.connecting(running.url) as client:
            request = post(body).replace(b"Host: a", b"Host: " + own_host(running))
            await client.send(request)
            assert (await client.read_response()).body == body
        assert upstream.requests[0].body == body
        assert running.server.connections()["upstream", "idle"] == 1


async def test_disconnect_reaches_a_tls_upstream(
    proxy: ProxyFactory, authority: trustme.CA, ca_file: str
) -> None:
    async with tls_upstream(authority) as upstream:
        running = await proxy(upstream.url, tls={"ca_file": ca_file})
        upstream.answer_always(asyncio.Event().wait)
        for number in range(10):
            async with RawClient.connecting(running.url) as client:
                await client.send(get(running))
                await upstream.wait_for_requests(number + 1)
            await upstream.connections[number].wait_ended()
        await until(lambda: running.server.connections()["upstream", "active"] == 0)


async def test_client_that_leaves_at_any_moment_of_the_handshake_leaks_nothing(
    proxy: ProxyFactory, authority: trustme.CA, ca_file: str
) -> None:
    async with tls_upstream(authority) as upstream:
        running = await proxy(upstream.url, tls={"ca_file": ca_file})
        pool = running.server._context.pool
        upstream.answer_always(asyncio.Event().wait)
        for turns in range(0, 60, 2):
            client = await RawClient.connect(running.url)
            client.writer.write(get(running))
            for _ in range(turns):
                await asyncio.sleep(0)
            client.reset()
        await until(lambda: not running.server._context.clients)
        await until(lambda: not pool._tasks and not pool._open)
        for side in upstream.connections:
            await side.wait_ended()


async def test_kept_tls_connection_that_ends_is_not_used(
    proxy: ProxyFactory, authority: trustme.CA, ca_file: str
) -> None:
    async with tls_upstream(authority) as upstream:
        running = await proxy(upstream.url, tls={"ca_file": ca_file})
        upstream.answer_always(OK)
        async with RawClient.connecting(running.url) as client:
            for number in range(10):
                await client.send(get(running).replace(b"GET", b"POST"))
                assert (await client.read_response()).body == b"ok"
                upstream.connections[number].end(CLOSE)
                await asyncio.sleep(0.002 * (number % 2))
        assert len(upstream.connections) == 10


async def test_failed_write_over_tls_fails_the_exchange(
    proxy: ProxyFactory, authority: trustme.CA, ca_file: str
) -> None:
    async with tls_upstream(authority) as upstream:
        running = await proxy(upstream.url, tls={"ca_file": ca_file})

        async def refuse(side: UpstreamSide) -> None:
            side.writer.transport.abort()

        upstream.answer(refuse, when=Moment.HEAD)
        async with RawClient.connecting(running.url) as client:
            request = post_chunked(bytes(1000)).replace(b"Host: a", b"Host: " + own_host(running))
            await client.send(request)
            await running.wait_for(UpstreamFailed)
            await client.send(chunk(bytes(1000)) + LAST_CHUNK)
            assert (await client.read_response()).status == 502


@pytest.fixture
def identity(authority: trustme.CA, tmp_path: Path) -> Identity:
    return Identity(authority, tmp_path)


def serial(client: RawClient) -> str:
    """Give the number of the certificate that the proxy showed."""
    certificate = client.writer.get_extra_info("ssl_object").getpeercert()
    return str(certificate["serialNumber"])


# Towards the upstream


async def test_our_certificate_is_shown_to_a_server_that_asks(
    proxy: ProxyFactory, authority: trustme.CA, ca_file: str, identity: Identity
) -> None:
    async with tls_upstream(authority, client_authority=authority) as upstream:
        running = await proxy(upstream.url, tls={"ca_file": ca_file, **identity.settings})
        assert await status_of_a_get(running) == 204


async def test_expired_certificate_is_a_tls_failure(
    proxy: ProxyFactory, authority: trustme.CA, ca_file: str
) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    async with tls_upstream(authority, not_after=yesterday) as upstream:
        running = await proxy(upstream.url, tls={"ca_file": ca_file})
        assert await status_of_a_get(running) == 502
        assert upstream.heads == []
    assert reasons(running) == ["tls"]


async def test_other_authority_is_a_tls_failure(
    proxy: ProxyFactory, authority: trustme.CA, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    async with tls_upstream(authority) as upstream:
        running = await proxy(upstream.url, tls={"ca_file": str(other)})
        assert await status_of_a_get(running) == 502
        assert upstream.heads == []
    assert reasons(running) == ["tls"]


async def test_unverified_upstream_is_reached_whoever_it_is(
    proxy: ProxyFactory,
) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    async with tls_upstream(trustme.CA(), "other.test", not_after=yesterday) as upstream:
        running = await proxy(upstream.url, tls={"insecure_skip_verify": True})
        assert await status_of_a_get(running) == 204


@pytest.mark.parametrize(("least", "status"), [("1.2", 204), ("1.3", 502)])
async def test_older_versions_than_wanted_are_a_tls_failure(
    proxy: ProxyFactory, authority: trustme.CA, ca_file: str, least: str, status: int
) -> None:
    async with tls_upstream(authority, newest=ssl.TLSVersion.TLSv1_2) as upstream:
        running = await proxy(upstream.url, tls={"ca_file": ca_file, "min_version": least})
        assert await status_of_a_get(running) == status


async def test_changed_certificate_is_for_new_connections_and_kept_ones_are_not_used_again(
    proxy: ProxyFactory, authority: trustme.CA, ca_file: str
) -> None:
    async with tls_upstream(authority) as upstream:
        upstream.answer_always(OK)
        running = await proxy(upstream.url, tls={"ca_file": ca_file})
        context = TlsSettings(ca_file=ca_file).build()
        contexts = TlsContexts(listener=None, upstream=context)
        assert [await status_of_a_get(running) for _ in range(2)] == [200, 200]
        assert len(upstream.connections) == 1
        gate = asyncio.Event()
        upstream.answer(gate.wait, OK)
        async with RawClient.connecting(running.url) as client:
            await client.send(get(running))
            await upstream.wait_for_requests(3)
            running.server.change_tls(contexts)
            gate.set()
            # What runs is not harmed, and its connection is of no further use.
            assert (await client.read_response()).body == b"ok"
        assert [await status_of_a_get(running) for _ in range(2)] == [200, 200]
        assert len(upstream.connections) == 2
        running.server.change_tls(contexts)
        assert await status_of_a_get(running) == 200
        assert len(upstream.connections) == 3
        await until(lambda: not running.server._context.pool._outdated)


# On the listener


async def test_clients_come_by_tls(
    proxy: ProxyFactory, upstream: ScriptedUpstream, authority: trustme.CA, identity: Identity
) -> None:
    body = bytes(range(256)) * 4096  # 1 MiB
    upstream.answer(answer(body))
    running = await proxy(upstream.url, listen_tls=identity.settings)
    assert running.url.startswith("https://127.0.0.1:")
    context = trusting(authority)
    context.set_alpn_protocols(["h2", "http/1.1"])
    client = await connect_tls(running.url, context)
    assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
    await client.send(post(body))
    assert (await client.read_response()).body == body
    await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await client.read_response()).status == 204
    assert upstream.requests[0].body == body
    await client.close()


async def test_client_that_refuses_its_answer_s_end_is_let_go(
    proxy: ProxyFactory, upstream: ScriptedUpstream, authority: trustme.CA, identity: Identity
) -> None:
    running = await proxy(upstream.url, listen_tls=identity.settings)
    client = await connect_tls(running.url, trusting(authority))
    await client.send(b"no HTTP at all\r\n\r\n")
    assert (await client.read_response()).status == 400
    await client.close()
    await until(lambda: not running.server._context.clients)
    assert running.faults == []


async def test_plain_client_of_a_tls_listener_gets_nothing_and_others_are_served(
    proxy: ProxyFactory, upstream: ScriptedUpstream, authority: trustme.CA, identity: Identity
) -> None:
    running = await proxy(upstream.url, listen_tls=identity.settings)
    async with RawClient.connecting(running.url) as plain:
        await plain.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"HTTP" not in await plain.read_rest()
    client = await connect_tls(running.url, trusting(authority))
    await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await client.read_response()).status == 204
    await client.close()
    assert len(upstream.requests) == 1


async def test_old_versions_of_tls_are_refused(
    proxy: ProxyFactory, upstream: ScriptedUpstream, authority: trustme.CA, identity: Identity
) -> None:
    running = await proxy(upstream.url, listen_tls={**identity.settings, "min_version": "1.3"})
    context = trusting(authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await connect_tls(running.url, context)


async def test_clients_without_a_certificate_are_refused_where_one_is_asked_for(
    proxy: ProxyFactory,
    upstream: ScriptedUpstream,
    authority: trustme.CA,
    ca_file: str,
    identity: Identity,
) -> None:
    running = await proxy(upstream.url, listen_tls={**identity.settings, "client_ca_file": ca_file})
    context = trusting(authority)
    client = await connect_tls(running.url, context)
    # In TLS 1.3 the refusal comes after the client's side of the handshake is complete.
    client.writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    with pytest.raises((ssl.SSLError, OSError, asyncio.IncompleteReadError)):
        await client.read_response()
    client.writer.transport.abort()
    assert upstream.heads == []
    authority.issue_cert("me@example.test").configure_cert(context)
    client = await connect_tls(running.url, context)
    await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await client.read_response()).status == 204
    await client.close()


async def test_renewed_certificate_is_shown_to_new_clients_and_old_ones_stay(
    proxy: ProxyFactory, upstream: ScriptedUpstream, authority: trustme.CA, identity: Identity
) -> None:
    settings = ListenTlsSettings(**identity.settings)  # type: ignore[arg-type]
    running = await proxy(upstream.url, listen_tls=identity.settings)
    context = trusting(authority)
    early = await connect_tls(running.url, context)
    before = stamp(settings.files)
    identity.renew()
    assert stamp(settings.files) != before
    running.server.change_tls(TlsContexts(listener=settings.build(), upstream=None))
    late = await connect_tls(running.url, context)
    assert serial(early) != serial(late)
    for client in (early, late):
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.read_response()).status == 204
        await client.close()


async def test_silent_client_does_not_hold_up_the_stop(
    proxy: ProxyFactory, upstream: ScriptedUpstream, identity: Identity
) -> None:
    running = await proxy(upstream.url, listen_tls=identity.settings)
    async with RawClient.connecting(running.url):
        async with asyncio.timeout(5):
            await running.stop()


def test_missing_file_has_a_stamp_too(tmp_path: Path) -> None:
    assert stamp([str(tmp_path / "none")]) == (None,)


@pytest.mark.parametrize("grace", [0.0, 0.3])
async def test_client_that_does_not_end_tls_does_not_delay_the_end(
    proxy: ProxyFactory,
    upstream: ScriptedUpstream,
    authority: trustme.CA,
    tmp_path: Path,
    grace: float,
) -> None:
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    identity = Identity(authority, tmp_path)
    running = await proxy(upstream.url, listen_tls=identity.settings)
    port = int(running.url.rpartition(":")[2])
    plain = socket.create_connection(("127.0.0.1", port))
    # Nobody reads from here on but this test, which never does: the closing alert has no answer.
    wrap = partial(trusting(authority).wrap_socket, server_hostname="127.0.0.1")
    with await asyncio.to_thread(wrap, plain):
        await until(lambda: running.server.connections()["client", "idle"] == 1)
        begun = asyncio.get_running_loop().time()
        stopping = asyncio.ensure_future(running.stop(grace))
        while not stopping.done():
            await asyncio.sleep(0.05)
            sweep(running)
        await stopping
        assert asyncio.get_running_loop().time() - begun < grace + 5.0
        assert running.server.connections()["client", "idle"] == 0
    assert told == []
