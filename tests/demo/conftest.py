"""The cats, listening, for the tests of the demonstration."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from mcp_proxy_exporter.demo.server import CatServer


@pytest.fixture
async def cats() -> AsyncIterator[CatServer]:
    server = CatServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session
