"""Time that a test moves by hand, and the look at all connections that a proxy takes now and then.

Knows the insides of `mcp_proxy_exporter.proxy.deadlines`; does not know which limits there are.
"""

from tests.support.proxies import RunningProxy


class Clock:
    """Monotonic seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def sweep(proxy: RunningProxy) -> None:
    """Look at all connections now, as `Deadlines` does at intervals."""
    context = proxy.server._context
    now = context.clock()
    for client in tuple(context.clients):
        client.check(now)
    context.pool.check(now)
