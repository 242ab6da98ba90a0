"""The settings of one configured server: where it is, and what it is told.

Knows the rules of one server on its own; does not know the other servers (`models`), where a
value was written (`layers`) or how a message is shown (`errors`).
"""

import difflib
import os
import re
import ssl
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    Field,
    PrivateAttr,
    SecretStr,
    field_validator,
    model_validator,
)

from mcp_proxy_exporter.config.address import (
    Address,
    Upstream,
    parse_authority,
    parse_listen,
    parse_upstream,
)
from mcp_proxy_exporter.config.section import Section, faults

HOST_RULES = ("auto", "preserve", "upstream")

MAX_SECRET_BYTES = 65536
"""A secret's file: heads are limited to this by default, so more could never be sent."""

# RFC 9110 section 5.6.2.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# RFC 9110 section 5.5: the tab is the only control character of a field value.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
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


HostName = Annotated[str, AfterValidator(_check_host)]
HeaderName = Annotated[str, AfterValidator(_check_header_name)]


class HeaderSettings(Section):
    """The value of one header set towards the upstream, and where it comes from."""

    value: SecretStr | None = None
    env: str | None = None
    file: Path | None = None
    prefix: SecretStr = SecretStr("")
    """Put before the value, like ``"Bearer "``."""

    _field_value: bytes = PrivateAttr(default=b"")

    @model_validator(mode="after")
    def _read(self) -> Self:
        given = [key for key in ("value", "env", "file") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError("needs exactly one of value, env and file")
        try:
            self._field_value = _field_value(self.prefix.get_secret_value() + self._source_text())
        except ValueError as error:
            raise faults([((given[0],), str(error))]) from None
        return self

    def _source_text(self) -> str:
        if self.value is not None:
            return self.value.get_secret_value()
        text = _read_secret(self.file) if self.file is not None else _read_variable(self.env or "")
        # Files, and variables made from files, usually end with a newline that is not meant.
        text = text.rstrip("\r\n")
        if not text:
            raise ValueError("leads to an empty value")
        return text

    def reveal(self) -> bytes:
        """Give the whole field value as it is sent. A secret: to be written to a socket only."""
        return self._field_value


class TlsSettings(Section):
    """How an https upstream is verified."""

    ca_file: str = ""
    """Certificates to trust, PEM; empty: those the system trusts."""
    server_name: str = ""
    """The name its certificate must have (and SNI); empty: the host of ``upstream``."""

    @field_validator("ca_file")
    @classmethod
    def _check_ca_file(cls, value: str) -> str:
        if value:
            try:
                ssl.create_default_context(cafile=value)
            except ssl.SSLError:
                raise ValueError("holds no certificate in PEM form") from None
            except OSError as error:
                raise ValueError(_unreadable(error)) from None
        return value

    @field_validator("server_name")
    @classmethod
    def _check_server_name(cls, value: str) -> str:
        if value:
            _, port = parse_authority(value)
            if port is not None:
                raise ValueError("is a host name without a port")
        return value


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
    headers: Mapping[HeaderName, HeaderSettings] = Field(default_factory=dict)
    tls: TlsSettings = TlsSettings()

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
        return self

    @cached_property
    def listen_address(self) -> Address:
        """``listen``, parsed."""
        return parse_listen(self.listen)

    @cached_property
    def target(self) -> Upstream:
        """``upstream``, parsed."""
        return parse_upstream(self.upstream)

    def header_fields(self) -> tuple[tuple[bytes, bytes], ...]:
        """Name and value of each header to set towards the upstream. Secrets: never to be shown."""
        return tuple((name.encode(), header.reveal()) for name, header in self.headers.items())


def _field_value(text: str) -> bytes:
    if _CONTROL.search(text):
        raise ValueError("leads to a value with a control character")
    try:
        # The system's own reading of variables that are not UTF-8 (PEP 383).
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ValueError("leads to a value that is not text") from None


def _read_variable(name: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise ValueError("names an environment variable that is not set")
    return value


def _read_secret(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise ValueError(_unreadable(error)) from None
    if len(data) > MAX_SECRET_BYTES:
        raise ValueError(f"names a file of more than {MAX_SECRET_BYTES} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ValueError("names a file that is not text in UTF-8") from None


def _unreadable(error: OSError) -> str:
    return f"names a file that cannot be read: {(error.strerror or 'unknown error').lower()}"
