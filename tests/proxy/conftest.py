"""The data plane's tests run on both event loops: their transports differ."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest

from tests.support.proxies import ProxyFactory, RunningProxy, start_proxy
from tests.support.scripted_upstream import ScriptedUpstream


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run each asynchronous test of this folder once per event loop that is installed."""
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
        "asyncio": asyncio.new_event_loop
    }
    try:
        import uvloop  # noqa: PLC0415  # an optional extra
    except ImportError:
        return factories
    return {**factories, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    """A scripted upstream."""
    async with ScriptedUpstream.running() as running:
        yield running


@pytest.fixture
async def proxy() -> AsyncIterator[ProxyFactory]:
    """Start proxies with ``await proxy(upstream.url, **options of start_proxy)``."""
    running: list[RunningProxy] = []

    async def start(upstream_url: str, **options: Any) -> RunningProxy:
        running.append(await start_proxy(upstream_url, **options))
        return running[-1]

    yield start
    for one in running:
        await one.stop()
