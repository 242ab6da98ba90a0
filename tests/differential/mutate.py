"""Requests of real MCP clients, spoiled: what is the same for every run with the same seed.

Knows which places of a message parsers disagree about; does not know what the proxy makes of it.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from tests.support.capture_file import load, names

LAST = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
"""Behind everything: it is seen as a request of its own, or not at all."""
_EVIL = b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"
_METHODS = (
    b"get", b"HEAD", b"OPTIONS", b"PUT", b"PATCH", b"TRACE", b"CONNECT", b"BREW", b"POST\x00",
    b"P(ST",
    b"M-SEARCH", b"PRI", b"SOURCE", b" POST", b"\r\nPOST", b"\nPOST", b"XPOST",
)  # fmt: skip
_TARGETS = (
    b"/", b"//evil/x", b"/mcp?", b"/mcp#x", b"*", b"mcp", b"http://b/mcp", b"http://b?x", b"/m cp",
    b"/%2e%2e/", b"/caf\xc3\xa9", b"/\xff", b"/\\..", b"/mcp;a=b", b"/mcp\tx", b"/\x7f", b"http://",
    b"/mcp?a=http://b/", b"HTTPS://b:81", b"/{}|^`", b'/"<>', b"/" + b"m" * 3000,
)  # fmt: skip
_VERSIONS = (
    b"HTTP/1.0", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"http/1.1", b"HTTP/1.1 ", b"HTTP/01.1",
    b"",
    b"HTTP/1.1\x00", b"HTTP/1.1x", b"HTTP/ 1.1", b"HTTP/1.10",
)  # fmt: skip
_LINES = (
    b"Content-Length: 0", b"Content-Length: 31", b"content-length: 5", b"Content-Length : 5",
    b"Content-Length: 5, 5", b"Content-Length: +5", b"Content-Length: 5;a", b"Content-Length: 0x1f",
    b"Content-Length:", b"Content_Length: 31", b"Content-Length\x00: 31", b"X-Content-Length: 31",
    b"Transfer-Encoding: chunked", b"transfer-encoding:\tCHUNKED ", b"Transfer-Encoding : chunked",
    b"Transfer-Encoding: identity", b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding:",
    b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: ,chunked",
    b"Transfer-Encoding: \x0bchunked", b'Transfer-Encoding: "chunked"',
    b"Transfer_Encoding: chunked",
    b"TE: trailers, chunked", b"Trailer: X-Sum", b"Connection: close", b"Connection: keep-alive",
    b"Connection: Content-Length", b"Connection: transfer-encoding, x-mine", b"Connection: host",
    b"Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk", b"Upgrade: websocket",
    b"Connection: X-Mine", b"X-Mine: 1", b"Keep-Alive: 5", b"Proxy-Connection: close",
    b"Expect: 100-continue", b"Expect: tea", b"Host: b", b"Host:", b"X: \xff\xfe", b"X:",
    b"X: a ,b",
    b": y", b"X", b"X y: z", b" X: folded", b"\tX: folded", b"X: a\r\n b", b"X: a\rb",
    b"X: a\nb: c",
    b"X: \x00", b"X: \x1b", b"X: \x7f", b"X(: a", b"X-Forwarded-For: 192.0.2.1", b"Cookie: a=b; c",
    b"Origin: http://evil", b"X: " + b"y" * 5000, b"Max-Forwards: 0",
)  # fmt: skip
_SIZES = (
    b"%x", b"%X", b"0%x", b"000%x", b"+%x", b"0x%x", b" %x", b"%x ", b"%x\t", b"-%x", b"%x_",
    b"%x.",
    b"%x;", b"%x;a", b"%x;a=b", b'%x ; a="b;\\" c"', b"%x;\xff", b"%x;a\rb", b"%x;a\nb", b"%x;a[",
    b"%x;a\x00",
    b"00000000000000%x", b"1%016x", b"",
)  # fmt: skip
_TRAILERS = (
    b"X-Sum: 1", b"Content-Length: 31", b"Transfer-Encoding: chunked", b"Host: evil", b"X : y",
    b"X",
    b" X: y", b"X: \x00", b"X: a\nb: c", b"Authorization: Bearer x", b"X-Forwarded-For: 192.0.2.1",
    b"Forwarded: for=192.0.2.1", b"Origin: http://good", b"Mcp-Session-Id: 1", b"GET / HTTP/1.1",
)  # fmt: skip
_LINE_ENDS = (
    b"\n",
    b"\r",
    b"\r\r\n",
    b"\n\r",
    b" \r\n",
    b"\r\n ",
    b"\r\n\t",
    b"\x00\r\n",
    b"\r\n\r\n",
)
_ODD_BYTES = b'\x00\x01\x08\t\n\x0b\x0c\r\x1b !"(),/:;<=>?@[\\]{}\x7f\x80\xa0\xff0aA-_'


@dataclass(slots=True, kw_only=True)
class Draft:
    """A request before it is written down."""

    method: bytes
    target: bytes
    version: bytes
    lines: list[bytes]
    body: bytes
    chunks: int = 0
    """In how many chunks the body goes; 0 leaves it whole."""
    size: bytes = b"%x"
    trailers: list[bytes]

    def write(self) -> bytes:
        """Return the bytes, framed as the draft says."""
        lines = self.lines
        body = self.body
        if self.chunks:
            lines = [*lines, b"Transfer-Encoding: chunked"]
            body = self._write_chunks()
        elif body and not any(line.lower().startswith(b"content-length") for line in lines):
            lines = [*lines, b"Content-Length: %d" % len(body)]
        start = b" ".join(filter(None, (self.method, self.target, self.version)))
        return b"\r\n".join([start, *lines, b"", b""]) + body

    def _write_chunks(self) -> bytes:
        step = -(-len(self.body) // self.chunks) or 1
        pieces = [self.body[at : at + step] for at in range(0, len(self.body), step)]
        sizes = [self.size % len(piece) if b"%" in self.size else self.size for piece in pieces]
        chunks = [b"%b\r\n%b\r\n" % pair for pair in zip(sizes, pieces, strict=True)]
        return b"".join([*chunks, b"0\r\n", *[line + b"\r\n" for line in self.trailers], b"\r\n"])


@cache
def _recorded() -> tuple[Draft, ...]:
    """Return the requests of the recorded conversations, one of each kind."""
    drafts = {}
    for name in names():
        capture = load(name)
        method, target, version = capture.request.start
        lines = [
            b"%b: %b" % (field.title(), value)
            for field, value in capture.request.fields.items()
            if field not in (b"content-length", b"transfer-encoding")
        ]
        drafts[method, capture.request_body] = Draft(
            method=method, target=target, version=version, lines=lines,
            body=capture.request_body, trailers=[],
        )  # fmt: skip
    return tuple(drafts.values())


def _insert_line(rng: random.Random, draft: Draft) -> None:
    draft.lines.insert(rng.randint(0, len(draft.lines)), rng.choice(_LINES))


def _frame_twice(rng: random.Random, draft: Draft) -> None:
    length = rng.choice((len(draft.body), len(draft.body), 0, 1, len(draft.body) + len(_EVIL)))
    name = rng.choice((b"Content-Length", b"CONTENT-LENGTH", b"content-length"))
    draft.lines.insert(rng.randint(0, len(draft.lines)), b"%b: %d" % (name, length))


def _respell_line(rng: random.Random, draft: Draft) -> None:
    at = rng.randrange(len(draft.lines))
    name, _, value = draft.lines[at].partition(b":")
    value = value.strip()
    draft.lines[at] = rng.choice((
        name.upper() + b":" + value, name.lower() + b":\t " + value + b" \t", name + b" : " + value,
        name.swapcase() + b":  " + value, name + b":\r\n " + value,
        name + b": " + value + b"\r\n\t",
        name.replace(b"-", b"_") + b": " + value, name + b"\t: " + value,
        b"\x0b" + name + b": " + value,
    ))  # fmt: skip


def _repeat_line(rng: random.Random, draft: Draft) -> None:
    draft.lines.insert(rng.randint(0, len(draft.lines)), rng.choice(draft.lines))


def _drop_line(rng: random.Random, draft: Draft) -> None:
    if len(draft.lines) > 1:
        draft.lines.pop(rng.randrange(len(draft.lines)))


def _change_start(rng: random.Random, draft: Draft) -> None:
    kind = rng.randrange(3)
    if kind == 0:
        draft.method = rng.choice(_METHODS)
    elif kind == 1:
        draft.target = rng.choice(_TARGETS)
    else:
        draft.version = rng.choice(_VERSIONS)


def _cut_into_chunks(rng: random.Random, draft: Draft) -> None:
    draft.chunks = rng.randint(1, 3)
    draft.size = rng.choice(_SIZES) if rng.random() < 0.4 else b"%x"


def _add_trailer(rng: random.Random, draft: Draft) -> None:
    draft.chunks = draft.chunks or 1
    draft.trailers.append(rng.choice(_TRAILERS))


def _hide_request(rng: random.Random, draft: Draft) -> None:
    draft.body = rng.choice(
        (_EVIL, b"0\r\n\r\n" + _EVIL, b"1f\r\n" + _EVIL + b"\r\n0\r\n\r\n", b"")
    )


Spoil = Callable[[random.Random, Draft], None]
_SPOILS: tuple[Spoil, ...] = (
    _insert_line, _insert_line, _frame_twice, _respell_line, _repeat_line, _drop_line,
    _change_start, _cut_into_chunks, _cut_into_chunks, _add_trailer, _hide_request,
)  # fmt: skip


def _spoil_line_end(rng: random.Random, wire: bytes) -> bytes:
    ends = [at for at in range(len(wire)) if wire.startswith(b"\r\n", at)]
    at = rng.choice(ends)
    return wire[:at] + rng.choice(_LINE_ENDS) + wire[at + 2 :]


def _spoil_byte(rng: random.Random, wire: bytes) -> bytes:
    at = rng.randrange(len(wire))
    odd = bytes([rng.choice(_ODD_BYTES)])
    return wire[:at] + rng.choice((b"", odd, odd + wire[at : at + 1])) + wire[at + 1 :]


def _write_one(rng: random.Random) -> bytes:
    recorded = rng.choice(_recorded())
    draft = Draft(
        method=recorded.method, target=recorded.target, version=recorded.version,
        lines=list(recorded.lines), body=recorded.body, trailers=[],
    )  # fmt: skip
    for _ in range(rng.choice((0, 1, 1, 1, 1, 2, 3))):
        rng.choice(_SPOILS)(rng, draft)
    wire = draft.write()
    if rng.random() < 0.1:
        wire = _spoil_line_end(rng, wire)
    if rng.random() < 0.1:
        wire = _spoil_byte(rng, wire)
    return wire


def mutate(seed: int) -> list[bytes]:
    """Return the writes of one client: one to three requests, and the last one."""
    rng = random.Random(seed)  # noqa: S311  # to be repeated, not to be secret
    wire = b"".join([_write_one(rng) for _ in range(rng.choice((1, 1, 1, 2, 3)))]) + LAST
    cuts = sorted(rng.sample(range(1, len(wire)), rng.choice((0, 0, 1, 2, 5))))
    return [wire[start:end] for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
