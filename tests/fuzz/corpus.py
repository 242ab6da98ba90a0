"""What the hunt starts from: real traffic, and what has broken others before.

Knows the recorded conversations (`tests/captures`) and the tokens at which parsers stumble; does
not know who reads them.
"""

from collections.abc import Sequence
from functools import cache

from tests.support.bad_http import REFUSED
from tests.support.capture_file import CAPTURES, Capture, load, names

_MAX_BODY = 4_096
"""Longer bodies only repeat themselves."""

JSON_TOKENS = (
    b"{", b"}", b"[", b"]", b":", b",", b'"', b"\\", b"null", b"true", b"false", b"{}", b"[]",
    b'""', b"0", b"-0", b"1", b"1.0", b"01", b"-", b"1e5", b"1e400", b"-1e-400", b"0.1e1", b"NaN",
    b"Infinity", b"9007199254740993", b"18446744073709551616", b"9" * 400, b"1" * 5_000,
    b'"\\ud83d"', b'"\\ud83d\\ude00"', b'"\\ude00\\ud83d"', b"\\ud83d", b"\\uD800", b"\\u0000",
    b'"\\\\ud83d"', b'"\\u00"', b'"\\x"', b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xc3", b"\xe2\x82",
    b"\xf0\x9f\x92", b"\xff\xfe", b"\x00", b"\x1f", b"\x7f", b"\xc0\x80", b"\t", b"\n", b" ",
    b"[" * 40, b'{"a":' * 40, b"[" * 1_500, b'{"a":' * 1_100, b"]" * 40, b"[{" * 600, b"[],",
    b"{}," * 1_100, b"//", b"/*", b"'a'", b"{]", b'{"a"}', b'"jsonrpc":"2.0"', b'"jsonrpc":2.0',
    b'"id":', b'"id":1', b'"id":null', b'"id":{}', b'"method":', b'"method":"tools/call"',
    b'"params":', b'"params":[]', b'"result":', b'"result":{}', b'"error":', b'"error":{"code":0}',
    b'"error":null', b'"name":', b'"arguments":', b'"_meta":', b'"task":{}', b'"taskId":"t"',
    b'"isError":true', b'"resultType":"task"', b'"resultType":"input_required"', b'"content":[]',
    b'"structuredContent":{}', b'"nextCursor":"2"', b'"cursor":"2"', b'"tools":[]',
    b'"requestState":"s"', b'"requestId":1', b'"status":"failed"', b'"ttl":1e300', b'"data":{}',
    b'"initialize"', b'"tools/call"', b'"tools/list"', b'"tasks/get"', b'"tasks/result"',
    b'"tasks/list"', b'"tasks/cancel"', b'"subscriptions/listen"', b'"server/discover"', b'"ping"',
    b'"notifications/cancelled"', b'"notifications/tasks/status"', b'"elicitation/create"',
    b'"notifications/message"', b'"notifications/tools/list_changed"', b'"prompts/get"', b'"2.0"',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}',
    b'{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"a"}]}}',
)  # fmt: skip

EVENT_TOKENS = (
    b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n", b"\n\r\n", b"data", b"data:", b"data: ",
    b"data:  ", b"event: message", b"event:message", b"event: endpoint", b"event: ping", b"event",
    b"id: 1", b"id:", b"id", b"id: \x00", b"id: " + b"9" * 1_100, b"id:" + b" " * 1_023 + b"\x00x",
    b"retry: 1", b"retry: 99999999", b"retry: 999999999", b"retry: -1", b"retry: 1.5",
    b"retry: \xc2\xb2", b": ping", b":", b" data: a", b"DATA: a", b"\xef\xbb\xbf", b"\xef\xbb",
    b"\xef\xbb\xbf\xef\xbb\xbf", b"\x00", b"\x0b", b"\x0c", b"\x1c", b"\x85", b"\xe2\x80\xa8", b" ",
    b"data: /messages?session_id=1", b"event: " + b"m" * 1_030, b"x" * 1_040, b"data: " + b"y" * 90,
    b"data: [" + b"[" * 1_200, b"{", b"}", b"[", b"]", b",", b'"',
    b'data: {"jsonrpc":"2.0","id":1,"result":{}}',
    b'data: {"jsonrpc":"2.0","method":"ping","id":2}',
)  # fmt: skip

