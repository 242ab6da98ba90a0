"""Any HTTP exchange, drawn by hypothesis, with what must arrive of it on the other side.

This is the oracle of transparency: it restates the documented list of what changes in heads
(`mcp_proxy_exporter.proxy.headers`) in its own words, and imports nothing of it. Bodies are of any
bytes, any size up to 200 KiB and any framing.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from tests.support.raw_client import RawClient
from tests.support.raw_http import RawHead
from tests.support.scripted_upstream import RawRequest

MAX_BODY = 200 * 1024

TCHAR = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
HOP_BY_HOP = {
    b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade",
}  # fmt: skip
MEANINGFUL = HOP_BY_HOP | {b"host", b"content-length", b"trailer"}
"""Fields that are drawn apart, with values that fit."""
END_TO_END = {
    b"authorization", b"content-encoding", b"content-type", b"cookie", b"forwarded",
    b"last-event-id", b"mcp-method", b"mcp-name", b"mcp-protocol-version", b"mcp-session-id",
    b"origin", b"via", b"x-real-ip",
}  # fmt: skip
"""Fields that a request may not nominate for removal."""
NEVER_IN_TRAILERS = END_TO_END | MEANINGFUL | {b"set-cookie"}


# What is sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """Bytes, and the sizes of the chunks that they are cut into."""

    data: bytes
    chunks: tuple[int, ...]
    extension: bytes
    trailers: tuple[bytes, ...]

    def frame(self) -> bytes:
        """Return the body in the chunked coding."""
        pieces = []
        position = turn = 0
        while position < len(self.data):
            piece = self.data[position : position + self.chunks[turn % len(self.chunks)]]
            pieces.append(b"%x%b\r\n%b\r\n" % (len(piece), self.extension, piece))
            position += len(piece)
            turn += 1
        return b"".join([*pieces, b"0\r\n", *[line + b"\r\n" for line in self.trailers], b"\r\n"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the client sends, and what the upstream must get."""

    method: bytes
    target: bytes
    minor: int
    lines: tuple[bytes, ...]
    framing: str
    body: Body
    expected_target: bytes
    expected_host: bytes | None
    """What the value of Host becomes; None where it stays."""

    @property
    def wire(self) -> bytes:
        start = b"%b %b HTTP/1.%d" % (self.method, self.target, self.minor)
        body = self.body.frame() if self.framing == "chunked" else self.body.data
        return b"\r\n".join([start, *self.lines, b"", body])

    @property
    def closes(self) -> bool:
        return self.minor == 0 or b"close" in listed(self.lines)

    def check(self, got: RawRequest) -> None:
        lines = [self._pass_line(line) for line in surviving(self.lines, listed(self.lines))]
        if self.framing == "chunked":
            lines.append(b"Transfer-Encoding: chunked")
        start = b"%b %b HTTP/1.1" % (self.method, self.expected_target)
        assert got.head.raw == b"\r\n".join([start, *lines, b"", b""])
        assert got.body == self.body.data
        assert got.trailers == (self.body.trailers if self.framing == "chunked" else ())

    def _pass_line(self, line: bytes) -> bytes:
        if self.expected_host is not None and name_of(line) == b"host":
            return line[:4] + b": " + self.expected_host
        return line


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What the upstream answers, and what the client must get."""

    interim: tuple[bytes, ...]
    """Whole heads."""
    minor: int
    status: int
    reason: bytes
    lines: tuple[bytes, ...]
    framing: str
    body: Body
    closes: bool

    @property
    def wire(self) -> bytes:
        start = b"HTTP/1.%d %d %b" % (self.minor, self.status, self.reason)
        body = self.body.frame() if self.framing == "chunked" else self.body.data
        return b"".join(self.interim) + b"\r\n".join([start, *self.lines, b"", body])

    async def check(self, client: RawClient, request: Request) -> None:
        if request.minor == 1:
            for interim in self.interim:
                assert (await client.read_head()).raw == interim
        head = await client.read_head()
        reframed = self.framing in ("chunked", "close") and request.minor == 1
        # A response has nothing to protect but what frames and describes its body.
        lines = surviving(self.lines, listed(self.lines) - END_TO_END - {b"content-length"})
        if reframed:
            lines.append(b"Transfer-Encoding: chunked")
        if request.closes:
            lines.append(b"Connection: close")
        start = b"HTTP/1.1 %d %b" % (self.status, self.reason)
        assert head.raw == b"\r\n".join([start, *lines, b"", b""])
        got = await client.read_body(head, request.method)
        assert got.body == self.body.data
        trailers = self.body.trailers if self.framing == "chunked" and reframed else ()
        assert got.trailers == trailers


def name_of(line: bytes) -> bytes:
    return line.split(b":")[0].lower()


def listed(lines: Sequence[bytes]) -> set[bytes]:
    """Return what the Connection fields list."""
    values = RawHead(raw=b"", start=b"", lines=tuple(lines)).values(b"connection")
    return {token.strip().lower() for value in values for token in value.split(b",")}


def surviving(lines: Sequence[bytes], nominated: set[bytes]) -> list[bytes]:
    return [line for line in lines if name_of(line) not in HOP_BY_HOP | nominated]


# How it is drawn

NAMES = st.one_of(
    st.text(TCHAR, min_size=1, max_size=15).map(str.encode),
    st.sampled_from([b"Set-Cookie", b"Content-Type", b"MCP-Protocol-Version", b"accept", b"VIA"]),
).filter(lambda name: name.lower() not in MEANINGFUL)
VALUE_BYTES = st.binary(max_size=40).map(
    lambda data: bytes(byte for byte in data if byte == 9 or (byte >= 32 and byte != 127))
)
VALUES = st.one_of(VALUE_BYTES, st.sampled_from([b"", b"a, b", b"a: b", b"chunked", b"close"]))
COLONS = st.sampled_from([b": ", b":", b":\t", b":   "])
LINES = st.tuples(NAMES, COLONS, VALUES).map(b"".join)
LONG_LINES = st.builds(lambda size: b"X-Long: " + b"l" * size, st.integers(1000, 9000))
FIELDS = st.lists(st.one_of(LINES, LINES, LINES, LONG_LINES), max_size=6)
TRAILERS = st.lists(LINES.filter(lambda line: name_of(line) not in NEVER_IN_TRAILERS), max_size=2)

TARGETS = st.one_of(
    st.sampled_from(
        [
            b"/", b"/mcp", b"//", b"//evil.example/mcp", b"/@evil", b"/a/../b/./c", b"/%2F%2e%2e/",
            b"/%7e%7E", b"/a;b=c;d", b"/a?", b"/a??b?c", b"/?%0d%0aX:%20y", b"/a&&b+c", b"/a#b",
            b"/\\a\\..", b"/{}|^`", b'/<>"', b"/caf\xc3\xa9", b"/\xff\x80", b"/%zz%", b"/%00",
            b"/http://evil/", b"/*", b"/:", b"/" + b"a" * 5000,
        ]
    ),
    st.binary(max_size=30).map(
        lambda data: b"/" + bytes(byte for byte in data if byte > 32 and byte != 127)
    ),
)  # fmt: skip
METHODS = st.one_of(
    st.sampled_from([b"POST", b"POST", b"GET", b"DELETE", b"HEAD", b"OPTIONS", b"PUT", b"post"]),
    st.text(TCHAR, min_size=1, max_size=10).map(str.encode).filter(lambda name: name != b"CONNECT"),
)


@st.composite
def bodies(draw: st.DrawFn) -> Body:
    size = draw(st.one_of(st.integers(0, 64), st.integers(0, 4096), st.integers(0, MAX_BODY)))
    pattern = draw(st.sampled_from([b"", b"0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"\r\n", b"\0"]))
    seed = draw(st.integers(0, 1000))
    # Drawn bytes would be few: hypothesis has 8 KiB of them for one example.
    noise = random.Random(seed).randbytes(size)  # noqa: S311  # nothing secret
    data = (pattern * size)[:size] if pattern else noise
    return Body(
        data=data,
        chunks=tuple(
            draw(st.lists(st.integers(1 + size // 200, 1 + size), min_size=1, max_size=5))
        ),
        extension=draw(st.sampled_from([b"", b"", b";a", b' ; b="c"'])),
        trailers=tuple(draw(TRAILERS)) if draw(st.booleans()) else (),
    )


NOTHING = Body(data=b"", chunks=(1,), extension=b"", trailers=())


def in_any_case(draw: st.DrawFn, name: bytes) -> bytes:
    return draw(st.sampled_from([name, name.lower(), name.upper(), name.title()]))


def draw_hop_by_hop(draw: st.DrawFn, lines: list[bytes]) -> list[bytes]:
    """Draw hop-by-hop fields; some nominate fields of ``lines``."""
    ends = {b"host", b"content-length", b"content-type", *END_TO_END}
    names = sorted({name_of(line) for line in lines} - ends - HOP_BY_HOP)
    tokens = [
        b"keep-alive",
        *draw(st.lists(st.sampled_from(names), max_size=2) if names else st.just([])),
    ]
    found = [in_any_case(draw, b"Connection") + b": " + b" , ".join(tokens)]
    found += [b"Keep-Alive: timeout=5"] if draw(st.booleans()) else []
    found += [b"TE: trailers", b"Upgrade: h2c"] if draw(st.booleans()) else []
    return found


@st.composite
def requests(draw: st.DrawFn) -> Request:
    minor = draw(st.sampled_from([1, 1, 1, 1, 0]))
    framing = draw(st.sampled_from(["none", "length", "length", "chunked"]))
    if minor == 0 and framing == "chunked":
        framing = "length"
    body = draw(bodies()) if framing != "none" else NOTHING
    lines = draw(FIELDS)
    lines += draw_hop_by_hop(draw, lines) if draw(st.booleans()) else []
    if framing == "length":
        lines.append(in_any_case(draw, b"Content-Length") + b": %d" % len(body.data))
    elif framing == "chunked":
        lines.append(in_any_case(draw, b"Transfer-Encoding") + draw(COLONS) + b"Chunked")
    if draw(st.integers(0, 9)) == 0:
        lines.append(b"Connection: close")
    lines = list(draw(st.permutations(lines)))
    lines.insert(
        draw(st.integers(0, len(lines))),
        in_any_case(draw, b"Host") + draw(COLONS) + b"me.example:80",
    )
    path = draw(TARGETS)
    absolute = draw(st.integers(0, 9)) == 0
    return Request(
        method=draw(METHODS),
        target=b"http://other.example:81" + path if absolute else path,
        minor=minor,
        lines=tuple(lines),
        framing=framing,
        body=body,
        expected_target=path,
        expected_host=b"other.example:81" if absolute else None,
    )


@st.composite
def responses(draw: st.DrawFn, method: bytes) -> Response:
    status = draw(st.one_of(st.sampled_from([200, 202, 204, 304, 404]), st.integers(200, 599)))
    bodyless = method == b"HEAD" or status in (204, 304)
    framing = draw(st.sampled_from(["length", "chunked", "close"]))
    minor = 1 if framing == "chunked" or draw(st.booleans()) else 0
    body = NOTHING if bodyless else draw(bodies())
    lines = draw(FIELDS)
    if framing == "length" and status != 204:
        length = draw(st.integers(0, 10**6)) if bodyless else len(body.data)
        lines.append(in_any_case(draw, b"Content-Length") + b": %d" % length)
    elif framing == "chunked":
        lines.append(in_any_case(draw, b"Transfer-Encoding") + b": chunked")
    closes = (framing == "close" and not bodyless) or minor == 0 or draw(st.integers(0, 9)) == 0
    if closes and draw(st.booleans()):
        lines.append(b"Connection: close")
    elif closes:
        lines.append(b"connection: CLOSE, te")
    elif draw(st.booleans()):
        lines += draw_hop_by_hop(draw, lines)
    codes = draw(st.lists(st.sampled_from([100, 102, 103, 199]), max_size=2))
    return Response(
        interim=tuple(b"HTTP/1.1 %d Wait\r\nLink: </a>\r\n\r\n" % code for code in codes),
        minor=minor,
        status=status,
        reason=draw(st.one_of(st.just(b"OK"), VALUE_BYTES)),
        lines=tuple(draw(st.permutations(lines))),
        framing="none" if bodyless else framing,
        body=body,
        closes=closes,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request, its answer, and where the segments of both are cut."""

    request: Request
    response: Response
    cuts: tuple[float, ...]

    def cut(self, wire: bytes) -> list[bytes]:
        places = sorted({int(cut * len(wire)) for cut in self.cuts} - {0, len(wire)})
        return [wire[a:b] for a, b in zip([0, *places], [*places, len(wire)], strict=True)]


@st.composite
def exchanges(draw: st.DrawFn) -> Exchange:
    request = draw(requests())
    return Exchange(
        request=request,
        response=draw(responses(request.method)),
        cuts=tuple(draw(st.lists(st.floats(0, 1), max_size=5))),
    )
