"""Responses: the same ones, and the same refusal, however cut; llhttp reads what is passed on."""

import re
from collections.abc import Sequence

import httptools

from mcp_proxy_exporter.proxy.errors import UpstreamError
from mcp_proxy_exporter.proxy.headers import forward_response, is_reframed
from mcp_proxy_exporter.proxy.heads import KnownHeads, ResponseHead
from mcp_proxy_exporter.proxy.wire import ResponseReader
from tests.fuzz.corpus import HTTP_TOKENS, raw_responses
from tests.fuzz.cuts import cut
from tests.fuzz.hunt import Check, Target
from tests.fuzz.mutation import Random

_MAX_HEAD = 1_024
_MAX_FIELDS = 32
_INTERIM = 200
_LENGTH = re.compile(rb"(?i)(content-length: *)[0-9]+")
_BODILESS = (204, 304)


class Relaying:
    """What the proxy sees of the answer to one request, and what it sends."""

    def __init__(self, method: bytes, known: KnownHeads[ResponseHead] | None = None) -> None:
        self.reader = ResponseReader(_MAX_HEAD, _MAX_FIELDS, known)
        self.reader.expect(method, self)
        self.heads: list[bytes] = []
        self.statuses: list[int] = []
        self.body = self.trailers = self.sent = b""
        self.ended = self.refused = False
        self._chunked = False

    def take_response(self, head: ResponseHead) -> None:
        """Forward a head."""
        assert not self.ended
        assert not self.statuses or self.statuses[-1] < _INTERIM
        self._chunked = head.status >= _INTERIM and is_reframed(head.length)
        self.statuses.append(head.status)
        self.heads.append(forward_response(head, chunked=self._chunked, close=False))
        if head.status >= _INTERIM:
            self.sent += self.heads[-1]

    def take_body(self, data: bytes) -> None:
        """Forward a piece of the body."""
        assert data
        assert not self.ended
        self.body += data
        self.sent += b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data

    def take_end(self, trailers: bytes) -> None:
        """Forward the end."""
        assert not self.ended
        self.ended = True
        self.trailers = trailers
        if self._chunked:
            self.sent += b"0\r\n%b\r\n" % trailers

    def run(self, pieces: Sequence[bytes]) -> "Relaying":
        """Take what an upstream sends before it closes."""
        try:
            for piece in pieces:
                self.reader.feed(piece)
                assert len(self.reader._buffer) < _MAX_HEAD
            self.reader.eof()
        except UpstreamError:
            self.refused = True
        return self

    @property
    def verdict(self) -> tuple[object, ...]:
        """What came of it, whatever the pieces."""
        return (
            self.heads, self.body, self.trailers, self.ended, self.refused, self.reader.extra,
        )  # fmt: skip


class _Callbacks:
    def __init__(self) -> None:
        self.body = b""
        self.ended = 0

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.ended += 1


def begin() -> Check:
    """Begin a life, whose connections share the heads that they know."""
    known = KnownHeads[ResponseHead]()

    def check(data: bytes) -> None:
        method, _, wire = data.partition(b"\n")
        pieces = [wire] if wire else []
        whole = Relaying(method).run(pieces)
        assert Relaying(method).run(cut(wire)).verdict == whole.verdict
        assert Relaying(method, known).run(pieces).verdict == whole.verdict
        _take_short_way(method, wire, whole, known)
        if whole.ended and method != b"HEAD":
            _read_with_llhttp(whole)

    return check


def _take_short_way(
    method: bytes, wire: bytes, whole: Relaying, known: KnownHeads[ResponseHead]
) -> None:
    """Read an answer whose head is known by now."""
    reader = ResponseReader(_MAX_HEAD, _MAX_FIELDS, known)
    reader.expect(method, whole)
    found = reader.take_known(wire)
    if found is not None:
        head, payload = found
        assert [head.status] == whole.statuses
        assert whole.ended
        assert (payload, b"", False) == (whole.body, whole.trailers, whole.reader.extra)


def _read_with_llhttp(whole: Relaying) -> None:
    """Read what a client would be sent."""
    callbacks = _Callbacks()
    parser = httptools.HttpResponseParser(callbacks)
    parser.feed_data(whole.sent)
    status = parser.get_status_code()
    assert status == whole.statuses[-1]
    assert callbacks.body == whole.body
    assert callbacks.ended == 1


def finish(rng: Random, data: bytes) -> bytes:
    """Let the length be right, most often: what follows would not be looked at else."""
    if rng.random() < 0.4:
        return data
    head, end, body = data.partition(b"\r\n\r\n")
    return _LENGTH.sub(rb"\g<1>%d" % len(body), head) + end + body


def _seeds() -> list[bytes]:
    seeds = [b"POST\n" + wire for wire in raw_responses()]
    seeds += [b"HEAD\n" + wire for wire in raw_responses()[::15]]
    ok = b"HTTP/1.1 200 OK\r\n"
    for wire in (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + ok + b"\r\nrest",
        ok + b"Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
        ok + b"Content-Length: 5\r\nConnection: close, x\r\nX: y\r\n\r\nhello",
        b"HTTP/1.0 200\r\n\r\nuntil close",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    ):
        seeds += [b"GET\n" + wire] * 8
    return seeds


TARGET = Target("responses", 120_000, _seeds, HTTP_TOKENS, begin, finish)
