"""Where to listen and where to forward to: text into parsed addresses.

Knows the spelling of addresses; does not resolve names, open sockets or know who uses them.
Messages of errors never repeat the text: an upstream's URL may hold a key.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

MAX_PORT = 65535
DEFAULT_PORTS = {"http": 80, "https": 443}

# What resolvers take, plus the underscore that container networks allow. IDNA is left alone: a
# name outside ASCII has to be written in its xn-- form, so that Host and TLS see what is meant.
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})")
_AUTHORITY = re.compile(r"[^/?#]*")
_WILDCARDS = frozenset({"", "0.0.0.0", "::"})


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A host and a port. An empty host means all interfaces; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{bracketed(self.host)}:{self.port}"

    def overlaps(self, other: "Address") -> bool:
        """Whether both cannot be listened on at once."""
        if not isinstance(other, TcpAddress) or self.port != other.port or self.port == 0:
            return False
        return self.host == other.host or bool(_WILDCARDS & {self.host, other.host})


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A unix socket."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"

    def overlaps(self, other: "Address") -> bool:
        """Whether both cannot be listened on at once."""
        return self == other


Address: TypeAlias = TcpAddress | UnixAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """The server that is forwarded to: how to reach it, and what it calls itself."""

    scheme: Literal["http", "https"]
    address: Address
    authority: bytes
    """Its own Host value: without the scheme's default port (RFC 9110 section 7.2)."""

    def __str__(self) -> str:
        if isinstance(self.address, UnixAddress):
            return str(self.address)
        return f"{self.scheme}://{self.authority.decode('ascii')}"


def bracketed(host: str) -> str:
    """Give `host` as it stands in an authority: an IPv6 literal in brackets."""
    return f"[{host}]" if ":" in host else host


def parse_listen(text: str) -> Address:
    """Parse ``host:port``, ``[::1]:8080``, ``:8080`` (all interfaces) or ``unix:/path``.

    Raises ValueError with a message for the operator.
    """
    return _parse_unix(text) if text.startswith("unix:") else parse_tcp(text)


def parse_tcp(text: str) -> TcpAddress:
    """Parse ``host:port``, ``[::1]:8080`` or ``:8080`` (all interfaces).

    Raises ValueError with a message for the operator.
    """
    if "//" in text:
        raise ValueError("is an address like 127.0.0.1:8080, not a URL")
    if text.startswith(":") and text.count(":") == 1:
        return TcpAddress("", _parse_port(text[1:]))
    host, port = parse_authority(text)
    if port is None:
        raise ValueError("needs a port, like 127.0.0.1:8080 (port 0 lets the system choose)")
    return TcpAddress(host, port)


def parse_upstream(text: str) -> Upstream:
    """Parse ``http(s)://host[:port]`` or ``unix:/path`` (http over a unix socket).

    Raises ValueError with a message for the operator.
    """
    if text.startswith("unix:"):
        # RFC 9112 section 3.2: Host is needed even where the address has no name.
        return Upstream(scheme="http", address=_parse_unix(text), authority=b"localhost")
    scheme, separator, rest = text.partition("://")
    match scheme.lower() if separator else "":
        case "http":
            return _parse_origin("http", rest)
        case "https":
            return _parse_origin("https", rest)
        case _:
            raise ValueError("must start with http://, https:// or unix:/")


def parse_authority(text: str) -> tuple[str, int | None]:
    """Split ``host[:port]`` or ``[ipv6][:port]``; the host comes without brackets.

    Raises ValueError with a message for the operator.
    """
    if text.startswith("["):
        literal, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise ValueError("an IPv6 address with a port is written [::1]:8080")
        return _ipv6(literal), _parse_port(rest[1:]) if rest else None
    if text.count(":") > 1:
        raise ValueError("an IPv6 address needs brackets, like [::1]:8080")
    host, separator, port = text.partition(":")
    if not host:
        raise ValueError("has no host")
    if not host.isascii():
        raise ValueError("a host name outside ASCII is written in its xn-- form")
    if not _NAME.fullmatch(host):
        raise ValueError("has a character that no host name has")
    return host, _parse_port(port) if separator else None


def _parse_origin(scheme: Literal["http", "https"], rest: str) -> Upstream:
    found = _AUTHORITY.match(rest)
    authority = found.group() if found else ""
    if "@" in authority:
        raise ValueError("must not hold credentials; set them under headers instead")
    if rest[len(authority) :] not in {"", "/"}:
        raise ValueError(
            "must end after host and port: paths and queries pass unchanged, "
            "so clients append the server's path to the address this proxy listens on"
        )
    host, port = parse_authority(authority)
    default = DEFAULT_PORTS[scheme]
    if port == 0:
        raise ValueError("cannot have port 0")
    # RFC 6874: a zone has a meaning on this machine only, so the peer is not told.
    name = bracketed(host.partition("%")[0])
    shown = name if port in {None, default} else f"{name}:{port}"
    return Upstream(
        scheme=scheme, address=TcpAddress(host, port or default), authority=shown.encode("ascii")
    )


def _parse_unix(text: str) -> UnixAddress:
    path = text.removeprefix("unix:")
    if not path.startswith("/") or path.endswith("/") or "\0" in path:
        raise ValueError("a unix socket is written unix:/path/to/socket, with an absolute path")
    return UnixAddress(path)


def _parse_port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(MAX_PORT)):
        raise ValueError(f"the port must be a number from 0 to {MAX_PORT}")
    port = int(text)
    if port > MAX_PORT:
        raise ValueError(f"the port must be a number from 0 to {MAX_PORT}")
    return port


def _ipv6(text: str) -> str:
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        raise ValueError("has brackets around what is no IPv6 address") from None
