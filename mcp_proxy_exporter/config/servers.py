"""The settings of one configured server: where it is, and what it is told.

Knows the rules of one server on its own; does not know the other servers (`models`), where a
value was written (`layers`) or how a message is shown (`errors`).
"""

import difflib
import ipaddress
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from mcp_proxy_exporter.config.address import (
    DEFAULT_PORTS,
    Address,
    TcpAddress,
    UnixAddress,
    Upstream,
    bracketed,
    parse_authority,
    parse_listen,
    parse_upstream,
)
from mcp_proxy_exporter.config.secret import SecretSettings
from mcp_proxy_exporter.config.section import Section, faults
from mcp_proxy_exporter.config.tls import ListenTlsSettings, TlsSettings

HOST_RULES = ("auto", "preserve", "upstream")

_EVERYWHERE = frozenset({"", "0.0.0.0", "::"})
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

# RFC 9110 section 5.6.2.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# RFC 3986 section 3.1. Browser extensions and editors have schemes of their own.
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
# RFC 9110 section 7.6.1 (hop-by-hop), RFC 9112 section 6 (framing), and what belongs to one hop.
_REFUSED_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def _check_header_name(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError("is no header name (RFC 9110 section 5.6.2)")
    if name.lower() == "host":
        raise ValueError("is set by host_header")
    if name.lower() in _REFUSED_HEADERS:
        raise ValueError("belongs to one connection and its framing, and cannot be set")
    return name


def _check_host(host: str) -> str:
    parse_authority(host)
    return host.lower()


def _check_origin(origin: str) -> str:
    if origin == "null":
        return origin
    scheme, separator, authority = origin.lower().partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        raise ValueError("is no origin like https://app.example, nor null")
    host, port = parse_authority(authority)
    # As browsers send it (RFC 6454 section 6.2): without the scheme's own port.
    shown = "" if port in {None, DEFAULT_PORTS.get(scheme)} else f":{port}"
    return f"{scheme}://{bracketed(host)}{shown}"


def _check_network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        raise ValueError("is no address or network like 10.0.0.0/8") from None


Origin = Annotated[str, AfterValidator(_check_origin)]
NetworkText = Annotated[str, AfterValidator(_check_network)]
HostName = Annotated[str, AfterValidator(_check_host)]
HeaderName = Annotated[str, AfterValidator(_check_header_name)]


class HeaderSettings(SecretSettings):
    """The value of one header set towards the upstream, and where it comes from."""

    prefix: SecretStr = SecretStr("")
    """Put before the value, like ``"Bearer "``."""

    def _complete(self, text: str) -> str:
        return self.prefix.get_secret_value() + text


class ServerSettings(Section):
    """One MCP server to watch, and the listener of its own that stands in for it."""

    name: str = Field(default="mcp")
    """The label ``server`` of its metrics."""
    listen: str = "127.0.0.1:8080"
    upstream: str
    host_header: str = "auto"
    """auto, preserve, upstream, or a literal authority."""
    allowed_hosts: tuple[HostName, ...] = ()
    """Further Host values, ``host`` (any port) or ``host:port``, in lower case."""
    allowed_origins: tuple[Origin, ...] = ()
    """Origins whose web pages may ask; none: the upstream judges the Origin."""
    forwarded: Literal["replace", "add", "preserve"] = "replace"
    """What becomes of ``Forwarded``, ``X-Forwarded-*`` and ``X-Real-IP``. Replaced by what we know:
    the upstream may trust this proxy's address, and so whatever a client claims through it."""
    trusted_proxies: tuple[NetworkText, ...] = ()
    """Addresses and networks of peers whose claims in those fields are kept."""
    via: str = ""
    """Our name in ``Via``; empty: it is neither added nor looked at, as in other reverse proxies,
    because a sidecar is not to be noticed."""
    headers: Mapping[HeaderName, HeaderSettings] = Field(default_factory=dict)
    tls: TlsSettings = TlsSettings()
    listen_tls: ListenTlsSettings = ListenTlsSettings()

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", value):
            raise ValueError("must be 1 to 64 of letters, digits, '_', '.' and '-'")
        return value

    @field_validator("listen")
    @classmethod
    def _check_listen(cls, value: str) -> str:
        parse_listen(value)
        return value

    @field_validator("upstream")
    @classmethod
    def _check_upstream(cls, value: str) -> str:
        return str(parse_upstream(value))

    @field_validator("host_header")
    @classmethod
    def _check_host_header(cls, value: str) -> str:
        if value in HOST_RULES:
            return value
        host, port = parse_authority(value)
        if port is None and "." not in host:
            for near in difflib.get_close_matches(host.lower(), HOST_RULES, n=1, cutoff=0.7):
                raise ValueError(f"did you mean `{near}`? (if it is a host, add its port)")
        return value

    @field_validator("via")
    @classmethod
    def _check_via(cls, value: str) -> str:
        # RFC 9110 section 7.6.3: received-by is a host and port, or a pseudonym, which is a token.
        if value and not _TOKEN.fullmatch(value):
            parse_authority(value)
        return value

    @model_validator(mode="after")
    def _check_trusted(self) -> Self:
        if self.trusted_proxies and self.forwarded == "preserve":
            raise faults([(("trusted_proxies",), "has no use: forwarded is preserve")])
        return self

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, value: Mapping[str, HeaderSettings]) -> Mapping[str, HeaderSettings]:
        if len({name.lower() for name in value}) < len(value):
            raise ValueError("has one header twice: names differ in more than upper and lower case")
        return value

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if self.target.scheme == "http" and self.tls != TlsSettings():
            raise faults([(("tls",), "has no use: the upstream is not https")])
        if self.listen_tls.cert_file and isinstance(self.listen_address, UnixAddress):
            raise faults([(("listen_tls",), "has no use: a unix socket is listened on")])
        return self

    @model_validator(mode="after")
    def _check_loop(self) -> Self:
        if _is_own(self.listen_address, self.target.address):
            raise faults(
                [(("upstream",), "is where this proxy listens: nothing would ever answer")]
            )
        return self

    @cached_property
    def listen_address(self) -> Address:
        """``listen``, parsed."""
        return parse_listen(self.listen)

    @cached_property
    def target(self) -> Upstream:
        """``upstream``, parsed."""
        return parse_upstream(self.upstream)

    @cached_property
    def trusted_networks(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """``trusted_proxies``, parsed."""
        return tuple(map(ipaddress.ip_network, self.trusted_proxies))

    def header_fields(self) -> tuple[tuple[bytes, bytes], ...]:
        """Name and value of each header to set towards the upstream. Secrets: never to be shown."""
        return tuple((name.encode(), header.reveal()) for name, header in self.headers.items())


def _is_own(listen: Address, upstream: Address) -> bool:
    """Whether a listener would be its own upstream, as far as that can be told without asking."""
    if not isinstance(listen, TcpAddress) or not isinstance(upstream, TcpAddress):
        return listen == upstream
    if listen.port != upstream.port or listen.port == 0:
        return False
    here = listen.host in _EVERYWHERE or listen.host in _LOOPBACK
    return listen.host == upstream.host or (here and upstream.host.lower() in _LOOPBACK)
