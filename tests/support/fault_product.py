"""The whole product in this process, as the fault matrix looks at it: by its metrics, and by what
it still holds.

Knows the insides of `mcp_proxy_exporter.app.Service`; does not know which faults there are.
"""

import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from mcp_proxy_exporter.app import Service
from mcp_proxy_exporter.config import (
    AdminSettings,
    InspectionSettings,
    ServerSettings,
    Settings,
    TimeoutSettings,
)
from mcp_proxy_exporter.proxy.pool import UpstreamPool
from tests.support.holdings import holdings
from tests.support.raw_client import RawClient
from tests.support.scrape import Scrape
from tests.support.waiting import until

SERVER = "cats"


class Product:
    """A running service with one server."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.url = service.addresses(SERVER)[0]

    @property
    def host(self) -> bytes:
        """What a client calls it."""
        return self.url.removeprefix("http://").encode()

    @property
    def pool(self) -> UpstreamPool:
        """Its connections to the upstream."""
        return self._service._proxies[SERVER]._context.pool

    async def scrape(self) -> Scrape:
        """Read the metrics as Prometheus does."""
        async with RawClient.connecting(self._service.admin_url) as client:
            await client.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            response = await client.read_response()
        assert response.status == 200
        return Scrape.from_text(response.body)

    async def settle(self) -> Scrape:
        """Scrape once no exchange runs and no connection is being opened."""
        await until(lambda: not (self._is_busy() or self.pool._tasks))
        return await self.scrape()

    def _is_busy(self) -> bool:
        counts = self._service._proxies[SERVER].connections()
        return any(count for (_, state), count in counts.items() if state == "active")

    def is_free(self) -> bool:
        """Give up what waits for too long, as the service does every second; say if that is all."""
        for taps in self._service._taps:
            taps.sweep()
        return not self.holdings()

    def holdings(self) -> dict[str, int]:
        """Say what the inspection still holds."""
        [taps] = self._service._taps
        while taps._queue:
            taps._take_turn()
        return holdings(taps._inspector)


@asynccontextmanager
async def run_product(
    upstream: str, timeouts: TimeoutSettings, *, suspended: float = 60.0, **server: Any
) -> AsyncIterator[Product]:
    """Run the product before an upstream."""
    settings = Settings(
        servers=(ServerSettings(name=SERVER, listen="127.0.0.1:0", upstream=upstream, **server),),
        admin=AdminSettings(listen="127.0.0.1:0"),
        inspection=InspectionSettings(suspended_seconds=suspended),
        timeouts=timeouts,
    )
    service = Service(settings)
    await service.start()
    try:
        yield Product(service)
    finally:
        await service.stop()


def count_sockets() -> int:
    """Count the open sockets of this process."""
    found = 0
    for name in os.listdir("/dev/fd"):  # noqa: PTH208  # names are numbers
        with suppress(OSError):  # the descriptor of the listing itself
            found += stat.S_ISSOCK(os.fstat(int(name)).st_mode)
    return found