HTTP_TOKENS = (
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\n\n", b"\n\r\n", b"\r\r\n", b" ", b"\t", b":", b": ",
    b" :", b",", b";", b"\x00", b"\x0b", b"\x7f", b"\x80", b"\xff", b"\xc3\xa4", b"HTTP/1.1",
    b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.2", b"HTTP/0.9", b"GET ", b"POST ", b"HEAD ",
    b"CONNECT ", b"OPTIONS ", b"PRI * HTTP/2.0", b"GET / HTTP/1.1", b"POST / HTTP/1.1",
    b"http://b/", b"http://a@b/", b"*", b"Host: a", b"Host: b", b"Host:", b"host: a b",
    b"Content-Length: 0", b"Content-Length: 5", b"content-length:5", b"Content-Length : 5",
    b"Content-Length: 5, 5", b"Content-Length: +5", b"Content-Length: 0x5",
    b"Content-Length: -1", b"Content-Length:\t31", b"Content-Length: ",
    b"Content-Length: 999999999999999999", b"Content-Length: 9999999999999999999",
    b"Content-Length: \xc2\xb2", b"Content_Length: 31", b"Transfer-Encoding: chunked",
    b"transfer-encoding:chunked", b"Transfer-Encoding : chunked",
    b"Transfer-Encoding: xchunked", b"Transfer-Encoding: identity, chunked",
    b"Transfer-Encoding: chunked,", b"Transfer-Encoding: ", b"Transfer-Encoding: \x0bchunked",
    b"Transfer_Encoding: chunked", b"TE: trailers, chunked", b"Connection: close",
    b"Connection: keep-alive", b"Connection: content-length", b"Connection: x",
    b"Connection: upgrade\r\nUpgrade: h2c", b"Upgrade: websocket",
    b"Connection: mcp-session-id", b"Expect: 100-continue", b"Trailer: X", b"X: y", b"X:",
    b": y", b"X", b" folded: z", b"\tfolded", b"X: " + b"y" * 300, b"X: y\r\n" * 20,
    b"Keep-Alive: 5", b"Mcp-Session-Id: s", b"Via: 1.1 p", b"HTTP/1.1 200 OK",
    b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n", b"HTTP/1.1 204 No Content", b"HTTP/1.1 304 ",
    b"HTTP/1.1 200", b"HTTP/1.1 99 x", b"HTTP/1.1 1000 x", b"HTTP/1.1 200 \xff", b" 100 ",
    b" 304 ", b"0\r\n\r\n", b"0\r\n", b"0", b"00", b"5\r\nhello\r\n", b"5;x=y\r\nhello\r\n",
    b"5 \r\nhello\r\n", b"5;a\nb\r\nhello\r\n", b"0x5\r\nhello\r\n", b"-5\r\n",
    b"f" * 15 + b"\r\n", b"f" * 16 + b"\r\n", b"5\nhello\n", b"0\r\nX: y\r\n\r\n",
    b"0\r\nContent-Length: 5\r\n\r\n", b"0\n\n", b";" + b"e" * 400,
    b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n", b"1f\r\n", b"hello",
)  # fmt: skip

FIELD_TOKENS = (
    b"content-type: application/json", b"content-type: text/event-stream",
    b"content-type: text/html", b"content-type: application/x+json; charset=utf-8",
    b"content-type: multipart/form-data", b"content-encoding: gzip", b"content-encoding: rot13",
    b"content-encoding: identity", b"mcp-session-id: s", b"mcp-session-id: ",
    b"mcp-session-id: \xff", b"last-event-id: 1", b"last-event-id: 2",
    b"mcp-protocol-version: 2025-11-25", b"mcp-protocol-version: 2026-07-28",
    b"mcp-protocol-version: \xff", b"mcp-method: tools/call", b"mcp-method: \xff",
    b"mcp-name: a", b"mcp-name: =?base64?x?=", b"mcp-name: =?base64?YQ==?=",
    b"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", b"traceparent: \xff",
)  # fmt: skip


@cache
def captures() -> Sequence[Capture]:
    """Return every recorded exchange."""
    return [load(name) for name in names()]


@cache
def request_bodies() -> Sequence[bytes]:
    """Return the bodies of recorded requests, without repetitions."""
    return sorted({capture.request_body[:_MAX_BODY] for capture in captures()} - {b""})


@cache
def json_answers() -> Sequence[bytes]:
    """Return recorded answers that are no event streams."""
    return sorted({body for body, stream in _answers() if not stream})


@cache
def event_streams() -> Sequence[bytes]:
    """Return recorded event streams."""
    return sorted({body for body, stream in _answers() if stream})


@cache
def messages() -> Sequence[bytes]:
    """Return recorded JSON texts, of both sides."""
    events = [
        line.removeprefix(b"data: ")
        for stream in event_streams()
        for line in stream.splitlines()
        if line.startswith(b"data: {")
    ]
    return sorted({*request_bodies(), *json_answers(), *events})


@cache
def raw_requests() -> Sequence[bytes]:
    """Return requests as they came, and such as nobody may send."""
    return [*_raw(b"===== REQUEST", b"\n===== RESPONSE"), *(wire for _, wire in REFUSED.values())]


@cache
def raw_responses() -> Sequence[bytes]:
    """Return answers as they came, with their framing."""
    return _raw(b"\n===== RESPONSE", b"\n===== END")


def _answers() -> Sequence[tuple[bytes, bool]]:
    return [
        (
            capture.response_body[:_MAX_BODY],
            capture.response.fields.get(b"content-type", b"").startswith(b"text/event-stream"),
        )
        for capture in captures()
        if capture.response is not None and capture.response_body
    ]


def _raw(begin: bytes, end: bytes) -> list[bytes]:
    found = set()
    for name in names():
        _, _, rest = (CAPTURES / name).read_bytes().partition(begin)
        message = rest.partition(b"\n")[2].partition(end)[0]
        if message:
            found.add(message[:_MAX_BODY])
    return sorted(found)
