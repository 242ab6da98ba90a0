"""Whatever a client sends, the upstream can read it in one way only (RFC 9112 section 11.2).

Requests with every ambiguity known from smuggling attacks are cut, admitted and serialised as the
proxy does it; what would reach the upstream is read by two other parsers, and both must see the
very requests that the proxy saw, no more and no fewer.
"""

from collections.abc import Sequence

import h11
import httptools
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_proxy_exporter.proxy.admission import check_fields, resolve_target
from mcp_proxy_exporter.proxy.errors import Rejected
from mcp_proxy_exporter.proxy.headers import forward_request
from mcp_proxy_exporter.proxy.heads import CHUNKED, RequestHead
from mcp_proxy_exporter.proxy.wire import RequestReader

Seen = list[tuple[bytes, bytes, bytes]]
"""Method, target and body of each whole request."""

EVIL = b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"
LINES = [
    b"Content-Length: 0", b"Content-Length: 5", b"content-length:5", b"Content-Length : 5",
    b"Content-Length: 5, 5", b"Content-Length: +5", b"Content-Length: 0x5", b"Content-Length: 5 ",
    b"Content-Length:\t31", b"Content-Length: 31", b"Content-Length: ", b"Content-Length: 1\n5",
    b"Content_Length: 31", b"X: a\r\n Content-Length: 31", b"X: a\nContent-Length: 31",
    b"Transfer-Encoding: chunked", b"transfer-encoding:chunked", b"Transfer-Encoding : chunked",
    b"Transfer-Encoding: Chunked ", b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunked,",
    b"Transfer-Encoding: identity", b"Transfer-Encoding: identity, chunked",
    b"Transfer-Encoding: \x0bchunked", b"Transfer-Encoding:\r\n chunked",
    b" Transfer-Encoding: chunked", b"Transfer-Encoding: chunked\r",
    b"Transfer_Encoding: chunked", b"X: a\rTransfer-Encoding: chunked",
    b"Transfer-Encoding\x00: chunked", b"TE: chunked", b"Connection: content-length",
    b"Connection: transfer-encoding", b"Connection: close", b"Connection: upgrade\r\nUpgrade: h2c",
    b"Expect: 100-continue", b"Trailer: Content-Length", b"X: \xff", b"X:", b"Host: b",
]  # fmt: skip
STARTS = [
    b"POST / HTTP/1.1", b"POST / HTTP/1.1", b"POST / HTTP/1.1", b"GET /a HTTP/1.1",
    b"POST http://b/ HTTP/1.1", b"POST / HTTP/1.0", b"POST /  HTTP/1.1", b"POST / HTTP/1.1\n",
    b"POST /\thttp/1.1 HTTP/1.1", b"\r\nPOST / HTTP/1.1", b"\nPOST / HTTP/1.1",
    b"POST //x?# HTTP/1.1",
]  # fmt: skip
BODIES = [
    b"", b'{"a"}', EVIL, b"5\r\nhello\r\n0\r\n\r\n", b"0\r\n\r\n", b"0\r\n\r\n" + EVIL,
    b"5;a\nb\r\nhello\r\n0\r\n\r\n", b"5\r\nhello0\r\n\r\n", b"5 \r\nhello\r\n0\r\n\r\n",
    b"1f\r\n" + EVIL + b"\r\n0\r\n\r\n", b"0\r\nContent-Length: 31\r\nX: y\r\n\r\n",
    b"0\r\nX: y\r\n\r\n", b"0\r\n" + EVIL, b"0\n\n", b"-1\r\n", b"1f\n" + EVIL, b"\r\n0\r\n\r\n",
    b"00000000000000005\r\nhello\r\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n",
]  # fmt: skip


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    """Draw a few requests that follow each other, cut into segments."""
    wire = b""
    for _ in range(draw(st.integers(1, 3))):
        lines = [b"Host: a", *draw(st.lists(st.sampled_from(LINES), max_size=3))]
        wire += b"\r\n".join(
            [draw(st.sampled_from(STARTS)), *draw(st.permutations(lines)), b"", b""]
        )
        wire += draw(st.sampled_from(BODIES))
    cuts = sorted(draw(st.sets(st.integers(1, len(wire) - 1), max_size=4)))
    return [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]


class Forwarder:
    """What the proxy sees, and what it sends."""

    def __init__(self) -> None:
        self.reader = RequestReader(self, 65_536, 100)
        self.sent = b""
        self.seen: Seen = []
        self._head = RequestHead()
        self._target = b""
        self._body = b""

    def take_request(self, head: RequestHead) -> None:
        self._head = head
        self._target, host = resolve_target(head)
        self._body = b""
        check_fields(head)
        self.sent += forward_request(head, target=self._target, host=host, extra=())

    def take_body(self, data: bytes) -> None:
        self._body += data
        self.sent += b"%x\r\n%b\r\n" % (len(data), data) if self._head.length == CHUNKED else data

    def take_end(self, trailers: bytes) -> None:
        if self._head.length == CHUNKED:
            self.sent += b"0\r\n%b\r\n" % trailers
        self.seen.append((self._head.method, self._target, self._body))

    def run(self, pieces: Sequence[bytes]) -> bool:
        """Return False where something was refused: the connection ends there."""
        try:
            for piece in pieces:
                self.reader.feed(piece)
                while self.reader.busy and not self.reader.in_body and self.reader.resume():
                    pass
        except Rejected:
            return False
        return True


def read_with_h11(wire: bytes) -> Seen:
    connection = h11.Connection(h11.SERVER)
    if wire:  # no bytes would mean the end of the connection
        connection.receive_data(wire)
    seen: Seen = []
    head = h11.Request(method="GET", target="/", headers=[("Host", "a")])
    body = b""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            head, body = event, b""
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            seen.append((head.method, head.target, body))
            connection.send(h11.Response(status_code=204, headers=[]))
            connection.send(h11.EndOfMessage())
            connection.start_next_cycle()
        else:
            assert event is h11.NEED_DATA
            return seen


class Callbacks:
    def __init__(self) -> None:
        self.seen: Seen = []
        self.parser = httptools.HttpRequestParser(self)
        self._target = self._body = b""

    def on_message_begin(self) -> None:
        self._target = self._body = b""

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self.seen.append((self.parser.get_method(), self._target, self._body))


def read_with_llhttp(wire: bytes) -> tuple[Seen, bool]:
    """Return the requests, and whether all methods were known to llhttp."""
    callbacks = Callbacks()
    try:
        callbacks.parser.feed_data(wire)
    except httptools.HttpParserInvalidMethodError:
        return callbacks.seen, False
    return callbacks.seen, True


@settings(max_examples=600)
@given(streams())
def test_other_parsers_read_what_is_sent_as_the_proxy_read_it(pieces: list[bytes]) -> None:
    forwarder = Forwarder()
    forwarder.run(pieces)
    assert read_with_h11(forwarder.sent) == forwarder.seen
    seen, whole = read_with_llhttp(forwarder.sent)
    assert seen == (forwarder.seen if whole else forwarder.seen[: len(seen)])


@given(streams())
def test_requests_are_the_same_however_they_are_cut(pieces: list[bytes]) -> None:
    cut, whole = Forwarder(), Forwarder()
    assert cut.run(pieces) == whole.run([b"".join(pieces)])
    assert cut.seen == whole.seen
