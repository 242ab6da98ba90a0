"""Who asked, and through whom: ``Forwarded``, ``X-Forwarded-*`` and ``Via``.

Knows what these fields claim and whose claims count; does not know which other fields pass
(`headers`). Servers believe such fields when they come from an address that they trust, and the
proxy's own often is one: uvicorn trusts 127.0.0.1 unless told otherwise. A claim of a client that
passed through would so become a truth.
"""

import ipaddress
from collections.abc import Sequence
from typing import TypeAlias

from mcp_proxy_exporter.proxy.heads import Head

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Fields: TypeAlias = tuple[tuple[bytes, bytes], ...]
"""Names and values of fields, in order."""

_FORWARDED = b"forwarded"
_FOR = b"x-forwarded-for"
_HOST = b"x-forwarded-host"
_PROTO = b"x-forwarded-proto"
_REAL = b"x-real-ip"
_PREFIX = b"x-forwarded-"
_LISTS = (
    (_FORWARDED, b"Forwarded"),  # RFC 7239
    (_FOR, b"X-Forwarded-For"),
)
"""To which each proxy on the way adds what it saw."""
_VOLUNTEERED = (
    (_FOR, b"X-Forwarded-For"),
    (_PROTO, b"X-Forwarded-Proto"),
    (_HOST, b"X-Forwarded-Host"),
)
"""What is told unasked: what most servers read."""
_NAMES = (
    (_FORWARDED, b"Forwarded"),
    *_VOLUNTEERED,
    (_REAL, b"X-Real-IP"),  # nginx's, which many frameworks read
)
"""What we can tell the truth about. Any other (``-Port``, ``-Prefix``, ``-Uri``) is dropped."""


def is_claim(name: bytes) -> bool:
    """Tell whether a field (lower-case name) speaks of who is in front of its sender.

    Also with ``_`` for ``-``: CGI and WSGI make the same variable of both.
    """
    plain = name.replace(b"_", b"-") if b"_" in name else name
    return plain.startswith(_PREFIX) or plain in (_FORWARDED, _REAL)


class Asked:
    """Facts about one request that its fields may not change."""

    __slots__ = ("host", "peer", "scheme")

    def __init__(self, peer: str, scheme: bytes, host: bytes) -> None:
        self.peer = peer
        """The client's IP address; empty on a unix socket."""
        self.scheme = scheme
        self.host = host


class Forwarding:
    """What one listener makes of these fields."""

    __slots__ = ("_always", "_trusted")

    def __init__(self, trusted: Sequence[Network], *, always: bool) -> None:
        """``trusted`` peers' claims are kept; ``always`` tells the upstream without any, too."""
        self._trusted = tuple(trusted)
        self._always = always

    def concerns(self, head: Head) -> bool:
        """Tell whether a request's head depends on who sends it."""
        return self._always or any(map(is_claim, head.fields))

    def replace(self, head: Head, asked: Asked) -> tuple[frozenset[bytes], Fields]:
        """Return the lower-case names to drop, and the fields to add in their place."""
        claims = {name for name in head.fields if is_claim(name)}
        truth = _tell(asked)
        if self._trusts(asked.peer):
            return self._extend(head, claims, truth)
        added = [(shown, truth[name]) for name, shown in _NAMES if name in claims and name in truth]
        added += self._volunteer(claims, truth)
        return frozenset(claims), tuple(added)

    def _extend(
        self, head: Head, claims: set[bytes], truth: dict[bytes, bytes]
    ) -> tuple[frozenset[bytes], Fields]:
        """Believe what a trusted peer says, and add the peer to it."""
        # No proxy spells them so; who does means to get past one.
        dropped = {name for name in claims if b"_" in name}
        added = []
        for name, shown in _LISTS:
            said = head.fields.get(name)
            if said is not None:
                # RFC 7239 section 4: each proxy adds at the end. One line of all: some servers,
                # uvicorn for one, read only the last line.
                added.append((shown, said + b", " + truth[name] if said else truth[name]))
                dropped.add(name)
        added += self._volunteer(claims, truth)
        return frozenset(dropped), tuple(added)

    def _volunteer(
        self, claims: set[bytes], truth: dict[bytes, bytes]
    ) -> list[tuple[bytes, bytes]]:
        if not self._always:
            return []
        return [
            (shown, truth[name])
            for name, shown in _VOLUNTEERED
            if name not in claims and name in truth
        ]

    def _trusts(self, peer: str) -> bool:
        if not peer or not self._trusted:
            return False
        address = ipaddress.ip_address(peer)
        return any(address in network for network in self._trusted)


def _tell(asked: Asked) -> dict[bytes, bytes]:
    """Return each field that we know the value of, by lower-case name."""
    peer = asked.peer.encode()
    # RFC 7239 sections 4 and 6: what holds a colon is quoted, an IPv6 address in brackets as well.
    node = b'"[%b]"' % peer if b":" in peer else peer or b"unknown"
    truth = {
        _FORWARDED: b'for=%b;host="%b";proto=%b' % (node, asked.host, asked.scheme),
        _PROTO: asked.scheme,
        _HOST: asked.host,
    }
    if peer:  # a unix socket's has no address
        truth[_FOR] = truth[_REAL] = peer
    return truth


def plain_address(peer: object) -> str:
    """Return the IP address of what a socket calls its peer; empty where it has none."""
    if not isinstance(peer, tuple):
        return ""
    host = str(peer[0]).partition("%")[0]
    address = ipaddress.ip_address(host)
    # A socket for both families shows an IPv4 peer so (RFC 4291 section 2.5.5.2).
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(address if mapped is None else mapped)


def passed_through(head: Head, name: bytes) -> bool:
    """Tell whether ``Via`` says that a request was here before (RFC 9110 section 7.6.3)."""
    via = head.fields.get(b"via")
    if via is None:
        return False
    for member in via.lower().split(b","):
        words = member.split()
        if len(words) > 1 and words[1] == name.lower():
            return True
    return False
