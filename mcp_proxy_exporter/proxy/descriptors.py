"""How many open files the system grants, and how many clients that is enough for.

Knows the process's limit and what one exchange takes of it; does not know listeners. One that took
the last descriptor would leave none for the way to its upstream, for the other listeners, nor for
who asks whether the process is alive.
"""

import resource

from mcp_proxy_exporter.config import LimitSettings
from mcp_proxy_exporter.proxy.context import MAX_REFUSED
from mcp_proxy_exporter.proxy.sockets import allow_descriptors

_RESERVE = 64
"""Listening sockets, the event loop's own, logs, and files that are read anew."""


def share_descriptors(servers: int, others: int) -> int | None:
    """Return how many each of some servers may have, without ``others``; None for no limit."""
    allow_descriptors()
    granted, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if granted == resource.RLIM_INFINITY:
        return None
    return max(0, granted - _RESERVE - others) // servers


def fit(limits: LimitSettings, share: int | None) -> LimitSettings:
    """Lower `connections` so far that each exchange finds a descriptor for its upstream."""
    if share is None:
        return limits
    room = share - MAX_REFUSED
    # Each exchange belongs to one client: there are never more upstream connections than clients.
    most = max(room // 2, room - limits.requests if limits.requests else 0, 1)
    if 0 < limits.connections <= most:
        return limits
    return limits.model_copy(update={"connections": most})
