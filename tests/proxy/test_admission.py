"""What is refused before it reaches the upstream, and what is not."""

import pytest

from mcp_proxy_exporter.proxy.admission import (
    HostRule,
    check_fields,
    check_loop,
    check_origin,
    resolve_target,
)
from mcp_proxy_exporter.proxy.errors import Rejected
from mcp_proxy_exporter.proxy.heads import RequestHead, parse_request_head


def request(*lines: bytes, line: bytes = b"POST /mcp HTTP/1.1") -> RequestHead:
    return parse_request_head(b"\r\n".join([line, *lines, b"", b""]), 100)


def refusal(head: RequestHead) -> tuple[int, str]:
    with pytest.raises(Rejected) as caught:
        admit(head)
    return caught.value.status, caught.value.reason


def admit(head: RequestHead) -> tuple[bytes, bytes | None]:
    resolved = resolve_target(head)
    check_fields(head)
    return resolved


@pytest.mark.parametrize(
    "target",
    [
        b"/", b"//", b"//evil/x", b"/@evil", b"/%2F", b"/%2e%2e/", b"/a/../b", b"/./", b"/;a=b",
        b"/?", b"/??", b"/a?b#c", b"/\\..\\a", b'/{}|^`<>"', b"/caf\xc3\xa9", b"/\xff", b"/%zz",
        b"/%00", b"/%0d%0aA:%20b", b"/http://evil/", b"/*", b"/:80", b"/+&&=",
    ],
)  # fmt: skip
def test_origin_form_is_kept_byte_for_byte(target: bytes) -> None:
    head = request(b"Host: a", line=b"GET " + target + b" HTTP/1.1")
    assert admit(head) == (target, None)


@pytest.mark.parametrize(
    ("target", "resolved"),
    [
        # RFC 9112 section 3.2.2.
        (b"http://a/b?c", (b"/b?c", b"a")),
        (b"HTTPS://A:81/%2f//", (b"/%2f//", b"A:81")),
        (b"http://[::1]:80", (b"/", b"[::1]:80")),
        (b"http://a?b/c", (b"/?b/c", b"a")),
        (b"http://a#b", (b"/#b", b"a")),
        (b"http://a//b", (b"//b", b"a")),
    ],
)
def test_absolute_form_becomes_origin_form(target: bytes, resolved: tuple[bytes, bytes]) -> None:
    assert admit(request(b"Host: x", line=b"GET " + target + b" HTTP/1.1")) == resolved


def test_options_may_ask_about_the_whole_server() -> None:
    # RFC 9112 section 3.2.4.
    assert admit(request(b"Host: a", line=b"OPTIONS * HTTP/1.1")) == (b"*", None)
    assert admit(request(b"Host: a", line=b"OPTIONS http://b HTTP/1.1")) == (b"*", b"b")
    assert admit(request(b"Host: a", line=b"OPTIONS http://b?c HTTP/1.1")) == (b"/?c", b"b")
    assert admit(request(b"Host: a", line=b"OPTIONS http://b/ HTTP/1.1")) == (b"/", b"b")


@pytest.mark.parametrize(
    "target",
    [
        b"*", b"a", b"mcp", b"?a", b"#", b"a:80", b"evil:80/mcp", b"ftp://a/b", b"http:/a",
        b"http:", b"http://", b"http:///a", b"ws://a/", b"@evil", b"\\\\evil", b"%2Fmcp", b"\xff",
    ],
)  # fmt: skip
def test_other_forms_are_malformed(target: bytes) -> None:
    head = request(b"Host: a", line=b"GET " + target + b" HTTP/1.1")
    assert refusal(head) == (400, "target")


@pytest.mark.parametrize("target", [b"a:80", b"/", b"http://a/", b"*"])
def test_tunnels_are_not_implemented(target: bytes) -> None:
    # RFC 9110 section 9.3.6; whatever the target, an upstream might take it for a tunnel.
    head = request(b"Host: a", line=b"CONNECT " + target + b" HTTP/1.1")
    assert refusal(head) == (501, "method")


def test_http_1_1_needs_a_host() -> None:
    # RFC 9112 section 3.2.
    assert refusal(request(b"A: b")) == (400, "host_missing")
    assert refusal(request(line=b"GET http://a/ HTTP/1.1")) == (400, "host_missing")
    assert admit(request(line=b"GET / HTTP/1.0")) == (b"/", None)


@pytest.mark.parametrize(
    "host",
    [b"", b"a", b"A.b:80", b"[::1]:8080", b"[fe80::1%25eth0]", b"a:", b"caf\xc3\xa9", b"a,b"],
)
def test_hosts_are_the_upstreams_to_judge(host: bytes) -> None:
    assert admit(request(b"Host: " + host)) == (b"/mcp", None)


@pytest.mark.parametrize(
    "host",
    [
        b"a b",
        b"a\tb",
        b"user@a",
        b"http://a",
        b"a/b",
        b"a?b",
        b"a#b",
        b"a\\b",
        b"<a>",
        b"{a}",
        b'"a"',
    ],
)
def test_what_can_be_no_host_is_refused(host: bytes) -> None:
    # RFC 9112 section 3.2.
    assert refusal(request(b"Host: " + host)) == (400, "host_invalid")


def test_user_information_in_an_absolute_form_is_refused() -> None:
    # RFC 9110 section 4.2.4.
    head = request(b"Host: a", line=b"GET http://a@evil/ HTTP/1.1")
    assert refusal(head) == (400, "host_invalid")


