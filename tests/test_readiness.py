"""Ready means that every listener is open; alive means that the process answers."""

import asyncio

import aiohttp
import pytest

from mcp_proxy_exporter.app import Service
from mcp_proxy_exporter.proxy.server import ProxyServer
from tests.support.waiting import until
from tests.test_app import build_server, build_settings, call, status


async def test_readiness_waits_for_the_last_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    go_on = asyncio.Event()
    whole = ProxyServer.start

    async def start(server: ProxyServer) -> None:
        if opened:
            await go_on.wait()
        await whole(server)
        opened.append(server.addresses[0])

    monkeypatch.setattr(ProxyServer, "start", start)
    # Neither upstream is there: that is nothing that a probe of this process should tell.
    service = Service(build_settings(build_server(), build_server(name="dogs")))
    starting = asyncio.ensure_future(service.start())
    async with aiohttp.ClientSession() as http:
        await until(lambda: opened)
        assert await status(http, f"{service.admin_url}/livez") == 200
        assert await status(http, f"{service.admin_url}/readyz") == 503
        go_on.set()
        await starting
        assert len(opened) == 2
        assert await status(http, f"{service.admin_url}/readyz") == 200
        # Nor does a failure of the upstream change anything.
        assert (await call(http, service.addresses("cats")[0])).startswith(b"mcp-proxy-exporter:")
        assert await status(http, f"{service.admin_url}/readyz") == 200
        assert await status(http, f"{service.admin_url}/livez") == 200
        await service.stop()
