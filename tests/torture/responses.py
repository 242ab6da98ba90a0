"""Responses of all kinds that servers give, each as it stands on the wire.

Some are as they should be and some are not: what an upstream does wrong is to pass, too. Knows
bytes; does not know who compares what becomes of them.
"""

import gzip
from dataclasses import dataclass
from email.utils import formatdate

DATE = f"Date: {formatdate(usegmt=True)}".encode()
OLD = b"Last-Modified: Fri, 01 Nov 2024 10:00:00 GMT"
PLAIN = b"Content-Type: text/plain; charset=utf-8"
JSON = b"Content-Type: application/json"
EVENTS = b"Content-Type: text/event-stream"
CHUNKED = b"Transfer-Encoding: chunked"
PACKED = gzip.compress(b"hello", mtime=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One response and the method of its request."""

    raw: bytes
    method: bytes = b"GET"
    closes: bool = False
    """Its body ends with its connection."""


def sized(
    status: bytes, *fields: bytes, body: bytes = b"hello\n", method: bytes = b"GET"
) -> Sample:
    """Build a response with a Content-Length."""
    length = b"Content-Length: %d" % len(body)
    head = b"\r\n".join([b"HTTP/1.1 " + status, DATE, *fields, length])
    return Sample(raw=head + b"\r\n\r\n" + body, method=method)


def bare(status: bytes, *fields: bytes, rest: bytes = b"", method: bytes = b"GET") -> Sample:
    """Build a response without a Content-Length of its own."""
    head = b"\r\n".join([b"HTTP/1.1 " + status, DATE, *fields])
    return Sample(raw=head + b"\r\n\r\n" + rest, method=method)


SAMPLES: dict[str, Sample] = {
    "plain": sized(b"200 OK", PLAIN),
    "JSON": sized(b"200 OK", JSON, b"Cache-Control: no-store", body=b'{"jsonrpc":"2.0"}'),
    "empty": sized(b"200 OK", PLAIN, body=b""),
    "no fields": Sample(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    "no reason": sized(b"200 ", PLAIN),
    "accepted": sized(b"202 Accepted", body=b"", method=b"POST"),
    "created": sized(b"201 Created", b"Location: /things/1", PLAIN, method=b"POST"),
    "no content": bare(b"204 No Content"),
    "not modified": bare(b"304 Not Modified", b'ETag: "a"', b"Cache-Control: max-age=60"),
    "HEAD": bare(b"200 OK", PLAIN, b"Content-Length: 100", method=b"HEAD"),
    "HEAD of chunks": bare(b"200 OK", PLAIN, CHUNKED, method=b"HEAD"),
    "chunks": bare(b"200 OK", PLAIN, CHUNKED, rest=b"3\r\nhel\r\n3;x=y\r\nlo\n\r\n0\r\n\r\n"),
    "trailers": bare(
        b"200 OK",
        PLAIN,
        CHUNKED,
        b"Trailer: X-Sum",
        rest=b"6\r\nhello\n\r\n0\r\nX-Sum: 1234\r\n\r\n",
    ),
    "events": bare(
        b"200 OK",
        EVENTS,
        CHUNKED,
        b"Cache-Control: no-cache, no-transform",
        b"X-Accel-Buffering: no",
        rest=b"9\r\ndata: 1\n\n\r\n0\r\n\r\n",
    ),
    "until close": Sample(
        raw=b"HTTP/1.1 200 OK\r\n" + DATE + b"\r\n" + PLAIN + b"\r\n\r\nhello\n", closes=True
    ),
    "HTTP/1.0": Sample(
        raw=b"HTTP/1.0 200 OK\r\n" + DATE + b"\r\n" + PLAIN + b"\r\n\r\nhello\n", closes=True
    ),
    "closing": sized(b"200 OK", PLAIN, b"Connection: close"),
    "kept alive": sized(b"200 OK", PLAIN, b"Connection: keep-alive", b"Keep-Alive: timeout=5"),
    "hop by hop": sized(b"200 OK", PLAIN, b"Connection: X-Named", b"X-Named: a", b"Upgrade: h2c"),
    "packed": sized(
        b"200 OK", PLAIN, b"Content-Encoding: gzip", b"Vary: Accept-Encoding", body=PACKED
    ),
    "badly packed": sized(b"200 OK", PLAIN, b"Content-Encoding: gzip", body=b"not packed"),
    "a part": sized(b"206 Partial Content", PLAIN, b"Content-Range: bytes 0-5/100"),
    "no such part": sized(b"416 Range Not Satisfiable", b"Content-Range: bytes */100", PLAIN),
    "cached": sized(
        b"200 OK", PLAIN, OLD, b'ETag: W/"a"', b"Cache-Control: max-age=60", b"Age: 10"
    ),
    "expired": sized(b"200 OK", PLAIN, b"Expires: 0", b"Pragma: no-cache", b"Warning: 110 - old"),
    "cookies": sized(
        b"200 OK",
        PLAIN,
        b"Set-Cookie: a=b; Path=/; Secure; HttpOnly; SameSite=Lax",
        b"Set-Cookie: c=d; Expires=Wed, 01 Jan 2031 00:00:00 GMT",
    ),
    "moved": sized(b"308 Permanent Redirect", b"Location: https://example.org/mcp", PLAIN),
    "moved nowhere": sized(b"302 Found", PLAIN),
    "unauthorized": sized(
        b"401 Unauthorized",
        b'WWW-Authenticate: Bearer realm="a", resource_metadata="https://example.org/x"',
        JSON,
        body=b"{}",
    ),
    "not allowed": sized(b"405 Method Not Allowed", b"Allow: POST, DELETE", PLAIN),
    "too many": sized(b"429 Too Many Requests", b"Retry-After: 120", PLAIN),
    "a problem": sized(
        b"500 Internal Server Error", b"Content-Type: application/problem+json", body=b"{}"
    ),
    "unavailable": sized(
        b"503 Service Unavailable", b"Retry-After: Fri, 01 Nov 2030 10:00:00 GMT", PLAIN
    ),
    "unknown status": sized(b"299 Whatever", PLAIN),
    "secured": sized(
        b"200 OK",
        b"Content-Type: text/html; charset=utf-8",
        b"Strict-Transport-Security: max-age=31536000; includeSubDomains",
        b"Content-Security-Policy: default-src 'self'; frame-ancestors 'none'",
        b"X-Content-Type-Options: nosniff",
        b"Referrer-Policy: no-referrer",
        body=b"<!doctype html><title>a</title>\n",
    ),
    "shared": sized(
        b"200 OK",
        JSON,
        b"Access-Control-Allow-Origin: *",
        b"Access-Control-Expose-Headers: Mcp-Session-Id",
        b"Mcp-Session-Id: 1868a90c-1f5c-4f4e-8a4e-2f9d3c5b7a11",
        b"Vary: Origin",
        body=b"{}",
    ),
    "structured": sized(
        b"200 OK", PLAIN, b'Cache-Status: up; hit; ttl=10, "other"; fwd=miss', b"Priority: u=1, i"
    ),
    "wrong dates": sized(b"200 OK", PLAIN, b"Last-Modified: yesterday", b"Expires: never"),
    "repeated": sized(b"200 OK", PLAIN, b"ETag: a", b"ETag: b", b"Age: -1", b"Server: x y ("),
    "other letters": sized(b"200 OK", PLAIN, b"X-Name: caf\xe9 \xe2\x82\xac", body=b"caf\xe9\n"),
    "link": sized(b"200 OK", PLAIN, b"Link: </a>; rel=\"next\"; title*=UTF-8''%e2%82%ac, <b"),
    "attached": sized(b"200 OK", PLAIN, b'Content-Disposition: attachment; filename="a b.txt"'),
}

# What makes the proxy itself answer, with the status; the upstream says the first to all of them.
BROKEN = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"
PROVOKED: dict[str, tuple[int, bytes]] = {
    "bad gateway": (502, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "bad request": (400, b"GET / HTTP/1.1\r\n\r\n"),
    "long target": (414, b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    "large field": (431, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 70_000 + b"\r\n\r\n"),
    "CONNECT": (501, b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"),
    "other version": (505, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
}
