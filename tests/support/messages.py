"""HTTP messages that the data plane's tests send, spelled out once.

Knows nothing of who sends them.
"""

GET = b"GET /mcp HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


def post(body: bytes = b"{}", *fields: bytes, version: bytes = b"1.1") -> bytes:
    """Build a POST with a Content-Length; ``fields`` are further field lines."""
    lines = [b"POST /mcp HTTP/" + version, b"Host: a", b"Content-Length: %d" % len(body), *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def post_chunked(*pieces: bytes) -> bytes:
    """Build the beginning of a POST in the chunked coding; `LAST_CHUNK` would end it."""
    head = b"POST /mcp HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(map(chunk, pieces))


def chunk(data: bytes) -> bytes:
    """Frame one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def answer(body: bytes, *fields: bytes, status: bytes = b"200 OK") -> bytes:
    """Build a response with a Content-Length."""
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
