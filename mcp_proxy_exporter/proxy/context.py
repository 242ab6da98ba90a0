"""What all connections of one listener share.

Knows one configured server in the form that the data plane reads on every request; does not know
configuration files. Built once by `server.ProxyServer`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mcp_proxy_exporter.config import LimitSettings, TimeoutSettings
from mcp_proxy_exporter.proxy.admission import HostRule
from mcp_proxy_exporter.proxy.heads import KnownHeads, RequestHead
from mcp_proxy_exporter.proxy.sockets import HangUps
from mcp_proxy_exporter.tap import TapFactory

if TYPE_CHECKING:
    from mcp_proxy_exporter.proxy.downstream import ClientConnection
    from mcp_proxy_exporter.proxy.pool import UpstreamPool

BUFFER_HIGH_WATER = 65_536
"""Bytes that wait for one slow side before the other is no longer read: asyncio's own default."""


@dataclass(slots=True, kw_only=True)
class Context:
    """One listener's rules, its pool and its connections."""

    authority: bytes
    """The upstream's, for a Host field that is missing or to be rewritten."""
    rewrite_host: bytes | None
    """What replaces the client's Host; None preserves it."""
    host_rule: HostRule | None
    """Which Hosts are served where the upstream cannot judge; None where it can."""
    extra_headers: tuple[tuple[bytes, bytes], ...]
    """Fields to set towards the upstream."""
    limits: LimitSettings
    timeouts: TimeoutSettings
    taps: TapFactory
    pool: "UpstreamPool"
    known_heads: KnownHeads[RequestHead]
    """Request heads that were parsed, and admitted, before."""
    clock: Callable[[], float]
    """Monotonic seconds."""
    answered_at: float = float("-inf")
    """When the upstream's last answer was reported; minus infinity after a failure."""
    closes_clients: bool
    """True where answers end their connections: no keep-alive is wanted, or the listener closed."""
    clients: "set[ClientConnection]" = field(default_factory=set)
    hang_ups: HangUps = field(default_factory=HangUps)
