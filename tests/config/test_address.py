"""Addresses: what is understood, how it is shown again, and what is refused with which words."""

import pytest

from mcp_proxy_exporter.config import TcpAddress, UnixAddress, Upstream
from mcp_proxy_exporter.config.address import parse_authority, parse_listen, parse_upstream

LISTEN = [
    ("127.0.0.1:8080", TcpAddress("127.0.0.1", 8080)),
    ("localhost:0", TcpAddress("localhost", 0)),
    (":65535", TcpAddress("", 65535)),
    ("[::1]:8080", TcpAddress("::1", 8080)),
    ("[fe80::1%eth0]:8080", TcpAddress("fe80::1%eth0", 8080)),
    ("my_service.ns-1:80", TcpAddress("my_service.ns-1", 80)),
    ("unix:/run/proxy.sock", UnixAddress("/run/proxy.sock")),
]

BAD_LISTEN = [
    ("", "has no host"),
    ("127.0.0.1", "needs a port"),
    ("[::1]", "needs a port"),
    ("http://127.0.0.1:80", "not a URL"),
    ("::1:8080", "needs brackets"),
    ("[::1:8080", "written [::1]:8080"),
    ("[::1]8080", "written [::1]:8080"),
    ("[localhost]:8080", "no IPv6 address"),
    ("a b:80", "a character that no host name has"),
    ("*:80", "a character that no host name has"),
    ("katzenb\u00e4r.example:80", "xn--"),
    (":", "the port must be"),
    (":-1", "the port must be"),
    (":65536", "the port must be"),
    (":000080", "the port must be"),
    (":\u0661", "the port must be"),
    ("unix:relative.sock", "absolute path"),
    ("unix:/directory/", "absolute path"),
    ("unix:/a\0b", "absolute path"),
]

UPSTREAMS = [
    ("http://127.0.0.1:3001", "http", TcpAddress("127.0.0.1", 3001), b"127.0.0.1:3001"),
    ("http://cats", "http", TcpAddress("cats", 80), b"cats"),
    ("http://cats:80/", "http", TcpAddress("cats", 80), b"cats"),
    ("http://cats:443", "http", TcpAddress("cats", 443), b"cats:443"),
    ("HTTPS://Cats.example", "https", TcpAddress("Cats.example", 443), b"Cats.example"),
    ("https://cats.example:443", "https", TcpAddress("cats.example", 443), b"cats.example"),
    ("https://[::1]:8443", "https", TcpAddress("::1", 8443), b"[::1]:8443"),
    ("http://[fe80::1%eth0]:81", "http", TcpAddress("fe80::1%eth0", 81), b"[fe80::1]:81"),
    ("unix:/run/cats.sock", "http", UnixAddress("/run/cats.sock"), b"localhost"),
]

BAD_UPSTREAMS = [
    ("", "must start with http://"),
    ("cats:3001", "must start with http://"),
    ("ftp://cats", "must start with http://"),
    ("http://", "has no host"),
    ("http:///mcp", "must end after host and port"),
    ("http://cats/mcp", "must end after host and port"),
    ("http://cats?key=1", "must end after host and port"),
    ("http://cats#x", "must end after host and port"),
    ("http://user:pw@cats", "credentials"),
    ("http://cats:0", "port 0"),
    ("http://cats:http", "the port must be"),
    ("unix:cats.sock", "absolute path"),
]


@pytest.mark.parametrize(("text", "address"), LISTEN)
def test_listen_is_parsed_and_shown_as_written(
    text: str, address: TcpAddress | UnixAddress
) -> None:
    assert parse_listen(text) == address
    assert str(address) == text


@pytest.mark.parametrize(("text", "message"), BAD_LISTEN)
def test_bad_listen_is_refused_with_a_reason(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_listen(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(("text", "scheme", "address", "authority"), UPSTREAMS)
def test_upstream_is_parsed(
    text: str, scheme: str, address: TcpAddress | UnixAddress, authority: bytes
) -> None:
    upstream = parse_upstream(text)
    assert (upstream.scheme, upstream.address, upstream.authority) == (scheme, address, authority)


@pytest.mark.parametrize("text", [text for text, *_ in UPSTREAMS if "%" not in text])
def test_upstream_as_shown_means_the_same(text: str) -> None:
    upstream: Upstream = parse_upstream(text)
    assert parse_upstream(str(upstream)) == upstream


@pytest.mark.parametrize(("text", "message"), BAD_UPSTREAMS)
def test_bad_upstream_is_refused_without_being_repeated(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_upstream(text)
    assert message in str(caught.value)
    assert "pw" not in str(caught.value)
    assert "key" not in str(caught.value)


def test_authority_may_lack_a_port() -> None:
    assert parse_authority("cats.example") == ("cats.example", None)
    assert parse_authority("[::1]") == ("::1", None)


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("127.0.0.1:80", "127.0.0.1:80", True),
        ("127.0.0.1:80", "127.0.0.1:81", False),
        ("127.0.0.1:80", "127.0.0.2:80", False),
        (":80", "127.0.0.1:80", True),
        ("127.0.0.1:80", "0.0.0.0:80", True),
        ("[::]:80", "127.0.0.1:80", True),
        ("127.0.0.1:0", "127.0.0.1:0", False),
        ("127.0.0.1:80", "unix:/a", False),
        ("unix:/a", "127.0.0.1:80", False),
        ("unix:/a", "unix:/a", True),
        ("unix:/a", "unix:/b", False),
    ],
)
def test_listeners_that_cannot_be_open_at_once_overlap(
    one: str, other: str, *, overlap: bool
) -> None:
    assert parse_listen(one).overlaps(parse_listen(other)) is overlap
