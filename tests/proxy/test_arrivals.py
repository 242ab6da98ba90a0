"""Handshakes under way count as connections, have an end, and are gone when the listener is."""

import asyncio
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from mcp_proxy_exporter.config import LimitSettings
from mcp_proxy_exporter.protocol.events import LimitHit
from mcp_proxy_exporter.proxy import arrivals, server
from tests.soak.process import open_files
from tests.support.certificates import Identity, connect_tls, trusting
from tests.support.messages import GET
from tests.support.proxies import ProxyFactory, RunningProxy
from tests.support.raw_client import RawClient
from tests.support.scripted_upstream import ScriptedUpstream
from tests.support.waiting import until


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def identity(authority: trustme.CA, tmp_path: Path) -> Identity:
    return Identity(authority, tmp_path)


def count_idle(running: RunningProxy) -> int:
    return running.server.connections()["client", "idle"]


async def be_served(running: RunningProxy, authority: trustme.CA) -> None:
    client = await connect_tls(running.url, trusting(authority))
    await client.send(GET)
    assert (await client.read_response()).status == 204
    await client.close()


async def test_handshakes_count_as_connections_and_too_many_are_reset(
    proxy: ProxyFactory,
    upstream: ScriptedUpstream,
    authority: trustme.CA,
    identity: Identity,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "MAX_REFUSED", 1)
    limits = LimitSettings(connections=2)
    running = await proxy(upstream.url, listen_tls=identity.settings, limits=limits)
    silent = [await RawClient.connect(running.url) for _ in range(3)]
    await until(lambda: count_idle(running) == 3)
    with pytest.raises(ConnectionResetError):
        async with RawClient.connecting(running.url) as one_more:
            await one_more.read_rest()
    assert running.seen(LimitHit) == [LimitHit(limit="connections")]
    await silent[0].close()
    await until(lambda: count_idle(running) == 2)
    await be_served(running, authority)
    for client in silent[1:]:
        await client.close()
    await until(lambda: count_idle(running) == 0)


async def test_handshake_that_never_ends_is_ended(
    proxy: ProxyFactory,
    upstream: ScriptedUpstream,
    identity: Identity,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arrivals, "HANDSHAKE_SECONDS", 0.05)
    running = await proxy(upstream.url, listen_tls=identity.settings)
    async with RawClient.connecting(running.url) as silent:
        assert await silent.read_rest() == b""
    await until(lambda: count_idle(running) == 0)


@pytest.fixture
def full_system(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[OSError]]:
    """No descriptors are left for a connection, as long as there are errors in the list."""
    errors = [OSError(errno.EMFILE, os.strerror(errno.EMFILE))]
    accept = socket.socket.accept

    def accept_or_not(self: socket.socket) -> tuple[socket.socket, object]:
        if errors:
            raise errors.pop()
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", accept_or_not)
    yield errors
    assert not errors


@pytest.mark.usefixtures("full_system")
async def test_clients_wait_while_the_system_is_out_of_descriptors(
    proxy: ProxyFactory,
    upstream: ScriptedUpstream,
    authority: trustme.CA,
    identity: Identity,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arrivals, "_ACCEPT_PAUSE", 0.05)
    told: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context["message"]))
    running = await proxy(upstream.url, listen_tls=identity.settings)
    await be_served(running, authority)
    assert told == ["accept failed"]


@pytest.mark.usefixtures("full_system")
async def test_listener_can_be_closed_while_the_system_is_out_of_descriptors(
    proxy: ProxyFactory, upstream: ScriptedUpstream, identity: Identity
) -> None:
    told = asyncio.Event()
    asyncio.get_running_loop().set_exception_handler(lambda *_: told.set())
    running = await proxy(upstream.url, listen_tls=identity.settings)
    async with RawClient.connecting(running.url) as waiting:
        await asyncio.wait_for(told.wait(), 5)
        await running.stop()
        with pytest.raises(ConnectionResetError):
            await waiting.read_rest()


async def test_client_that_left_before_it_was_accepted_is_no_error(
    proxy: ProxyFactory,
    upstream: ScriptedUpstream,
    authority: trustme.CA,
    identity: Identity,
    full_system: list[OSError],
) -> None:
    full_system[:] = [ConnectionAbortedError(), BlockingIOError()]
    running = await proxy(upstream.url, listen_tls=identity.settings)
    await be_served(running, authority)


async def test_stop_ends_handshakes_and_leaves_nothing_open(
    proxy: ProxyFactory, upstream: ScriptedUpstream, authority: trustme.CA, identity: Identity
) -> None:
    files = open_files(os.getpid())
    running = await proxy(upstream.url, listen_tls=identity.settings)
    await be_served(running, authority)
    async with RawClient.connecting(running.url) as silent:
        await until(lambda: count_idle(running) == 1)
        await running.stop()
        assert await silent.read_rest() == b""
        with pytest.raises(ConnectionRefusedError):
            await RawClient.connect(running.url)
    assert count_idle(running) == 0
    await until(lambda: open_files(os.getpid()) <= files)
