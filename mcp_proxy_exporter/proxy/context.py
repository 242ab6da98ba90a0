"""What all connections of one listener share.

Knows one configured server in the form that the data plane reads on every request; does not know
configuration files. Built once by `server.ProxyServer`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from mcp_proxy_exporter.config import LimitSettings, TimeoutSettings
from mcp_proxy_exporter.proxy.admission import HostRule
from mcp_proxy_exporter.proxy.forwarding import Forwarding
from mcp_proxy_exporter.proxy.heads import KnownHeads, RequestHead
from mcp_proxy_exporter.proxy.sockets import HangUps
from mcp_proxy_exporter.tap import TapFactory

if TYPE_CHECKING:
    from mcp_proxy_exporter.proxy.downstream import ClientConnection
    from mcp_proxy_exporter.proxy.pool import UpstreamPool

BUFFER_HIGH_WATER = 65_536
"""Bytes that wait for one slow side before the other is no longer read: asyncio's own default."""

MAX_REFUSED = 64
"""Connections beyond the limit that are told so; more are reset, so that the limit is one."""

_ENDLESS = 1 << 60  # more than there can be; still an integer without a heap object once compiled


class Rules:
    """What is done with each request, as the configuration says it: replaced whole, never changed.

    A plain class, like the others here: mypyc makes native ones of them (tools/compile).
    """

    __slots__ = (
        "authority",
        "extra_headers",
        "forwarding",
        "host_rule",
        "origins",
        "rewrite_host",
        "via",
    )

    def __init__(
        self,
        *,
        authority: bytes,
        rewrite_host: bytes | None,
        host_rule: HostRule | None,
        origins: frozenset[bytes] | None,
        forwarding: Forwarding | None,
        via: bytes,
        extra_headers: tuple[tuple[bytes, bytes], ...],
    ) -> None:
        self.authority = authority
        """The upstream's, for a Host field that is missing or to be rewritten."""
        self.rewrite_host = rewrite_host
        """What replaces the client's Host; None preserves it."""
        self.host_rule = host_rule
        """Which Hosts are served where the upstream cannot judge; None where it can."""
        self.origins = origins
        """Which Origins are served; None where the upstream judges."""
        self.forwarding = forwarding
        """What becomes of claims about who asks; None lets them pass."""
        self.via = via
        """Our name in the field Via; empty leaves it as it came."""
        self.extra_headers = extra_headers
        """Fields to set towards the upstream."""


class Context:
    """One listener's rules, its pool and its connections."""

    __slots__ = (
        "answered_at",
        "clients",
        "clock",
        "closes_clients",
        "hang_ups",
        "known_heads",
        "limits",
        "pool",
        "room",
        "rules",
        "taps",
        "timeouts",
    )

    def __init__(
        self,
        *,
        rules: Rules,
        limits: LimitSettings,
        timeouts: TimeoutSettings,
        taps: TapFactory,
        pool: "UpstreamPool",
        clock: Callable[[], float],
    ) -> None:
        self.rules = rules
        self.limits = limits
        self.timeouts = timeouts
        self.taps = taps
        self.pool = pool
        self.known_heads = KnownHeads[RequestHead]()
        """Request heads that were parsed, and admitted, before."""
        self.clock = clock
        """Monotonic seconds."""
        self.answered_at = float("-inf")
        """When the upstream's last answer was reported; minus infinity after a failure."""
        self.closes_clients = not timeouts.client_idle
        """True where answers end their connections: no keep-alive is wanted, or the listener
        closed."""
        self.clients: set[ClientConnection] = set()
        self.room = limits.requests or _ENDLESS
        """How many more exchanges may use the upstream at once."""
        self.hang_ups = HangUps()

    def change(self, rules: Rules, *, limits: LimitSettings, timeouts: TimeoutSettings) -> None:
        """Take others from the next request on; what runs goes on, whatever they are."""
        self.rules = rules
        # They were admitted by the old rules, and hold the old headers.
        self.known_heads.clear()
        self.room += (limits.requests or _ENDLESS) - (self.limits.requests or _ENDLESS)
        self.limits = limits
        self.timeouts = timeouts
