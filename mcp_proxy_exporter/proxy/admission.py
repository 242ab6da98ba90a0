"""What is refused before it reaches the upstream.

Knows one request head and the rules; does not know sockets. The RFC's sentence stands above each
check. A request that is well-formed and no attack is never answered 400, 404 or 405 here.
"""

import ipaddress
import re
from collections.abc import Collection

from mcp_proxy_exporter.proxy.errors import Rejected
from mcp_proxy_exporter.proxy.forwarding import passed_through
from mcp_proxy_exporter.proxy.headers import nominated, protected
from mcp_proxy_exporter.proxy.heads import RequestHead

_ABSOLUTE = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://([^/?#]*)(.*)", re.DOTALL)
_AUTHORITY = re.compile(
    # RFC 3986 section 3.2.2: a bracketed IPv6 address or a name, and a port.
    r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]@\s]+)(?::([0-9]*))?"
)
_NO_HOST = re.compile(rb"[\x00-\x20\x7f\"#/<>?@\\^`{|}]")
"""What no host and no port contains (RFC 3986 section 3.2). The rest is the upstream's to judge."""


def resolve_target(head: RequestHead) -> tuple[bytes, bytes | None]:
    """Return the target to send and the authority of an absolute-form one; raise `Rejected`."""
    target = head.target
    if head.method == b"CONNECT":
        # RFC 9110 section 9.3.6: CONNECT is for tunnels. 501: this method is not implemented.
        raise Rejected(501, "method", "this is a reverse proxy: it opens no tunnels")
    if target.startswith(b"/"):
        return target, None
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is not None:
        # RFC 9112 section 3.2.2: a server MUST accept the absolute-form, and a proxy MUST ignore
        # the Host field then. It names this proxy; nothing ever connects to what it says.
        authority, rest = absolute.groups()
        if not authority:
            # RFC 9110 section 4.2.1: an http URI with an empty host is invalid.
            raise Rejected(400, "target", "the request target is malformed")
        _check_host(authority)
        if not rest.startswith(b"/"):
            rest = b"*" if head.method == b"OPTIONS" and not rest else b"/" + rest
        return rest, authority
    if target == b"*" and head.method == b"OPTIONS":
        return target, None
    raise Rejected(400, "target", "the request target is malformed")


def check_fields(head: RequestHead) -> None:
    """Refuse what RFC 9112 says a server must refuse, and header stripping; raise `Rejected`."""
    fields = head.fields
    host = fields.get(b"host")
    if host is not None:
        _check_host(host)
    elif head.minor == 1:
        # RFC 9112 section 3.2: a server MUST respond with 400 to any HTTP/1.1 request without Host.
        raise Rejected(400, "host_missing", "the field Host is missing")
    if not _LOOK_ALIKES.isdisjoint(fields):
        # CGI and WSGI (RFC 3875 section 4.1.18) make one variable of ``-`` and ``_``: a server
        # that does would read another length than we do.
        raise Rejected(400, "framing", "a field looks like one that frames the body")
    if b"connection" in fields and protected(nominated(head)):
        # RFC 9110 section 7.6.1: a sender MUST NOT list a field that is intended for all
        # recipients.
        raise Rejected(400, "nominated", "Connection nominates an end-to-end field")


def check_origin(head: RequestHead, allowed: Collection[bytes]) -> None:
    """Raise `Rejected` (403) for a foreign ``Origin``.

    MCP 2025-11-25 and 2026-07-28, transports, security warning: an invalid Origin MUST be answered
    403. Only browsers send one (RFC 6454 section 7.3), so one that is absent passes.
    """
    origin = head.fields.get(b"origin")
    # Scheme and host come in lower case from browsers (WHATWG URL, origin); nobody else matters.
    if origin is not None and origin not in allowed:
        raise Rejected(
            403, "origin", "this Origin is not served here; allowed_origins lists those that are"
        )


def check_loop(head: RequestHead, name: bytes) -> None:
    """Raise `Rejected` (508) for a request that came through here before; ``name`` is ours."""
    if passed_through(head, name):
        # RFC 5842 section 7.2 has the only status that says so.
        raise Rejected(508, "loop", "this request has passed through this proxy before")


def _check_host(authority: bytes) -> None:
    if _NO_HOST.search(authority) is not None:
        # RFC 9112 section 3.2: 400 also for a Host with an invalid value; user information in one
        # is there to deceive (RFC 9110 section 4.2.4).
        raise Rejected(400, "host_invalid", "the host is malformed")


_LOOK_ALIKES = frozenset({b"content_length", b"transfer_encoding"})


class HostRule:
    """Which Host values a proxy accepts where it hides the client's Host from the upstream.

    There the upstream's own protection against DNS rebinding sees only the proxy's rewritten value,
    so the proxy must refuse what a rebound name would bring (MCP 2025-11-25 and 2026-07-28,
    transports, security warning). Its own addresses are the address that the connection came in on,
    the configured one, and the loopback names where that address is loopback.
    """

    def __init__(self, own: Collection[str], allowed: Collection[str]) -> None:
        """``own`` are hosts without port, ``allowed`` entries are ``host`` or ``host:port``."""
        self._own = frozenset(host.lower().strip("[]") for host in own)
        self._allowed = frozenset(entry.lower() for entry in allowed)

    def check(self, authority: bytes, local: str | None) -> None:
        """Raise `Rejected` (421) unless the authority is known; ``local`` is our socket's IP."""
        text = authority.decode("latin-1").lower()
        match = _AUTHORITY.fullmatch(text)
        if match is None:
            raise _misdirected()
        host = match[1].strip("[]")
        if host in self._own or text in self._allowed or match[1] in self._allowed:
            return
        if local is not None:
            if host == local.lower().partition("%")[0]:
                return
            if (
                host in _LOOPBACK_NAMES
                and ipaddress.ip_address(local.partition("%")[0]).is_loopback
            ):
                return
        raise _misdirected()


_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


def _misdirected() -> Rejected:
    # RFC 9110 section 15.5.20; the MCP SDKs answer a foreign Host with the same status.
    return Rejected(
        421, "host", "this Host is not served here; allowed_hosts lists the names that are"
    )