@pytest.mark.parametrize(
    "name",
    [
        b"authorization", b"content-encoding", b"content-length", b"content-type", b"cookie",
        b"forwarded", b"host", b"last-event-id", b"mcp-method", b"mcp-name", b"mcp-param-region",
        b"mcp-protocol-version", b"mcp-session-id", b"origin", b"via", b"x-forwarded-for",
        b"x-forwarded-anything", b"x-real-ip",
    ],
)  # fmt: skip
def test_end_to_end_fields_cannot_be_nominated(name: bytes) -> None:
    # RFC 9110 section 7.6.1.
    head = request(b"Host: a", b"Connection: close, " + name.title())
    assert refusal(head) == (400, "nominated")


def test_other_fields_can_be_nominated() -> None:
    assert admit(request(b"Host: a", b"Connection: X-A, keep-alive, te")) == (b"/mcp", None)


@pytest.mark.parametrize("name", [b"Content_Length", b"CONTENT_LENGTH", b"Transfer_Encoding"])
def test_look_alikes_of_framing_are_refused(name: bytes) -> None:
    # RFC 3875 section 4.1.18: "-" and "_" become the same to CGI and WSGI.
    assert refusal(request(b"Host: a", name + b": 5")) == (400, "framing")


ORIGINS = frozenset({b"https://app.example", b"http://[::1]:3000", b"null"})


@pytest.mark.parametrize(
    "origin",
    [None, b"https://app.example", b"http://[::1]:3000", b"null", b" https://app.example "],
)
def test_listed_origins_and_none_at_all_are_served(origin: bytes | None) -> None:
    check_origin(request(b"Host: a", *([] if origin is None else [b"Origin:" + origin])), ORIGINS)


@pytest.mark.parametrize(
    "lines",
    [
        [b"Origin: https://evil.example"],
        [b"Origin: http://app.example"],
        [b"Origin: https://app.example:8443"],
        [b"Origin: https://app.example.evil.example"],
        [b"Origin: https://app.example/"],
        [b"Origin: https://app.example https://evil.example"],
        [b"Origin: https://app.example", b"Origin: https://evil.example"],
        [b"Origin: https://app.example", b"Origin: https://app.example"],
        [b"Origin:"],
        [b"Origin: *"],
        [b"Origin: https://APP.example"],
        [b"oRIGIN: https://evil.example"],
    ],
)
def test_other_origins_are_forbidden(lines: list[bytes]) -> None:
    # MCP 2025-11-25, basic/transports, security warning.
    with pytest.raises(Rejected) as caught:
        check_origin(request(b"Host: a", *lines), ORIGINS)
    assert (caught.value.status, caught.value.reason) == (403, "origin")


@pytest.mark.parametrize(
    "lines",
    [
        [b"Via: 1.1 edge"],
        [b"via: HTTP/1.0 EDGE (Apache)"],
        [b"Via: 1.0 fred, 1.1\tedge"],
        [b"Via: 1.0 fred", b"Via: 1.1 edge, 1.1 other"],
    ],
)
def test_what_came_through_here_before_is_a_loop(lines: list[bytes]) -> None:
    with pytest.raises(Rejected) as caught:
        check_loop(request(b"Host: a", *lines), b"Edge")
    assert (caught.value.status, caught.value.reason) == (508, "loop")


@pytest.mark.parametrize(
    "lines", [[], [b"Via:"], [b"Via: edge"], [b"Via: 1.1 edge2, 1.1 not (1.1 edge)"], [b"Via: ,,"]]
)
def test_what_came_through_others_is_none(lines: list[bytes]) -> None:
    check_loop(request(b"Host: a", *lines), b"edge")


RULE = HostRule(["127.0.0.1", "Proxy.Example"], ["mcp.example", "Other.example:8443", "[::2]"])


@pytest.mark.parametrize(
    ("authority", "local"),
    [
        (b"127.0.0.1", None),
        (b"127.0.0.1:9", None),
        (b"PROXY.example:80", "10.0.0.1"),
        (b"mcp.example", "10.0.0.1"),
        (b"MCP.example:1234", "10.0.0.1"),
        (b"other.example:8443", "10.0.0.1"),
        (b"[::2]:80", "10.0.0.1"),
        (b"10.0.0.1:80", "10.0.0.1"),  # the address that the client came in on
        (b"[fe80::1]:80", "fe80::1%eth0"),
        (b"[FD00::1]", "fd00::1"),
        (b"localhost", "127.0.0.1"),
        (b"LOCALHOST:80", "127.8.8.8"),
        (b"localhost:", "::1"),
        (b"[::1]:80", "127.0.0.1"),
    ],
)
def test_known_hosts_are_served(authority: bytes, local: str | None) -> None:
    RULE.check(authority, local)


@pytest.mark.parametrize(
    ("authority", "local"),
    [
        (b"evil.example", "127.0.0.1"),
        (b"127.0.0.1.evil.example", "127.0.0.1"),
        (b"localhost.evil.example:80", "127.0.0.1"),
        (b"other.example", "127.0.0.1"),
        (b"other.example:80", "127.0.0.1"),
        (b"localhost", "10.0.0.1"),
        (b"localhost", None),
        (b"[::1]", "10.0.0.1"),
        (b"", "127.0.0.1"),
        (b"127.0.0.1:80:80", "127.0.0.1"),
        (b"127.0.0.1:x", "127.0.0.1"),
        (b"127.0.0.1 evil", "127.0.0.1"),
        (b"a@127.0.0.1", "127.0.0.1"),
        (b"[127.0.0.1", "127.0.0.1"),
        (b"::1", "::1"),
        (b"\xff", "127.0.0.1"),
    ],
)
def test_other_hosts_are_misdirected(authority: bytes, local: str | None) -> None:
    # RFC 9110 section 15.5.20.
    with pytest.raises(Rejected) as caught:
        RULE.check(authority, local)
    assert (caught.value.status, caught.value.reason) == (421, "host")
