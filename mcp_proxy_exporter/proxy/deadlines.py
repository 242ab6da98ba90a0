"""Ends what takes too long: one sweep over all connections, no timer for each.

Knows when to look; the connections know their own limits. A limit is kept to within one interval.
"""

import asyncio

from mcp_proxy_exporter.config import TimeoutSettings
from mcp_proxy_exporter.proxy.context import Context

_LONGEST_INTERVAL = 1.0  # seconds: how late the usual limits of seconds and minutes may be kept
_SHORTEST_INTERVAL = 0.02


class Deadlines:
    """Sweeps one listener's connections at an interval fitted to the shortest limit."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin sweeping on the running loop."""
        interval = _interval(self._context.timeouts)
        self._timer = asyncio.get_running_loop().call_later(interval, self._sweep)

    def stop(self) -> None:
        """Sweep no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sweep(self) -> None:
        self.start()
        now = self._context.clock()
        for client in tuple(self._context.clients):
            client.check(now)
        self._context.pool.check(now)


def _interval(timeouts: TimeoutSettings) -> float:
    """Return seconds between sweeps: a quarter of the shortest limit that is on."""
    limits = (
        timeouts.response_head,
        timeouts.total,
        timeouts.client_head,
        timeouts.client_body,
        timeouts.client_write,
        timeouts.client_idle,
        timeouts.upstream_idle,
    )
    shortest = min(limit for limit in limits if limit)
    return min(max(shortest / 4, _SHORTEST_INTERVAL), _LONGEST_INTERVAL)
